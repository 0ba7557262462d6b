"""Resampling: intervals enclose, cover and widen as they should."""

from __future__ import annotations

import numpy as np
import pytest

from physlm.laws import bootstrap


def test_standard_error_inverts_a_normal_interval() -> None:
    lo, hi = np.array([1.0 - 1.959964 * 0.1]), np.array([1.0 + 1.959964 * 0.1])
    assert bootstrap.standard_error(lo, hi) == pytest.approx(0.1, rel=1e-6)


def test_generators_differ_by_name_and_by_seed_and_repeat() -> None:
    first = bootstrap.generator(0, "a").random(4)
    assert np.array_equal(first, bootstrap.generator(0, "a").random(4))
    assert not np.array_equal(first, bootstrap.generator(0, "b").random(4))
    assert not np.array_equal(first, bootstrap.generator(1, "a").random(4))


def test_percentile_interval_is_widened_to_enclose_the_value() -> None:
    samples = np.linspace(0.0, 1.0, 1001)
    assert bootstrap.percentile_interval(samples, 0.5) == pytest.approx((0.025, 0.975))
    assert bootstrap.percentile_interval(samples, 3.0) == pytest.approx((0.025, 3.0))
    assert bootstrap.percentile_interval(samples, -3.0) == pytest.approx((-3.0, 0.975))


def test_the_mean_over_members_covers_the_planted_mean() -> None:
    rng, hits, k = np.random.default_rng(8), 0, 15
    errors = rng.uniform(0.01, 0.1, k)
    for trial in range(400):
        values = 0.7 + 0.05 * rng.standard_normal(k) + errors * rng.standard_normal(k)
        weights = bootstrap.random_effects_weights(values, errors)
        samples = bootstrap.resampled_mean(values, errors, weights, 500, bootstrap.generator(trial, "m"))
        lo, hi = bootstrap.percentile_interval(samples, float(weights @ values))
        hits += lo <= 0.7 <= hi
    # Members carry their people error already when they are drawn, and get it once more: wide rather than narrow.
    assert 0.92 <= hits / 400 <= 1.0


def test_noisier_members_weigh_less_and_weights_sum_to_one() -> None:
    values, errors = np.array([0.0, 0.01, -0.01, 0.02]), np.array([0.01, 0.02, 0.1, 0.1])
    weights = bootstrap.random_effects_weights(values, errors)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] > weights[1] > weights[2] == pytest.approx(weights[3])


def test_weights_are_nearly_equal_where_members_differ_beyond_their_errors() -> None:
    values = np.array([0.0, 1.0, -1.0, 0.5])
    weights = bootstrap.random_effects_weights(values, np.array([0.001, 0.01, 0.02, 0.03]))
    assert weights == pytest.approx(np.full(4, 0.25), rel=0.01)


@pytest.mark.parametrize("errors", [[0.0, 0.0, 0.0], [0.0, 0.1, 0.1]])
def test_exactly_measured_members_do_not_break_the_weights(errors: list[float]) -> None:
    weights = bootstrap.random_effects_weights(np.array([0.0, 0.1, 0.2]), np.array(errors))
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0)
    # Zero error with real scatter must not mean all the weight.
    assert weights[0] < 0.75


def test_agreeing_exact_members_share_equally() -> None:
    assert bootstrap.random_effects_weights(np.zeros(5), np.zeros(5)) == pytest.approx(np.full(5, 0.2))
