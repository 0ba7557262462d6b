"""How far a count of draws may be from its mean."""

from __future__ import annotations

import math


def near(found: float, count: int, share: float) -> bool:
    """Whether a number that is drawn with this chance, out of ``count``, was found as often: within 5 deviations."""
    return abs(found - count * share) < 5 * math.sqrt(count * share * (1 - share)) + 1e-9
