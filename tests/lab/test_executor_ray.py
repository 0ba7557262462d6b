"""Sweeps on Ray: the same runs, and what is killed is begun again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import apart
import pytest
from extras import of_extra
from test_stopping import descendants

from physlm.lab.executors.ray import cpus_each

of_extra("ray", "ray")
RAY = ["--executor", "ray"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine leaves of the claim ``seconds`` without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    apart.run("seconds", folder / "runs", *apart.seconds(folder / "experiments"))
    return folder / "runs"


def workers(process: subprocess.Popen[str]) -> list[int]:
    return [pid for pid in apart.pids("ray::carry_out") if pid in descendants(process.pid)]


def test_measures_and_weights_are_those_of_one_process(tmp_path: Path) -> None:
    apart.run("p33_capacity", tmp_path / "alone")
    out = apart.run("p33_capacity", tmp_path / "ray", *RAY, "--processes", "2")
    assert "on Ray, 1 machine: 2 tasks at once, of 1 CPU each" in out
    alone = apart.found(tmp_path / "alone")
    assert len(alone) == 8 * len(apart.KEPT) and apart.found(tmp_path / "ray") == alone


def test_a_killed_worker_is_replaced_and_the_sweep_ends_complete(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *RAY)
    apart.check_killed_worker(alone, tmp_path / "runs", options, workers)


def test_workers_end_with_the_sweep_and_the_same_command_goes_on(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *RAY)
    apart.check_terminated(tmp_path / "runs", options, workers)
    apart.check_killed_sweep(alone, tmp_path / "runs", options, workers)


@pytest.mark.parametrize(("nodes", "tasks", "tasks_a_gpu", "cpus"), [
    ([{"CPU": 8}], 2, None, 4),
    ([{"CPU": 8}, {"CPU": 8}], 1, None, 8),  # no task has CPUs of two machines
    ([{"CPU": 8}, {"CPU": 8}], 3, None, 4),
    ([{"CPU": 2}], 5, None, 1),
    ([{"CPU": 64}, {"CPU": 16, "GPU": 2}], 2, 1, 8),  # only where the GPUs are
    ([{"CPU": 16, "GPU": 2}], 8, 4, 2),
])  # fmt: skip
def test_tasks_share_the_cpus_of_the_machines_that_they_can_be_on(
    nodes: list[dict[str, float]], tasks: int, tasks_a_gpu: int | None, cpus: int
) -> None:
    assert cpus_each(nodes, tasks, tasks_a_gpu) == cpus
