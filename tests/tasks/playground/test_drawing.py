"""Draws of several tasks: exact laws, and the same numbers whatever is drawn beside them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import pytest
import torch

from physlm import rng
from physlm.tasks.playground.drawing import (
    beside,
    distinct,
    exponential,
    own_key,
    power_weights,
    text_numbers,
    weighted_places,
)

KEYS = own_key(rng.key("drawing", 1), torch.arange(40_000))


def near(found: int, expected: float) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize(("count", "n"), [(1, 1), (2, 9), (3, 5), (5, 5), (3, 13), (1, 40)])
def test_all_orders_of_distinct_numbers_are_as_likely(count: int, n: int) -> None:
    """Both ways: n <= 4 count sorts, more draws again."""
    found = Counter(map(tuple, distinct(count, n, KEYS).tolist()))
    assert set(found) == set(permutations(range(n), count))
    assert all(near(times, len(KEYS) / math.perm(n, count)) for times in found.values())


def test_many_distinct_numbers_out_of_many() -> None:
    drawn = distinct(300, 5000, KEYS[:20])
    assert all(len(set(row)) == 300 and min(row) >= 0 and max(row) < 5000 for row in drawn.tolist())
    assert drawn[3:9].equal(distinct(300, 5000, KEYS[3:9])), "whatever is drawn beside them"
    assert drawn.equal(distinct(300, 5000, KEYS[:20].view(4, 5, 1)).flatten(0, 1))
    with pytest.raises(AssertionError, match="4 distinct numbers below 3"):
        distinct(4, 3, KEYS[:2])


def test_the_logarithm_is_one() -> None:
    """To 1e-9, at the ends of its range too."""
    counter = torch.arange(200_000)
    uniform = rng.uniform(5, counter)
    assert exponential(5, counter).allclose(-uniform.log(), rtol=2e-9, atol=0)
    assert uniform.min() < 1e-4 and uniform.max() > 1 - 1e-4


def test_weighted_places_are_drawn_one_after_another_in_proportion_to_what_is_left() -> None:
    weights = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.double)
    found = Counter(map(tuple, weighted_places(2, weights, KEYS).tolist()))
    for a, b in permutations(range(4), 2):
        share = float(weights[a] / 8 * weights[b] / (8 - weights[a]))
        assert near(found[a, b], len(KEYS) * share)
    assert sorted(weighted_places(4, weights, KEYS[:1])[0].tolist()) == [0, 1, 2, 3]


def test_texts_of_rows_have_numbers_of_their_own() -> None:
    numbers = text_numbers(torch.tensor([0, 1, 5, 1 << 30]), 300)
    assert numbers.shape == (4, 300) and numbers.unique().numel() == 1200


@pytest.mark.parametrize(("count", "n"), [(1, 4), (3, 5), (4, 300)])
def test_numbers_beside_others_are_those_that_are_not_taken_by_rank(count: int, n: int) -> None:
    taken = distinct(count, n, KEYS[:50])
    ranks = torch.arange(n - count).expand(50, -1).contiguous()
    for row, others in zip(taken.tolist(), beside(ranks, taken).tolist(), strict=True):
        assert others == [number for number in range(n) if number not in row]
    assert beside(ranks.flip(1), taken.view(5, 10, count)[0, :1].expand(50, -1)).shape == ranks.shape


@pytest.mark.parametrize("exponent", [-0.99, 0.0, 0.5, 2.0, 99.0])
def test_weights_of_a_power_have_few_bits_and_are_made_on_the_host(exponent: float) -> None:
    found = power_weights(700, exponent)
    assert found.device.type == "cpu" and found.dtype == torch.double and bool((found > 0).all())
    exact = torch.arange(1, 701, dtype=torch.double) ** exponent
    ratio = found / exact * exact.max() / found.max()
    assert ratio[exact / exact.max() > 1e-290].allclose(torch.ones(1, dtype=torch.double), rtol=1e-6)
    assert found.float().double().equal(found) or exponent == 99.0, "float32 holds them, where its range does"
