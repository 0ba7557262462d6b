"""Filled windows: each task is asked with each of its fillers, and planted answers are found where they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from taken_rows import the
from torch import Tensor

from physlm.config import from_dict, to_dict
from physlm.errors import UserError
from physlm.measures import answers, measure
from physlm.measures.generation import Generated
from physlm.measures.length.filled import Filled, steps_of
from physlm.measures.length.filling import ask
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.config import TaskConfig
from physlm.tasks.igsm.config import FAMILIES, Noise
from physlm.tasks.mixture import MixtureConfig
from physlm.tasks.playground.cycles import CyclesConfig
from physlm.tasks.playground.hops import HopsConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.playground.needle import NeedleConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
CYCLES = CyclesConfig(nodes=7, hops=3, queries=5, names=50, window=100, share=0.8, fillers=5, row_tokens=130)
NEEDLE = NeedleConfig(window=50, shortest=16, distractors=2, fillers=5, keys=40, values=40, row_tokens=80)
IGSM = replace(FAMILIES["tiny"], group_items=4, noise_words=True, row_tokens=200)
MIXTURE = MixtureConfig((NEEDLE, CYCLES, IGSM, ManoConfig(2, 5)), row_tokens=200)


def run_of(task: TaskConfig) -> Trained:
    spec = RunSpec(task, ModelConfig(1, 1, 8), TrainConfig(steps=1, precision="float32"))
    model = Decoder(spec.model, len(task.vocabulary()), (3,))
    return Trained(spec, CPU, lambda step: model)


def test_planted_answers_are_found_at_the_shares_and_steps_that_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that follows edges, but more than one only if there are at most 20; random weights are silent."""
    run, words = run_of(CYCLES), CYCLES.vocabulary().words

    def write(model: Any, prompts: Tensor, room: int, *, lengths: Tensor, temperature: float, progress: bool
              ) -> Generated:  # fmt: skip
        ids = torch.nn.functional.pad(prompts, (0, room))
        for row, n in zip(ids, lengths.tolist(), strict=True):
            text = [words[i] for i in row[:n].tolist()]
            nodes, hops = [word for word in text[:-3] if word.startswith("n")], int(text[-3][7:-1])
            after, node = dict(zip(nodes[::2], nodes[1::2], strict=True)), text[-2]
            for _ in range(hops):
                node = after[node]
            row[n] = words.index(node) if model is run.model and (hops == 1 or len(after) <= 20) else 0
        return Generated(ids, lengths, torch.ones(len(ids), dtype=torch.bool))

    monkeypatch.setattr(answers, "generate", write)
    rows = Filled((0.0, 0.16, 0.8), questions=12)(run)
    for filler in ("words", "repeat", "edges"):
        for share in (0.0, 0.16, 0.8):
            for steps in (1, 2, 3):
                row = the(rows, "solved", filler=filler, filled=share, steps=steps)
                assert row.where == {"task": "cycles", "kind": f"k{steps}", "half": "test", "filler": filler,
                                     "filled": share, "steps": steps}  # fmt: skip
                right = not (filler == "edges" and share == 0.8 and steps > 1)
                assert (row.value, row.n) == (float(right), 12)
                guess = the(rows, "solved_guess", filler=filler, filled=share, steps=steps)
                assert guess.value <= 0.6 and guess.where == row.where, "one node out of several"
                silent = the(rows, "solved_untrained", filler=filler, filled=share, steps=steps)
                assert silent.value == 0.0 and silent.where == row.where
                assert 1 / 12 <= the(rows, "solved_constant", filler=filler, filled=share, steps=steps).value <= 0.5
            tokens = the(rows, "tokens", filler=filler, filled=share)
            whole = round(share * 100) - 2 * (filler == "edges" and share == 0.16)  # eight edges, one too many
            assert tokens.value == 1 + 2 * 7 + 3 + whole and tokens.unit == "tokens"
    for row in rows:
        measure.check_quantity(["filled"], row.quantity)


def test_of_a_mixture_every_task_that_can_be_filled_is_asked_with_each_of_its_fillers() -> None:
    given = Filled((0.0, 0.4), ops=(2,))
    cells = list(given.cells(MIXTURE))
    found = {(cell.task, cell.fillers, cell.filled, cell.steps) for cell in cells}
    assert len(found) == len(cells) and found == {
        ("needle", ("words", "pairs"), 0.0, 0), ("needle", ("words",), 0.4, 0), ("needle", ("pairs",), 0.4, 0),
        ("cycles", ("words", "repeat", "edges"), 0.0, 0), ("cycles", ("words",), 0.4, 0),
        ("cycles", ("repeat",), 0.4, 0), ("cycles", ("edges",), 0.4, 0),
        ("igsm", ("graph", "all"), 0.0, 2), ("igsm", ("graph",), 0.4, 2), ("igsm", ("all",), 0.4, 2),
    }  # fmt: skip
    task, lengths = MIXTURE.build(), {}
    for cell in cells:
        prompts = ask(task, MIXTURE, cell, 5).prompts
        assert all(kind.startswith(f"{cell.task}_") for kind in prompts.kinds)
        lengths[cell.task, cell.fillers, cell.filled] = prompts.lengths_B.double().mean().item()
    for name, filler in (("needle", "words"), ("needle", "pairs"), ("cycles", "edges"), ("cycles", "words"),
                         ("igsm", "graph"), ("igsm", "all")):  # fmt: skip
        (plain,) = (value for (task_, _, share), value in lengths.items() if (task_, share) == (name, 0.0))
        added = lengths[name, (filler,), 0.4] - plain
        if name == "igsm":  # its few names are soon used up
            assert 10 < added <= 80
        else:
            most = 0.4 * (NEEDLE if name == "needle" else CYCLES).window
            assert most - 2 * 2 * (filler == "pairs") - 2 <= added <= most, (name, filler)
    some = list(Filled((0.0, 0.4), tasks=("igsm",)).cells(MIXTURE))
    assert {cell.task for cell in some} == {"igsm"} and {cell.steps for cell in some} == set(range(1, IGSM.max_op + 1))
    assert all(isinstance(cell.condition["noise"], Noise) and cell.condition["op"] == cell.steps for cell in some)
    assert from_dict(Filled, to_dict(given)) == given and given.name != Filled().name


