"""Intervals clustered by sentence: they cover as often as they say, and equal sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from physlm.measures.intervals import Ratio, balanced_share, count_mean, share


def sentences(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits and tokens of sentences whose tokens share their luck; the expected share of hits is 0.8."""
    counts = rng.integers(10, 60, count)
    return rng.binomial(counts, rng.beta(4.0, 1.0, count)), counts


def test_intervals_cover_the_truth_though_tokens_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    trials = 400
    drawn = [sentences(rng, 200) for _ in range(trials)]
    found = share(np.stack([hits for hits, _ in drawn]), np.stack([counts for _, counts in drawn]))
    covered = ((found.lo <= 0.8) & (found.hi >= 0.8)).mean()
    assert 0.91 <= covered <= 0.99
    # the control: counting tokens as independent covers far less often
    hits = np.array([hits.sum() for hits, _ in drawn])
    tokens = np.array([counts.sum() for _, counts in drawn])
    half = 1.96 * np.sqrt(hits / tokens * (1 - hits / tokens) / tokens)
    assert (abs(hits / tokens - 0.8) <= half).mean() < 0.7


def test_share_of_nothing_wrong_has_a_width_and_of_nothing_is_not_a_number() -> None:
    counts = np.full(50, 30)
    perfect = share(counts, counts)
    assert perfect.value == 1.0 == perfect.hi
    assert 0.9 < perfect.lo < 0.95, "50 sentences, not 1500 tokens"
    never = share(0 * counts, counts)
    assert never.value == 0.0 == never.lo and 0.05 < never.hi < 0.1
    assert np.isnan(share(0 * counts, 0 * counts).value)


def test_balanced_share_is_the_mean_of_the_recalls() -> None:
    counts = np.array([[90.0, 80.0, 100.0], [10.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    hits = np.array([[81.0, 80.0, 100.0], [5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = balanced_share(hits, counts)
    assert found.value == pytest.approx((261 / 270 + 5 / 10) / 2)
    assert found.lo < found.value < found.hi


def test_balanced_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        counts = np.stack((rng.integers(20, 40, 150), rng.integers(0, 4, 150)))
        hits = rng.binomial(counts, rng.beta(8.0, 2.0, 150))
        found = balanced_share(hits.astype(float), counts.astype(float))
        covered.append(found.lo <= 0.8 <= found.hi)
    assert 0.91 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("count", [2, 3, 50])
def test_the_variance_is_that_of_a_sample_and_not_of_all_sentences(count: int) -> None:
    """S / (S - 1) sum (c - p n)^2 / (sum n)^2, written out."""
    rng = np.random.default_rng(count)
    counts = rng.integers(20, 40, (1, count)).astype(float)
    hits = np.minimum(rng.binomial(30, 0.7, (1, count)) + np.linspace(-8, 8, count), counts).clip(0)
    p = float(hits.sum() / counts.sum())
    variance = count / (count - 1) * float(((hits - p * counts) ** 2).sum()) / float(counts.sum()) ** 2
    effective, z = min(p * (1 - p) / variance, float(counts.sum())), 1.959963984540054
    centre = (p + z * z / effective / 2) / (1 + z * z / effective)
    half = z * np.sqrt(p * (1 - p) / effective + z * z / effective**2 / 4) / (1 + z * z / effective)
    assert effective < counts.sum(), "the tokens of a sentence share their luck"
    for found in (share(hits[0], counts[0]), balanced_share(hits, counts)):  # of one class, the same
        assert (found.value, found.lo, found.hi) == pytest.approx((p, max(centre - half, 0.0), min(centre + half, 1.0)))


def test_a_streamed_ratio_equals_the_sums_written_out() -> None:
    rng = np.random.default_rng(2)
    sums = rng.normal(size=(30, 2, 4))
    counts = rng.integers(1, 9, (30, 4)).astype(float)
    sums[:7, :, 2:], counts[:7, 2:] = 0.0, 0.0
    ratio = Ratio()
    ratio.add(sums[:7, :, :2], counts[:7, :2])  # a batch of shorter sentences
    ratio.add(sums[7:20], counts[7:20])
    ratio.add(sums[20:, :, :], counts[20:])
    found = ratio.estimate()
    mean = sums.sum(0) / counts.sum(0)
    spread = np.sqrt(((sums - mean * counts[:, None]) ** 2).sum(0) * 30 / 29) / counts.sum(0)
    np.testing.assert_allclose(found.value, mean, rtol=1e-12)
    np.testing.assert_allclose(found.hi - found.value, 1.96 * spread, rtol=1e-4)
    assert ratio.sentences == 30
    np.testing.assert_array_equal(ratio.pairs()[0], counts.sum(0))


def test_a_mean_of_counts_covers_the_truth_and_knows_what_it_has_not_seen() -> None:
    draws = np.random.default_rng(0)
    for rate, n, least in ((0.3, 200, 0.92), (2.0, 50, 0.92), (0.002, 500, 0.9)):
        found = [count_mean(draws.poisson(rate, n)) for _ in range(2000)]
        assert np.mean([one.lo <= rate <= one.hi for one in found]) > least, rate
    never = count_mean(np.zeros(500, dtype=np.int64))
    assert (never.value, never.lo) == (0.0, 0.0) and never.hi == pytest.approx(-np.log(0.025) / 500)
    alone = count_mean(np.array([3]))
    assert alone.lo == 0.0 < alone.value == 3.0 < alone.hi
