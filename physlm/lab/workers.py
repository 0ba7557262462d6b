"""Several processes at work on one sweep, each with a GPU or its share of one (or with its share of the CPU cores).

    jobs     train population 1    train population 2    train population 3 (begins with run 2a of population 2)
    GPU 0    [train 2][measure 2a][measure 2b][train 3         ][measure 3b]
    GPU 1    [train 1             ][measure 1a][measure 1b]     [measure 3a]

A job is to train a population or to measure one run that is trained; each member of a population becomes such a job
when the population is trained.  A run may begin with another when that is finished, which says that it did not diverge.
Of the jobs that need not wait, a free process takes

    first   one that a later population waits for,
    then    a measurement,
    then    a population to train,

each in the order in which one process would do them.  So nothing lies trained and unmeasured longer than needed, and
no process waits while another one measures many.  The processes share nothing but the run store, whose lock their
parent holds.  What each of them does there is what one process would do alone.

With more processes than GPUs, process i has GPU i modulo their number: small models leave much of a GPU idle.

If a job fails, those at work are finished, no other is started, and its error is raised.  However else it ends, by
Ctrl-C, by SIGTERM, by the death of one of the processes or of their parent, all of them end at once: the store is whole
at any moment (``physlm.storage``), and the same command goes on from there.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING

from physlm.config import content_hash
from physlm.errors import LostProcessError, UserError
from physlm.lab.experiment import load_experiment, loaded_files
from physlm.lab.planner import Population
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch

STOP_SECONDS = 5.0  # until a process that was told to end is given up
GRACE_SECONDS = 0.5  # in which a signal to a whole group of processes reaches the last of them
_PR_SET_PDEATHSIG = 1  # of prctl(2)

Do = Callable[["Population | RunSpec"], None]
Then = Callable[["Job"], "Sequence[Job]"]


@dataclass(frozen=True)
class Job:
    """Train a population, or measure a run that is trained."""

    work: Population | RunSpec

    @property
    def needs(self) -> frozenset[str]:
        """Hashes of the runs that must be finished before."""
        if isinstance(self.work, RunSpec):
            return frozenset()
        starts = (spec.start for spec in self.work.members)
        return frozenset(content_hash(start) for start in starts if start is not None)

    @property
    def gives(self) -> frozenset[str]:
        """Hashes of the runs that it, and the jobs that it leads to, finish."""
        return frozenset({content_hash(self.work)} if isinstance(self.work, RunSpec) else self.work.hashes)


def finish_jobs(
    jobs: Sequence[Job], do: Do, device: torch.device, processes: int, then: Then = lambda job: ()
) -> Generator[Job, None, None]:
    """Do all jobs and yield each one when it is done; close the iterator if it is left early.

    Args:
        jobs: in an order in which one process could do them.
        do: called in one of the processes; it must be possible to pickle it.
        device: ``cuda`` gives process i the i-th GPU that this one sees, modulo their number, ``cpu`` an equal share of
            the cores.
        processes: how many.
        then: called here with each job that is done, before it is yielded; the jobs that it leads to.

    Raises:
        UserError: a job raised it.
        RuntimeError: a job raised anything else, whose traceback is the message.
        LostProcessError: a process died.
    """
    import torch

    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    threads = max(1, torch.get_num_threads() // processes)
    files = loaded_files()
    gpus = gpus_of(processes) if device.type == "cuda" else [None] * processes
    workers = [_Process(context, (place, gpu, threads, files)) for place, gpu in enumerate(gpus)]
    try:
        for worker in workers:
            worker.start()
        yield from _schedule(jobs, do, workers, then)
        for worker in workers:
            worker.dismiss()
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()


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


def next_job(waiting: Sequence[Job], working: Sequence[Job]) -> Job | None:
    """Which job a free process takes, as the module says; None where all have to wait."""
    to_come = frozenset().union(*(job.gives for job in (*waiting, *working)))
    needed = frozenset().union(*(job.needs for job in waiting))
    ready = [job for job in waiting if not job.needs & to_come]
    return min(ready, key=lambda job: (not job.gives & needed, isinstance(job.work, Population)), default=None)


def _schedule(jobs: Sequence[Job], do: Do, workers: Sequence[_Process], then: Then) -> Iterator[Job]:
    waiting, failed = list(jobs), None
    while True:
        for worker in [worker for worker in workers if worker.job is None and failed is None]:
            if (job := next_job(waiting, [worker.job for worker in workers if worker.job])) is not None:
                waiting.remove(job)
                worker.begin(do, job)
        if not any(worker.job for worker in workers):
            break
        # of a process without a job only its end can be heard
        answering = wait([worker.connection for worker in workers])
        for worker in [worker for worker in workers if worker.connection in answering]:
            job, error = worker.answer()
            if error is None:
                waiting += then(job)
                yield job
            failed = failed or error
    if failed is not None:
        raise failed
    assert not waiting, "jobs wait for each other"


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
        connection.send(_error_of(do, work))


def keep_bars_to_this_process() -> None:
    """Have tqdm lock with threads' means: its semaphore of the system would outlive a process that is killed."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def _error_of(do: Do, work: Population | RunSpec) -> Exception | None:
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


def killed_with_parent() -> None:
    """On Linux the system sees to it, also while an import or a compiler keeps all threads waiting."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
