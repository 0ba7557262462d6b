"""Exponents of power laws over settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, check_keys


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
            value = float(str(key[place]))
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
