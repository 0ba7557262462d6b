"""Answers: planted writers are graded exactly, the right people are asked, an encoder fills in what it cannot see."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from learning import learn
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.measures import answers
from physlm.measures.answers import Sheet, fill, grade
from physlm.measures.generation import Generated
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.question_config import OTHER_HALF, Ask, MixedConfig, QuestionsConfig
from physlm.tasks.biography.questions import leaks
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
PEOPLE, FAMOUS = 60, 22
ASK = Ask(kinds=("birth_city", "month_mod2"), group="celebrities", hints=0.5)
TASK = QuestionsConfig(PEOPLE, FAMOUS, ask=ASK)
SMALL = ModelConfig(layers=1, heads=1, width=16)
EVEN = ("February", "April", "June", "August", "October", "December")
Know = Callable[[int], bool]


def spec_of(task: Any, causal: bool = True, start: RunSpec | None = None) -> RunSpec:
    return RunSpec(task, dataclasses.replace(SMALL, causal=causal), TrainConfig(steps=1, precision="float32"), start)


def trained(task: Any = TASK, causal: bool = True, start: bool = False) -> Trained:
    """A run whose three models have random weights and are told apart by being different objects."""
    base = BioSConfig(PEOPLE, texts=1, celebrities=FAMOUS, questions=True)
    spec = spec_of(task, causal, spec_of(base, causal) if start else None)
    one, two = (Decoder(spec.model, len(task.vocabulary()), (seed,)) for seed in (1, 2))
    return Trained(spec, CPU, lambda step: one, load_start=(lambda: two) if start else None)


def told() -> dict[str, tuple[int, str, str]]:
    """Number, birth city and birth month of everybody by full name, as the biographies tell them."""
    task = BioSConfig(PEOPLE, questions=True).build()
    entries = task.entries(torch.arange(PEOPLE), torch.zeros(PEOPLE, dtype=torch.long))
    found = {}
    for n, (ids, roles) in enumerate(zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)):
        said: dict[str, list[str]] = {}
        for i, role in zip(ids, roles, strict=True):
            said.setdefault(task.roles[role], []).append(task.vocabulary.words[i])
        found[" ".join(said["name"])] = (n, " ".join(said["birth_city"]), said["birth_date"][0])
    return found


class Writer:
    """Stands for ``generate``: finds the name in the prompt and writes what each model knows about this person.

    Args:
        know: for each model who is answered rightly when asked by ``Answer :``.
    """

    def __init__(self, know: list[tuple[Decoder, Know]]):
        self.know, self.people, self.words = know, told(), TASK.vocabulary().words
        self.asked: list[tuple[Decoder, str]] = []

    def __call__(self, model: Decoder, prompts: Tensor, new_tokens: int, *, lengths: Tensor, temperature: float,
                 progress: bool) -> Generated:  # fmt: skip
        assert temperature == 0.0 and not progress
        ids = torch.zeros(len(prompts), prompts.shape[1] + new_tokens, dtype=torch.long)
        for row, prompt, length in zip(ids, prompts, lengths.tolist(), strict=True):
            text = " ".join(self.words[i] for i in prompt[:length].tolist())
            follows = [self.words.index(word) for word in self.write(model, text).split()]
            assert len(follows) <= new_tokens, "there is room for the right answer"
            row[: length + len(follows)] = torch.tensor([*prompt[:length].tolist(), *follows])
            self.asked.append((model, text))
        return Generated(ids, lengths, torch.ones(len(ids), dtype=torch.bool))

    def write(self, model: Decoder, text: str) -> str:
        (name,) = (name for name in self.people if name in text)
        number, city, month = self.people[name]
        know = next(know for known, know in self.know if known is model)
        answer = city if " month " not in text else ("No", "Yes")[month in EVEN]
        wrong = "Meta" if " month " not in text else ("Yes", "No")[month in EVEN]
        if text.endswith("Hint :"):  # the hint is known of two in three, the answer after it of those and a third
            hint = month if number % 3 else "Meta"
            return f"{hint} . Answer : {answer if number % 3 < 2 else wrong} . <eos>"
        if " Hint : " in text:  # after the true hint
            assert text.endswith(f"? Hint : {month} . Answer :")
            return f"{answer if number % 7 else wrong} . <eos>"
        assert text.endswith("? Answer :")
        if "What is the birth city" not in text and " month " not in text:  # another wording
            return f"{answer if number % 5 else wrong} . <eos>"
        return f"{answer if know(number) else wrong} . <eos>"


def asked_in(half: Any, group: Any = "celebrities") -> list[int]:
    ask = dataclasses.replace(ASK, half=half, group=group)
    return dataclasses.replace(TASK, ask=ask).build().tables.asked_A.tolist()


@pytest.mark.parametrize("mixed", [False, True], ids=["questions", "mixed"])
def test_planted_answers_are_found_exactly(monkeypatch: pytest.MonkeyPatch, mixed: bool) -> None:
    task = MixedConfig(PEOPLE, texts=1, celebrities=FAMOUS, ask=ASK) if mixed else TASK
    run = trained(task, start=not mixed)
    knows: list[tuple[Decoder, Know]] = [(run.model, lambda n: n % 2 == 0), (run.untrained, lambda n: False)]
    if run.load_start is not None:
        knows.append((run.load_start(), lambda n: n % 4 == 1))
    monkeypatch.setattr(answers, "generate", writer := Writer(knows))
    rows = answers.measure(run)
    test, train, others = asked_in("test"), asked_in("train"), asked_in("all", "others")
    assert not {*test} & {*train} and sorted(test + train + others) == list(range(PEOPLE))

    cities = {n: city for n, city, _ in writer.people.values()}
    even = [month in EVEN for n, _, month in writer.people.values() if n in test]
    expected: dict[str, tuple[int, int]] = {
        "majority/kind=birth_city/half=test": (Counter(cities[n] for n in test).most_common(1)[0][1], len(test)),
        "majority/kind=month_mod2/half=test": (max(sum(even), len(even) - sum(even)), len(test)),
        "answer_reworded/kind=birth_city/half=test": (sum(n % 5 > 0 for n in test), len(test)),
        "answer_hinted/kind=month_mod2/half=test": (sum(n % 3 < 2 for n in test), len(test)),
        "answer_told/kind=month_mod2/half=test": (sum(n % 7 > 0 for n in test), len(test)),
        "hint/kind=month_mod2/half=test": (sum(n % 3 > 0 for n in test), len(test)),
    }
    for kind in ASK.kinds:
        expected[f"answer/kind={kind}/half=test"] = (sum(n % 2 == 0 for n in test), len(test))
        expected[f"answer/kind={kind}/half=train"] = (sum(n % 2 == 0 for n in train), len(train))
        expected[f"answer_others/kind={kind}/half=test"] = (sum(n % 2 == 0 for n in others), len(others))
        expected[f"answer_untrained/kind={kind}/half=test"] = (0, len(test))
        if run.load_start is not None:
            expected[f"answer_start/kind={kind}/half=test"] = (sum(n % 4 == 1 for n in test), len(test))
    assert {row.label: (round(row.value * row.n, 9), row.n) for row in rows} == expected
    assert len(rows) == len(expected) and all(0 <= row.lo <= row.value <= row.hi <= 1 for row in rows)
    assert {model for model, _ in writer.asked} == {model for model, _ in knows}


def test_no_more_people_are_asked_than_the_cap_and_they_are_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained()
    whole = answers.sheets_of(run)
    monkeypatch.setitem(answers.QUESTIONS, "cpu", 4)
    part = answers.sheets_of(run)
    assert whole.keys() == part.keys()
    for name, sheet in part.items():
        kinds = len(sheet.prompts.kinds)
        assert sheet.prompts.kind_B.bincount().tolist() == [4] * kinds
        assert sheet.prompts.item_B.equal(whole[name].prompts.item_B[: 4 * kinds])
    rows = {row.label: row.n for row in answers.measure(run)}
    assert rows["answer/kind=birth_city/half=test"] == rows["answer_untrained/kind=birth_city/half=test"] == 4
    few = dataclasses.replace(TASK, ask=dataclasses.replace(ASK, most=3))
    sheets = answers.sheets_of(trained(few))
    assert {*sheets["answer", "train"].prompts.item_B.tolist()} == {*asked_in("train")[:3]}, "only they were asked"
    assert len(sheets["answer", "test"].prompts.kind_B) == 2 * 4


def test_controls_are_asked_about_the_first_few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models know everybody but the first three: n and the share of a control are those of the first four."""
    monkeypatch.setattr(answers, "CONTROL_QUESTIONS", 4)
    run, test = trained(start=True), asked_in("test")
    assert run.load_start is not None and len(test) == 11
    know: Know = lambda n: n not in test[:3]  # noqa: E731
    monkeypatch.setattr(answers, "generate", Writer([(model, know) for model in (
        run.model, run.untrained, run.load_start())]))
    rows = {row.label: row for row in answers.measure(run)}
    for kind in ASK.kinds:
        whole = rows[f"answer/kind={kind}/half=test"]
        assert (whole.value, whole.n) == (pytest.approx(8 / 11), 11) and rows[f"majority/kind={kind}/half=test"].n == 11
        for name in ("answer_untrained", "answer_start"):
            control = rows[f"{name}/kind={kind}/half=test"]
            assert (control.value, control.n) == (0.25, 4) and control.hi - control.lo > whole.hi - whole.lo


