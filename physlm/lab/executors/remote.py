"""How a job is sent to a process that shares nothing with this one but folders, and what it does there.

An order says where the sweep stands (its folder, its experiment files, its folder of runs and the mark of its lock) and
holds the job pickled: what its configs are is known only where their experiment files are loaded.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from physlm.errors import UserError
from physlm.lab.executors.contract import Do, Work
from physlm.lab.executors.local import error_of
from physlm.lab.experiment import load_experiment, loaded_files
from physlm.lab.store import Store

WATCH_SECONDS = 1.0  # between two looks whether the sweep is still there


@dataclass(frozen=True)
class Order:
    """One job, for another process.

    Attributes:
        folder: where the sweep was started; relative paths of its tasks are read from there.
        experiments: the files of the experiments that it has loaded.
        root: the folder of runs.
        mark: of the sweep that holds its lock; a machine on which another stands there sees another folder.
        threads: CPU threads of the job; None leaves them as they are.
        watch: whether the process ends when nobody holds the lock any more, which only one machine can tell.
        job: what is to be done and with what, pickled.
    """

    folder: Path
    experiments: tuple[Path, ...]
    root: Path
    mark: str
    threads: int | None
    watch: bool
    job: bytes

    @classmethod
    def of(cls, do: Do, work: Work, root: Path, threads: int | None, watch: bool) -> Order:
        """The order to do ``work``; the lock of ``root`` is held here."""
        files = tuple(path.absolute() for path in loaded_files())
        return cls(Path.cwd(), files, root.absolute(), Store(root).mark(), threads, watch, pickle.dumps((do, work)))


def carry_out(order: Order) -> Exception | None:
    """Do the job of an order, here; what went wrong with it, as something that any process can read."""
    try:
        _settle(order)
        do, work = pickle.loads(order.job)
    except UserError as error:
        return UserError(str(error))
    done = threading.Event()
    if order.watch:
        threading.Thread(target=_end_with_sweep, args=(Store(order.root), order.mark, done), daemon=True).start()
    try:
        return error_of(do, work)
    finally:
        done.set()


_LOADED: set[Path] = set()  # experiment files; one process may carry out many orders


def _settle(order: Order) -> None:
    """Bring this process to where the sweep is.  Raises UserError: this machine does not see its folders."""
    here = f"the machine {socket.gethostname()}"
    for path in (order.folder, order.root):
        if not path.is_dir():
            raise UserError(f"{path}: {here} has no such folder; expected folders that all machines of a sweep share")
    if (found := Store(order.root).mark()) != order.mark:
        raise UserError(f"{order.root}: on {here} this is another folder than the one of the sweep, whose lock says "
                        f"{order.mark!r} and not {found!r}; expected a folder that all machines share, or on each "
                        "machine a sweep of its own with --shard")
    os.chdir(order.folder)
    for path in order.experiments:
        if path not in _LOADED:
            load_experiment(path.stem, path.parent)
            _LOADED.add(path)
    if order.threads is not None:
        import torch

        torch.set_num_threads(order.threads)


def _end_with_sweep(store: Store, mark: str, done: threading.Event) -> None:
    """The sweep's lock is gone with it, and another one may be there any moment."""
    while not done.wait(WATCH_SECONDS):
        if store.mark() != mark or not store.locked():
            os._exit(1)
