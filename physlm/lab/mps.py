"""CUDA's Multi-Process Service: kernels of several processes run on a GPU at the same time, not in turns.

Without it a GPU belongs to one process at a time.  With it the kernels of all processes fill the multiprocessors that
others leave idle, which small models do.  The service is a program of NVIDIA's driver; it changes no setting of the
GPU, needs no rights but those of the user, and ends with the ``with``.
https://docs.nvidia.com/deploy/mps/
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from physlm.errors import UserError

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = "/tmp/nvidia-mps"  # where CUDA looks if ``PIPES`` is not set
START_SECONDS = 10.0


def has_mps() -> bool:
    """Whether this machine has the program."""
    return shutil.which(PROGRAM) is not None


def in_mps() -> bool:
    """Whether somebody has started the service for processes of this one."""
    return (Path(os.environ.get(PIPES, USUAL_PIPES)) / "control").exists()


@contextlib.contextmanager
def mps() -> Iterator[None]:
    """The service, for the processes that are started meanwhile; this one is not part of it if it uses CUDA already.

    Raises:
        UserError: the program is not there, or does not start.
    """
    if not has_mps():
        raise UserError(f"{PROGRAM}: not found; it comes with NVIDIA's driver, and must be on the PATH")
    with tempfile.TemporaryDirectory(prefix="physlm-mps-") as folder:
        places = {PIPES: folder, LOGS: folder}
        before = {name: os.environ.get(name) for name in places}
        service = subprocess.Popen([PROGRAM, "-f"], env={**os.environ, **places}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        try:
            _await(service, Path(folder) / "control")
            os.environ.update(places)
            yield
        finally:
            _restore(before)
            _end(service, {**os.environ, **places})


def _await(service: subprocess.Popen[str], control: Path) -> None:
    begun = time.monotonic()
    while not control.exists():
        if service.poll() is not None:
            assert service.stderr is not None
            raise UserError(f"{PROGRAM}: ended with exit code {service.returncode}: {service.stderr.read().strip()}")
        if time.monotonic() - begun > START_SECONDS:
            raise UserError(f"{PROGRAM}: not ready after {START_SECONDS:.0f} s")
        time.sleep(0.05)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _end(service: subprocess.Popen[str], environment: dict[str, str]) -> None:
    """Ask it to end its servers and itself; kill it if it does not."""
    if service.poll() is None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([PROGRAM], input="quit\n", text=True, env=environment, capture_output=True,
                           timeout=START_SECONDS, check=False)  # fmt: skip
    try:
        service.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
    assert service.stderr is not None
    service.stderr.close()