def test_a_fact_that_many_people_share_is_one_fact() -> None:
    """Its share is over people, its interval and n are those of facts; a question through a person is its own."""
    kinds = ("university_founded", "two_hop_university", "employer_based")
    run = trained(QuestionsConfig(400, ask=Ask(kinds=kinds), pool_size=5))
    sheet = answers.held_out_questions(run, 200)
    texts = list(map(tuple, sheet.prompts.ids_BP.tolist()))
    asked = list(zip(sheet.prompts.kind_B.tolist(), texts, strict=True))
    known = {question for k in range(3) for question in sorted({one for one in asked if one[0] == k})[::2]}
    right = torch.tensor([question in known for question in asked])
    for k, row in enumerate(sheet.rows("answer", "test", right)):
        assert row.value == pytest.approx(float(right[sheet.prompts.kind_B == k].double().mean()))
        assert row.n == (200 if kinds[k] == "two_hop_university" else 5), kinds[k]
        assert (row.hi - row.lo > 0.5) == (row.n == 5) and 0.0 <= row.lo <= row.value <= row.hi <= 1.0
    everything = sheet.rows("answer", "test", torch.ones_like(right))
    assert all(row.value == 1.0 for row in everything) and everything[0].lo < 0.6 < 0.98 < everything[1].lo


