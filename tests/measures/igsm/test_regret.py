"""Retry upon regret: with a writer that makes one mistake, and a probe that knows; sentences as the checker counts."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.generation import Generated
from physlm.measures.igsm import regretting, settings
from physlm.measures.igsm.asking import Asked
from physlm.measures.igsm.regret import Regret
from physlm.measures.igsm.regretting import (
    Attempt,
    by_chance,
    called,
    calls,
    detectors,
    outcomes,
    problems,
    retry,
    verdict,
    write,
)
from physlm.measures.igsm.settings import VariableConfig
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import FAMILIES
from physlm.tasks.igsm.pieces import BOS, ID, STOP
from physlm.tasks.igsm.task import Igsm
from physlm.training.config import RunSpec, TrainConfig

TINY, COUNT, OP = replace(FAMILIES["tiny"], templates="all"), 20, 4
TASK = Igsm(TINY)
WORDS = TASK.vocabulary.words
MODEL = Decoder(ModelConfig(layers=1, heads=1, width=8), len(WORDS), (1,))


class Planted(NamedTuple):
    """Problems with solutions, half of which begin with a sentence about the query, which cannot be computed yet."""

    attempts: list[Attempt]
    spoiled: list[int]
    answers: list[list[int]]  # the true solutions, and what follows them


def true_answers() -> list[list[int]]:
    prompts = TASK.prompts(COUNT, op=OP)
    return [ids[: length - 1] for ids, length in
            zip(prompts.answers_BQ.tolist(), prompts.answer_lengths_B.tolist(), strict=True)]  # fmt: skip


def pieces_of(answer: list[int]) -> list[list[int]]:
    """Sentences with their full stops, then the rest."""
    ends = [0, *(place + 1 for place, token in enumerate(answer) if token == ID[STOP])]
    return [answer[a:b] for a, b in zip(ends, [*ends[1:], len(answer)], strict=True)]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    """``generate`` writes the true solution, but for what ``spoiled`` says while it writes greedily from the start."""
    return plant(monkeypatch, 0)


def plant(monkeypatch: pytest.MonkeyPatch, stubborn: int) -> Planted:
    """``stubborn``: how often the mistake is made again."""
    answers = true_answers()
    attempts, _ = problems(TASK, [OP], COUNT, 1.5)
    places = {tuple(one.prompt): b for b, one in enumerate(attempts)}
    spoiled = [b for b, answer in enumerate(answers) if b % 2 and len(pieces_of(answer)) > 2]
    assert 3 < len(spoiled) < COUNT
    turns = 0

    def wrong(b: int) -> list[int]:
        """The first sentence, about the query."""
        first, *_, last, _ = pieces_of(answers[b])
        return [*last[:4], *first[4:]]

    def generate(model: Decoder, prompts: Tensor, room: int, *, lengths: Tensor, temperature: float, key: int, end: int,
                 progress: bool) -> Generated:  # fmt: skip
        nonlocal turns
        turns += temperature > 0
        rows, ended = [], []
        for ids, length in zip(prompts.tolist(), lengths.tolist(), strict=True):
            begin = next(p for p in range(length, 0, -1) if tuple(ids[:p]) in places)
            b, written = places[tuple(ids[:begin])], ids[begin:length]
            done = sum(token == ID[STOP] for token in written)
            parts = pieces_of(answers[b])
            if end == ID[STOP]:
                assert temperature > 0 and room <= regretting.SENTENCE
                new = wrong(b) if turns <= stubborn else parts[done]
                new = new[:-1] if new[-1:] == [ID[STOP]] else [*new, ID[BOS], 5]
            else:
                assert temperature == 0
                new = [token for part in parts[done:] for token in part]
                if not written and b in spoiled:
                    new = wrong(b) + [token for part in parts[1:] for token in part]
            rows.append(ids[:length] + new)
            ended.append(True)
        width = max(map(len, rows))
        counts = torch.tensor([len(row) for row in rows])
        return Generated(torch.tensor([row + [end] * (width - len(row)) for row in rows]), counts, torch.tensor(ended))

    monkeypatch.setattr(regretting, "generate", generate)
    write(MODEL, attempts, 500, 0.0, ID[BOS])
    return Planted(attempts, spoiled, answers)


class Knowing:
    """What a perfect probe of can_next says, from the text that it is given; the second member knows nothing."""

    maps = torch.zeros(2, 1, 2)
    vocabulary = len(WORDS)

    def answers(self, asked: Asked) -> tuple[Tensor, Tensor]:
        found = torch.zeros(2, *asked.last_BQ.shape, dtype=torch.long)
        for b, q in torch.cartesian_prod(*map(torch.arange, asked.last_BQ.shape)).tolist():
            words = [WORDS[i] for i in asked.ids_BT[b, : int(asked.last_BQ[b, q]) + 1].tolist()]
            start, owner, owns, owned, end = asked.asked_BQK[b, q].tolist()
            assert (start, WORDS[owns], end) == (self.vocabulary, "'s", self.vocabulary + 2)
            if "<solution>" not in words:
                continue  # padding
            at = words.index("<solution>")
            problem = TASK.reader.read(TASK.vocabulary.decode([TASK.vocabulary.id(word) for word in words[2:at]]))
            known = {f"{words[i + 1]}'s {words[i + 3]}" for i, word in enumerate(words) if word == "Define"}
            name = f"{WORDS[owner]}'s {WORDS[owned]}"
            formula = problem.formula(name)
            found[0, b, q] = formula is not None and name not in known and known.issuperset(formula.needs)
        return found, found


PROBE: regretting.VariableProbe = Knowing()  # type: ignore[assignment]


def test_the_mistake_is_called_one_and_nothing_else_is(planted: Planted) -> None:
    verdicts = [verdict(TASK, one) for one in planted.attempts]
    assert [b for b, one in enumerate(verdicts) if not one.right] == planted.spoiled
    said = [calls(PROBE, m, planted.attempts) for m in (0, 1)]
    rows = {row.label: row for row in called(planted.attempts, verdicts, *said)}
    for error in ("any", "not_computable_yet"):
        row = rows[f"called_wrong/op=4/error={error}"]
        assert (row.value, row.n) == (1.0, len(planted.spoiled))
    assert rows["called_right/op=4"].value == 1.0
    assert rows["called_right/op=4"].n == COUNT - len(planted.spoiled), "their first sentence is wrong"
    assert rows["called_right_untrained/op=4"].value == 0.0, "it calls all wrong"


def test_going_back_mends_the_mistake_where_it_is_known(planted: Planted) -> None:
    firsts = {**detectors(TASK, PROBE), "random": by_chance([replace(one, retries=0) for one in planted.attempts])}
    solved = {"none": planted.attempts, **{name: [replace(one, written=list(one.written)) for one in planted.attempts]
                                           for name in firsts}}  # fmt: skip
    retry(MODEL, [(one, firsts[name]) for name in firsts for one in solved[name]], 500, 10, 1.0)
    rows = {row.label: row for row in outcomes(TASK, solved)}
    share = 1 - len(planted.spoiled) / COUNT
    for name, expected in (("none", share), ("random", share), ("probe", 1.0), ("perfect", 1.0)):
        assert rows[f"solved/op=4/detector={name}"].value == pytest.approx(expected)
    for name in ("probe", "perfect"):
        assert rows[f"gain/op=4/detector={name}"].value == pytest.approx(1 - share)
        assert rows[f"retries/op=4/detector={name}"].value == pytest.approx(1 - share)
        assert [one.written for one in solved[name]] == planted.answers
        assert {one.retries for b, one in enumerate(solved[name]) if b in planted.spoiled} == {1}
    assert [one.written for one in solved["random"]] == [one.written for one in planted.attempts]
    assert rows["gain/op=4/detector=random"].lo < 0 < rows["gain/op=4/detector=random"].hi


def test_a_mistake_that_is_made_again_and_again_ends_after_the_last_try(monkeypatch: pytest.MonkeyPatch) -> None:
    for stubborn in (2, 50):
        made = plant(monkeypatch, stubborn)
        by_probe = detectors(TASK, PROBE)["probe"]
        retry(MODEL, [(one, by_probe) for one in made.attempts], 500, 5, 1.0)
        for b, one in enumerate(made.attempts):
            assert one.retries == (min(stubborn + 1, 5) if b in made.spoiled else 0)
            assert verdict(TASK, one).right == (stubborn < 5 or b not in made.spoiled)


def test_random_retries_are_as_many_as_the_probes(planted: Planted) -> None:
    others = [replace(one, retries=one.number % 4) for one in planted.attempts]
    first = by_chance(others)
    seen: dict[int, set[int]] = {}
    for turn in range(60):
        for one, place in zip(planted.attempts, first(planted.attempts, turn), strict=True):
            assert (place is None) == (one.number % 4 == 0)
            seen.setdefault(one.number, set()).update(() if place is None else (place,))
    for one in planted.attempts:
        wanted = set(range(len(one.sentences()))) if one.number % 4 else set()
        assert seen[one.number] == wanted, "any sentence"
        one.kept, one.retries = 1, 1
    again = first(planted.attempts, 0)
    assert [place is not None for place in again] == [
        one.number % 4 > 1 and len(one.sentences()) > 1 for one in planted.attempts]
    assert min(place for place in again if place is not None) >= 1


def test_a_drawn_end_ends_the_solution(planted: Planted) -> None:
    """A sentence that is drawn again may be the answer and the end instead."""
    some = planted.attempts[:2]
    for one in some:
        one.written = [token for part in pieces_of(planted.answers[one.number])[:-1] for token in part]
    write(MODEL, some, regretting.SENTENCE, 1.0, ID[STOP])
    assert [one.written for one in some] == planted.answers[:2], "what follows the end is cut"


@pytest.mark.parametrize("text", [
    "", "<answer> 3", "Define", "Define x as", ". .", "Define Y as a; so a = 1. .", "so a = 1. <answer> 1 <answer>",
])  # fmt: skip
def test_sentences_are_those_that_the_checker_counts(text: str) -> None:
    (attempt, *_), _ = problems(TASK, [OP], 1, 1.5)
    item, other = attempt.problem.query.split("'s ")
    for name in (attempt.problem.query, f"{other}'s {item}"):
        try:
            ids = TASK.vocabulary.encode(text.replace("Y", name).replace("x", item))
        except UserError:
            continue
        attempt.written = ids
        found = verdict(TASK, attempt)
        sentences = attempt.sentences()
        assert len(sentences) == len(found.steps) and found.sentence <= len(sentences)
        for sentence, step in zip(sentences, found.steps, strict=True):
            assert step.parameter is None or sentence.named == tuple(map(TASK.vocabulary.id, name.split("'s ")))


def test_the_measure_runs_and_gives_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(regretting.PROBLEMS, "cpu", 4)
    monkeypatch.setattr(settings, "SETTINGS", {"cpu": VariableConfig(steps=2, problems=4)})
    monkeypatch.setattr(regretting, "SETTINGS", settings.SETTINGS)
    run = Trained(RunSpec(TINY, MODEL.config, TrainConfig(steps=1, precision="float32")), torch.device("cpu"),
                  lambda step: MODEL)
    rows = Regret()(run)
    assert {row.quantity for row in rows} <= set(Regret.quantities)
    assert {(row.where["op"], row.where["detector"]) for row in rows if row.quantity == "solved"} == {
        (op, name) for op in (4, 6) for name in ("none", "probe", "random", "perfect")}


def test_settings_are_checked() -> None:
    for name in ("most", "temperature", "room"):
        with pytest.raises(UserError, match=f"{name}: got 0"):
            replace(Regret(), **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"task\.op"):
        Regret(ops=(50,)).check(RunSpec(TINY, MODEL.config, TrainConfig(steps=1)))
