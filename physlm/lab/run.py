"""One run's folder: what stands in it, and whether it is whole; ``physlm.lab.store`` says in which order it is written.

Free of torch, except that writing a model imports it.
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
from physlm.config import content_hash, to_dict
from physlm.errors import UserError
from physlm.lab.stored import named_files, read_seconds, read_spec, read_training_seconds, read_training_speed
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
        """Where the weights after ``step`` steps lie: one of ``spec.kept_steps``, or the last."""
        assert step == self.spec.steps or step in self.spec.kept_steps, step
        return self.model_path if step == self.spec.steps else self.path / f"snapshot-{step}.safetensors"

    @property
    def cure(self) -> str:
        """What to do about a damaged file in a finished run."""
        return f"delete the folder {self.path} and give the same command again; no other run is lost"

    def finished(self) -> bool:
        """Whether DONE is there; then every file must be whole.  Weights may have been removed to save room.

        Raises:
            UserError: DONE is there and another file is missing or damaged; names the file and the cure.
        """
        done = self.path / "DONE"
        if not done.exists():
            return False
        if storage.read_text(done, self.cure).strip() != self.hash:
            raise UserError(f"{done}: expected the hash {self.hash}; {self.cure}")
        self._check_training(needed=False)
        self.measures()
        return True

    def trained(self) -> bool:
        """Whether training is over: finished, or all but the measures is there.  Raises what ``finished`` raises."""
        if self.finished():
            return True
        try:
            self._check_training(needed=True)
        except UserError:
            return False  # without DONE nothing is promised; the run is continued
        return True

    def check_weights(self, why: str) -> None:
        """``UserError`` if weights of this finished run were removed; ``why`` says what needs them."""
        gone = [path.name for path in self._weights_paths if not path.exists()]
        if self.diverged() is None and gone:
            raise UserError(f"{self.path}: {gone[0]} was removed, and {why}; {self.cure}")

    @property
    def _weights_paths(self) -> list[Path]:
        return [self.weights_path(step) for step in (*self.spec.kept_steps, self.spec.steps)]

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

    def records(self) -> list[dict[str, Any]]:
        """What metrics.jsonl says, a record a log point, up to a damaged line; nothing where it is not there."""
        return [record for _, record in self._logged()]

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

    def training_speed(self) -> float:
        """Tokens trained on in a second in the time of ``training_seconds``, those of all members; 0 where not kept.

        Raises:
            UserError: timing.json is damaged.
        """
        return read_training_speed(self.path / "timing.json", self.cure)

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

    def _check_training(self, needed: bool) -> None:
        """``UserError`` for a damaged file; for weights that are not there only if they are needed."""
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
        for path in self._weights_paths:
            if not needed and not os.path.lexists(path):
                continue  # removed to save room
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
