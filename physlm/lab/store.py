"""The run store: a folder for each run, which alone says what was done.

    runs/
      .lock                                 held while a sweep is at work
      populations/<name>.json, .safetensors members and checkpoint of a population in training
      <slug>-<hash>/                        one run; the hash is the content hash of its RunSpec
        config.json  env.json               what was asked for, and where it was run
        vocabulary.json                     the tokens of the task, in the order of their ids
        metrics.jsonl                       losses, the same for every repetition
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
    DONE, a damaged file    an error that names the file: something other than physlm has been here

A store may come from elsewhere.  It is data, and nothing is read or written outside of it because of what stands there:
no link beneath the root is followed, and ``physlm.lab.stored`` says which settings are read.

Free of torch, except that reading or writing a model imports it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from physlm import storage
from physlm.config import UnknownKind, content_hash, to_dict
from physlm.errors import UserError
from physlm.lab.locks import take_lock
from physlm.lab.planner import Population
from physlm.lab.stored import files_of, named_files, read_seconds, read_spec, read_training_seconds
from physlm.measures.rows import Row
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    from torch import Tensor

MOST_ITEMS = 1 << 62  # that a row may be about: tables hold whole numbers of 64 bits
# rows: how many the measure has, so that one that is missing is missed
_COLUMNS = ("measure", *(field.name for field in fields(Row)), "rows")


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    spec: RunSpec
    path: Path

    @property
    def hash(self) -> str:
        """The content hash of the spec."""
        return content_hash(self.spec)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def model_path(self) -> Path:
        """Where the trained model lies."""
        return self.path / "model.safetensors"

    def weights_path(self, step: int) -> Path:
        """Where the weights after ``step`` steps lie: one of ``spec.snapshot_steps``, or the last."""
        assert step == self.spec.steps or step in self.spec.snapshot_steps, step
        return self.model_path if step == self.spec.steps else self.path / f"snapshot-{step}.safetensors"

    @property
    def cure(self) -> str:
        """What to do about a damaged file in a finished run."""
        return f"delete the folder {self.path} and give the same command again; no other run is lost"

    def finished(self) -> bool:
        """Whether DONE is there; then every file must be whole.

        Raises:
            UserError: DONE is there and another file is missing or damaged; names the file and the cure.
        """
        done = self.path / "DONE"
        if not done.exists():
            return False
        if storage.read_text(done, self.cure).strip() != self.hash:
            raise UserError(f"{done}: expected the hash {self.hash}; {self.cure}")
        self._check_training()
        self.measures()
        return True

    def trained(self) -> bool:
        """Whether training is over: finished, or all but the measures is there.  Raises what ``finished`` raises."""
        if self.finished():
            return True
        try:
            self._check_training()
        except UserError:
            return False  # without DONE nothing is promised; the run is continued
        return True

    def has(self, measures: Iterable[str]) -> bool:
        """Whether the run is finished and all these measures were taken, or none can be since it diverged."""
        return self.finished() and (self.diverged() is not None or set(measures) <= set(self.measures()))

    def diverged(self) -> str | None:
        """Why the run counts as diverged and is left out of all tables; None where it does not.

        Raises:
            UserError: the file that says so is damaged.
        """
        path = self._diverged_path
        if not path.exists():
            return None
        found = storage.read_json(path, self.cure)
        if not isinstance(found, dict) or found.get("run") != self.hash or not isinstance(found.get("reason"), str):
            raise UserError(f"{path}: expected why this run diverged, got {found!r}; {self.cure}")
        return str(found["reason"])

    def write_diverged(self, reason: str) -> None:
        """Declare the run diverged: it is not trained again, and nothing is measured of it."""
        storage.write_json(self._diverged_path, {"run": self.hash, "reason": reason})

    @property
    def _diverged_path(self) -> Path:
        return self.path / "diverged.json"

    def environment(self) -> dict[str, Any]:
        """What env.json says."""
        value = storage.read_json(self.path / "env.json", self.cure)
        if not isinstance(value, dict):
            raise UserError(f"{self.path / 'env.json'}: expected a table of settings, got {reprlib.repr(value)}; "
                            f"{self.cure}")
        return value

    def start(self, environment: Mapping[str, Any]) -> None:
        """Make the folder, or sweep up what a killed process left in it."""
        storage.write_json(self.path / "config.json", to_dict(self.spec))
        storage.write_json(self.path / "vocabulary.json", self.spec.task.vocabulary().words)
        storage.write_json(self.path / "env.json", dict(environment))
        storage.remove_leftovers(self.path)
        if self._diverged_path.exists():  # damaged, or the run would not be trained
            storage.remove(self._diverged_path)

    def rewind(self, step: int) -> None:
        """Drop the lines of metrics.jsonl past ``step``, and the line that a kill cut short."""
        kept = []
        for line, record in self._logged():
            if record["step"] > step:
                break
            kept.append(line)
        storage.write_text(self._metrics_path, "".join(kept))

    def loss_lost_at(self) -> int | None:
        """The step of the log point from which on no loss is finite; None if the last one is."""
        lost = None
        for _, record in self._logged():
            if record.get("loss") is not None:
                lost = None
            elif lost is None:
                lost = int(record["step"])
        return lost

    @property
    def _metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def _logged(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The whole lines of metrics.jsonl up to a damaged one, and what they say."""
        path = self._metrics_path
        if not path.exists():
            return
        for line in storage.read_text(path, self.cure, errors="replace").splitlines(keepends=True):
            try:
                record = storage.parse_json(line)
            except ValueError:
                return  # everything after a damaged line is written again
            if not line.endswith("\n") or not isinstance(record, dict) or type(record.get("step")) is not int:
                return
            yield line, record

    def check_present(self) -> None:
        """``UserError`` if the folder was deleted while its run was at work; nobody makes it anew without its files."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: this folder was deleted while its run was at work; give the same command "
                            "again, which makes it anew; no other run is lost")

    def write_snapshot(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write the weights after ``step`` steps."""
        self.check_present()
        storage.save_tensors(self.weights_path(step), state, {"run": self.hash})

    def write_model(self, state: Mapping[str, Tensor]) -> None:
        """Write the trained weights; their presence says that training is over."""
        self.check_present()
        storage.save_tensors(self.model_path, state, {"run": self.hash})

    def measures(self) -> dict[str, list[Row]]:
        """The rows taken so far, by the name of the measure; of an unfinished run none if the file is damaged.

        Raises:
            UserError: measures.csv of a finished run is missing or damaged.
        """
        try:
            return self._read_measures()
        except UserError:
            if (self.path / "DONE").exists():
                raise
            return {}  # without DONE nothing is promised: they are taken again

    def _read_measures(self) -> dict[str, list[Row]]:
        path = self.path / "measures.csv"
        text = storage.read_text(path, self.cure)
        reader = csv.DictReader(io.StringIO(text))
        if tuple(reader.fieldnames or ()) != _COLUMNS or not text.endswith("\n"):
            raise UserError(f"{path}: expected whole lines of {', '.join(_COLUMNS)}; {self.cure}")
        taken: dict[str, list[Row]] = {}
        counts: dict[str, set[int]] = {}
        try:
            for line in reader:
                row = Row(line["quantity"], float(line["value"]), line["unit"], int(line["n"]),
                          float(line["lo"]), float(line["hi"]), dict(storage.parse_json(line["where"])))
                if None in line or not 0 <= row.n < MOST_ITEMS:
                    raise ValueError
                taken.setdefault(line["measure"], []).append(row)
                counts.setdefault(line["measure"], set()).add(int(line["rows"]))
        except (TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{path}: line {reader.reader.line_num} is damaged; {self.cure}") from error
        for name, rows in taken.items():
            if counts[name] != {len(rows)}:
                raise UserError(f"{path}: got {len(rows)} rows of {reprlib.repr(name)}, expected "
                                f"{' or '.join(map(str, sorted(counts[name])[:2]))}; {self.cure}")
        return taken

    def add_measure(self, name: str, rows: Sequence[Row]) -> None:
        """Add the rows of one measure; rows of others are kept."""
        assert rows, f"measure {name} returned no rows"
        self.check_present()
        self._write_measures({**self.measures(), name: list(rows)})

    def training_seconds(self) -> float:
        """How long its training took, or the last part of one that was resumed, by the members that it trained with;
        0 where the time was not kept.

        Raises:
            UserError: timing.json is damaged.
        """
        return read_training_seconds(self.path / "timing.json", self.cure)

    def measuring_seconds(self) -> dict[str, float]:
        """How long each measure took whose time was kept.

        Raises:
            UserError: measuring.json is damaged.
        """
        return read_seconds(self.path / "measuring.json", self.cure)

    def write_timing(self, timing: Mapping[str, Any]) -> None:
        """Note how long training took."""
        self.check_present()
        storage.write_json(self.path / "timing.json", dict(timing))

    def keep_seconds(self, name: str, seconds: float) -> None:
        """Note how long a measure took; a damaged note of the others is given up."""
        self.check_present()
        try:
            others = self.measuring_seconds()
        except UserError:
            others = {}
        storage.write_json(self.path / "measuring.json", {**others, name: seconds})

    def _write_measures(self, taken: Mapping[str, Sequence[Row]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for measure, measured in taken.items():
            writer.writerows({"measure": measure, **asdict(row), "where": json.dumps(dict(row.where)),
                              "rows": len(measured)} for row in measured)
        storage.write_text(self.path / "measures.csv", text.getvalue())

    def finish(self) -> None:
        """Write DONE, the last file, and sweep up what a killed process left."""
        self.check_present()
        storage.remove_leftovers(self.path)
        if not (self.path / "DONE").exists():
            if not self.measures():
                self._write_measures({})
            storage.write_text(self.path / "DONE", self.hash + "\n")

    def _check_training(self) -> None:
        config = self.path / "config.json"
        try:
            stored = read_spec(storage.read_json(config, self.cure), named_files(to_dict(self.spec)))
        except UserError as error:
            raise UserError(f"{config}: {error}; {self.cure}") from error
        if to_dict(stored) != to_dict(self.spec):  # an experiment file that was loaded again has other classes
            raise UserError(f"{config}: not the config that the folder is named after; {self.cure}")
        self.environment()
        if self.diverged() is not None:
            return
        for step in (*self.spec.snapshot_steps, self.spec.steps):
            path = self.weights_path(step)
            if storage.tensor_metadata(path, self.cure).get("run") != self.hash:
                raise UserError(f"{path}: not the model of this run; {self.cure}")


class MetricsLog:
    """Appends lines to the metrics.jsonl of a population's runs while they train.

    Every line is handed to the operating system at once, so that it survives the death of this process (though not
    always that of the machine, which may cost a few lines of the curve and nothing else).
    """

    def __init__(self, runs: Mapping[int, Run]):
        self._runs = dict(runs)
        self._files: dict[int, IO[str]] = {}
        self.first_step = self.last_step = 0

    def log(self, record: Mapping[str, Any]) -> None:
        """Append ``{"step", "member", ...}`` to that member's file; members without a run here are ignored."""
        member = record["member"]
        if member not in self._runs:
            return
        self._runs[member].check_present()
        path = self._runs[member].path / "metrics.jsonl"
        self.last_step = record["step"]
        line = json.dumps({key: value for key, value in record.items() if key != "member"})
        with storage.disk_errors(path):
            if member not in self._files:
                self._files[member] = open(path, "a", encoding="utf-8", opener=storage.plain)  # noqa: SIM115
            self._files[member].write(line + "\n")
            self._files[member].flush()

    def rewind(self, step: int) -> None:
        """Training goes on from ``step``: drop what was logged after it."""
        self.close()
        self.first_step = self.last_step = step
        for run in self._runs.values():
            run.rewind(step)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            # what a full disk kept from being flushed is lost with the error that reported it
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()


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
        path = self.root / ".lock"
        with storage.disk_errors(path, cure="expected a plain file, or none, in a folder that you may write to"):
            self.root.mkdir(parents=True, exist_ok=True)
            # closed below, which frees the lock
            file = open(path, "a+", encoding="utf-8", opener=storage.plain)  # noqa: SIM115
        try:
            try:
                with storage.disk_errors(path, "lock"):
                    take_lock(file)
                    file.truncate(0)
                    file.write(f"{os.getpid()}\n")
                    file.flush()
            except UserError as error:
                if isinstance(error.__cause__, BlockingIOError):
                    file.seek(0)
                    holder = file.read(20).strip() or "?"
                    raise UserError(f"{self.root}: process {holder} is sweeping this folder; wait for it to end, or "
                                    "give another folder with --runs") from None
                raise
            yield
        finally:
            file.close()

    def _manifest(self, population: Population) -> Path:
        return self._populations / f"{population.name}.json"
    @property
    def _populations(self) -> Path:
        return storage.beneath(self.root, "populations")
