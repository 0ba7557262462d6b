"""What holds of every task, whatever it is about; tasks are found by their kinds."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from task_examples import example, kinds
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from physlm.config import content_hash, from_dict, override, to_dict
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.tasks.config import SPLITS, TaskConfig
from physlm.tasks.prompts import Prompts
from physlm.tasks.rows import IGNORE, unpacked
from physlm.tasks.task import AskedTask
from physlm.tasks.vocabulary import EOS
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
MODEL = ModelConfig(layers=1, heads=1, width=8)
TRAIN = TrainConfig(steps=1, batch_rows=2, precision="float32", warmup_steps=0)


@pytest.fixture(scope="module", params=kinds())
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return example(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def task(config: Any) -> Any:
    return config.build()


@pytest.fixture(scope="module")
def asked(config: Any, task: Any) -> AskedTask:
    if not config.conditions():
        pytest.skip(f"{config.kind} asks no questions")
    return cast(AskedTask, task)


def test_rows_are_pure_functions_of_split_stream_and_number(config: Any, task: Any) -> None:
    index = torch.tensor([0, 1, 2, 3, 31, 32, 1000, 2**20])
    rows = task.rows(index)
    assert rows.inputs_RT.shape == rows.targets_RT.shape == (len(index), config.row_tokens)
    assert rows.inputs_RT.dtype == rows.targets_RT.dtype == torch.long
    assert config.tags != rows.inputs_RT[:, 1:].masked_select(rows.targets_RT[:, :-1] != IGNORE).equal(
        rows.targets_RT[:, :-1].masked_select(rows.targets_RT[:, :-1] != IGNORE)), "the token one place on, or a tag"
    alone = [config.build().rows(one[None]) for one in index.flip(0)]
    for place in (0, 1):
        assert torch.cat([one[place] for one in alone]).flip(0).equal(rows[place]), "whatever is beside it"
    others = [task.rows(index, split, stream).inputs_RT for split in SPLITS for stream in (0, 7)]
    assert others[0].equal(rows.inputs_RT)
    assert len({tuple(other.flatten().tolist()) for other in others}) == len(others)
    assert task.to("cpu").rows(index).targets_RT.equal(rows.targets_RT)
    assert not dataclasses.replace(config, row_tokens=config.row_tokens // 2).build().rows(index)[0][:, 0].equal(
        torch.full_like(index, IGNORE)), "rows of another length are rows too"


class Answers(TorchDispatchMode):
    """Notes whether anything asks for numbers on the device, or makes as many of something as they say."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).split(".")[1]
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive"):
            self.asked.add(name)
        return func(*args, **(kwargs or {}))


# whose rows are of parts of sizes that are drawn, or are drawn again where they are not distinct
ASKING = {"bioJunk", "bioMixed", "grammar", "mixture", "mqar", "hops"}


def test_rows_are_made_without_asking_the_device(config: Any, task: Any) -> None:
    """On a GPU the host would wait for it at every batch."""
    if config.made_on_host:
        pytest.skip(f"{config.kind} is made by the host")
    task.rows(torch.arange(8), "train", 1)  # what is asked once is kept
    with Answers() as answers:
        task.rows(torch.arange(16), "train", 0)
    assert bool(answers.asked) == (config.kind in ASKING), answers.asked


def test_rows_that_the_host_makes_are_those_of_the_task_in_any_thread(config: Any, task: Any) -> None:
    if not config.made_on_host:
        pytest.skip(f"{config.kind} is sampled on the device")
    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(lambda first: task.host_rows(np.arange(first, first + 8), "train", 7), (100, 108)))
    packed = torch.from_numpy(np.concatenate(halves))
    assert packed.shape == (16, config.row_tokens + 1) and not packed.is_floating_point()
    rows = task.rows(torch.arange(100, 116), "train", 7)
    assert all(mine.equal(theirs) for mine, theirs in zip(unpacked(packed), rows, strict=True))


def test_every_row_is_in_the_vocabulary_and_has_something_to_learn(config: Any, task: Any) -> None:
    words = config.vocabulary().words
    assert task.vocabulary.words == words and len(set(words)) == len(words) > 1
    inputs, targets = task.rows(torch.arange(64))
    assert inputs.min() >= 0 and inputs.max() < len(words)
    assert targets.min() >= IGNORE and targets.max() < len(words)
    assert bool((targets != IGNORE).any(-1).all())
    assert task.config == config


