"""One measured number with its interval: what a measure returns and ``measures.csv`` holds.  Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A value with its 95 % interval.

    Attributes:
        quantity: what was measured, for example ``bits_per_param``.
        value: the measured value, in ``unit``.
        unit: for example ``bits``, ``nats/person``, ``bits/parameter``; ``1`` for a pure number.
        n: how many independent items (people, questions, ...) the value is an average or a sum over.
        lo, hi: the 95 % interval; both equal to ``value`` where the value is exact.
    """

    quantity: str
    value: float
    unit: str
    n: int
    lo: float
    hi: float
