"""The run store: a folder for each run, which alone says what was done.

    runs/
      .lock                                 held while a sweep is at work
      .slurm/                               what Slurm is given and says, while jobs of a sweep are there
      populations/<name>.json, .safetensors members and checkpoint of a population in training
      <slug>-<hash>/                        one run; the hash is the content hash of its RunSpec
        config.json  env.json               what was asked for, and where it was run
        vocabulary.json                     the tokens of the task, in the order of their ids
        metrics.jsonl                       a record a log point: losses, rate and gradient norm, the same for every
                                            repetition, and its seconds, which are not
        timing.json  measuring.json         seconds of its training, and of each measure, which are not
        snapshot-STEP.safetensors           weights along the way, where the run asks for them
        model.safetensors                   written once, after the last step
        diverged.json                       in its place where the loss or the weights are no longer finite: the reason
        measures.csv                        one row per number, keyed by the name of the measure; none for a run that
                                            diverged or that only others begin with
        DONE                                holds the hash; written last

Every file appears whole or not at all (``physlm.storage``), and each one is written only after those that it builds
on.  So whatever moment a process is killed at, the folder is in one of these states, and the same command goes on:

    no DONE, no model       train (resume the population's checkpoint if there is one)
    no DONE, a model        measure what is missing, then write DONE
    no DONE, diverged.json  nothing to measure: write DONE
    DONE                    finished: never trained again; a measure that was not taken yet is added
    DONE, weights removed   finished: its rows count; an error where the weights are needed after all
    DONE, a damaged file    an error that names the file: something other than physlm has been here

A store may come from elsewhere.  It is data, and nothing is read or written outside of it because of what stands there:
no link beneath the root is followed, and ``physlm.lab.stored`` says which settings are read.

Free of torch, except that reading or writing a model imports it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from physlm import storage
from physlm.config import UnknownKind, content_hash, to_dict
from physlm.errors import UserError
from physlm.lab.locks import take_lock
from physlm.lab.planner import Population
from physlm.lab.run import Run
from physlm.lab.stored import files_of, named_files, read_spec
from physlm.training.config import RunSpec


class Store:
    """All runs under one root."""

    def __init__(self, root: Path):
        self.root = root

    def run(self, spec: RunSpec) -> Run:
        """The folder of ``spec``, whether or not it exists yet.

        Raises:
            UserError: a symbolic link is there instead.
        """
        return Run(spec, storage.beneath(self.root, f"{spec.slug}-{content_hash(spec)}"))

    def checkpoint(self, population: Population) -> Path:
        """Where the population's checkpoint lies while it trains."""
        return self._populations / f"{population.name}.safetensors"

    def open_population(self, population: Population) -> None:
        """Note down who trains together, before anything is trained."""
        storage.write_json(self._manifest(population), {"members": [to_dict(spec) for spec in population.members]})

    def close_population(self, population: Population) -> None:
        """Forget a population: first its checkpoint, then the note of who was in it."""
        storage.remove(self.checkpoint(population))
        storage.remove(self._manifest(population))

    def open_populations(self, asked: Iterable[RunSpec] = ()) -> list[Population]:
        """Populations that were started and not closed, oldest name first.

        Args:
            asked: runs; populations on other files than these runs read are passed over, unread.

        Raises:
            UserError: a note that cannot be read, for example one of another version of physlm.
        """
        found, files = [], files_of(asked)
        for path in sorted(self._populations.glob("*.json")):
            cure = "delete this file and give the same command again: the runs named in it start over"
            data = storage.read_json(path, cure)
            try:
                if named_files(data) - files:
                    continue
                population = Population(tuple(read_spec(member, files) for member in data["members"]))
            except UnknownKind:
                continue  # of an experiment file with configs of its own, which nobody has asked for
            except (UserError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"{path}: expected the members of a population ({error}); {cure}") from error
            if self._manifest(population) != path:
                raise UserError(f"{path}: not the members that the file is named after; {cure}")
            found.append(population)
        return found

    def remove_leftovers(self, asked: Iterable[RunSpec] = ()) -> None:
        """Delete temporary files of killed processes and the checkpoints of finished populations; needs the lock."""
        storage.remove_leftovers(self._populations)
        for population in self.finished_populations(asked):
            self.close_population(population)

    def finished_populations(self, asked: Iterable[RunSpec] = ()) -> list[Population]:
        """Populations all of whose members are finished, but that were not closed before the process was killed."""
        return [population for population in self.open_populations(asked)
                if all(self.run(spec).finished() for spec in population.members)]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other sweeps out of this store; the system lets go of the lock when the process ends, however it ends.

        Raises:
            UserError: another process holds it, or the folder cannot be written.
        """
        with self._lock_file("a+") as file:
            try:
                with storage.disk_errors(self._lock_path, "lock"):
                    take_lock(file)
                    file.truncate(0)
                    file.write(f"{os.getpid()}\n{socket.gethostname()} {uuid.uuid4().hex}\n")
                    file.flush()
            except UserError as error:
                if isinstance(error.__cause__, BlockingIOError):
                    file.seek(0)
                    holder = file.readline(20).strip() or "?"
                    raise UserError(f"{self.root}: process {holder} is sweeping this folder; wait for it to end, or "
                                    "give another folder with --runs") from None
                raise
            yield

    def mark(self) -> str:
        """Of the sweep that holds the lock, or held it last: the machine and a name that no other sweep has.

        Jobs on other machines know by it that they see the same folder.
        """
        if not self._lock_path.exists():
            return ""
        return (storage.read_text(self._lock_path).splitlines()[1:] or [""])[0]

    def locked(self) -> bool:
        """Whether a process of this machine holds the lock."""
        with self._lock_file("r+") as file:
            try:
                take_lock(file)
            except BlockingIOError:
                return True
        return False

    @contextlib.contextmanager
    def _lock_file(self, mode: str) -> Iterator[IO[str]]:
        """The file of the lock, which is freed when it is closed."""
        with storage.disk_errors(self._lock_path,
                                 cure="expected a plain file, or none, in a folder that you may write to; --runs DIR "
                                      "names another"):
            self.root.mkdir(parents=True, exist_ok=True)
            file = open(self._lock_path, mode, encoding="utf-8", opener=storage.plain)  # noqa: SIM115
        try:
            yield file
        finally:
            file.close()

    @property
    def _lock_path(self) -> Path:
        return self.root / ".lock"

    def _manifest(self, population: Population) -> Path:
        return self._populations / f"{population.name}.json"

    @property
    def _populations(self) -> Path:
        return storage.beneath(self.root, "populations")
