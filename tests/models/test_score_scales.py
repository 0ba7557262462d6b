"""Scales of attention's scores: scalable softmax, the temperature of iRoPE."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_maps import CPU, FOUR, weights_of
from part_checks import CHECKS
from part_models import with_part

from physlm.models.config import ModelConfig
from physlm.models.parts import scores
from physlm.models.parts.attention import Attention

# ---- Scale


def test_scalable_softmax_is_softmax_where_s_ln_n_is_one() -> None:
    """s = 1 / ln 7: the seventh row alone; before it weights are flatter, behind it sharper."""
    plain, scaled = (weights_of(part) for part in (Attention(), Attention(log_n=True, scale=1 / math.log(7))))
    torch.testing.assert_close(scaled[:, 6], plain[:, 6], atol=1e-6, rtol=1e-5)
    assert all((scaled[:, row] - plain[:, row]).abs().max() > 1e-4 for row in (1, 3, 5, 7, 11))
    entropy = [-(x * x.clamp_min(1e-30).log()).sum(-1) for x in (plain, scaled)]
    assert (entropy[1][:, 1:6] > entropy[0][:, 1:6]).all() and (entropy[1][:, 7:] < entropy[0][:, 7:]).all()


@pytest.mark.parametrize(("part", "seen"), [
    (Attention(), lambda i: i + 1), (Attention(window=5), lambda i: min(i + 1, 5)),
    (Attention(chunk=5), lambda i: i % 5 + 1),
])  # fmt: skip
def test_n_is_the_number_of_keys_that_the_query_sees(part: Attention, seen: Any) -> None:
    table = scores.row_scale(True, 0, part.window, part.chunk, 16, CPU)
    torch.testing.assert_close(table[:, 0], torch.tensor([math.log(seen(i)) for i in range(16)]))


@pytest.mark.parametrize("part", [
    Attention(rope=0, bias="hard_alibi", log_n=True), Attention(bias="hard_alibi", log_n=True, window=3),
    Attention(rope=0, bias="hard_alibi", log_n=True, chunk=5, scale=0.7), Attention(log_n=True, window=3),
    Attention(rope=0, bias="hard_alibi", log_n=True, chunk=3, floor=4, learnt_scale="head", scale=0.7),
], ids=lambda part: part.label)  # fmt: skip
def test_weights_are_scaled_by_the_keys_that_each_head_sees(part: Attention) -> None:
    """Head by head and query by query, from the logits of the same model without log n: counted is what has weight."""
    log_n, plain = weights_of(part), weights_of(dataclasses.replace(part, log_n=False))
    assert plain.shape == (4, 12, 12)
    for ours_TT, logits_TT in zip(log_n, plain.double().log(), strict=True):
        for query in range(12):
            seen = logits_TT[query] > -math.inf
            wanted = (logits_TT[query][seen] * math.log(int(seen.sum()))).softmax(0)
            torch.testing.assert_close(ours_TT[query][seen].double(), wanted, atol=1e-5, rtol=1e-4)
            assert not ours_TT[query][~seen].any()
    counts = (plain[:, -1] > 0).sum(-1).tolist()
    near = [seen or 12 for seen in scores.nearest(4)] if part.bias == "hard_alibi" else [12] * 4
    room = 12 % part.chunk or part.chunk if part.chunk else part.window or 12
    assert counts == [min(one, room) for one in near]


COUNTED = [with_part("mixer", Attention(rope=0, bias="hard_alibi", log_n=True, **rest), FOUR)
           for rest in ({}, {"window": 3, "learnt_scale": "head"}, {"chunk": 5})]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("config", COUNTED, ids=lambda config: config.label)
def test_scales_of_each_head_pass_what_every_part_must(config: ModelConfig, check: Callable[[ModelConfig], None]
                                                       ) -> None:  # fmt: skip
    """Step by step, beside the rows, in populations."""
    check(config)


@pytest.mark.parametrize(("window", "chunk"), [(0, 0), (3, 0), (0, 5), (1, 0)])
def test_n_is_the_number_of_keys_that_each_head_sees(window: int, chunk: int) -> None:
    """Counted pair by pair."""
    reach = scores.nearest(8)
    table = scores.row_scale(True, 0, window, chunk, 16, CPU, reach)
    assert table.shape == (16, 8)
    for head, most in enumerate(reach):
        for i in range(16):
            seen = sum(not (window and i - j >= window) and not (chunk and i // chunk != j // chunk)
                       and not (most and i - j >= most) for j in range(i + 1))
            assert float(table[i, head]) == pytest.approx(math.log(seen))


def test_the_temperature_of_irope_as_printed() -> None:
    for place, published in ((8190, 1.0), (16384, 1.110), (65536, 1.220), (262144, 1.350), (10_000_000, 1.711)):
        assert scores.floor_scale(place, 8192) == pytest.approx(published, abs=6e-4)
    table = scores.row_scale(False, 8, 0, 0, 100, CPU)
    assert table[:7].eq(1).all()
    torch.testing.assert_close(table[:, 0], torch.tensor([scores.floor_scale(i, 8) for i in range(100)]))


def test_the_first_s_of_scalable_softmax() -> None:
    for tokens, published in ((1024, 0.1685), (256, 0.219), (512, 0.191), (2048, 0.151)):
        mean = sum(math.log(n) for n in range(1, tokens + 1)) / tokens
        assert scores.scalable_start(tokens) == pytest.approx(1 / mean)
        assert scores.scalable_start(tokens) == pytest.approx(published, abs=6e-4)


def test_the_demonstration_of_scalable_softmax() -> None:
    """One 3 among numbers of -2: softmax fades with their number, scalable softmax does not."""
    for length in (2, 10, 1000):
        vector = torch.full((length,), -2.0, dtype=torch.float64)
        vector[length // 2] = 3
        assert scores.peak_weight(length) == pytest.approx(float(vector.softmax(0).max()))
        scaled = (0.43 * math.log(length) * vector).softmax(0)
        assert scores.peak_weight(length, 0.43, log_n=True) == pytest.approx(float(scaled.max()))
    assert scores.peak_weight(1) == 1 and scores.peak_weight(100_000) < 2e-3
    assert all(scores.peak_weight(10**k, 0.43, log_n=True) > 0.93 for k in range(1, 7))