def test_what_a_task_says_of_itself(config: Any) -> None:
    assert isinstance(config, TaskConfig) and type(config) is TaskConfig.of_kind(config.kind)
    assert config.items is None or config.items >= 1
    assert config.row_tokens >= 1 and config.entries_per_row >= 1 and isinstance(config.hides_answers, bool)
    assert config.title.strip() == config.title != "" and "\n" not in config.title
    assert re.fullmatch(r"[\w.+=-]+", config.slug), "it is a part of a folder's name"
    names = {field.name for field in dataclasses.fields(config)}
    assert set(config.member_fields) <= names
    facts = config.facts()
    assert facts["items"] == config.items and not set(facts) & names
    assert json.loads(json.dumps(facts)) == facts and all(isinstance(x, (int, float, str, type(None)))
                                                          for x in facts.values())


def test_settings_survive_json_and_the_defaults_are_a_task(config: Any) -> None:
    spec = RunSpec(config, MODEL, TRAIN)
    again = from_dict(RunSpec, json.loads(json.dumps(to_dict(spec))))
    assert again == spec and content_hash(again) == content_hash(spec) and hash(again.task) == hash(config)
    assert from_dict(TaskConfig.of_kind(config.kind), {}) == type(config)()
    with pytest.raises(UserError, match=r"task\.row_tokens: got 0, expected"):
        override(config, ["row_tokens=0"])
    with pytest.raises(UserError, match=r"task\.no_such_setting"):
        override(spec, ["task.no_such_setting=1"])


def test_steps_come_from_the_items_or_must_be_given(config: Any) -> None:
    exposed = dataclasses.replace(TRAIN, steps=0, exposures=10)
    if config.items is None:
        with pytest.raises(UserError, match="has no finite set to be exposed to"):
            RunSpec(config, MODEL, exposed)
    else:
        spec = RunSpec(config, MODEL, exposed)
        assert spec.steps * spec.entries_per_step >= 10 * config.items > (spec.steps - 1) * spec.entries_per_step


def test_texts_are_labelled_and_are_those_of_their_number(config: Any, task: Any) -> None:
    numbers = torch.tensor([0, 1, 2, 5, 30])
    texts = task.texts(numbers, "train")
    assert len(texts) == len(numbers) and texts == task.texts(numbers, "train")
    assert texts[3:] == config.build().texts(numbers[3:], "train")
    assert task.texts(numbers, "evaluation") != texts or config.items is not None
    for text in texts:
        assert len(text.ids) == len(text.labels) > 2 and text.about and "pad" not in text.labels
        assert min(text.ids) >= 0 and max(text.ids) < len(task.vocabulary)
        record = json.loads(json.dumps([text.about, text.more]))
        assert not set(text.about) & {"text", "ids", "labels"} and not set(text.more) & {*text.about, "text", "ids"}
        assert record == [text.about, text.more] and len(set(text.labels)) > 1


def test_texts_begin_and_end_as_rows_separate_them(task: Any) -> None:
    """So that they can be packed: the first token of the vocabulary stands before, and is what comes next."""
    for text in task.texts(torch.arange(5)):
        assert text.ids[0] == 0 and 0 not in text.ids[1:-1]
    assert 0 in task.rows(torch.arange(8)).inputs_RT


def written(prompts: Prompts, answers_BQ: Tensor, lengths_B: Tensor) -> Tensor:
    """Rows as generation returns them, with these answers."""
    whole = int((prompts.lengths_B + lengths_B).max())
    ids_BW = torch.zeros(len(lengths_B), whole, dtype=torch.long)
    for row, ids, n, answer, m in zip(ids_BW, prompts.ids_BP, prompts.lengths_B.tolist(), answers_BQ,
                                      lengths_B.tolist(), strict=True):
        row[: n + m] = torch.cat((ids[:n], answer[:m]))
    return ids_BW


def test_true_answers_are_right_and_those_of_others_wrong(config: Any, asked: AskedTask) -> None:
    for condition in config.conditions().values():
        prompts = asked.prompts(40, **condition)
        count = len(prompts.kind_B)
        assert prompts.kind_B.bincount().unique().numel() == 1 and len(prompts.kind_B.bincount()) == len(prompts.kinds)
        right = asked.grade(prompts, written(prompts, prompts.answers_BQ, prompts.answer_lengths_B))
        assert all(bool(grade.all()) and len(grade) == count for grade in right)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        others = prompts.answers_BQ[order]
        shuffled = asked.grade(prompts, written(prompts, others, prompts.answer_lengths_B[order]))
        same_B = (others == prompts.answers_BQ).all(-1)
        assert shuffled.exact_B.equal(same_B) and not bool(same_B.all())
        silent = asked.grade(prompts, written(prompts, torch.zeros_like(others), torch.ones_like(order)))
        assert not silent.exact_B.any() and not silent.answer_B.any()


