"""Solutions: planted writers are judged exactly, set by set; the controls are what they say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from taken_rows import values
from torch import Tensor

from physlm.errors import UserError
from physlm.measures import answers
from physlm.measures.generation import Generated
from physlm.measures.igsm import solving
from physlm.measures.igsm.solutions import Solutions
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.igsm import kernel
from physlm.tasks.igsm.config import FAMILIES, TRAIN_BINS, IgsmConfig, Retry
from physlm.tasks.igsm.pieces import ANSWER, BOS, ID
from physlm.tasks.igsm.task import Igsm
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig

COUNT = 24
TINY = FAMILIES["tiny"]
Write = Callable[[int, list[int]], list[int]]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(solving.PROBLEMS, "cpu", COUNT)
    monkeypatch.setitem(solving.CONTROLS, "cpu", 5)


def trained(task: IgsmConfig = TINY, snapshots: int = 0) -> Trained:
    spec = RunSpec(task, ModelConfig(1, 1, 16), TrainConfig(steps=4, precision="float32", snapshots=snapshots))
    model = Decoder(spec.model, len(task.vocabulary()), (0,))
    return Trained(spec, torch.device("cpu"), lambda step: model)


def plant(monkeypatch: pytest.MonkeyPatch, task: IgsmConfig, write: Write) -> list[int]:
    """Have ``generate`` return what ``write`` makes of (number of the problem, true solution with its end); returns
    the room that each call has given."""
    built, rooms = Igsm(task), []
    cells = [built.prompts(COUNT, **cell.changes) for cell in Solutions().cells(task)]
    true = {}
    for prompts in cells:
        whole = solving.truth(prompts)
        for b, (ids, begin, length) in enumerate(zip(whole.tolist(), prompts.lengths_B.tolist(),
                                                     prompts.answer_lengths_B.tolist(), strict=True)):
            true[tuple(ids[:begin])] = b, ids[begin : begin + length]

    def generate(model: Decoder, prompts: Tensor, new_tokens: int, *, lengths: Tensor, temperature: float,
                 progress: bool) -> Generated:  # fmt: skip
        assert temperature == 0.0
        ids = torch.zeros(len(prompts), prompts.shape[1] + new_tokens, dtype=torch.long)
        ended = torch.zeros(len(prompts), dtype=torch.bool)
        for row, (prompt, length) in enumerate(zip(prompts.tolist(), lengths.tolist(), strict=True)):
            written = write(*true[tuple(prompt[:length])])
            ended[row] = written[-1:] == [ID[BOS]]
            ids[row, :length] = torch.tensor(prompt[:length])
            ids[row, length : length + len(written)] = torch.tensor(written)
        rooms.append(new_tokens)
        return Generated(ids, lengths, ended)

    monkeypatch.setattr(solving, "generate", generate)
    return rooms


def test_the_true_solutions_are_right_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = plant(monkeypatch, TINY, lambda b, ids: ids)
    rows = Solutions()(trained())
    for name, value in (("solved", 1), ("number", 1), ("cut", 0), ("shortest", 1), ("unneeded_parameters", 0),
                        ("unneeded_operations", 0), ("error", 0), ("solved_truth", 1)):
        assert values(rows, name) and set(values(rows, name)) == {value}, name
    (row,) = [row for row in rows if (row.quantity, row.where.get("op"), row.where.get("set")) == (
        "unneeded_parameters", 6, "exact")]
    assert row.lo == 0.0 and row.hi == pytest.approx(-math.log(0.025) / COUNT), "nothing seen is not nothing"
    assert not values(rows, "retries") and not values(rows, "solved_after")
    longest = max(int(Igsm(TINY).prompts(COUNT, **cell.changes).answer_lengths_B.max())
                  for cell in Solutions().cells(TINY))
    assert rooms[0] >= 1.5 * longest


def test_planted_mistakes_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24: 4 without an end, 4 cut within, 4 wrong numbers, 4 empty; 8 right."""

    zero, one = (TINY.vocabulary().id(number) for number in "01")

    def write(b: int, ids: list[int]) -> list[int]:
        if b % 6 < 2:
            return ids
        if b % 6 == 2:
            return ids[:-1]
        if b % 6 == 3:
            return ids[: ids.index(ID[ANSWER]) - 2]
        if b % 6 == 4:
            return [*ids[:-2], zero if ids[-2] != zero else one, ids[-1]]
        return [ids[-1]]

    plant(monkeypatch, TINY, write)
    rows = Solutions()(trained())
    for where in ({"set": "drawn"}, {"set": "exact", "op": 6}, {"set": "reask"}):
        assert values(rows, "solved", filter="all", **where) == [pytest.approx(8 / 24)]
        assert values(rows, "cut", **where) == [pytest.approx(8 / 24)]
        named = {str(row.where["error"]): round(row.value * 24) for row in rows if row.quantity == "error"
                 and row.value and where.items() <= dict(row.where).items()}
        assert named == {"cut": 8, "wrong_answer": 4, "not_a_solution": 4}
    assert {row.n for row in rows if row.quantity == "shortest"} == {8}
    assert all(0 <= row.lo <= row.value <= row.hi <= 1 for row in rows if row.unit == "1")


