"""How the parts are compiled, and kept between processes without ever being out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numba

from physlm.tasks.compiled import Call, compiled

HERE = Path(__file__).parent
SOURCES = (*sorted(HERE.glob("*.py")), *(HERE.parent / f"{name}.py" for name in ("config", "draws", "kernel", "noise",
                                                                                "pieces", "record")))  # fmt: skip
STAMP = int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).digest()[:7], "little")


def part(function: Call) -> Call:
    """A function that others call: compiled with the entry that needs it, which is what is kept."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def entry(make: Callable[[int], Call]) -> Call:
    """Machine code of the function that ``make(STAMP)`` returns; other threads run meanwhile.

    numba keeps the code of a function as long as the function's own file is the same, whatever it calls.  So only
    entries are kept, as a whole, and the stamp of all sources, which they close over, is a part of their key.
    """
    function = make(STAMP)
    assert function.__closure__ is not None and STAMP in (cell.cell_contents for cell in function.__closure__)
    return compiled(function)
