"""One measured number with its interval: what a measure returns and ``measures.csv`` holds.  Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from physlm.errors import UserError
from physlm.interval import NOTHING, Interval
from physlm.places import Place, place


@dataclass(frozen=True)
class Row:
    """A value with its 95 % interval, over the items of one trained model.

    Attributes:
        quantity: what was measured, for example ``bits_per_param``; no setting, kind or place is part of it.
        value: the measured value, in ``unit``; NaN, with its interval, where it is no number.
        unit: for example ``bits``, ``nats/person``, ``bits/parameter``; ``1`` for a pure number.
        n: how many independent items (people, questions, ...) the value is an average or a sum over.
        lo, hi: the 95 % interval; both equal to ``value`` where the value is exact.
        where: what it was measured on or at, ``{"kind": "employer", "half": "test", "layer": 3}``: columns of their own
            in every table, ``at.kind``, ``at.half``, ``at.layer``.  Numbers stay numbers; a text that reads as a
            number becomes one.
    """

    quantity: str
    value: float
    unit: str
    n: int
    lo: float
    hi: float
    where: Mapping[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.quantity):
            raise UserError(f"row: got quantity {self.quantity!r}, expected letters, digits and _: where it was "
                            "measured belongs into where")
        for key, value in self.where.items():
            if not re.fullmatch(r"\w+", key) or not isinstance(value, int | float | str) or value == "":
                raise UserError(f"row {self.quantity}: got where {key!r}: {value!r}, expected a name of letters, "
                                "digits and _, and a number or a text that is not empty")
        texts = {key: place(value) if isinstance(value, str) else value for key, value in self.where.items()}
        object.__setattr__(self, "where", texts)

    @property
    def interval(self) -> Interval:
        """The number and its interval."""
        return Interval(self.value, self.lo, self.hi, self.n, covers=NOTHING if self.lo == self.hi else "items")

    @property
    def label(self) -> str:
        """Quantity and places in one text: ``answer/kind=employer/half=test``."""
        return "/".join([self.quantity, *(f"{key}={value}" for key, value in self.where.items())])
