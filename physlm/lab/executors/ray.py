"""Jobs done as tasks of Ray Core: in a cluster of its own on this machine, or in one that is joined by its address.

Each task asks for one GPU (its share of one, with more processes than GPUs) and for its share of the CPUs, and Ray
finds the place.  A task whose worker or machine is lost is begun again and goes on from its checkpoint.  When the sweep
ends, however it ends, Ray ends its tasks.

All machines must share the folder of runs, the folder that the sweep was started in and the Python environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm.errors import LostProcessError, UserError, counted
from physlm.extras import needed
from physlm.lab.executors.contract import Do, Job, Work, check_processes, gpus_used
from physlm.lab.executors.remote import Order, carry_out
from physlm.machine import cpu_cores

if TYPE_CHECKING:
    import torch

OBJECT_BYTES = 100 << 20  # of Ray's store for what tasks exchange: here an order, and an error at most
LOOK_SECONDS = 0.2  # between two looks whether tasks have ended
ANSWER_SECONDS = 10.0  # until an address where nobody answers is refused
END_SECONDS = 10.0  # until a task that was told to end is left to Ray


@dataclass(frozen=True)
class Ray:
    """A cluster that this process has joined.

    Attributes:
        device: what every task trains and measures on.
        processes: most tasks at once.
        gpus, nodes: GPUs of the cluster, and what each of its machines has: ``CPU``, ``GPU``.
        here: whether the cluster is this machine alone.
    """

    device: torch.device
    processes: int
    gpus: int
    nodes: tuple[Mapping[str, float], ...]
    here: bool
    whole = False

    @classmethod
    def connect(cls, address: str | None, device: str | None, processes: int | None) -> Ray:
        """Join the cluster at ``address``, or start one here.

        Args:
            device: ``cpu``, ``cuda``, or None: GPUs if the cluster has any.
            processes: most tasks at once; None: one a GPU, or without GPUs one a CPU.

        Raises:
            UserError: ray is not installed, no cluster at this address, ``cuda`` without a GPU, too few GPUs.
        """
        import torch

        ray = needed("ray", "ray")
        _join(ray, address, processes)
        nodes = tuple(node["Resources"] for node in ray.nodes() if node["Alive"])
        gpus, cpus = (int(sum(node.get(what, 0) for node in nodes)) for what in ("GPU", "CPU"))
        if device == "cuda" and not gpus:
            raise UserError("device: got 'cuda', but Ray finds no GPU in its cluster; expected cpu")
        cuda = device == "cuda" or (device is None and gpus > 0)
        processes = processes or (gpus if cuda else cpus) or 1
        if cuda:
            check_processes(processes, gpus, f"Ray finds {gpus} GPUs in its cluster")
        return cls(torch.device("cuda" if cuda else "cpu"), processes, gpus, nodes, address is None)

    def apart(self, runs: int) -> bool:
        """Ray does everything."""
        return True

    @property
    def tasks_a_gpu(self) -> int:
        """The most tasks that share one GPU."""
        return -(-self.processes // self.gpus)

    def gpu_bytes(self) -> int | None:
        """As the first GPU that Ray gives says; the others are taken to be like it."""
        if self.device.type != "cuda":
            return None
        return int(needed("ray", "ray").get(self._task(_first_gpu_bytes, 1).remote())) // self.tasks_a_gpu

    def using(self, jobs: int) -> str:
        """How many of the GPUs, or CPUs, of the cluster are used."""
        where = f"on Ray, {counted(len(self.nodes), 'machine')}"
        at_once = min(self.processes, jobs)
        if self.device.type == "cuda":
            return f"{where}: {gpus_used(self.processes, self.gpus, jobs, counted(at_once, 'task'))}"
        return f"{where}: {counted(at_once, 'task')} at once, of {counted(self._cpus(at_once), 'CPU')} each"

    @contextlib.contextmanager
    def crew(self, do: Do, jobs: int, root: Path) -> Iterator[Tasks]:
        """Tasks of the cluster, all ended after the ``with``; the cluster stays joined until this process ends."""
        import torch

        at_once = min(self.processes, jobs)
        cpus = self._cpus(at_once)
        threads = max(1, torch.get_num_threads() // at_once) if self.here else cpus
        tasks = Tasks(self._task(carry_out, cpus), at_once,
                      lambda work: Order.of(do, work, root, threads, watch=self.here))
        try:
            yield tasks
        finally:
            tasks.cancel()

    def _task(self, function: Any, cpus: int) -> Any:
        """``function`` as a task.  Ray would begin a lost one again by itself, unseen: the schedule does it."""
        gpus = 1 / self.tasks_a_gpu if self.device.type == "cuda" else 0
        return needed("ray", "ray").remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(function)

    def _cpus(self, tasks: int) -> int:
        cuda = self.device.type == "cuda"
        return cpus_each(self.nodes, tasks, self.tasks_a_gpu if cuda else None)


def cpus_each(nodes: Sequence[Mapping[str, float]], tasks: int, tasks_a_gpu: int | None) -> int:
    """The most CPUs that each of so many tasks can have at once, all of them on one machine; at least 1.

    Args:
        nodes: what each machine has, ``CPU`` and ``GPU``.
        tasks_a_gpu: how many tasks share a GPU; None where tasks need none.
    """
    def places(node: Mapping[str, float], cpus: int) -> int:
        by_cpu = int(node.get("CPU", 0)) // cpus
        return by_cpu if tasks_a_gpu is None else min(by_cpu, int(node.get("GPU", 0)) * tasks_a_gpu)

    most = int(max((node.get("CPU", 0) for node in nodes), default=1))
    return next((cpus for cpus in range(most, 1, -1) if sum(places(node, cpus) for node in nodes) >= tasks), 1)


class Tasks:
    """The crew: a task a job."""

    def __init__(self, task: Any, at_once: int, order: Callable[[Work], Order]):
        self._ray = needed("ray", "ray")
        self._task, self._at_once, self._order = task, at_once, order
        self._jobs: dict[Any, Job] = {}  # by the reference to what their task will return

    @property
    def free(self) -> int:
        """Tasks that may be begun."""
        return self._at_once - len(self._jobs)

    @property
    def working(self) -> list[Job]:
        """The jobs of tasks that have not ended, or that wait for a place."""
        return list(self._jobs.values())

    def begin(self, job: Job) -> None:
        """Hand the job to Ray."""
        self._jobs[self._task.remote(self._order(job.work))] = job

    def ended(self) -> Iterator[tuple[Job, Exception | None]]:
        """Wait for tasks."""
        # waiting inside of Ray would turn SIGTERM into Ctrl-C
        while not (ready := self._ray.wait(list(self._jobs), num_returns=1, timeout=0)[0]):
            time.sleep(LOOK_SECONDS)
        for reference in ready:
            yield self._jobs.pop(reference), self._outcome(reference)

    def _outcome(self, reference: Any) -> Exception | None:
        errors = self._ray.exceptions
        try:
            error: Exception | None = self._ray.get(reference)
        except errors.RayTaskError as error:  # before the job began: what it needs cannot be imported there
            return RuntimeError(str(error))
        except errors.RayError as error:
            first = str(error).strip().splitlines()[0]
            return LostProcessError(f"a worker of Ray was lost ({type(error).__name__}: {first})")
        return error

    def cancel(self) -> None:
        """End all tasks that are left, and wait until they have ended."""
        for reference in self._jobs:
            self._ray.cancel(reference, force=True)
        if self._jobs:
            self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=END_SECONDS)
        self._jobs.clear()


def _join(ray: Any, address: str | None, processes: int | None) -> None:
    """Once in a process: join a cluster, or start one, quietly and with the signals as they were."""
    if ray.is_initialized():
        return
    # no report of this use goes to anybody; a task that asks for no GPU sees those that it would see without Ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": max(cpu_cores(), processes or 1), "include_dashboard": False,
                    "object_store_memory": OBJECT_BYTES}
    else:
        check_answers(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        wanted = "no cluster could be started here" if address is None else f"no cluster at {address!r}"
        raise UserError(f"ray: {wanted}: {' '.join(str(error).split())}; expected HOST:PORT of ray start --head, or "
                        "auto on one of its machines, and RAY_AUTH_MODE=token with its token where it asks for one"
                        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def check_answers(address: str) -> None:
    """Refuse a HOST:PORT where nobody listens: Ray itself goes on asking there for minutes.

    Raises:
        UserError: see above.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return  # auto, or a way to name a cluster that Ray understands
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError(f"--ray-address: nobody answers at {address!r}: {error}; expected HOST:PORT of ray start "
                        "--head, or auto on one of its machines") from error


def _first_gpu_bytes() -> int:
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)
