"""Where a number was measured, as columns: ``at.kind`` = employer, ``at.layer`` = 3.

A measure's rows hold ``{"kind": "employer", "layer": 3}``, a results table the same under ``AT`` + key, and empty texts
in the rows that were measured at no such place.
"""

from __future__ import annotations

import re

AT = "at."
Place = int | float | str


def place(text: str) -> Place:
    """``3`` as 3, ``0.1`` as 0.1, and everything else as it is."""
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?\d{1,18}(\.\d{1,20})?(e-?\d{1,3})?", text):
        return float(text)
    return text
