"""Lines through settings: exponents of power laws, and constant ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import bootstrap, cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, check_keys, number_of, part_of


@dataclass(frozen=True)
class PowerLaw:
    """The exponent b of y = c x^b over settings, by least squares of log y on log x.

    x is one of the keys of ``of`` and has three different values or more; points without a positive value are left out.
    The interval is Student's t on the residuals, so that it covers how well the points lie on a line, and no more.
    """

    name: str
    of: Form
    x: str

    def __post_init__(self) -> None:
        check_keys(self.name, "x", (self.x,), self.of.keys)

    @property
    def unit(self) -> str:
        """An exponent has none."""
        return "1"

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings besides x."""
        return tuple(key for key in self.of.keys if key != self.x)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The exponents, by the other settings."""
        from scipy.special import stdtrit  # half a second, which the command line need not wait for at its start

        place = self.of.keys.index(self.x)
        curves: dict[Key, list[tuple[float, Interval]]] = {}
        for key, one in self.of.cells(table).items():
            value = number_of(self.name, self.x, key[place])
            if value > 0 and one.value > 0:
                curves.setdefault(key[:place] + key[place + 1 :], []).append((value, one))
        result: Cells = {}
        for key, points in curves.items():
            if len({value for value, _ in points}) < 3:
                continue
            x, y = np.log([value for value, _ in points]), np.log([one.value for _, one in points])
            spread = float(((x - x.mean()) ** 2).sum())
            slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
            residual = y - y.mean() - slope * (x - x.mean())
            error = math.sqrt(float((residual**2).sum()) / (len(x) - 2) / spread)
            half = float(stdtrit(len(x) - 2, 0.5 + interval.LEVEL / 2.0)) * error
            result[key] = Interval(slope, slope - half, slope + half, len(points),
                                   min(one.runs for _, one in points), "models")
        return result

    def note(self) -> str:
        """How it is fitted."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: b of {self.of.name} = c {self.x}^b, least squares of "
                "logarithms, Student's t on the residuals; n counts points.")


@dataclass(frozen=True)
class RatioLine:
    """The constant R of y = R x over settings, from a form of ratios y / x: their geometric mean, see ``ratio_line``.

    Attributes:
        over: the keys that the line goes through; without any, all.
    """

    name: str
    of: Form
    over: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_keys(self.name, "over", self.over, self.of.keys)

    @property
    def unit(self) -> str:
        """That of the ratios."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that it does not go through."""
        return tuple(key for key in self.of.keys if self.over and key not in self.over)

    def cells(self, table: pd.DataFrame) -> Cells:
        """The constants; ratios that are not positive have no logarithm and are left out."""
        groups: dict[Key, list[Interval]] = {}
        for key, one in self.of.cells(table).items():
            if one.value > 0:
                groups.setdefault(part_of(key, self.of.keys, self.keys), []).append(one)
        return {key: ratio_line(self.name, parts)[0] for key, parts in groups.items()}

    def note(self) -> str:
        """How it is fitted."""
        return (f"{cells.named(self.name, '/'.join(self.keys))}: geometric mean of {self.of.name} over "
                f"{', '.join(self.over or self.of.keys) or 'all'}, random-effects weights, bootstrap; n counts points.")


def ratio_line(name: str, ratios: Sequence[Interval], resamples: int = 2000, seed: int = 0
               ) -> tuple[Interval, list[float]]:
    """log y = log R + log x with slope one: log R is the weighted mean of log(y / x).

    Weights are those of random effects (``bootstrap.random_effects_weights``); the interval is a bootstrap over points
    and their errors.

    Args:
        name: of the quantity; its bootstrap does not depend on which others there are.
        ratios: y / x of each point, positive.

    Returns:
        R, whose n counts points, and the weight of each point.
    """
    values, lo, hi = (np.array([getattr(one, part) for one in ratios]) for part in ("value", "lo", "hi"))
    logs, errors = np.log(values), bootstrap.standard_error(lo, hi) / values
    weights = bootstrap.random_effects_weights(logs, errors)
    value = math.exp(float(weights @ logs))
    samples = bootstrap.resampled_mean(logs, errors, weights, resamples, bootstrap.generator(seed, name))
    ends = bootstrap.percentile_interval(np.exp(samples), value)
    return Interval(value, *ends, len(ratios), min(one.runs for one in ratios), "items and models"), weights.tolist()
