"""Counter-based randomness: exact integers, uniform, and a permutation for every size."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from physlm import rng

MASK = (1 << 64) - 1


def mix_by_hand(x: int) -> int:
    """SplitMix64's finaliser in Python's unbounded integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@given(st.integers(0, MASK), st.integers(0, MASK))
def test_bits_equal_the_obvious_integers(key: int, counter: int) -> None:
    signed_key, signed_counter = rng._signed(key), rng._signed(counter)
    ours = int(rng.bits(signed_key, torch.tensor([signed_counter]))) & MASK
    assert ours == mix_by_hand((counter * 0x9E3779B97F4A7C15 + key) & MASK)


@given(st.integers(0, MASK), st.lists(st.integers(0, MASK), min_size=1, max_size=50))
def test_numpy_draws_the_same_bits(key: int, counters: list[int]) -> None:
    signed_key, signed = rng._signed(key), [rng._signed(counter) for counter in counters]
    ours, theirs = rng.host_uniform(signed_key, np.array(signed)), rng.uniform(signed_key, torch.tensor(signed))
    assert ours.tolist() == theirs.tolist()


def test_a_draw_depends_on_nothing_but_key_and_counter() -> None:
    key, counter = rng.key("here", 3), torch.arange(1000)
    whole = rng.below(97, key, counter)
    pieces = torch.cat([rng.below(97, key, part) for part in counter.split(37)])
    backwards = rng.below(97, key, counter.flip(0)).flip(0)
    assert whole.equal(pieces) and whole.equal(backwards)


@pytest.mark.parametrize("n", [2, 3, 7, 46, 263, 1000, 1 << 21])
def test_below_is_uniform(n: int) -> None:
    draws = rng.below(n, rng.key("uniform", n), torch.arange(40_000))
    assert int(draws.min()) >= 0 and int(draws.max()) < n
    bins = min(n, 64)
    counts = torch.bincount(draws * bins // n, minlength=bins).numpy()
    widths = [math.ceil((i + 1) * n / bins) - math.ceil(i * n / bins) for i in range(bins)]
    expected = [40_000 * width / n for width in widths]
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_below_names_what_it_was_given() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        rng.below(0, 1, torch.arange(3))


def test_normal_has_the_moments_of_a_normal() -> None:
    x = rng.normal(rng.key("normal"), 100_001)
    assert len(x) == 100_001
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-4


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(0, 1 << 50))
def test_permute_is_a_bijection_for_every_size(n: int, which: int) -> None:
    places = rng.permute(torch.arange(n), n, rng.key("p"), torch.tensor([which]))
    assert places.sort().values.equal(torch.arange(n))


def test_permutations_are_uniform_and_differ() -> None:
    n, count = 5, 24_000
    which = torch.arange(count)[:, None]
    places = rng.permute(torch.arange(n).expand(count, n), n, rng.key("shuffles"), which)
    code = (places * torch.tensor([n**i for i in range(n)])).sum(1)
    _, counts = code.unique(return_counts=True)
    assert len(counts) == math.factorial(n)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_keys_of_different_parts_differ() -> None:
    sequences: list[tuple[int | str, ...]] = [("a", 1), ("a", "1"), ("a1",), (1, "a"), ("a", 1, ""), ()]
    keys = {rng.key(*parts) for parts in sequences}
    assert len(keys) == 6
