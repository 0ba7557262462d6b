"""Several processes on one GPU: what the bench prints, and the service that lets them run at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from physlm.errors import LostProcessError, UserError
from physlm.lab import bench_sharing
from physlm.lab.mps import LOGS, PIPES, PROGRAM, has_mps, in_mps, mps

# What NVIDIA's program does as far as we see it: it makes ``control``, and ends when another of its kind says so.
SERVICE = """#!/bin/sh
if [ "$1" = -f ]; then
  mkfifo "$CUDA_MPS_PIPE_DIRECTORY/control"
  read said < "$CUDA_MPS_PIPE_DIRECTORY/control"
  echo "$said" > "{said}"
else
  cat > "$CUDA_MPS_PIPE_DIRECTORY/control"
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


def test_the_service_is_there_within_the_with_alone(path: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    put(path, SERVICE.format(said=said))
    with mps():
        folder = Path(os.environ[PIPES])
        assert in_mps() and os.environ[LOGS] == str(folder) and not said.exists()
    assert said.read_text(encoding="utf-8") == "quit\n"
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


def test_two_processes_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    bench_sharing.bench_sharing(quick=True, device="cpu")
    _, columns, *lines = capsys.readouterr().out.splitlines()
    assert columns.split() == ["case", "processes", "in", "turns", "over", "one"]
    (*_, one, speed, over_itself), (*_, two, both, over_one) = (line.split() for line in lines)
    assert (one, two, float(over_itself)) == ("1", "2", 1.0)
    assert float(speed) > 0 and float(both) > 0 and float(over_one) > 0


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(bench_sharing, "_train", os._exit)  # called with what it cannot take: the process ends
    with pytest.raises(LostProcessError, match="^one of the 2 processes of the bench died$"):
        bench_sharing.tokens_a_second(bench_sharing.SMALL[0], torch.device("cpu"), 2, 0.1)
