"""Freed memory is used again, where the C library is glibc."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
import numpy as np
from physlm.machine import keep_freed_memory

def allocated() -> int:
    blocks = [np.ones(4 << 20, np.uint8) for _ in range(8)]
    return len(blocks)

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(3):
    allocated()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    allocated()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched(how: str) -> int:
    """Pages that the system had to give in 20 rounds of 32 MB, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep freed memory")
def test_freed_memory_is_used_again() -> None:
    kept, control = pages_fetched("keep"), pages_fetched("leave")
    assert kept < control / 10, (kept, control)
