"""``physlm run --data-parallel`` under torchrun: one store, one report, and killed on two it goes on with one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from apart import END, LONG
from killed import contents
from test_end_to_end import EXPERIMENT, step_of
from test_stopping import alive, descendants, wait_until

from physlm.errors import UserError
from physlm.lab.experiment import load_experiment
from physlm.lab.parallel import of_torchrun
from physlm.lab.store import Store
from physlm.lab.sweep import sweep

CPU = torch.device("cpu")
COMMAND = ["-m", "physlm", "run", "tiny", "--tier", "smoke", "--device", "cpu"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *COMMAND, "--data-parallel"]


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.py").write_text(EXPERIMENT)
    return folder


@contextlib.contextmanager
def started(command: list[str], experiments: Path, root: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a group of processes of its own, of which nothing is left afterwards."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    process = subprocess.Popen(
        [sys.executable, *command, "--experiments", str(experiments), "--runs", str(root)], env=environment,
        cwd=experiments.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> str:
    """Kill it and all below it, which hold its output open; what it had printed and nobody read."""
    below = descendants(process.pid)  # torchrun's workers are in sessions of their own
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert process.stdout is not None
    return "" if process.stdout.closed else process.communicate(timeout=END)[0]


def output_of(command: list[str], experiments: Path, root: Path) -> str:
    """What it prints until it ends well."""
    with started(command, experiments, root) as process:
        output, _ = process.communicate(timeout=LONG)
        assert process.returncode == 0, output
    return output


def wait_for(process: subprocess.Popen[str], enough: Callable[[], bool]) -> None:
    """Until it has come so far; it must be at work then."""
    wait_until(lambda: process.poll() is not None or enough(), LONG)
    if process.poll() is not None or not enough():
        pytest.fail(end(process))


def children(process: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def logged(root: Path, name: str) -> list[list[float]]:
    lines = sorted(root.glob("bioD*/metrics.jsonl"))
    assert len(lines) == 4
    return [[json.loads(line)[name] for line in path.read_text().splitlines()] for path in lines]


def test_killed_on_two_and_ended_on_two_and_one(experiments: Path, tmp_path: Path) -> None:
    root, reference = tmp_path / "runs", tmp_path / "reference"
    specs = load_experiment("tiny", experiments).specs("smoke")
    with started(TORCHRUN, experiments, root, PHYSLM_TEST_SLOW="1") as process:
        sweep(specs, ("capacity",), Store(reference), CPU, progress=False)  # meanwhile, by one process
        wait_for(process, lambda: any(path.exists() and step_of(path) > 0
                                      for path in root.glob("populations/*.safetensors")))
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        process.communicate(timeout=LONG)
        assert process.returncode != 0, "torchrun ends the others"
    assert not list(root.glob("*/DONE"))
    (checkpoint,) = (root / "populations").glob("*.safetensors")
    assert 0 < step_of(checkpoint) < specs[0].steps

    # the first population is finished by two processes, the second one by one
    with started(TORCHRUN, experiments, root, PHYSLM_TEST_SLOW="1") as process:
        wait_for(process, lambda: len(list(root.glob("*/DONE"))) >= 2)
        workers = children(process.pid)
        process.kill()  # and its processes, which nobody would end, die with it
        assert wait_until(lambda: not any(map(alive, workers)), END)
    resumed = [json.loads((path.parent / "timing.json").read_text())["first_step"] for path in root.glob("*/DONE")]
    assert len(resumed) >= 2 and sum(step > 0 for step in resumed) == 2
    output_of(COMMAND, experiments, root)
    for name in ("loss", "gradient_norm", "learning_rate", "tokens", "step"):
        for ours, theirs in zip(logged(root, name), logged(reference, name), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3 if name == "gradient_norm" else 1e-4)
    assert contents(root).keys() == contents(reference).keys()


def test_two_processes_report_once_and_leave_what_one_leaves(experiments: Path, tmp_path: Path) -> None:
    output = output_of(TORCHRUN, experiments, tmp_path / "runs")
    assert output.count("Tiny models learn.") == output.count("results  ") == 1
    assert "using 2 CPU threads in 2 processes, all for each run" in output and "--processes" not in output, output
    assert len(list((tmp_path / "runs").glob("*/DONE"))) == 4
    assert "4 of 4 runs are finished" in output_of(TORCHRUN, experiments, tmp_path / "runs")


def test_what_torchrun_must_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="not started by torchrun; expected torchrun --nproc-per-node"), \
            of_torchrun(CPU, ()):
        pass
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="process 5 of 8, the number 1 of its host"), of_torchrun(CPU, ()):
        pass
