"""Sweeps on Ray: the same runs, and what is killed is begun again."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import apart
import pytest
from extras import of_extra
from test_stopping import descendants, wait_until

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
    assert "on Ray, 1 machine: 2 tasks at once, of " in out  # and its share of this machine's CPUs
    alone = apart.found(tmp_path / "alone")
    assert len(alone) == 8 * len(apart.KEPT) and apart.found(tmp_path / "ray") == alone


def test_a_cluster_is_joined_by_its_address_and_left_as_it_is(alone: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    code = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    options = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
               "--disable-usage-stats"]  # fmt: skip
    with open(tmp_path / "head", "w") as said:
        head = subprocess.Popen([sys.executable, "-c", code, *options], env=env, stdout=said, stderr=said)
    try:
        assert wait_until(lambda: "Ray runtime started" in (tmp_path / "head").read_text(), apart.LONG)
        apart.run("seconds", tmp_path / "runs", *apart.seconds(tmp_path / "experiments", *RAY, "--ray-address",
                                                               f"127.0.0.1:{port}"), env=env)
        apart.check_complete(alone, tmp_path / "runs")
        assert head.poll() is None
    finally:
        head.terminate()
        head.wait(apart.LONG)


def test_a_killed_worker_is_replaced_and_the_sweep_ends_complete(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *RAY)
    apart.check_killed_worker(alone, tmp_path / "runs", options, workers)


def test_workers_end_with_the_sweep_and_the_same_command_goes_on(alone: Path, tmp_path: Path) -> None:
    options = apart.seconds(tmp_path / "experiments", *RAY)
    apart.check_terminated(tmp_path / "stopped", options, workers)
    apart.check_killed_sweep(alone, tmp_path / "killed", options, workers)


GPUS = """
import os, sys
from functools import partial
from pathlib import Path
import ray
import apart
from fakes import make_spec
from physlm.lab.executors.contract import Job, finish_jobs
from physlm.lab.executors.ray import Ray
from physlm.lab.store import Store

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ray.init(address="local", num_cpus=8, num_gpus=2, include_dashboard=False, log_to_driver=False)
    executor = Ray.connect(None, None, None)
    assert (executor.device.type, executor.processes, executor.gpus) == ("cuda", 2, 2)
    print(executor.using(5))
    jobs = [Job(make_spec(seed=seed)) for seed in range(4)]
    store = Store(folder / "runs")
    with store.lock(), executor.crew(partial(apart.meet, folder), len(jobs), store.root) as crew:
        assert len(list(finish_jobs(jobs, crew))) == 4
"""


def test_each_task_has_a_gpu_of_its_own_of_those_that_ray_sees(tmp_path: Path) -> None:
    """Of a Ray that is told of two GPUs; no task touches one."""
    (tmp_path / "main.py").write_text(GPUS)
    path = os.pathsep.join([str(apart.ROOT), *map(str, Path(__file__).parents[:2])])
    done = subprocess.run([sys.executable, str(tmp_path / "main.py"), str(tmp_path)], capture_output=True, text=True,
                          check=False, timeout=apart.LONG, cwd=apart.ROOT, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "on Ray, 1 machine: using 2 of 2 GPUs seen\n"
    met = [file.read_text().split() for file in tmp_path.glob("met-*")]
    assert len(met) == 4 and {gpu for gpu, _ in met} == {"0", "1"}
    assert [gpu for gpu, _ in met].count("0") == 2, "two at once, each on another"


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
