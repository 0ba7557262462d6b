"""What the machine offers, without importing anything heavy."""

from __future__ import annotations

import os


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
