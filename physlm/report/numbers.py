"""Numbers and quantities as readers like them."""

from __future__ import annotations

import math
import re

_UP = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Four digits: ``0.9946``, ``195,500``, ``4.631 × 10⁻⁵``; the minus is a minus sign."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    if 1e-4 <= abs(value) < 1e4:
        text = f"{value:.4g}"
    elif 1e4 <= abs(value) < 1e9:
        text = f"{round(value, 3 - math.floor(math.log10(abs(value)))):,.0f}"
    else:
        digits, _, exponent = f"{value:.3e}".partition("e")
        text = f"{digits.rstrip('0').rstrip('.')} × 10{str(int(exponent)).translate(_UP)}"
    return text.replace("-", "−")


def covers(name: str) -> str:
    """What an interval covers, behind it."""
    return {"": "", "nothing": "exact"}.get(name, f"over {name}")


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def pieces(name: str) -> list[str]:
    """A long name in pieces between which a line may break: ``answer@1 form/multi5`` at ``@``, ``/``, ``+``."""
    return [piece for piece in re.split(r"(?<=[@/+_=])", name) if piece]
