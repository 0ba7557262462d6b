"""Curves of training in a tracker: TensorBoard, Weights & Biases, Trackio.

    train -> a record of each log point -> metrics.jsonl of the run     (always, ``physlm.lab.run``)
                                        -> the trackers asked for       (here)

metrics.jsonl is what counts.  A tracker's copy of a run is begun anew from it when training begins or goes on, and then
gets each record as it is written: whatever a killed process left there, no step is in it twice, and a tracker that was
asked for only now has the whole curve.  Nothing is read from a tracker, so no number depends on one.

    DIR/tensorboard/RUN/    events, for tensorboard --logdir DIR/tensorboard
    DIR/wandb/RUN/          an offline run, for wandb sync; WANDB_MODE=online sends it at once
    DIR/trackio/            a database, for TRACKIO_DIR=DIR/trackio trackio show; TRACKIO_DIR names another

Free of torch, and of the trackers, which are imported when a run is tracked.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from physlm import storage
from physlm.config import to_dict, unknown_key
from physlm.errors import UserError
from physlm.extras import needed
from physlm.lab.run import Run

PROJECT = "physlm"


class Curve(Protocol):
    """One run in one tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a log point, by name; each step comes once, and they rise."""

    def close(self) -> None:
        """No more comes."""


class TensorBoard:
    """Scalars under their names, and the settings as a text."""

    def __init__(self, run: Run, folder: Path):
        _library("tensorboard", folder)
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(_emptied(folder, run.name)))
        self._writer.add_text("settings", f"```\n{json.dumps(to_dict(run.spec), indent=1)}\n```", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run whose id is the hash of the settings; offline unless WANDB_MODE says otherwise."""

    def __init__(self, run: Run, folder: Path):
        wandb, mode = _library("wandb", folder), os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), id=run.hash, name=run.name, config=to_dict(run.spec),
            dir=str(_emptied(folder, run.name)), mode=mode, resume="allow" if mode == "online" else None,
            reinit="create_new",  # the members of a population train side by side
            settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
        )  # fmt: skip
        self._known = self._run.step  # of a run that is there already: its steps rise, too

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self._known:
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run of that name in a local database."""

    def __init__(self, run: Run, folder: Path):
        trackio = _library("trackio", folder)
        if (Path(os.environ["TRACKIO_DIR"]) / f"{PROJECT}.db").exists():
            for old in [old for old in trackio.Api().runs(PROJECT) if old.name == run.name]:
                old.delete()
        # it ends the run that its context has, and the members of a population train side by side
        self._run = contextvars.copy_context().run(lambda: self._quiet(lambda: trackio.init(
            PROJECT, name=run.name, config=to_dict(run.spec), resume="never", embed=False, auto_log_gpu=False,
            auto_log_cpu=False)))  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._quiet(self._run.finish)

    @staticmethod
    def _quiet(call: Callable[[], Any]) -> Any:
        """Standard output is the report's."""
        with contextlib.redirect_stdout(io.StringIO()):
            return call()


TRACKERS: dict[str, Callable[[Run, Path], Curve]] = {"tensorboard": TensorBoard, "wandb": Wandb, "trackio": Trackio}


@dataclass(frozen=True)
class Trackers:
    """Which trackers a sweep writes to, and the folder of their files; none by default.

    Raises:
        UserError: there is no tracker of such a name.
    """

    names: tuple[str, ...] = ()
    folder: Path = Path("tracking")

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in TRACKERS:
                raise UserError(unknown_key("track", name, TRACKERS))

    @classmethod
    def asked(cls, texts: Sequence[str], folder: Path) -> Trackers:
        """From what a user gave: names, some of them perhaps separated by commas."""
        names = (name.strip() for text in texts for name in text.split(","))
        return cls(tuple(dict.fromkeys(name for name in names if name)), folder)

    def check(self) -> None:
        """Raises ``UserError`` where a library is not installed, with the line that installs it."""
        for name in self.names:
            _library(name, self.folder / name)

    def begin(self, run: Run) -> list[Curve]:
        """The curves of a run, with all that its metrics.jsonl says."""
        curves = []
        for name in self.names:
            with storage.disk_errors(self.folder):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            curves.append(TRACKERS[name](run, self.folder / name))
        for record in run.records():
            for curve in curves:
                curve.log(record["step"], numbers(record))
        return curves


NO_TRACKERS = Trackers()


class TrackedLog:
    """Hands the records of a population's runs on to their trackers."""

    def __init__(self, trackers: Trackers, runs: Mapping[int, Run]):
        self._trackers, self._runs = trackers, dict(runs)
        self._curves: dict[int, list[Curve]] = {}

    def log(self, record: Mapping[str, Any]) -> None:
        """A record that is in metrics.jsonl by now; members without a run here are ignored."""
        member = record["member"]
        if not self._trackers.names or member not in self._runs:
            return
        if member not in self._curves:
            self._curves[member] = self._trackers.begin(self._runs[member])  # this record, too
            return
        for curve in self._curves[member]:
            curve.log(record["step"], numbers(record))

    def close(self) -> None:
        """Training has ended, or is interrupted."""
        for curves in self._curves.values():
            for curve in curves:
                curve.close()
        self._curves.clear()


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What a record says but for its step; what was not finite is left out."""
    return {name: float(value) for name, value in record.items()
            if name not in ("step", "member") and isinstance(value, (int, float)) and not isinstance(value, bool)}


def _library(name: str, folder: Path) -> Any:
    """The module of a tracker, which has the name of its extra."""
    if name == "trackio":  # reads its folder when it is imported
        os.environ.setdefault("TRACKIO_DIR", str(folder.absolute()))
    return needed(name, name)


def _emptied(folder: Path, name: str) -> Path:
    """A folder of that name with nothing in it: what is there was written from metrics.jsonl, and will be again."""
    path = storage.beneath(folder, name)
    with storage.disk_errors(path):
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
    return path
