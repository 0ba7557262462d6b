"""How the kernels of tasks are compiled and spread over cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

Call = Callable[..., Any]


def compiled(function: Call) -> Call:
    """Machine code for ``function`` at its first call, which lets other threads run meanwhile.

    The code is kept between processes where numba finds a folder to write to (beside the module, the user's cache
    folder, or ``NUMBA_CACHE_DIR``), and compiled anew in each process where it finds none.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": nothing is writable
        return numba.njit(nogil=True)(function)


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
