"""The contract of executors: what a job is, who does it, and in which order jobs are begun.

    jobs     train population 1    train population 2    train population 3 (begins with run 2a of population 2)
    GPU 0    [train 2][measure 2a][measure 2b][train 3         ][measure 3b]
    GPU 1    [train 1             ][measure 1a][measure 1b]     [measure 3a]

A sweep is a graph of jobs: to train a population, or to measure one run that is trained.  Each member of a population
becomes a job of measuring when the population is trained.  A run may begin with another when that is finished, which
says that it did not diverge.  Of the jobs that need not wait, a free place takes

    first   one that a later population waits for,
    then    a measurement,
    then    a population to train,

each in the order in which one process would do them.  So nothing lies trained and unmeasured longer than needed, and
no place waits while another one measures many.  Places share nothing but the run store, whose lock the sweep holds.
What a job does there is what one process would do alone: the same folders, the same numbers.

If a job fails, those at work are finished, no other is begun, and its error is raised.  A job whose process or machine
was lost is begun again where its executor can do that, and goes on from its checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from physlm.config import content_hash
from physlm.errors import LostProcessError, UserError, counted
from physlm.lab.planner import Population
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch

MOST_LOST = 3  # times that a job is begun again; what ends its process each time will end it once more
MOST_ON_A_GPU = 16  # jobs; each takes half a gigabyte of its memory before it has done anything

Work = Population | RunSpec
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


class Crew(Protocol):
    """Places where jobs are done, while a sweep uses them."""

    @property
    def free(self) -> int:
        """How many more jobs can be begun now."""

    @property
    def working(self) -> Sequence[Job]:
        """The jobs that were begun and have not ended."""

    def begin(self, job: Job) -> None:
        """Begin a job; only where a place is free."""

    def ended(self) -> Iterable[tuple[Job, Exception | None]]:
        """Wait until jobs have ended: each with its error, ``LostProcessError`` where it may be begun again.

        Raises:
            LostProcessError: a process is lost, and with it all the others have to end.
        """


class Executor(Protocol):
    """Who does the jobs of a sweep, and with what."""

    @property
    def device(self) -> torch.device:
        """What a job trains and measures on, wherever it is done."""

    @property
    def processes(self) -> int:
        """Most jobs at work at once, for whom the planner parts populations."""

    @property
    def whole(self) -> bool:
        """Whether the job that trains a population measures its members too: where each job waits in a queue."""

    def apart(self, runs: int) -> bool:
        """Whether so many runs are done in other processes; else the sweep does them itself, one after another."""

    def gpu_bytes(self) -> int | None:
        """Memory of a GPU that a job has for itself; None on a CPU, or where it is not known here."""

    def using(self, jobs: int) -> str:
        """One line: how many of the GPUs, or cores, that are seen so many jobs use."""

    def crew(self, do: Do, jobs: int, root: Path) -> AbstractContextManager[Crew]:
        """Places for so many jobs; inside of the ``with`` they are there, after it nothing of them is at work.

        Args:
            do: what a job does; it must be possible to pickle it.
            root: the folder of runs, whose lock is held.
        """


def next_job(waiting: Sequence[Job], working: Sequence[Job]) -> Job | None:
    """Which job a free place takes, as the module says; None where all have to wait."""
    to_come = frozenset().union(*(job.gives for job in (*waiting, *working)))
    needed = frozenset().union(*(job.needs for job in waiting))
    ready = [job for job in waiting if not job.needs & to_come]
    return min(ready, key=lambda job: (not job.gives & needed, isinstance(job.work, Population)), default=None)


def finish_jobs(
    jobs: Sequence[Job], crew: Crew, then: Then = lambda job: (),
    lost: Callable[[Job, str], None] = lambda job, why: None,
    failing: Callable[[Job, Exception, int], None] = lambda job, error, working: None,
) -> Generator[Job, None, None]:
    """Do all jobs and yield each one when it is done.

    Args:
        jobs: in an order in which one process could do them.
        crew: who does them.
        then: called here with each job that is done, before it is yielded; the jobs that it leads to.
        lost: called here with each job that was lost and will be begun again, and with how it was.
        failing: called here at once with each job that raised, its error, and the number of jobs still at work, which
            end before the first error is raised; no other is begun.

    Raises:
        UserError: a job raised it.
        RuntimeError: a job raised anything else, whose traceback is the message.
        LostProcessError: a process is lost, and its job cannot be begun again or was lost too often.
    """
    waiting, failed, losses = list(jobs), None, Counter[Job]()
    while True:
        while failed is None and crew.free and (job := next_job(waiting, crew.working)) is not None:
            waiting.remove(job)
            crew.begin(job)
        if not crew.working:
            break
        for job, error in crew.ended():
            if error is None:
                waiting += then(job)
                yield job
            elif isinstance(error, LostProcessError) and losses[job] < MOST_LOST:
                losses[job] += 1
                waiting.insert(0, job)
                lost(job, str(error))
            else:
                failed = failed or error
                failing(job, error, len(crew.working))
    if failed is not None:
        raise failed
    assert not waiting, "jobs wait for each other"


def check_processes(processes: int, gpus: int, where: str) -> None:
    """``UserError`` for more processes than these GPUs can serve; ``where`` says who counted them."""
    if processes > (most := MOST_ON_A_GPU * gpus):
        raise UserError(f"--processes: got {processes}, but {where}; expected at most {MOST_ON_A_GPU} for each, {most}")


def gpus_used(processes: int, gpus: int, jobs: int, shared: str) -> str:
    """``using 2 of 4 GPUs seen``, and how to use the others.

    Args:
        processes: most jobs at once.
        gpus: that are seen.
        jobs: that there are.
        shared: what so many jobs a GPU is called, ``4 processes``.
    """
    used = min(processes, jobs, gpus)
    line = f"using {used} of {counted(gpus, 'GPU')} seen"
    if min(processes, jobs) > gpus:
        return f"{line}, shared by {shared}"
    if used == gpus:
        return line
    if processes >= gpus:
        return f"{line}: there {'is' if jobs == 1 else 'are'} {jobs} to be done at once"
    return f"{line}; --processes {gpus} uses all"