def test_steps_are_read_from_the_kinds_of_questions() -> None:
    assert [steps_of(kind) for kind in ("k4", "cycles_k12", "needle1_first", "rank4", "k4x")] == [4, 12, 1, 1, 1]
    assert [steps_of(kind) for kind in ("1-hop", "hops_2-hop", "2-hops", "a2-hop")] == [1, 2, 1, 1]


def test_hops_are_asked_in_filled_windows_by_their_steps() -> None:
    for hops in (1, 2):
        task = HopsConfig(hops, 2, 120, 40, fillers=5, names=20, row_tokens=160)
        run, words = run_of(task), {"words"}
        rows = Filled((0.0, 0.5), questions=6)(run)
        assert {(row.where["steps"], row.where["filler"]) for row in rows if row.quantity == "solved"} == {
            (hops, filler) for filler in words}  # fmt: skip
        plain, half = (the(rows, "tokens", filled=share).value for share in (0.0, 0.5))
        assert half - plain == 60
        with pytest.raises(UserError, match=r"hops: got filled 0\.9, expected between 0 and 0\."):
            Filled((0.0, 0.9)).check(run.spec)


def test_a_solution_counts_with_its_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right solutions of iGSM that are written out are solved; with another answer behind them they are not."""
    run = run_of(IGSM)

    def write(model: Any, prompts: Tensor, room: int, *, lengths: Tensor, temperature: float, progress: bool
              ) -> Generated:  # fmt: skip
        ids, at = torch.nn.functional.pad(prompts, (0, room)), torch.arange(len(prompts))
        asked = IGSM.build().prompts(len(prompts), op=2, templates="long", noise=Noise())
        for row, n, answer, m in zip(ids, lengths.tolist(), asked.answers_BQ, asked.answer_lengths_B.tolist(),
                                     strict=True):
            row[n : n + m] = answer[:m]
        wrong = at % 4 == 0 if model is run.model else at >= 0
        places = lengths + asked.answer_lengths_B - 2
        zero = IGSM.vocabulary().id("0")
        ids[at[wrong], places[wrong]] = zero + (ids[at[wrong], places[wrong]] - zero + 1) % IGSM.modulus
        return Generated(ids, lengths, torch.ones(len(ids), dtype=torch.bool))

    monkeypatch.setattr(answers, "generate", write)
    rows = Filled((0.0,), ops=(2,), questions=16)(run)
    assert the(rows, "solved", filler="graph").value == 0.75
    assert the(rows, "solved_untrained", filler="graph").value == 0.0


def test_what_cannot_be_measured_is_refused() -> None:
    Filled((0.0, 0.8)).check(run_of(CYCLES).spec)
    for given, task, message in (
        (Filled(), ManoConfig(2, 5, 64), "expected one on a task whose window can be filled: igsm, .*needle"),
        (Filled(), CYCLES, "filled 0.9, expected between 0 and 0.86"),
        (Filled(tasks=("cycle",)), MIXTURE, "did you mean 'cycles'"),
    ):
        with pytest.raises(UserError, match=message):
            given.check(run_of(task).spec)
    table = ModelConfig(1, 1, 8, absolute=100)
    for share, tokens in ((0.0, 19), (0.8, 99)):
        fits = replace(run_of(CYCLES).spec, model=replace(table, absolute=tokens))
        Filled(tuple(sorted({0.0, share}))).check(fits)
        with pytest.raises(UserError, match=rf"got questions of {tokens} tokens with their answers, expected at most "
                                            rf"{tokens - 1}, model\.absolute"):  # fmt: skip
            Filled(tuple(sorted({0.0, share}))).check(replace(fits, model=replace(table, absolute=tokens - 1)))
    encoder = replace(run_of(CYCLES).spec, model=ModelConfig(1, 1, 8, causal=False))
    with pytest.raises(UserError, match="got an encoder"):
        Filled().check(encoder)
    for settings, message in (({"shares": (0.5,)}, "shares"), ({"shares": (0.0, 1.0)}, "shares"),
                              ({"shares": (0.5, 0.0)}, "shares"), ({"questions": -1}, "questions")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            Filled(**settings)


def test_of_a_mixture_each_task_that_can_guess_does() -> None:
    """A value of three, or a node of nine; what iGSM asks for stands nowhere in the text."""
    task = MIXTURE.build()
    for name, chance in (("needle", 1 / 3), ("cycles", 1 / CYCLES.nodes)):
        sheets = [ask(task, MIXTURE, cell, 400) for cell in Filled((0.0, 0.4)).cells(MIXTURE)
                  if cell.task == name and cell.fillers[:1] == ("words",)]
        shares = [sheet.guessed().double().mean().item() for sheet in sheets]
        assert len(shares) >= 2 and shares == pytest.approx([chance] * len(shares), abs=0.06)
    assert not MIXTURE.guesses_from_text, "iGSM and Mano do not"
    rows = Filled((0.0,), tasks=("needle", "igsm"), ops=(2,), questions=4)(run_of(MIXTURE))
    assert {row.where["task"] for row in rows if row.quantity == "solved_guess"} == {"needle"}