@pytest.mark.parametrize("half", ["train", "test"])
def test_held_out_people_and_wordings_are_nowhere_in_training(half: Any) -> None:
    ask = dataclasses.replace(ASK, half=half, kinds=("birth_city", "month_minus"), hints=0.5)
    run = trained(dataclasses.replace(TASK, ask=ask))
    task = dataclasses.replace(TASK, ask=ask).build()
    sheets, rows = answers.sheets_of(run), task.rows(torch.arange(40)).inputs_RT
    for (name, label), condition in run.spec.task.conditions().items():
        asking = task.asking(**{setting: value for setting, value in condition.items() if setting != "told"})
        assert {*sheets[name, label].prompts.item_B.tolist()} == {*asking.tables.asked_A.tolist()}, name
        assert (leaks(rows, asking) == 0) == (label == "test"), name
        assert asking.config.ask.half == ("all" if name == "answer_others" else OTHER_HALF[half]
                                          if label == "test" else half)
    with pytest.raises(UserError, match=r"task\.ask\.half: got 'all'.*'train', 'test'"):
        answers.measure(trained(dataclasses.replace(TASK, ask=dataclasses.replace(ASK, half="all"))))


def test_rows_depend_on_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hints: none asked for.  One wording or no group: no rows about others.  No start: no such control."""
    run = trained(QuestionsConfig(12, ask=Ask(kinds=("month_mod2",))))
    names = {row.label.split("/")[0] for row in answers.measure(run)}
    assert names == {"answer", "majority", "answer_untrained"}


@pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
def test_a_model_that_learnt_one_half_answers_that_one(causal: bool) -> None:
    task = QuestionsConfig(12, entries_per_row=2, row_tokens=32, ask=Ask(kinds=("employer",)))
    train = TrainConfig(steps=150 if causal else 300, batch_rows=4, learning_rate=3e-3, warmup_steps=10,
                        precision="float32")  # fmt: skip
    spec = RunSpec(task, ModelConfig(layers=2, heads=1, width=64, causal=causal), train)
    model = learn(spec)

    def values(run: RunSpec) -> dict[str, float]:
        return {row.label: row.value for row in answers.measure(Trained(run, CPU, lambda step: model))}

    same, swapped = values(spec), values(override(spec, ["task.ask.half=test"]))
    test, train_half, control = (f"{name}/kind=employer/half={half}" for name, half in
                                 (("answer", "test"), ("answer", "train"), ("answer_untrained", "test")))
    assert same[train_half] == 1.0 == swapped[test]
    assert same[test] < 0.5 > swapped[train_half]
    assert same[control] == swapped[control] == 0.0


def test_sheets_are_written_together_and_graded_apart() -> None:
    """The same grades as each sheet alone, though kinds, widths and hints differ."""
    task = QuestionsConfig(PEOPLE, ask=Ask(kinds=("all_to_full", "month_mod2")))
    run = trained(task)
    model = run.model
    with torch.no_grad():
        model.embedding.weight.mul_(30.0)
    sheets = [answers.held_out_questions(run, 9), answers.held_out_questions(run, 5, kinds=("month_mod2",), hints=1.0)]
    alone = [grade(model, [sheet])[0] for sheet in sheets]
    assert all(a.equal(b) for one, two in zip(grade(model, sheets), alone, strict=True)
               for a, b in zip(one, two, strict=True))


def encoder_sheet(*kinds: str) -> tuple[Decoder, Sheet]:
    run = trained(QuestionsConfig(PEOPLE, entries_per_row=4, row_tokens=120, ask=Ask(kinds=kinds)), causal=False)
    return run.model, answers.held_out_questions(run, 20)


def test_an_encoder_sees_as_many_masks_as_the_answer_has_tokens_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sheet = encoder_sheet("employer", "birth_date")
    prompts, right = sheet.prompts, []

    def plant(encoder: Decoder, ids_BW: Tensor, lengths_B: Tensor, together: int) -> Tensor:
        filled = ids_BW.clone()
        for b, (ids, length) in enumerate(zip(ids_BW.tolist(), lengths_B.tolist(), strict=True)):
            start = int(prompts.lengths_B[b])
            assert ids[:start] == prompts.ids_BP[b, :start].tolist()
            assert ids[start:length] == [model.vocabulary] * int(prompts.answer_lengths_B[b])
            answer = prompts.answers_BQ[b, : length - start].clone()
            answer[-1 if b % 2 else 0] += b % 3 == 0  # wrong in its first or in its last token
            filled[b, start:length] = answer
            right.append(b % 3 > 0)
        return filled

    monkeypatch.setattr(answers, "fill", plant)
    (grades,) = grade(model, [sheet])
    assert grades.answer_B.tolist() == right and len(right) == 40


@torch.no_grad()
def test_filling_is_the_likeliest_token_of_each_row_as_training_packs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against rows laid by hand; texts that follow each other are in different rows."""
    model, sheet = encoder_sheet("employer", "birth_city", "birth_date")
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            weight.mul_(20.0)  # so that every place has a token of its own
    count, words = 50, model.vocabulary
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(count) % 6 + 4
    ids = torch.randint(1, words, (count, 9), generator=generator)
    ids[torch.rand(count, 9, generator=generator) < 0.4] = words
    ids[:, 0] = 0
    texts = [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
    monkeypatch.setitem(answers.FILL_TOKENS, "cpu", 60)  # several batches of one length
    each, rows = 4, 13
    assert sheet.prompts.together == each
    filled = fill(model, ids, lengths, each)
    for row in range(rows):
        members = [b for b in range(row, each * rows, rows) if b < count]
        laid = [0, *(token for b in members for token in texts[b][1:])]
        likeliest = model(torch.tensor(laid)[None, None]).logits[0, 0, :, :words].argmax(-1).tolist()
        place = 0
        for b in members:
            shown = [0, *(likeliest[place + i] if token == words else token for i, token in enumerate(texts[b]) if i)]
            assert filled[b].tolist() == shown + ids[b, len(shown) :].tolist()
            place += len(texts[b]) - 1
    assert filled[ids == words].unique().numel() > 20