def test_fewer_questions_are_a_part_of_more(config: Any, asked: AskedTask) -> None:
    for condition in config.conditions().values():
        few, more = asked.prompts(3, **condition), asked.prompts(5, **condition)
        for k in range(len(more.kinds)):
            texts = [{tuple(ids[:n]) for ids, n, kind in zip(p.ids_BP.tolist(), p.lengths_B.tolist(), p.kind_B.tolist(),
                                                             strict=True) if kind == k} for p in (few, more)]
            assert texts[0] <= texts[1] and len(texts[0]) >= 1


def test_prompts_and_answers_are_words_that_fit_into_a_row(config: Any, asked: AskedTask) -> None:
    for condition in config.conditions().values():
        prompts = asked.prompts(20, **condition)
        for ids, lengths in ((prompts.ids_BP, prompts.lengths_B), (prompts.answers_BQ, prompts.answer_lengths_B)):
            beyond = torch.arange(ids.shape[1]) >= lengths[:, None]
            assert bool((lengths >= 1).all()) and ids.min() >= 0 and ids.max() < len(asked.vocabulary)
            assert not ids[beyond].any(), "padded with token 0"
        assert bool((prompts.ids_BP[:, 0] == 0).all()) and prompts.together >= 1
        last = prompts.answers_BQ.gather(-1, prompts.answer_lengths_B[:, None] - 1)
        assert not last.any(), "token 0 ends an answer"


def test_a_verifier_finds_the_texts_of_the_task_right_and_changed_answers_wrong(config: Any, task: Any) -> None:
    if not config.has_verifier:
        pytest.skip(f"{config.kind} has no verifier")
    for text in task.texts(torch.arange(100)):
        assert task.fault([*text.ids, 0]) == ""
        last = text.ids[-1]
        for other in {*text.ids, 1, len(task.vocabulary) - 1} - {0, last}:
            assert task.fault([*text.ids[:-1], other, 0]) != "", "no other token could stand there"
        assert task.fault([*text.ids[1:], 0]) != "" and task.fault([0]) != ""
    for condition in config.conditions().values():
        prompts = task.prompts(20, **condition)
        whole = written(prompts, prompts.answers_BQ, prompts.answer_lengths_B)
        for ids, n in zip(whole.tolist(), (prompts.lengths_B + prompts.answer_lengths_B).tolist(), strict=True):
            begin = n - 2 - ids[n - 2 :: -1].index(0)  # of the text that is asked; others may stand before it
            assert task.fault(ids[begin:n]) == ""


def test_whatever_is_written_is_graded_and_no_word_is_wrong(config: Any, asked: AskedTask) -> None:
    """Ids that are none of the task's, such as those of another task in a mixture or of padded embeddings, and nothing
    at all."""
    words = len(asked.vocabulary)
    for condition in config.conditions().values():
        prompts = asked.prompts(12, **condition)
        answers_BQ, lengths_B = prompts.answers_BQ, prompts.answer_lengths_B
        last_B1 = (lengths_B - 2)[:, None]  # of the answer itself, behind a hint
        for foreign in (-1, -2, -words, -(2**40), words, words + 1, 0xD800, 2**31, 2**32 + 1, 2**40):
            for place_B1 in (last_B1, torch.zeros_like(last_B1)):
                changed = answers_BQ.scatter(1, place_B1, foreign)
                grades = asked.grade(prompts, written(prompts, changed, lengths_B))
                assert not grades.exact_B.any(), foreign
                assert place_B1 is not last_B1 or not grades.answer_B.any(), foreign
            for garbage in (torch.full_like(answers_BQ, foreign), answers_BQ.masked_fill(answers_BQ == 0, foreign)):
                grades = asked.grade(prompts, written(prompts, garbage, lengths_B))
                assert not grades.exact_B.any() and len(grades.answer_B) == len(prompts.kind_B)
        for nothing in (prompts.ids_BP, torch.nn.functional.pad(prompts.ids_BP, (0, 1))):
            grades = asked.grade(prompts, nothing)
            assert not grades.exact_B.any() and not grades.answer_B.any()
        noise = torch.randint(-words, 2 * words, (len(lengths_B), 40), generator=torch.Generator().manual_seed(1))
        grades = asked.grade(prompts, torch.cat((prompts.ids_BP, noise), 1))
        assert all(len(grade) == len(prompts.kind_B) and grade.dtype == torch.bool for grade in grades)


