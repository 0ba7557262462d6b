"""A number of ours with its interval, drawn on one line beside what was asked for: the geometry, in percent.

    0.8      [====o====]        1        [ ] the 95 % interval    o our number
        ////////////////|                /// where agreement is   | the published value

Our interval agrees with ``about`` where it meets the shaded region, with ``at least`` and ``at most`` where all of it
lies inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from physlm.laws.law import Quantity
from physlm.laws.verdict import Expectation
from physlm.report.numbers import number

_WIDE = 0.3  # shares that span more than this are drawn from 0 to 1, so that they can be compared by eye


@dataclass(frozen=True)
class Bar:
    """Places from 0 to 100 along the line.

    Attributes:
        first, last: what stands at its two ends.
        lo, value, hi: our interval.
        published: the value that we are held against.
        region: where an interval agrees; None where the claim does not tell.
        text: the same in words.
    """

    first: str
    last: str
    lo: float
    value: float
    hi: float
    published: float
    region: tuple[float, float] | None
    text: str


def interval_bar(ours: Quantity, published: float, expectation: Expectation | None, wanted: str) -> Bar:
    """The bar of one quantity; ``wanted`` says in words what it is held against."""
    low, high = (published, published) if expectation is None else expectation.region
    shown = [ours.lo, ours.hi, published, *(end for end in (low, high) if math.isfinite(end))]
    first, last = _ends(min(shown), max(shown), share=ours.unit == "1")

    def place(x: float) -> float:
        return round(100.0 * (min(max(x, first), last) - first) / (last - first), 2)

    text = (f"asked for {wanted}, ours {number(ours.value)}, 95 % interval {number(ours.lo)} to {number(ours.hi)}, "
            f"drawn from {number(first)} to {number(last)}")
    return Bar(number(first), number(last), place(ours.lo), place(ours.value), place(ours.hi), place(published),
               None if expectation is None else (place(low), place(high)), text)


def _ends(low: float, high: float, share: bool) -> tuple[float, float]:
    """Round numbers around all that is drawn."""
    within = share and low >= 0.0 and high <= 1.0
    if within and high - low > _WIDE:
        return 0.0, 1.0
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if span / (step * part) <= 5)
    first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first -= step * (low - first < 0.02 * span)  # nothing is drawn on an end
    last += step * (last - high < 0.02 * span)
    return max(first, 0.0) if low >= 0.0 else first, min(last, 1.0) if within else last
