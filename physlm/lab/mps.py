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
from physlm.machine import killed_with_parent

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = "/tmp/nvidia-mps"  # where CUDA looks if ``PIPES`` is not set
START_SECONDS = 10.0


def has_mps() -> bool:
    """Whether this machine has the program."""
    return shutil.which(PROGRAM) is not None


def in_mps() -> bool:
    """Whether the service is at work for this process and those that it starts; what it left behind is not enough."""
    if not (Path(os.environ.get(PIPES, USUAL_PIPES)) / "control").exists() or not has_mps():
        return False
    told = _tell("get_server_list")
    return told is not None and told.returncode == 0 and "Cannot find" not in told.stdout + told.stderr


def _tell(what: str) -> subprocess.CompletedProcess[str] | None:
    """What the program answers; None if it does not."""
    try:
        return subprocess.run([PROGRAM], input=f"{what}\n", text=True, capture_output=True, timeout=START_SECONDS,
                              check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def check_mps() -> None:
    """``UserError`` where the program is not there."""
    if not has_mps():
        raise UserError(f"{PROGRAM}: not found; it comes with NVIDIA's driver, and must be on the PATH")


@contextlib.contextmanager
def mps() -> Iterator[None]:
    """The service, for the processes that are started meanwhile: the one that is there, or one of their own.

    This process is not part of it if it uses CUDA already.

    Raises:
        UserError: the program is not there, or does not start.
    """
    check_mps()
    if in_mps():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="physlm-mps-") as folder, _set({PIPES: folder, LOGS: folder}), _service():
        yield


@contextlib.contextmanager
def _set(places: dict[str, str]) -> Iterator[None]:
    """Variables of the environment, and then what they were."""
    before = {name: os.environ.get(name) for name in places}
    os.environ.update(places)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _service() -> Iterator[None]:
    """The program, out of reach of Ctrl-C, which is for those that use it first, and gone with this process."""
    # it would number the GPUs that it sees anew, and those that use it would ask for the wrong ones
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    service = subprocess.Popen([PROGRAM, "-f"], env=seen, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=killed_with_parent)  # fmt: skip
    assert service.stderr is not None
    with service.stderr:
        try:
            _await(service)
            yield
        finally:
            _end(service)


def _await(service: subprocess.Popen[str]) -> None:
    begun = time.monotonic()
    while not in_mps():
        if service.poll() is not None:
            assert service.stderr is not None
            raise UserError(f"{PROGRAM}: ended with exit code {service.returncode}: {service.stderr.read().strip()}")
        if time.monotonic() - begun > START_SECONDS:
            raise UserError(f"{PROGRAM}: not ready after {START_SECONDS:.0f} s")
        time.sleep(0.05)


def _end(service: subprocess.Popen[str]) -> None:
    """Ask it to end its servers and itself; kill it if it does not."""
    if service.poll() is None:
        _tell("quit")
    try:
        service.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
