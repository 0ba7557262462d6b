"""Jobs done as jobs of Slurm, submitted by submitit; or in submitit's processes of this machine, to try.

Each job asks for one GPU where the sweep trains on GPUs.  A job trains a population and measures its members, so that
it waits in the queue once.  One that is lost (killed, preempted, out of time) is submitted again and goes on from its
checkpoint.  When the sweep ends, however it is told to, its jobs are cancelled; where it was killed, the next one on
the same folder of runs cancels them before it begins.

What submitit writes, pickles among it, lies in a new folder of this sweep under ``.slurm`` and is read by nobody else.
All machines must share the folder of runs, the folder that the sweep was started in and the Python environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm import storage
from physlm.config import content_hash, unknown_key
from physlm.errors import LostProcessError, UserError, counted
from physlm.extras import needed
from physlm.lab.executors.contract import Do, Job, Work
from physlm.lab.executors.local import gpus_of
from physlm.lab.executors.remote import Order, carry_out

if TYPE_CHECKING:
    import torch

LOOK_SECONDS = 0.5  # between two looks whether jobs have left their result
QUEUE_SECONDS = 30.0  # between two looks at the queue, which many people share
SEEN_SECONDS = 15.0  # until a file that another machine wrote is seen on this one
END_SECONDS = 120.0  # until cancelled jobs have left the queue
LOCAL_MINUTES = 30 * 24 * 60  # of a job in a process here
PROCESSES = 8  # jobs in the queue at once, where nothing else is asked for
CLUSTERS = ("slurm", "local")
_OURS = ("job_name", "nodes", "ntasks_per_node", "gpus_per_node", "gpus_per_task", "num_gpus", "array_parallelism",
         "dependency", "setup", "teardown", "srun_args", "additional_parameters")  # of submitit's; or no text says them


@dataclass(frozen=True)
class Slurm:
    """A queue.

    Attributes:
        device: what every job trains and measures on.
        processes: most jobs in the queue at once.
        options: of sbatch, by their names with ``_`` for ``-``: ``partition``, ``account``, ``time`` in minutes, ...
        cluster: ``slurm``, or ``local``: submitit's processes on this machine, to try.
    """

    device: torch.device
    processes: int = PROCESSES
    options: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = "slurm"
    whole = True

    @classmethod
    def of(cls, options: Mapping[str, str], device: str | None, processes: int | None) -> Slurm:
        """A queue, by what a user says of it.

        Args:
            options: of sbatch, and ``cluster``.
            device: ``cpu``, ``cuda``, or None: GPUs if Slurm has any in the partition, or this machine of ``local``.

        Raises:
            UserError: submitit is not installed, no Slurm here, an option that does not exist or is the sweep's own.
        """
        import torch

        submitit = needed("submitit", "slurm")
        given: dict[str, Any] = {key: int(text) if text.isascii() and text.isdigit() else text
                                 for key, text in options.items()}
        cluster = given.pop("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise UserError(unknown_key("--slurm cluster", str(cluster), CLUSTERS))
        known = sorted({*_parameters(submitit), "cluster"} - {*_OURS})
        for key in given:
            if key not in known:
                raise UserError(unknown_key("--slurm", key, known))
        if cluster == "local":
            cuda = torch.cuda.is_available()
            if device == "cuda" and not cuda:
                raise UserError("device: got 'cuda', but torch finds no GPU here; expected cpu")
        else:
            if shutil.which("sbatch") is None or shutil.which("srun") is None:
                raise UserError("--executor slurm: this machine has no sbatch and srun; expected one that submits jobs "
                                "to Slurm, or --slurm cluster=local to try it in processes of this machine")
            cuda = device is None and _partition_has_gpus(given.get("partition"))
        device = device or ("cuda" if cuda else "cpu")
        return cls(torch.device(device), processes or PROCESSES, given, str(cluster))

    def apart(self, runs: int) -> bool:
        """Slurm does everything."""
        return True

    def gpu_bytes(self) -> int | None:
        """Known on this machine alone."""
        import torch

        if self.device.type != "cuda" or self.cluster != "local":
            return None
        return int(torch.cuda.get_device_properties(self.device).total_memory)

    def using(self, jobs: int) -> str:
        """What the jobs ask for."""
        at_once = min(self.processes, jobs)
        where = "Slurm" if self.cluster == "slurm" else "submitit's processes here"
        what = "one GPU for each job" if self.device.type == "cuda" else "no GPU"
        return f"on {where}: {counted(at_once, 'job')} at once, asking for {what}"

    @contextlib.contextmanager
    def crew(self, do: Do, jobs: int, root: Path) -> Iterator[Jobs]:
        """The queue; what is left in it is cancelled after the ``with``.  What submitit wrote stays after errors."""
        import torch

        submitit = needed("submitit", "slurm")
        name = "physlm-" + content_hash(str(root.resolve()))
        if self.cluster == "slurm":
            _cancel(name)  # of a sweep that was killed; this one holds the lock
        every = storage.beneath(root.absolute(), ".slurm")
        if every.exists():
            shutil.rmtree(every)
        folder = every / uuid.uuid4().hex
        every.mkdir(mode=0o700)  # who may write there may have others run what they like
        folder.mkdir(mode=0o700)
        at_once = min(self.processes, jobs)
        local = self.cluster == "local"
        threads = max(1, torch.get_num_threads() // at_once) if local else None
        crew = Jobs(self._submit(submitit, folder, name, at_once), at_once,
                    lambda work: Order.of(do, work, root, threads, watch=local), submitit, None if local else name)
        try:
            yield crew
        finally:
            crew.cancel()
        shutil.rmtree(every)

    def _submit(self, submitit: Any, folder: Path, name: str, at_once: int) -> Callable[[Order, int], Any]:
        """What submits an order for one of the places ``0 .. at_once - 1``."""
        cuda = self.device.type == "cuda"
        if self.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            seen = gpus_of(at_once) if cuda else []
            if not all(name.isdigit() for name in seen):
                raise UserError(f"CUDA_VISIBLE_DEVICES: got {','.join(seen)}, expected numbers: submitit's processes "
                                "here know GPUs by nothing else")

            def submit(order: Order, place: int) -> Any:
                # submitit gives a job two minutes by itself
                executor.update_parameters(timeout_min=LOCAL_MINUTES, gpus_per_node=int(cuda),
                                           visible_gpus=[int(seen[place])] if cuda else ())
                with _silent():
                    return executor.submit(carry_out, order)

            return submit
        executor = submitit.SlurmExecutor(folder)
        asked = {"time": 24 * 60, "cpus_per_task": 4, **self.options}
        if cuda and "gres" not in asked:
            asked["gpus_per_node"] = 1
        try:
            executor.update_parameters(job_name=name, nodes=1, ntasks_per_node=1, **asked)
        except (TypeError, ValueError) as error:
            raise UserError(f"--slurm: {' '.join(str(error).split())}") from error

        def submit_to_slurm(order: Order, place: int) -> Any:
            try:
                return executor.submit(carry_out, order)
            except submitit.core.utils.FailedJobError as error:
                raise UserError(f"Slurm takes no job: {' '.join(str(error).split())}; expected other --slurm options"
                                ) from error

        return submit_to_slurm


class Jobs:
    """The crew: a job of Slurm a job."""

    def __init__(self, submit: Callable[[Order, int], Any], at_once: int, order: Callable[[Work], Order], submitit: Any,
                 name: str | None):
        self._submit, self._order, self._submitit = submit, order, submitit
        self._name = name  # of the jobs in the queue; None where there is no queue
        self._queue: list[str] | None = None
        self._looked = time.monotonic()
        self._places: list[tuple[Job, Any] | None] = [None] * at_once

    @property
    def free(self) -> int:
        """Jobs that may be submitted."""
        return self._places.count(None)

    @property
    def working(self) -> list[Job]:
        """The jobs that run, or wait in the queue."""
        return [place[0] for place in self._places if place is not None]

    def begin(self, job: Job) -> None:
        """Submit it."""
        place = self._places.index(None)
        self._places[place] = job, self._submit(self._order(job.work), place)
        self._queue = None  # it was looked at before

    def ended(self) -> Iterator[tuple[Job, Exception | None]]:
        """Wait for jobs."""
        while not (ended := [i for i, at_work in enumerate(self._places) if at_work and self._left(at_work[1])]):
            time.sleep(LOOK_SECONDS)
        for place in ended:
            at_work, self._places[place] = self._places[place], None
            assert at_work is not None
            yield at_work[0], self._outcome(at_work[1])

    def _left(self, submitted: Any) -> bool:
        """Whether a job has left its result, or has left without one."""
        if submitted.done():
            return True
        if self._name is None:
            return False
        if time.monotonic() > self._looked + QUEUE_SECONDS:  # submitit waits for some that were preempted for ever
            self._queue, self._looked = _queued(self._name), time.monotonic()
        return self._queue is not None and submitted.job_id not in self._queue

    def _outcome(self, submitted: Any) -> Exception | None:
        result = submitted.paths.result_pickle
        end = time.monotonic() + (SEEN_SECONDS if self._name else 0.0)
        while not result.exists() and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        if not result.exists():
            return LostProcessError(f"job {submitted.job_id} has ended without a result ({submitted.state.lower()}); "
                                    f"{submitted.paths.stderr} may say why")
        try:
            error: Exception | None = submitted.result()
        except self._submitit.core.utils.FailedJobError as failure:  # before the job began: its order cannot be read
            return RuntimeError(str(failure))
        return error

    def cancel(self) -> None:
        """End all jobs that are left, and wait until they have ended."""
        left = [at_work[1] for at_work in self._places if at_work is not None]
        for submitted in left:
            submitted.cancel(check=False)
        self._places = [None] * len(self._places)
        if self._name is not None:
            _cancel(self._name)
        end = time.monotonic() + END_SECONDS
        while self._name is None and time.monotonic() < end and not all(submitted.done() for submitted in left):
            time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What is started here writes no errors: submitit's processes that watch a local job end with a traceback.

    The jobs themselves write into files of their own.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _parameters(submitit: Any) -> set[str]:
    """The options that submitit hands to sbatch, by sbatch's names."""
    return set(submitit.SlurmExecutor._valid_parameters())


def _partition_has_gpus(partition: object) -> bool:
    asked = ["sinfo", "--noheader", "--format=%G", *([f"--partition={partition}"] if partition else [])]
    return "gpu" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _cancel(name: str) -> None:
    """Cancel the jobs of this name and wait until none is left.

    Raises:
        UserError: some do not leave, or Slurm does not answer.
    """
    end = time.monotonic() + END_SECONDS
    while (left := _queued(name)) != []:
        if time.monotonic() > end:
            ids = "squeue does not answer" if left is None else f"still there: {' '.join(left)}"
            raise UserError(f"jobs of a sweep on this folder must leave the queue first ({ids}); expected none: "
                            f"scancel --me --name={name}")
        if left:
            subprocess.run(["scancel", *left], check=False, capture_output=True)
        time.sleep(LOOK_SECONDS)


def _queued(name: str) -> list[str] | None:
    """The numbers of this user's jobs of a name; None where Slurm does not answer."""
    asked = ["squeue", "--me", "--noheader", "--format=%i", f"--name={name}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else None
