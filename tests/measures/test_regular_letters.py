"""The measure ``regular``: planted models, its controls by hand, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from physlm.errors import NotFiniteError, UserError
from physlm.measures import regular
from physlm.measures.regular import ngram, told, uniform
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.rows import IGNORE, Rows
from physlm.tasks.state.regular import RegularConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = RegularConfig(6, letters=8, longest=12, automata=0, row_tokens=120)
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, precision="float32"))


def test_the_truth_is_at_no_distance_and_its_likeliest_letter_allowed() -> None:
    rows, truth = TASK.build().truth(12)
    found = told(truth, rows, truth)
    assert found.allowed_R.equal(found.letters_R) and float(found.distance_R.sum()) == 0
    assert found.letters_R.equal((rows.targets_RT != IGNORE).sum(1)) and int(found.letters_R.min()) > 60


def test_a_planted_error_is_found() -> None:
    """Half of the mass on one token that is no letter: the distance is a half, and the likeliest letter changes."""
    rows, truth = TASK.build().truth(12)
    asked = rows.targets_RT != IGNORE
    model = truth / 2
    model[..., 0] += 0.5
    found = told(model, rows, truth)
    assert found.distance_R.numpy() == pytest.approx(found.letters_R.numpy() / 2)
    single = ((truth > 0).sum(-1) == 1) & asked  # there both have a half, and <bos> is the first of them
    assert int(found.allowed_R.sum()) == 0 < int(single.sum())
    model[..., 0] = 0
    assert told(model, rows, truth).allowed_R.equal(found.letters_R)


def test_uniform_letters_are_right_as_often_as_letters_are_allowed() -> None:
    rows, truth = TASK.build().truth(12)
    found, allowed = uniform(rows, truth), (truth > 0).sum(-1)
    assert found.allowed_R.numpy() == pytest.approx(allowed.sum(1).numpy() / 8)
    # 1/2 (k |1/k - 1/8| + (8 - k) / 8) = 1 - k/8
    asked = rows.targets_RT != IGNORE
    assert found.distance_R.numpy() == pytest.approx((1 - allowed / 8).mul(asked).sum(1).numpy())


def test_ngrams_count_what_followed_and_know_nothing_of_other_rows() -> None:
    """By hand: a b a c | a b, with letters a = 2, b = 3, c = 4; "|" is no letter, but a context."""
    text = [0, 2, 3, 2, 4, 1, 2, 3]
    inputs = torch.tensor([text[:-1]] * 2)
    targets = torch.tensor([[token if token >= 2 else IGNORE for token in text[1:]]] * 2)
    inputs[1], targets[1] = 2, 4
    found = ngram(Rows(inputs, targets), 2, 5)[0]
    even, third = [0, 0, 1 / 3, 1 / 3, 1 / 3], 1 / 3
    assert found[0].tolist() == pytest.approx(even), "nothing was seen"
    assert found[1].tolist() == pytest.approx([0, 0, 1, 0, 0]), "a was never followed, but a is all there was"
    assert found[3].tolist() == pytest.approx([0, 0, 0, 1, 0]), "b followed a"
    assert found[5].tolist() == pytest.approx([0, 0, 0.5, 0.25, 0.25]), "| was never followed; a b a c were"
    assert found[6].tolist() == pytest.approx([0, 0, 0, 0.5, 0.5]), "b and c followed a"
    one = ngram(Rows(inputs, targets), 1, 5)[0]
    assert one[6].tolist() == pytest.approx([0, 0, 0.6, 0.2, 0.2]) and one[3].tolist() == pytest.approx(
        [0, 0, 2 * third, third, 0])


def test_longer_contexts_tell_more_and_no_control_is_the_truth() -> None:
    rows, truth = TASK.build().truth(24)
    letters = (rows.targets_RT != IGNORE).sum()
    shares = [float(told(ngram(rows, n, truth.shape[2]), rows, truth).distance_R.sum() / letters) for n in (1, 2, 3)]
    assert 0 < shares[2] < shares[1] < shares[0] < float(uniform(rows, truth).distance_R.sum() / letters)


def test_a_run_has_all_rows_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Trained(SPEC, torch.device("cpu"), lambda step: Decoder(SPEC.model, len(TASK.vocabulary()), (5,)))
    monkeypatch.setitem(regular.ROWS, "cpu", 6)
    rows = regular.measure(run)
    assert [(row.quantity, row.where.get("n")) for row in rows] == [
        (f"{quantity}{control}", n) for control, n in (("", None), ("_untrained", None), ("_uniform", None),
                                                       *(("_ngram", n) for n in regular.GRAMS))
        for quantity in ("allowed", "distance")]
    assert all(row.n == 6 and row.where["half"] == "test" for row in rows)
    assert all(0 <= row.lo <= row.value <= row.hi <= 1.01 for row in rows)
    monkeypatch.setitem(regular.TOKENS, "cpu", 1)
    again = regular.measure(run)
    assert [row.value for row in again] == pytest.approx([row.value for row in rows])


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="measure regular: got a run on mano"):
        regular.check(dataclasses.replace(SPEC, task=ManoConfig()))
    with pytest.raises(UserError, match=r"measure regular: got model\.causal = false"):
        regular.check(dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, causal=False)))
    rows, truth = TASK.build().truth(2)
    model: Any = Decoder(SPEC.model, len(TASK.vocabulary()), (5,))
    with torch.no_grad():
        model.embedding.weight.fill_(math.nan)
    with pytest.raises(NotFiniteError, match="logits of letters"):
        regular.read(model, rows, truth)
