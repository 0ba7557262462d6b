"""``physlm run --data-parallel`` under torchrun: one store, one report, and killed on two it goes on with one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from killed import contents
from test_end_to_end import EXPERIMENT, step_of

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


def start(command: list[str], experiments: Path, root: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    return subprocess.Popen(
        [sys.executable, *command, "--experiments", str(experiments), "--runs", str(root)], env=environment,
        cwd=experiments.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def children(process: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def logged(root: Path, name: str) -> list[list[float]]:
    lines = sorted(root.glob("bioD*/metrics.jsonl"))
    assert len(lines) == 4
    return [[json.loads(line)[name] for line in path.read_text().splitlines()] for path in lines]


def test_killed_on_two_and_ended_on_two_and_one(experiments: Path, tmp_path: Path) -> None:
    root, reference = tmp_path / "runs", tmp_path / "reference"
    specs = load_experiment("tiny", experiments).specs("smoke")
    process = start(TORCHRUN, experiments, root, PHYSLM_TEST_SLOW="1")
    sweep(specs, ("capacity",), Store(reference), CPU, progress=False)  # meanwhile, by one process
    end = time.monotonic() + 200
    while not any(path.exists() and step_of(path) > 0 for path in root.glob("populations/*.safetensors")):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert process.wait(100) != 0, "torchrun ends the others"
    process.communicate()
    assert not list(root.glob("*/DONE"))
    (checkpoint,) = (root / "populations").glob("*.safetensors")
    assert 0 < step_of(checkpoint) < specs[0].steps

    # the first population is finished by two processes, the second one by one
    process = start(TORCHRUN, experiments, root, PHYSLM_TEST_SLOW="1")
    end = time.monotonic() + 200
    while len(list(root.glob("*/DONE"))) < 2:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.01)
    workers = children(process.pid)
    process.kill()  # and its processes, which nobody would end, die with it
    process.communicate()
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.01)
    resumed = [json.loads((path.parent / "timing.json").read_text())["first_step"] for path in root.glob("*/DONE")]
    assert len(resumed) >= 2 and sum(step > 0 for step in resumed) == 2
    process = start(COMMAND, experiments, root)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    for name in ("loss", "gradient_norm", "learning_rate", "tokens", "step"):
        for ours, theirs in zip(logged(root, name), logged(reference, name), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3 if name == "gradient_norm" else 1e-4)
    assert contents(root).keys() == contents(reference).keys()


def test_two_processes_report_once_and_leave_what_one_leaves(experiments: Path, tmp_path: Path) -> None:
    process = start(TORCHRUN, experiments, tmp_path / "runs")
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    assert output.count("Tiny models learn.") == output.count("results  ") == 1
    assert len(list((tmp_path / "runs").glob("*/DONE"))) == 4
    again = start(TORCHRUN, experiments, tmp_path / "runs")
    output = again.communicate(timeout=200)[0]
    assert again.returncode == 0 and "4 of 4 runs are finished" in output, output


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
