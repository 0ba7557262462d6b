"""Jobs done in this process, or in several of this machine, each with a GPU or its share of one (or of the CPU cores).

With more processes than GPUs, process i has GPU i modulo their number: small models leave much of a GPU idle.  They
take turns on it, or use it at the same time (``physlm.lab.mps``).

If a job fails, those at work are finished (``contract``).  However else it ends, by Ctrl-C, by SIGTERM, by the death of
one of the processes or of their parent, all of them end at once: the store is whole at any moment (``physlm.storage``),
and the same command goes on from there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING

from physlm.errors import LostProcessError, UserError, counted
from physlm.lab.executors.contract import Do, Job, Work, gpus_used
from physlm.lab.experiment import load_experiment, loaded_files
from physlm.lab.mps import check_mps, mps
from physlm.machine import killed_with_parent

if TYPE_CHECKING:
    import torch

STOP_SECONDS = 5.0  # until a process that was told to end is given up
GRACE_SECONDS = 0.5  # in which a signal to a whole group of processes reaches the last of them


@dataclass(frozen=True)
class Local:
    """This process, or with more than one ``processes`` others of this machine.

    Attributes:
        ranks: processes of torchrun that train each run together, this one among them, each with a GPU of its own;
            None without torchrun.
        mps: whether processes that share a GPU use it at the same time.
    """

    device: torch.device
    processes: int = 1
    ranks: int | None = None
    mps: bool = False
    whole = False

    def checked(self) -> Local:
        """Itself.

        Raises:
            UserError: ``mps`` where no GPU is shared, or without the program of it.
        """
        import torch

        if not self.mps:
            return self
        gpus = torch.cuda.device_count() if self.device.type == "cuda" else 0
        if not gpus or self.processes <= gpus:
            what = counted(gpus, "GPU") if gpus else "a CPU"
            raise UserError(f"--mps: got {counted(self.processes, 'process')} on {what}; expected --processes N with "
                            "more processes than GPUs, which then share them")
        check_mps()
        return self

    def apart(self, runs: int) -> bool:
        """Whether there is anything to share out."""
        return self.processes > 1 and runs > 1

    def gpu_bytes(self) -> int | None:
        """Memory of the first GPU, in equal parts where processes share one."""
        import torch

        if self.device.type != "cuda":
            return None
        return int(torch.cuda.get_device_properties(self.device).total_memory) // processes_a_gpu(self.processes)

    def using(self, jobs: int) -> str:
        """How many of the GPUs, or cores, that this process sees are used."""
        import torch

        at_once = min(self.processes, jobs)
        if self.ranks is not None:
            return self._together(self.ranks)
        if self.device.type == "cuda":
            shared = counted(at_once, "process") + (" at the same time" if self.mps else "")
            return gpus_used(self.processes, torch.cuda.device_count(), jobs, shared)
        threads = counted(torch.get_num_threads(), "CPU thread")
        return f"using {threads} in {at_once} processes" if at_once > 1 else f"using {threads}"

    def _together(self, ranks: int) -> str:
        """The same where so many processes of torchrun, which gives each as many threads, train each run."""
        import torch

        if self.device.type != "cuda":
            threads = counted(ranks * torch.get_num_threads(), "CPU thread")
            return f"using {threads} in {counted(ranks, 'process')}, all for each run"
        gpus = torch.cuda.device_count()
        more = f"; torchrun --nproc-per-node {gpus} uses all" if ranks < gpus else ""
        return f"using {ranks} of {counted(gpus, 'GPU')} seen, all for each run{more}"

    @contextlib.contextmanager
    def crew(self, do: Do, jobs: int, root: Path) -> Iterator[Processes]:
        """Processes that end with the ``with``, or with this one.  ``cuda`` gives process i the i-th GPU that this one
        sees, modulo their number, ``cpu`` an equal share of the cores.
        """
        import torch

        processes = min(self.processes, jobs)
        context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
        threads = max(1, torch.get_num_threads() // processes)
        files = loaded_files()
        gpus = gpus_of(processes) if self.device.type == "cuda" else [None] * processes
        workers = [_Process(context, (place, gpu, threads, files)) for place, gpu in enumerate(gpus)]
        with mps() if self.mps else contextlib.nullcontext():
            try:
                for worker in workers:
                    worker.start()
                yield Processes(workers, do)
                for worker in workers:
                    worker.dismiss()
            finally:
                for worker in workers:
                    worker.kill()
                for worker in workers:
                    worker.join()


class Processes:
    """The crew: each process does one job at a time."""

    def __init__(self, workers: Sequence[_Process], do: Do):
        self._workers, self._do = workers, do

    @property
    def free(self) -> int:
        """Processes without a job."""
        return sum(worker.job is None for worker in self._workers)

    @property
    def working(self) -> list[Job]:
        """The jobs of the others."""
        return [worker.job for worker in self._workers if worker.job is not None]

    def begin(self, job: Job) -> None:
        """Send it to the first free process."""
        next(worker for worker in self._workers if worker.job is None).begin(self._do, job)

    def ended(self) -> Iterator[tuple[Job, Exception | None]]:
        """Wait for answers; of a process without a job only its end can be heard, which ends all."""
        answering = wait([worker.connection for worker in self._workers])
        for worker in self._workers:
            if worker.connection in answering:
                yield worker.answer()


def gpus_of(processes: int) -> list[str]:
    """Which GPU each process has, as CUDA_VISIBLE_DEVICES names it."""
    import torch

    count = torch.cuda.device_count()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else list(map(str, range(count)))
    return [names[place % count] for place in range(processes)]


def processes_a_gpu(processes: int) -> int:
    """The most processes that share one GPU."""
    import torch

    return -(-processes // torch.cuda.device_count())


class _Process:
    """One process, seen from its parent: it is sent one job after another and answers each."""

    def __init__(self, context: SpawnContext, place: tuple[int, str | None, int, Sequence[Path]]):
        self.job: Job | None = None
        self.connection, self._theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._theirs, *place))

    def start(self) -> None:
        """Start it where Ctrl-C, which a terminal sends to all, does not reach it: its parent decides."""
        resource_tracker.ensure_running()  # or it would be started with the process, and unblock the signal
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._theirs.close()  # its only other end is now that of the process

    def begin(self, do: Do, job: Job) -> None:
        """Have it do a job."""
        self.job = job
        try:
            self.connection.send((do, job.work))
        except OSError:
            raise self._lost() from None

    def answer(self) -> tuple[Job, Exception | None]:
        """The job that it has ended, and why that failed."""
        try:
            error: Exception | None = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        assert self.job is not None
        job, self.job = self.job, None
        return job, error

    def _lost(self) -> LostProcessError:
        time.sleep(GRACE_SECONDS)  # who stops them all may mean this process, too, and is then the one to name
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        why = ", as a machine without free memory does it" if code == -signal.SIGKILL else ""
        return LostProcessError(f"process {self._process.pid}, one of those at work, {how}{why}")

    def dismiss(self) -> None:
        """Let it end by itself."""
        self.connection.close()
        self._process.join(STOP_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        if self._process.pid is not None:
            self._process.kill()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._process.pid is not None:
            self._process.join(STOP_SECONDS)


def _serve(connection: Connection, place: int, gpu: str | None, threads: int, experiments: Sequence[Path]) -> None:
    """What a process does: jobs, until its parent closes the connection.

    Before it touches a device it settles which GPU (None: the CPU), and which line for its progress bar, is its own.
    The ``experiments`` are loaded here too, for what jobs need of them, such as a task of their own.
    """
    _die_with_parent()
    os.environ["TQDM_POSITION"] = str(place + 1)  # tqdm, which was not imported here yet, reads its defaults there
    keep_bars_to_this_process()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    else:
        import torch

        torch.set_num_threads(threads)
    for path in experiments:
        load_experiment(path.stem, path.parent)
    while True:
        try:
            do, work = connection.recv()
        except EOFError:
            return
        connection.send(error_of(do, work))


def keep_bars_to_this_process() -> None:
    """Have tqdm lock with threads' means: its semaphore of the system would outlive a process that is killed."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def error_of(do: Do, work: Work) -> Exception | None:
    """What went wrong with a job, as something that any process can read."""
    try:
        do(work)
    except UserError as error:
        return UserError(str(error))
    except Exception:  # a bug: its traceback would be lost between the processes
        return RuntimeError(traceback.format_exc())
    return None


def _die_with_parent() -> None:
    """The parent's lock on the store is gone with it, and another sweep may be there any moment."""
    killed_with_parent()
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
