"""The loss of a claim's runs while they trained, where their folders are there: lines in a box of 100 by 100."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from physlm.lab.experiment import TIERS, Experiment
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.report.numbers import number

LINES = 6  # drawn at most, spread evenly over the runs
POINTS = 120  # of a line at most
_LEAST = 3  # log points that make a line


@dataclass(frozen=True)
class Line:
    """One run: its folder's name, and ``x,y x,y ...`` as SVG has it."""

    name: str
    points: str


@dataclass(frozen=True)
class Curves:
    """Losses in nats a token against tokens, both on logarithmic axes.

    Attributes:
        tier: of the runs that are drawn.
        runs: how many there are.
        first, last: the ends of the axis of tokens.
        low, high: the ends of the axis of losses.
    """

    tier: str
    runs: int
    lines: tuple[Line, ...]
    first: str
    last: str
    low: str
    high: str


def curves_of(experiment: Experiment, tier: str | None, store: Store) -> Curves | None:
    """Of the runs of ``tier``, or else of the largest tier that has any; None where no folder of them is there."""
    for one in dict.fromkeys((*([tier] if tier else []), *TIERS[::-1])):
        logged = {run.name: points for run in map(store.run, experiment.specs(one))
                  if len(points := _points(run)) >= _LEAST}
        if logged:
            return _drawn(one, logged)
    return None


def _points(run: Run) -> list[tuple[float, float]]:
    """Tokens and loss of every log point with a loss."""
    return [(float(record["tokens"]), float(record["loss"])) for record in run.records()
            if _positive(record.get("tokens")) and _positive(record.get("loss"))]


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _drawn(tier: str, logged: Mapping[str, Sequence[tuple[float, float]]]) -> Curves:
    names = _spread(list(logged), LINES)
    kept = {name: _spread(logged[name], POINTS) for name in names}
    xs, ys = zip(*(point for points in kept.values() for point in points), strict=True)
    first, last, low, high = min(xs), max(xs), min(ys), max(ys)
    wide, tall = math.log(last / first) or 1.0, math.log(high / low) or 1.0

    def drawn(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{100 * math.log(x / first) / wide:.1f},{100 * math.log(high / y) / tall:.1f}"
                        for x, y in points)

    return Curves(tier, len(logged), tuple(Line(name, drawn(points)) for name, points in kept.items()),
                  *map(number, (first, last, low, high)))


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, spread evenly, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
