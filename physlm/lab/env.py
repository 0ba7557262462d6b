"""Where numbers come from: versions, device, git revision.  Written beside every run and result; free of torch."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import physlm
from physlm.errors import counted
from physlm.lab.folders import checkout
from physlm.machine import cpu_cores


def environment(device: str, precision: str) -> dict[str, Any]:
    """What somebody needs to know to get the same numbers.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: of the training run.

    Returns:
        python, torch, numpy and physlm versions; device, device_name, precision; git_revision of the checkout that
        physlm runs from (None outside one) and git_dirty, whether tracked files differ from it.
    """
    revision, dirty = _git_state()
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "physlm": physlm.__version__,
        "device": device,
        "device_name": device_name(device),
        "precision": precision,
        "git_revision": revision,
        "git_dirty": dirty,
    }


def device_name(device: str) -> str:
    """``NVIDIA H200``, or the processor and the number of its cores that this process may use."""
    if device.startswith("cuda"):
        return gpu_name() or "unknown GPU"
    return f"{_processor()} ({counted(cpu_cores(), 'core')})"


def gpu_name() -> str | None:
    """The first GPU's name as the driver tells it, without importing torch; None without one."""
    text = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return text.splitlines()[0].strip() if text else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@functools.cache
def _git_state() -> tuple[str | None, bool | None]:
    """Revision and whether tracked files differ from it, asked once: the modules were imported as they were then."""
    root = checkout()  # an installed copy may lie within somebody else's repository
    git = ("git", "-C", str(root))
    revision = _output(*git, "rev-parse", "HEAD") if root is not None else None
    if revision is None:  # a copy without its history: whoever copied it may say what it is a copy of
        return os.environ.get("PHYSLM_GIT_REVISION"), None
    return revision, bool(_output(*git, "status", "--porcelain", "--untracked-files=no")) if revision else None


def _output(*command: str) -> str | None:
    """What a command prints; None if it is missing, fails or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
