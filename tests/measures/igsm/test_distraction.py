"""Distraction: planted writers that some noise puts off; amounts are what they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from taken_rows import values
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.generation import Generated
from physlm.measures.igsm import distracting, solving
from physlm.measures.igsm.distraction import LONGER, SAME, Distraction, Noisy
from physlm.measures.igsm.probing import Probing
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import FAMILIES, Chain, IgsmConfig
from physlm.tasks.igsm.pieces import BOS, ID, ORDERS
from physlm.tasks.igsm.task import Igsm
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig

COUNT = 16
TASK = dataclasses.replace(FAMILIES["tiny"], noise_words=True)
WORDS = TASK.vocabulary().words


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(distracting.PROBLEMS, "cpu", COUNT)
    monkeypatch.setitem(distracting.CONTROLS, "cpu", 5)


def trained(task: IgsmConfig = TASK) -> Trained:
    spec = RunSpec(task, ModelConfig(1, 1, 16), TrainConfig(steps=4, precision="float32"))
    model = Decoder(spec.model, len(task.vocabulary()), (0,))
    return Trained(spec, torch.device("cpu"), lambda step: model)


def plant(monkeypatch: pytest.MonkeyPatch, solves: Callable[[int, str], bool]) -> list[int]:
    """``generate`` writes the true solution where ``solves`` (number of the problem, text of the prompt) is true, else
    nothing; returns the longest prompt of each call."""
    task, longest, true = Igsm(TASK), [], {}
    for cell in Distraction().cells(TASK):
        prompts = task.prompts(COUNT, **cell.changes)
        for b, (ids, begin, answer, length) in enumerate(zip(
                prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                prompts.answer_lengths_B.tolist(), strict=True)):
            true[tuple(ids[:begin])] = b, answer[:length]

    def generate(model: Decoder, prompts: Tensor, new_tokens: int, *, lengths: Tensor, temperature: float,
                 progress: bool) -> Generated:  # fmt: skip
        ids = torch.zeros(len(prompts), prompts.shape[1] + new_tokens, dtype=torch.long)
        for row, (prompt, length) in enumerate(zip(prompts.tolist(), lengths.tolist(), strict=True)):
            number, answer = true[tuple(prompt[:length])]
            written = answer if solves(number, task.vocabulary.decode(prompt[:length])) else [ID[BOS]]
            ids[row, :length] = torch.tensor(prompt[:length])
            ids[row, length : length + len(written)] = torch.tensor(written)
        longest.append(prompts.shape[1])
        return Generated(ids, lengths, torch.ones(len(prompts), dtype=torch.bool))

    monkeypatch.setattr(solving, "generate", generate)
    return longest


def test_a_model_that_nothing_distracts_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = plant(monkeypatch, lambda number, text: True)
    rows = Distraction()(trained())
    assert set(values(rows, "solved")) == set(values(rows, "solved_truth")) == {1.0}
    assert set(values(rows, "drop")) == set(values(rows, "lost")) == {0.0}
    assert all(row.lo < 0 < row.hi for row in rows if row.quantity == "drop"), "nothing seen is not nothing"
    assert not values(rows, "drop", noise="none")
    assert longest[1] > 1.5 * longest[0] > TASK.row_tokens, "the longer window is generated apart"


def test_costs_are_those_of_the_noise_that_puts_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders put it off in every problem, and it never solves the first quarter."""
    plant(monkeypatch, lambda number, text: number >= COUNT // 4 and not any(order in text for order in ORDERS))
    rows = Distraction()(trained())
    assert set(values(rows, "solved", noise="none")) == set(values(rows, "solved", noise="facts")) == {0.75}
    for kind, drop in (("graph", 0.0), ("facts", 0.0), ("style", 0.75), ("all", 0.75)):
        assert set(values(rows, "drop", noise=kind)) == {drop}, kind
        assert set(values(rows, "lost", noise=kind)) == {drop / 0.75}
    assert {row.n for row in rows if row.quantity == "lost"} == {12}


def test_a_model_that_solves_nothing_has_nothing_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda number, text: False)
    rows = Distraction()(trained())
    assert set(values(rows, "solved")) == set(values(rows, "drop")) == {0.0} and not values(rows, "lost")


def test_amounts_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda number, text: True)
    rows = Distraction()(trained())

    def tokens(kind: str, amount: str) -> float:
        (value,) = values(rows, "noise_tokens", set="drawn", noise=kind, amount=amount)
        return value

    window = TASK.row_tokens
    assert tokens("style", "little") == 2 and tokens("style", "full") == 40 and tokens("facts", "little") == 7
    assert tokens("facts", "full") > 14
    for kind in ("graph", "all"):
        assert 0.15 * window < tokens(kind, "little") <= 0.25 * window
        assert 0.25 * window < tokens(kind, "half") <= 0.5 * window < tokens(kind, "longer") <= 0.9 * LONGER * window
        assert tokens(kind, "half") <= tokens(kind, "full") <= 0.9 * window
    exact = {(row.where["noise"], row.where["amount"]) for row in rows if row.where["set"] == "exact"}
    assert exact == set(SAME)
    spread = [values(rows, "noise_tokens", set="exact", noise=kind) for kind in ("graph", "style")]
    assert min(spread[0]) > 0.9 * max(spread[0]) and set(spread[1]) == {40}, "as much noise whatever the steps"
    assert {row.where["op"] for row in rows if row.where["set"] == "exact"} == {1, 2, 3, 4, 6}


def test_cells_differ_in_noise_alone() -> None:
    cells = Distraction(ops=(3,)).cells(TASK)
    assert [cell.op for cell in cells if cell.set == "exact"] == [3] * 5
    for cell in cells:
        clean = next(one for one in cells if (one.set, one.op, one.noise) == (cell.set, cell.op, "none"))
        kept = {name: value for name, value in cell.changes.items() if name not in ("noise", "row_tokens")}
        assert kept == {name: value for name, value in clean.changes.items() if name != "noise"}
        assert isinstance(cell, Noisy) and cell.where == {"set": cell.set, "op": cell.op, "noise": cell.noise,
                                                          "amount": cell.amount}
    again = Distraction().cells(dataclasses.replace(TASK, noise=cells[1].changes["noise"]))
    assert [cell.where for cell in again] == [cell.where for cell in Distraction().cells(TASK)]


def test_runs_that_cannot_be_measured_are_refused() -> None:
    spec = trained().spec
    Distraction().check(spec)
    for task, message in ((ManoConfig(), "expected one on iGSM"), (FAMILIES["tiny"], "noise_words=false")):
        with pytest.raises(UserError, match=message):
            Distraction().check(dataclasses.replace(spec, task=task))
    with pytest.raises(UserError, match="encoder"):
        Distraction().check(dataclasses.replace(spec, model=dataclasses.replace(spec.model, causal=False)))
    with pytest.raises(UserError, match="task.op: got 40"):
        Distraction(ops=(40,)).check(spec)
    with pytest.raises(UserError, match="room"):
        Distraction(room=0.5)
    with pytest.raises(UserError, match="problems: got -1"):
        Distraction(problems=-1)
    short = dataclasses.replace(spec, task=dataclasses.replace(TASK, chain=Chain("sums")))
    Distraction().check(short)
    with pytest.raises(UserError, match=r"task\.chain\.drop=sums, expected whole ones"):
        Probing().check(short)
