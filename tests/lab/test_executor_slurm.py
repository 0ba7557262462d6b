"""Sweeps as jobs of submitit: on this machine, and of a Slurm that is played by scripts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import apart
import fake_slurm
import pytest
from extras import of_extra
from test_stopping import alive

from physlm.errors import UserError
from physlm.lab.executors.slurm import Slurm

of_extra("submitit", "slurm")
LOCAL = ["--executor", "slurm", "--slurm", "cluster=local"]
SLURM = ["--executor", "slurm", "--slurm", "partition=tiny", "--slurm", "time=7"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine leaves of the claim ``seconds`` without submitit."""
    folder = tmp_path_factory.mktemp("alone")
    apart.run("seconds", folder / "runs", *apart.seconds(folder / "experiments"))
    return folder / "runs"


def workers(runs: Path) -> list[int]:
    return apart.pids("submitit.core._submit", str(runs), "python")


def test_measures_and_weights_are_those_of_one_process(tmp_path: Path) -> None:
    apart.run("p33_capacity", tmp_path / "alone")
    out = apart.run("p33_capacity", tmp_path / "submitit", *LOCAL, "--processes", "2")
    assert "on submitit's processes here: 2 jobs at once, asking for no GPU" in out
    alone = apart.found(tmp_path / "alone")
    assert len(alone) == 8 * len(apart.KEPT) and apart.found(tmp_path / "submitit") == alone


def test_a_killed_job_is_submitted_again_and_the_sweep_ends_complete(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *LOCAL)
    apart.check_killed_worker(alone, tmp_path / "runs", options, lambda process: workers(tmp_path / "runs"))


def test_jobs_here_end_with_the_sweep_and_the_same_command_goes_on(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *LOCAL)
    apart.check_terminated(tmp_path / "stopped", options, lambda process: workers(tmp_path / "stopped"))
    apart.check_killed_sweep(alone, tmp_path / "killed", options, lambda process: workers(tmp_path / "killed"))


# ---- a Slurm that is played


def test_jobs_of_slurm_end_complete_whether_one_is_killed_or_their_sweep(alone: Path, tmp_path: Path) -> None:
    env, runs = fake_slurm.install(tmp_path / "slurm"), tmp_path / "runs"
    options = apart.seconds(tmp_path / "experiments", *SLURM)
    with apart.training(runs, options, env) as process:
        (first,) = workers(runs)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # the machine that submits is gone, its jobs are not; the next sweep on this folder cancels them
        assert alive(first)
    apart.check_killed_worker(alone, runs, options, lambda process: workers(runs), env, first)
    assert not alive(first)
    jobs = fake_slurm.submitted(tmp_path / "slurm")
    assert len(jobs) == 1 + 1 + 2, "of the sweep that was killed, the one that was, and one for each population"
    assert len({job["job-name"] for job in jobs}) == 1 and jobs[0]["job-name"].startswith("physlm-")
    assert {(job["partition"], job["time"], job.get("gpus-per-node")) for job in jobs} == {("tiny", "7", None)}


def play(folder: Path, gpus: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    env = fake_slurm.install(folder, gpus)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env




@pytest.mark.parametrize(("gpus", "device", "asked"), [
    ("gpu:h100:8", None, "1"), ("gpu:h100:8", "cpu", None), ("(null)", None, None), ("(null)", "cuda", "1"),
])  # fmt: skip
def test_a_job_asks_for_one_gpu_where_slurm_or_the_option_says_gpus(
    gpus: str, device: str | None, asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path / "slurm", gpus, monkeypatch)
    slurm = Slurm.of({"partition": "big", "mem": "64GB"}, device, None)
    assert slurm.device.type == ("cuda" if asked else "cpu") and slurm.processes == 8
    assert slurm.using(3) == f"on Slurm: 3 jobs at once, asking for {'one GPU for each job' if asked else 'no GPU'}"
    submit = slurm._submit(of_extra("submitit", "slurm"), tmp_path / "logs", "physlm-x", 1)
    submitted = submit(None, 0)  # type: ignore[arg-type]
    subprocess.run(["scancel", submitted.job_id], check=True)
    (job,) = fake_slurm.submitted(tmp_path / "slurm")
    assert (job.get("gpus-per-node"), job["partition"], job["mem"], job["time"]) == (asked, "big", "64GB", "1440")


@pytest.mark.parametrize(("options", "message"), [
    ({"partitoin": "x"}, "--slurm: unknown name 'partitoin'; did you mean 'partition'"),
    ({"gpus_per_node": "4"}, "--slurm: unknown name 'gpus_per_node'"),  # the sweep says it
    ({"cluster": "moon"}, "--slurm cluster: unknown name 'moon'"),
])  # fmt: skip
def test_options_that_do_not_exist_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Slurm.of(options, "cpu", None)


def test_a_machine_without_slurm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch and srun; expected .* --slurm cluster=local"):
        Slurm.of({}, None, None)
