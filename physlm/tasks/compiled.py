"""How the kernels of tasks are compiled and spread over cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba

Call = Callable[..., Any]
HERE = Path(__file__).parent
# of what every kernel is made
SOURCES = tuple(HERE / f"{name}.py" for name in ("compiled", "compiled_draws", "compiled_rng", "draws"))


def compiled(function: Call) -> Call:
    """Machine code for ``function`` at its first call, which lets other threads run meanwhile.

    The code is kept between processes where numba finds a folder to write to (beside the module, the user's cache
    folder, or ``NUMBA_CACHE_DIR``), and compiled anew in each process where it finds none.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": nothing is writable
        return numba.njit(nogil=True)(function)


def part(function: Call) -> Call:
    """A function that others call: compiled with the entry that needs it, which is what is kept."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def stamp(sources: Iterable[Path]) -> int:
    """A number that is another for other texts of these files."""
    return int.from_bytes(hashlib.sha256(b"".join(path.read_bytes() for path in sources)).digest()[:7], "little")


def entry(make: Callable[[int], Call], of: int) -> Call:
    """Machine code of the function that ``make(of)`` returns, ``of`` being the stamp of all its sources.

    numba keeps the code of a function as long as the function's own file is the same, whatever it calls.  So only
    entries are kept, as a whole, and the stamp, which they close over, is a part of their key.
    """
    function = make(of)
    assert function.__closure__ is not None and of in (cell.cell_contents for cell in function.__closure__)
    return compiled(function)


def over_slices(call: Callable[[int, int], None], count: int, threads: int) -> None:
    """``call(start, end)`` for slices that cover 0 .. count - 1, on that many threads."""
    if threads <= 1 or count <= 1:
        call(0, count)
        return
    # several slices a thread, so that one with long texts does not hold up the rest
    size = max(1, -(-count // (8 * threads)))
    pool = ThreadPoolExecutor(threads)
    try:
        for done in [pool.submit(call, start, min(start + size, count)) for start in range(0, count, size)]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, slices that wait for a thread are not begun
