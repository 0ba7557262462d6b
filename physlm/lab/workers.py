"""Several processes at work on one sweep, each with a GPU of its own (or with its share of the CPU cores).

    jobs     measure run A    train population 1    train population 2 (begins with runs of 1)    ...
    GPU 0    [measure A] [train 2                ]
    GPU 1    [train 1       ]                  ...

A job starts as soon as a process is free and the runs that it begins with are trained.  The processes share nothing but
the run store, whose lock their parent holds, and so they end when it is killed.  What each of them does there is what
one process would do alone.  If a job fails, those at work are finished, no other is started, and its error is raised:
the same command goes on from there.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm.config import content_hash
from physlm.lab.experiment import load_experiment, loaded_files
from physlm.lab.planner import Population
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """Train and measure a population, or measure a run that is trained."""

    work: Population | RunSpec

    @property
    def needs(self) -> frozenset[str]:
        """Hashes of the runs that must be trained before."""
        if isinstance(self.work, RunSpec):
            return frozenset()
        starts = (spec.start for spec in self.work.members)
        return frozenset(content_hash(start) for start in starts if start is not None)

    @property
    def gives(self) -> frozenset[str]:
        """Hashes of the runs that are trained when it is done."""
        return frozenset() if isinstance(self.work, RunSpec) else frozenset(self.work.hashes)


def finish_jobs(
    jobs: Sequence[Job], do: Callable[[Population | RunSpec], None], device: torch.device, processes: int
) -> Iterator[Job]:
    """Do all jobs and yield each one when it is done.

    Args:
        jobs: in an order in which one process could do them.
        do: called in one of the processes; it must be possible to pickle it.
        device: ``cuda`` gives process i the i-th GPU that this one sees, ``cpu`` an equal share of the cores.

    Raises:
        What a job raised.
    """
    import torch

    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    places = context.Queue()
    for place in range(processes):
        places.put(place)
    threads = max(1, torch.get_num_threads() // processes)
    waiting, running = list(jobs), dict[Future[None], Job]()
    to_come = frozenset().union(*(job.gives for job in jobs))
    with ProcessPoolExecutor(processes, context, _take_place, (places, device.type, threads, loaded_files())) as pool:
        while waiting or running:
            for job in [job for job in waiting if not job.needs & to_come]:
                waiting.remove(job)
                running[pool.submit(do, job.work)] = job
            assert running, "jobs wait for each other"
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if future.exception() is not None:
                    pool.shutdown(cancel_futures=True)
                future.result()
                to_come -= job.gives
                yield job


def _take_place(places: Any, kind: str, threads: int, experiments: Sequence[Path]) -> None:
    """Once in each process, before it touches a device: which GPU, and which line for its progress bar, is its own.

    The ``experiments`` are loaded here too, for what jobs need of them, such as a task of their own.
    """
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for path in experiments:
        load_experiment(path.stem, path.parent)
    place = places.get()
    os.environ["TQDM_POSITION"] = str(place + 1)  # tqdm, which was not imported here yet, reads its defaults there
    if kind == "cuda":
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = seen.split(",") if seen else [str(i) for i in range(place + 1)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place]
    else:
        import torch

        torch.set_num_threads(threads)


def _die_with_parent() -> None:
    """The parent's lock on the store is gone with it, and another sweep may be there any moment."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