def test_the_published_filter_keeps_problems_no_longer_than_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    task = dataclasses.replace(TINY, row_tokens=112)
    batch = kernel.problems(dataclasses.replace(task, op=5), np.arange(COUNT), "evaluation", "prompts")
    short_N = batch.lengths_N <= 112
    assert 0 < short_N.sum() < COUNT
    plant(monkeypatch, task, lambda b, ids: ids if short_N[b] else ids[-1:])
    rows = Solutions()(trained(task))
    found = {row.where["filter"]: (row.value, row.n) for row in rows if row.quantity == "solved"
             and (row.where["set"], row.where["op"]) == ("exact", 5)}
    assert found == {"all": (pytest.approx(short_N.mean()), COUNT), "published": (1.0, int(short_N.sum()))}


def test_sets_reach_half_as_far_again_and_hold_templates_out() -> None:
    for name, most, again in (("med", 23, 20), ("hard", 32, 28), ("small8", 12, 11), ("small6", 9, 8)):
        cells = Solutions().cells(FAMILIES[name])
        assert [cell.op for cell in cells if cell.set == "exact"] == list(range(1, most + 1)), name
        assert [cell.op for cell in cells if cell.set == "reask"] == [again], name
        for cell in cells:
            task = dataclasses.replace(FAMILIES[name], **cell.changes)
            assert all((len(task.bins("evaluation", op)) == 23) == (op < 5) for op in range(1, most + 1)), (name, cell)
            made = kernel.problems(task, np.arange(300), "evaluation", "prompts").records_N
            held_N = made["bin"] >= TRAIN_BINS
            assert held_N[made["op"] >= 5].all() and (cell.set != "drawn" or not held_N[made["op"] == 1].all())
    cells = Solutions().cells(TINY)
    assert [cell.op for cell in cells if cell.set != "drawn"] == [1, 2, 3, 4, 5, 6, 6]
    assert all(len(dataclasses.replace(TINY, **cell.changes).bins("evaluation")) == 23 for cell in cells)


def test_a_model_of_wrong_starts_solves_the_same_problems_and_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    task = dataclasses.replace(TINY, retry=Retry(0.5))
    for cell in Solutions().cells(task):
        ours, plain = (Igsm(one).prompts(COUNT, **cell.changes) for one in (task, TINY))
        assert ours.ids_BP.equal(plain.ids_BP) and ours.answers_BQ.equal(plain.answers_BQ)
    built = Igsm(task)
    asked = [solving.ask(built, cell, COUNT) for cell in Solutions().cells(task)]
    for one in asked:
        prompts = built.prompts(COUNT, **{**one.cell.changes, "retry": task.retry})
        judged = solving.judge(built, one.prompts, solving.truth(prompts), np.ones(COUNT, bool))
        assert judged.right_B.all()
        backs_B = (prompts.answers_BQ == ID["BACK"]).sum(1)
        assert judged.retries_B.tolist() == backs_B.tolist()
    plant(monkeypatch, task, lambda b, ids: ids if b % 2 else ids[-1:])
    rows = Solutions()(trained(task))
    assert {row.where["outcome"] for row in rows if row.quantity == "retries"} == {"right", "wrong"}


def test_a_solver_without_a_plan_computes_what_is_not_needed() -> None:
    task = FAMILIES["small8"]
    built = Igsm(task)
    asked = solving.ask(built, Solutions().cells(task)[0], 40)
    graphs = [solving._graph(built, asked, number) for number in range(40)]
    spare = [solving.unplanned(graph, seed) for seed, graph in enumerate(graphs)]
    assert spare == [solving.unplanned(graph, seed) for seed, graph in enumerate(graphs)]
    assert 0.5 < np.mean(spare) < 8
    for graph, count in zip(graphs, spare, strict=True):
        assert 0 <= count <= len(set(graph.described) - set(graph.needed)) + len(graph.described) * 2
        if set(graph.described) <= set(graph.needed):
            assert count == 0


def test_snapshots_make_a_learning_curve() -> None:
    rows = Solutions()(trained(snapshots=2))
    found = [(row.where["step"], row.n) for row in rows if row.quantity == "solved_after"]
    assert found == [(1, 5), (2, 5), (4, 5)]


def test_what_it_cannot_be_taken_of_is_refused() -> None:
    spec = trained().spec
    with pytest.raises(UserError, match="got a run on .* expected one on igsm"):
        Solutions().check(dataclasses.replace(spec, task=ManoConfig()))
    with pytest.raises(UserError, match="encoder"):
        Solutions().check(dataclasses.replace(spec, model=ModelConfig(1, 1, 16, causal=False)))
    with pytest.raises(UserError, match="ops: got 40, expected between 1 and 7"):
        Solutions(ops=(2, 40)).check(spec)
    with pytest.raises(UserError, match="room"):
        Solutions(room=1.0)


def test_the_majority_of_answers_is_that_of_numbers_not_of_solutions() -> None:
    run = trained()
    (row,) = [row for row in answers.measure(run) if row.quantity == "majority"]
    sheet = answers.held_out_questions(run, answers.QUESTIONS["cpu"])
    numbers = sheet.prompts.told().answers_BQ[:, 0].bincount()
    assert row.value == pytest.approx(int(numbers.max()) / row.n) and row.value > 0.2
