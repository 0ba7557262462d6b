"""Of which sources the machine code of the generator is made, so that what is kept is never out of date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from physlm.tasks import compiled as compiling
from physlm.tasks.compiled import Call

HERE = Path(__file__).parent
SOURCES = (*sorted(HERE.glob("*.py")), *compiling.SOURCES, *(HERE.parent / f"{name}.py" for name in (
    "config", "draws", "kernel", "noise", "pieces", "record")))  # fmt: skip
STAMP = compiling.stamp(SOURCES)


def entry(make: Callable[[int], Call]) -> Call:
    """Machine code of the function that ``make(STAMP)`` returns; other threads run meanwhile."""
    return compiling.entry(make, STAMP)
