"""Own arrays in the place of a model: what was planted is found, what was not is not, nothing is judged twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from physlm.errors import UserError
from physlm.measures.features import from_arrays
from physlm.measures.probes import IGNORE, ProbeConfig, probe

CONFIG = ProbeConfig("diagonal", steps=150)


def drawn(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape)


def test_a_direction_is_found_and_noise_is_not() -> None:
    x = drawn(600, 16)
    labels = {"planted": (x[:, :4].sum(1) > 0).astype(int), "noise": np.random.default_rng(1).integers(3, size=600)}
    scores = probe(*from_arrays(x, labels), CONFIG)
    assert [target.name for target in scores.targets] == ["planted", "noise"]
    planted, noise = scores.accuracy.value[0, 0]
    assert planted > 0.95 and noise < 0.45 and scores.sentences.tolist() == [[[120, 120]]]


def test_positions_and_taps_are_kept_apart() -> None:
    """The label of a position stands in one of two taps, and there alone."""
    x = drawn(300, 2, 5, 8)
    labels = (x[:, 1, :, 0] > 0).astype(int)
    labels[:, 2] = IGNORE
    scores = probe(*from_arrays(torch.from_numpy(x), torch.from_numpy(labels)), CONFIG)
    wrong, right = scores.accuracy.value[0, :, 0]
    assert right > 0.95 and wrong < 0.65 and scores.tokens.tolist() == [[[240], [240]]]


def test_every_held_out_sentence_is_judged_once_and_never_trained_on() -> None:
    features, batches, _ = from_arrays(np.arange(400, dtype=float)[:, None], np.zeros(400, int))
    seen: dict[str, list[float]] = {"train": [], "evaluation": []}
    for split, found in seen.items():
        for number in range(16):
            batch = batches(split, number)
            asked = batch.labels_MBWY[0, :, 0, 0] != IGNORE
            found += features(batch.ids_MBW)[0, 0, :, 0, 0][asked].tolist()
    assert len(seen["evaluation"]) == len(set(seen["evaluation"])) == 80
    assert set(seen["train"]) == set(range(400)) - set(seen["evaluation"]) and len(seen["train"]) == 16 * 64
    again = from_arrays(np.arange(400, dtype=float)[:, None], np.zeros(400, int), seed=1)[1]("evaluation", 0)
    assert not again.ids_MBW.equal(batches("evaluation", 0).ids_MBW)


@pytest.mark.parametrize(("x", "y", "words"), [
    (np.zeros((4, 2), int), np.zeros(4, int), "activations: got torch.int64 of the shape"),
    (np.zeros(4), np.zeros(4, int), "expected numbers with a point of"),
    (np.full((4, 2), np.nan), np.zeros(4, int), "not finite"),
    (np.zeros((4, 2)), np.zeros(5, int), r"of \(4, 1\) or \(4,\)"),
    (np.zeros((4, 3, 2)), np.zeros(4, int), r"whole numbers of \(4, 3\)"),
    (np.zeros((4, 2)), np.zeros(4), "labels 'label': got torch.float64"),
    (np.zeros((4, 2)), np.full(4, -2), "got -2 to -2, expected 0 and above"),
    (np.zeros((4, 2)), {}, "got no labels"),
    (np.zeros((1, 2)), np.zeros(1, int), "some to train on and some to judge by"),
], ids=["whole", "flat", "nan", "longer", "positions", "points", "negative", "none", "one"])  # fmt: skip
def test_what_does_not_fit_is_named(x: Any, y: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        from_arrays(x, y)
