"""What the machine offers, and how this process uses it, without importing anything heavy."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Parameters of mallopt(3), and bytes: the largest block that is not mapped by itself (glibc takes no more), and what is
# kept for the next one at most.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BLOCK, _MOST_KEPT = 1 << 25, 1 << 30
_PR_SET_PDEATHSIG = 1  # of prctl(2)


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have freed memory used again instead of given back, where the C library is glibc; elsewhere nothing is done.

    A step of training on a CPU allocates and frees the same tensors of some megabytes each time.  By itself glibc gives
    them back to the system, and each page of the next ones is fetched, and cleared, again: a tenth to a third of the
    time of a step of a small model.  It costs at most a GiB that is held but not used.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):  # other libraries have other parameters
            # both, as setting either ends glibc's own adjustment of both
            library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
            library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)


def killed_with_parent() -> None:
    """On Linux the system sees to it, also while an import or a compiler keeps all threads waiting."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
