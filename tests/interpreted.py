"""Where tests run Triton's kernels: on a CUDA device, or on the CPU in its interpreter, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

CUDA, TRITON = torch.cuda.is_available(), importlib.util.find_spec("triton") is not None
INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if CUDA and not INTERPRETER else "cpu")
KERNEL_DTYPES = [torch.float32, torch.float16] if INTERPRETER else [torch.float32, torch.bfloat16]
needs_kernels = pytest.mark.skipif(
    not CUDA and not (INTERPRETER and TRITON), reason="needs a CUDA device, or triton with TRITON_INTERPRET=1"
)
starts_interpreter = pytest.mark.skipif(
    CUDA or INTERPRETER or not TRITON,
    reason="the kernels run directly in this process, or triton is not installed (it is optional on a CPU)",
)


def assert_passes_interpreted(file: str, tests: str) -> None:
    """The tests of a file with these words in their names pass in the interpreter, and none is skipped."""
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-k", tests, file],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-5000:] + outcome.stderr[-2000:]
    assert " passed" in outcome.stdout and " skipped" not in outcome.stdout
