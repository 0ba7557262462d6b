"""Processes that share a GPU at the same time: the service is there for them, and gone with them."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from fakes import CPU, make_spec

from physlm.commands.executing import Where
from physlm.errors import UserError
from physlm.lab.executors.contract import Job, Work
from physlm.lab.executors.local import Local
from physlm.lab.mps import LOGS, PIPES, PROGRAM, has_mps, in_mps, mps
from physlm.lab.planner import Population

# What NVIDIA's program does as far as we see it: it makes ``control``, and ends when another of its kind says so, which
# also tells whether one is there.
SERVICE = """#!/bin/sh
if [ "$1" = -f ]; then
  echo "${{CUDA_VISIBLE_DEVICES-all}}" > "{said}.gpus"
  mkfifo "$CUDA_MPS_PIPE_DIRECTORY/control"
  touch "$CUDA_MPS_PIPE_DIRECTORY/alive"
  read said < "$CUDA_MPS_PIPE_DIRECTORY/control"
  echo "$said" > "{said}"
  exit
fi
read what
if [ ! -e "$CUDA_MPS_PIPE_DIRECTORY/alive" ]; then
  echo "Cannot find MPS control daemon process"
elif [ "$what" = quit ]; then
  echo quit > "$CUDA_MPS_PIPE_DIRECTORY/control"
fi
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.delenv(LOGS, raising=False)
    return folder


def put(path: Path, text: str) -> None:
    (path / PROGRAM).write_text(text, encoding="utf-8")
    (path / PROGRAM).chmod(0o755)


def test_the_service_is_there_within_the_with_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    put(path, SERVICE.format(said=said))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with mps():
        folder = Path(os.environ[PIPES])
        assert in_mps() and os.environ[LOGS] == str(folder) and not said.exists()
    assert said.read_text(encoding="utf-8") == "quit\n"
    assert (tmp_path / "said.gpus").read_text(encoding="utf-8") == "all\n", "numbers of GPUs stay what they are"
    assert not folder.exists() and PIPES not in os.environ and LOGS not in os.environ


def test_the_service_ends_after_an_error(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, SERVICE.format(said=tmp_path / "said"))
    monkeypatch.setenv(PIPES, "before")
    with pytest.raises(ZeroDivisionError), mps():
        raise ZeroDivisionError
    assert (tmp_path / "said").exists() and os.environ[PIPES] == "before"


def test_a_machine_without_the_service_is_told_so(path: Path) -> None:
    assert not has_mps()
    with pytest.raises(UserError, match=f"^{PROGRAM}: not found; it comes with NVIDIA's driver"), mps():
        pass


def test_a_service_that_does_not_start_is_told_with_its_words(path: Path) -> None:
    put(path, "#!/bin/sh\necho no GPU here >&2\nexit 3\n")
    with pytest.raises(UserError, match=f"^{PROGRAM}: ended with exit code 3: no GPU here$"), mps():
        pass


def test_a_service_that_is_there_already_is_used(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(path, SERVICE.format(said=tmp_path / "said"))
    monkeypatch.setenv(PIPES, str(tmp_path))
    (tmp_path / "control").touch()
    assert not in_mps(), "only its pipe was left behind"
    (tmp_path / "alive").touch()
    with mps():
        assert os.environ[PIPES] == str(tmp_path) and in_mps()
    assert in_mps(), "who started it ends it"


# ---- as a sweep uses it


def write_places(folder: Path, work: Work) -> None:
    (folder / "seen").write_text(f"{os.environ.get(PIPES)} {in_mps()}", encoding="utf-8")


@pytest.mark.parametrize("asked", [False, True])
def test_processes_of_a_sweep_find_the_service_where_it_was_asked_for(
    asked: bool, path: Path, tmp_path: Path
) -> None:
    put(path, SERVICE.format(said=tmp_path / "said"))
    with Local(CPU, 2, mps=asked).crew(partial(write_places, tmp_path), 2, tmp_path) as crew:
        crew.begin(Job(Population((make_spec(),))))
        assert [error for _, error in crew.ended()] == [None]
    where, there = (tmp_path / "seen").read_text(encoding="utf-8").split()
    assert (there, (tmp_path / "said").exists()) == (str(asked), asked) and (where == "None") == (not asked)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    return torch.device("cuda")


def test_a_line_says_that_processes_share_at_the_same_time(one_gpu: torch.device, path: Path) -> None:
    put(path, "#!/bin/sh\n")
    executor = Local(one_gpu, 4, mps=True).checked()
    assert executor.using(9) == "using 1 of 1 GPU seen, shared by 4 processes at the same time"


@pytest.mark.parametrize(("device", "processes", "message"), [
    ("cuda", 1, "--mps: got 1 process on 1 GPU; expected --processes N with more processes than GPUs"),
    ("cpu", 4, "--mps: got 4 processes on a CPU; expected"),
    ("cuda", 2, f"{PROGRAM}: not found"),
])  # fmt: skip
def test_what_cannot_be_shared_is_refused(
    device: str, processes: int, message: str, one_gpu: torch.device, path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        Local(torch.device(device), processes, mps=True).checked()


@pytest.mark.parametrize("beside", [{"name": "ray"}, {"data_parallel": True}, {"trains": False}])
def test_options_that_contradict_it_are_refused(beside: dict[str, object]) -> None:
    where = dataclasses.replace(Where("local", None, None, None, (), mps=True), **beside)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="^--mps: got --executor, --data-parallel or --finished-only beside it"):
        where.check()