def test_a_verifier_refuses_what_is_no_word_wherever_it_stands(config: Any, task: Any) -> None:
    if not config.has_verifier:
        pytest.skip(f"{config.kind} has no verifier")
    words = len(task.vocabulary)
    for text in task.texts(torch.arange(3)):
        for foreign in (-1, -words, words, 0xD800, 2**32, 2**40):
            for place in range(len(text.ids)):
                assert task.fault([*text.ids[:place], foreign, *text.ids[place + 1 :], 0]) != ""
            same = [foreign if token == text.ids[-1] else token for token in text.ids]
            assert task.fault([*same, 0]) != "", "also where it is copied"
        assert task.fault([]) != "" and task.fault([-1]) != ""


def test_guesses_are_words_of_the_prompt_and_sometimes_right(config: Any, task: Any) -> None:
    if not config.guesses_from_text:
        pytest.skip(f"{config.kind} has no guesses")
    prompts = task.prompts(100)
    guesses = task.guesses(prompts)
    for prompt, n, answer, ids in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                                      guesses.tolist(), strict=True):
        assert ids[:n] == prompt[:n] and ids[n] in prompt[:n] and answer[0] in prompt[:n]
    right = task.grade(prompts, guesses).answer_B.double().mean()
    assert 0 < right < 1


def test_rows_of_answers_are_rows_whose_targets_are_answers(config: Any, task: Any) -> None:
    if not config.has_test_rows:
        pytest.skip(f"{config.kind} has no test rows")
    rows = task.test_rows(4)
    assert rows.kind_R.bincount().tolist() == [4] * len(rows.kinds)
    assert rows.inputs_RT.shape == rows.targets_RT.shape and rows.inputs_RT.max() < len(task.vocabulary)
    scored = rows.targets_RT != IGNORE
    assert bool(scored.any(-1).all()) and not (rows.targets_RT == 0).any()
    shifted = rows.inputs_RT[:, 1:][scored[:, :-1]]
    assert config.tags != shifted.equal(rows.targets_RT[:, :-1][scored[:, :-1]])
    assert not rows.inputs_RT.equal(task.test_rows(4, "validation").inputs_RT)


def test_other_questions_are_asked_of_each_split(config: Any, asked: AskedTask) -> None:
    """Where all is fresh; of a finite set the condition says which half is asked about."""
    if config.items is not None:
        pytest.skip("a finite set")
    seen = [{tuple(ids) for ids in asked.prompts(20, split).ids_BP.tolist()} for split in SPLITS]
    assert all(not one & other for i, one in enumerate(seen) for other in seen[:i])


@pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
def test_a_step_of_training_has_one_token_more_for_an_encoder(config: Any, causal: bool) -> None:
    spec = RunSpec(config, dataclasses.replace(MODEL, causal=causal), TRAIN)
    population = Population([spec], CPU)
    words = len(config.vocabulary())
    assert population.model.vocabulary == words
    assert population.model.embedding.weight.shape[1] == words + (not causal)
    population.advance()
    assert bool(population.recent_losses(1)["loss"].isfinite().all())


def test_sample_and_export_serve_it(config: Any, physlm: Callable[..., Any], tmp_path: Path) -> None:
    plain = to_dict(config)
    plain.pop("kind")
    settings = [part for name, value in plain.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    code, out, err = physlm("data", "sample", config.kind.lower(), "--n", 2, *settings)
    assert (code, err) == (0, "") and len(re.split(r"\n\n", out.strip())) == 2
    file = tmp_path / "x.jsonl"
    code, out, err = physlm("data", "export", config.kind, "--n", 5, "--out", file, *settings)
    assert (code, out) == (0, "") and f"5 texts in {file}" in err
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    words = json.loads((tmp_path / "x.vocabulary.json").read_text())
    assert words == list(config.vocabulary().words) and len(lines) == 5
    for line, text in zip(lines, config.build().texts(torch.arange(5), "train"), strict=True):
        assert line["ids"] == text.ids and line["labels"] == text.labels
        assert {**line, **text.about, **text.more} == line
        shown = [words[i] for i in line["ids"] if words[i] != EOS]
        assert re.sub(r"\s", "", line["text"]) == re.sub(r"\s", "", "".join(shown)), "the vocabulary reads the ids"
        if "prompt" in line:
            assert line["text"].startswith(line["prompt"]) and line["text"].endswith(line["answer"])
    if config.conditions():
        assert any(set(line) >= {"prompt", "answer"} for line in lines)
