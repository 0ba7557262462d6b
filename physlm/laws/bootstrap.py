"""Intervals by resampling, over two sources of chance at once: which members were trained, which people measured.

A run's value comes with its own interval over people, from which we keep a standard error.  A resample draws
runs with replacement (members) and moves each drawn run's value by a fresh normal error of that size (people).
People are not redrawn, since a table no longer knows them one by one; runs over one dataset share their people, so
that their errors are correlated, which is ignored here.

Shapes: k runs, B resamples.
"""

from __future__ import annotations

import zlib
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from physlm.interval import LEVEL

Floats = NDArray[np.float64]


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator for one quantity, so that its interval does not depend on which others are computed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def standard_error(lo: Floats, hi: Floats, level: float = LEVEL) -> Floats:
    """(hi - lo) / (2 z), the normal standard error behind an interval; z = 1.96 at 95 %."""
    return (hi - lo) / (2.0 * NormalDist().inv_cdf(0.5 + level / 2.0))


def percentile_interval(samples: Floats, value: float, level: float = LEVEL) -> tuple[float, float]:
    """The central ``level`` of ``samples`` (B,), widened where needed so that it encloses ``value``."""
    lo, hi = np.quantile(samples, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return min(float(lo), value), max(float(hi), value)


def perturbed_min(values: Floats, errors: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """The smallest of ``values`` (k,) in each of B resamples over people alone; the runs are kept as they are."""
    return (values + errors * rng.standard_normal((resamples, len(values)))).min(axis=1)


def random_effects_weights(values: Floats, errors: Floats) -> Floats:
    """Weights (k,) that sum to 1: w_i ~ 1 / (tau^2 + error_i^2).

    tau^2 is the variance between runs beyond their measurement errors (DerSimonian and Laird, Controlled Clinical
    Trials 7, 1986).  A noisily measured run pulls less, but none takes over merely for being measured exactly: where
    runs differ for other reasons than noise, the weights are nearly equal.
    """
    if len(values) == 1:
        return np.ones(1)
    # An error of exactly zero would weigh infinitely; this floor is far below any real one.
    variance = np.maximum(errors, 1e-6) ** 2
    weight = 1.0 / variance
    mean = np.average(values, weights=weight)
    excess = float((weight * (values - mean) ** 2).sum()) - (len(values) - 1)
    # Not sum(w) - sum(w^2) / sum(w): that difference loses every other weight beside one huge one.
    scale = float((weight * (1.0 - weight / weight.sum())).sum())
    between = max(0.0, excess / scale) if scale > 0 else float(values.var(ddof=1))
    weight = 1.0 / (variance + between)
    return weight / weight.sum()


def resampled_mean(
    values: Floats, errors: Floats, weights: Floats, resamples: int, rng: np.random.Generator
) -> Floats:
    """The weighted mean in each of B resamples; a drawn run brings its weight along.  Returns (B,)."""
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    moved = values[drawn] + errors[drawn] * rng.standard_normal(drawn.shape)
    return (weights[drawn] * moved).sum(axis=1) / weights[drawn].sum(axis=1)
