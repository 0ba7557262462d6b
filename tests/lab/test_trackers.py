"""Trackers get a copy of the log: each step once, also of a run that was killed, and no number depends on them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apart
import pytest
from extras import of_extra
from killed import CPU, contents, sweep_killed

from physlm.config import override
from physlm.errors import UserError
from physlm.lab import trackers
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.lab.trackers import TRACKERS, Trackers, numbers
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8),
               TrainConfig(exposures=10, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32"))
SPECS = [SPEC, override(SPEC, ["train.learning_rate=3e-3"])]  # one population
SHAPES = [override(SPEC, [f"model.width={width}"]) for width in (8, 12, 16)]  # three


class Remembered:
    """A tracker that keeps what it gets, by run."""

    kept: dict[str, list[tuple[int, dict[str, float]]]]
    closed: list[str]

    def __init__(self, run: Run, folder: Path):
        assert folder.is_dir()
        self.name = run.name
        self.kept[run.name] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.kept[self.name].append((step, dict(values)))

    def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> type[Remembered]:
    Remembered.kept, Remembered.closed = {}, []
    monkeypatch.setitem(TRACKERS, "remembered", Remembered)
    monkeypatch.setattr(trackers, "_library", lambda name, folder: None)
    return Remembered


def stored(root: Path, name: str) -> list[tuple[int, dict[str, float]]]:
    lines = (root / name / "metrics.jsonl").read_text().splitlines()
    return [(record["step"], numbers(record)) for record in map(json.loads, lines)]


def test_a_tracker_has_the_log_of_each_run_and_changes_no_bit(tmp_path: Path, remembered: type[Remembered]) -> None:
    plain = sweep(SPECS, ("capacity",), Store(tmp_path / "plain"), CPU, progress=False)
    sweep(SPECS, ("capacity",), Store(tmp_path / "runs"), CPU, progress=False,
          track=Trackers(("remembered",), tmp_path / "tracking"))
    assert contents(tmp_path / "plain") == contents(tmp_path / "runs")
    assert remembered.kept == {run.name: stored(tmp_path / "runs", run.name) for run in plain}
    assert sorted(remembered.closed) == sorted(remembered.kept)
    for steps in remembered.kept.values():
        assert [step for step, _ in steps] == list(range(1, 16))
        assert all({"loss", "tokens", "seconds", "tokens_per_second", "gradient_norm", "learning_rate"} == set(values)
                   for _, values in steps)


def test_a_killed_run_goes_on_without_a_step_twice(tmp_path: Path, remembered: type[Remembered]) -> None:
    """Also where it was not tracked before: the tracker's copy is written from the run folder."""
    sweep_killed(SPECS, ("capacity",), tmp_path / "runs")
    for record in ('{"step": 1, "loss": 1.0, "tokens": 144}\n', '{"step": 2, "loss": null, "tokens": 288}\n'):
        for path in (tmp_path / "runs").glob("bioD*/metrics.jsonl"):  # as versions before this one wrote it
            lines = path.read_text().splitlines(keepends=True)
            step = json.loads(record)["step"]
            path.write_text("".join(record if json.loads(line)["step"] == step else line for line in lines))
    sweep(SPECS, ("capacity",), Store(tmp_path / "runs"), CPU, progress=False,
          track=Trackers(("remembered",), tmp_path / "tracking"))
    assert len(remembered.kept) == 2
    for name, steps in remembered.kept.items():
        assert steps == stored(tmp_path / "runs", name) and [step for step, _ in steps] == list(range(1, 16))
        assert [values for _, values in steps[:2]] == [{"loss": 1.0, "tokens": 144.0}, {"tokens": 288.0}]


def test_a_finished_run_is_left_alone(tmp_path: Path, remembered: type[Remembered]) -> None:
    for _ in range(2):
        remembered.kept.clear()
        sweep(SPECS, ("capacity",), Store(tmp_path), CPU, progress=False,
              track=Trackers(("remembered",), tmp_path / "tracking"))
    assert remembered.kept == {}


def test_names_that_a_user_gives(tmp_path: Path) -> None:
    assert Trackers.asked(["tensorboard, wandb", "trackio", "wandb"], tmp_path).names == (
        "tensorboard", "wandb", "trackio")
    assert Trackers.asked([], tmp_path).names == ()
    with pytest.raises(UserError, match="unknown name 'tensorbord'; did you mean 'tensorboard'"):
        Trackers.asked(["tensorbord"], tmp_path)


def test_the_command_refuses_what_would_be_ignored(tmp_path: Path, physlm: Any) -> None:
    command = ("run", "p33_capacity", "--tier", "smoke", "--runs", tmp_path)
    for options, words in ((("--track-dir", tmp_path / "tracking"), "--track-dir: got it without --track"),
                           (("--track", "wandb", "--finished-only"), "--track: got it with --finished-only")):
        code, out, err = physlm(*command, *options)
        assert code == 2 and words in err and not out
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_a_name_and_a_second_way_to_share_work(tmp_path: Path, physlm: Any) -> None:
    command = ("run", "p33_capacity", "--tier", "smoke", "--runs", tmp_path)
    for options, words in ((("--track", "tensorbord"), "did you mean 'tensorboard'"),
                           (("--data-parallel",), "expected torchrun --nproc-per-node N -m physlm run"),
                           (("--data-parallel", "--processes", "2"), "expected none of them")):
        code, out, err = physlm(*command, *options)
        assert code == 2 and words in err and not out
    assert not list(tmp_path.iterdir())


TRACKED_CLAIM = '''
"""Two runs, and a tracker of its own: a line of JSON for each log point, and which process wrote it."""

import json
import os
from dataclasses import replace

from matplotlib.figure import Figure

from physlm.lab import trackers
from physlm.lab.experiment import Experiment
from physlm.laws.law import Law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig


class Lines:
    def __init__(self, run, folder):
        self.file = open(folder / run.name, "w")

    def log(self, step, values):
        self.file.write(json.dumps([os.getpid(), step, dict(values)]) + "\\n")

    def close(self):
        self.file.close()


trackers.TRACKERS["lines"] = Lines
trackers._library = lambda name, folder: None
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)
SPECS = [RunSpec(TASK, ModelConfig(layers=layers, heads=1, width=8),
                 TrainConfig(exposures=10, batch_rows=4, learning_rate=1e-2, precision="float32"))
         for layers in (1, 2)]  # two shapes, which train apart
EXPERIMENT = Experiment("p33_tracked", "Curves are kept.", "none", lambda tier: SPECS, ("capacity",),
                        lambda table: Law(()), lambda table, law: Figure(), ())
'''


def test_processes_track_what_they_train(tmp_path: Path) -> None:
    """``--track`` with ``--processes``: whoever trains a run tracks it, each step once, and no measure changes."""
    (tmp_path / "p33_tracked.py").write_text(TRACKED_CLAIM)
    for name, options in (("plain", ()), ("tracked", ("--track", "lines"))):
        apart.run("p33_tracked", tmp_path / name, "--experiments", str(tmp_path), "--processes", "2", *options)
    kept = {path.name: [json.loads(line) for line in path.read_text().splitlines()]
            for path in (tmp_path / "tracked" / "tracking" / "lines").iterdir()}
    assert not (tmp_path / "plain" / "tracking").exists()
    assert len(apart.found(tmp_path / "plain")) == 2 * len(apart.KEPT)
    assert apart.found(tmp_path / "tracked") == apart.found(tmp_path / "plain")
    assert len(kept) == 2
    for name, lines in kept.items():
        assert [(step, values) for _, step, values in lines] == stored(tmp_path / "tracked", name)
        assert len({process for process, _, _ in lines}) == 1
    assert len({lines[0][0] for lines in kept.values()}) == 2, "each run by a process of its own"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused_before_training(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    with pytest.raises((UserError, ModuleNotFoundError), match=name) as caught:
        sweep(SPECS, ("capacity",), Store(tmp_path / "runs"), CPU, progress=False, track=Trackers((name,), tmp_path))
    assert f"pip install 'physlm[{name}]'" in str(caught.value)
    assert not list(tmp_path.glob("runs/bioD*"))


# ---- With the libraries themselves


def tensorboard_steps(folder: Path, run: str) -> dict[str, list[tuple[int, float]]]:
    of_extra("tensorboard", "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / run))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def wandb_steps(folder: Path, run: str) -> dict[str, list[tuple[int, float]]]:
    of_extra("wandb", "wandb")
    from wandb.proto import wandb_internal_pb2

    (path,) = (folder / "wandb" / run).glob("wandb/offline-run-*/run-*.wandb")
    found = dict[str, list[tuple[int, float]]]()
    for data in level_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if not name.startswith("_"):
                    found.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
    return found


def level_records(file: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB: blocks of 32 KiB of pieces: checksum, length, whether it begins or ends one."""
    place, record = 7, b""
    while place < len(file):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", file, place)
        piece = file[place + 7 : place + 7 + length]
        record = piece if kind in (1, 2) else record + piece
        if kind in (1, 4):
            yield record
        place += 7 + length


def trackio_steps(folder: Path, run: str) -> dict[str, list[tuple[int, float]]]:
    of_extra("trackio", "trackio")
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "trackio" / "physlm.db")) as database:  # its own with: not closed
        rows = database.execute("select step, metrics from metrics where run_name = ? order by step", (run,)).fetchall()
    found = dict[str, list[tuple[int, float]]]()
    for step, metrics in rows:
        for name, value in json.loads(metrics).items():
            found.setdefault(name, []).append((step, value))
    return found


READ: dict[str, Callable[[Path, str], dict[str, list[tuple[int, float]]]]] = {
    "tensorboard": tensorboard_steps, "wandb": wandb_steps, "trackio": trackio_steps}
# each tracker in a process of its own: they keep settings of their first use, and threads
CODE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from test_trackers import CPU, SPECS, Store, Trackers, sweep, sweep_killed
name, root, tracking = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
sweep(SPECS, ("capacity",), Store(root), CPU, progress=False, track=Trackers((name,), tracking))
print("ended")
"""


@pytest.mark.parametrize("name", TRACKERS)
def test_the_library_holds_each_step_once_also_of_a_killed_run(tmp_path: Path, name: str) -> None:
    """Without a network: nothing is sent."""
    of_extra(name, name)
    root, tracking = tmp_path / "runs", tmp_path / "tracking"
    # dies as kill -9 does, with steps in the tracker that no checkpoint holds
    dying = CODE.replace("\nsweep(", """
import os
from physlm.lab.run import MetricsLog
log = MetricsLog.log
MetricsLog.log = lambda self, record: os._exit(9) if record["step"] == 12 else log(self, record)
sweep(""")
    done = tracked(name, tmp_path, dying)
    assert done.returncode == 9, done.stderr
    done = tracked(name, tmp_path, CODE)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stdout + done.stderr
    plain: Any = sweep(SPECS, ("capacity",), Store(tmp_path / "plain"), CPU, progress=False)
    assert contents(root) == contents(tmp_path / "plain")
    hold_what_is_stored(name, tracking, root, plain)


@pytest.mark.parametrize("name", TRACKERS)
def test_two_processes_write_to_one_tracker_at_once(tmp_path: Path, name: str) -> None:
    of_extra(name, name)
    code = CODE.replace("sweep(SPECS,", "sweep(SHAPES,").replace("progress=False,", "progress=False, processes=2,")
    done = tracked(name, tmp_path, code.replace("import CPU,", "import SHAPES, CPU,"))
    assert done.returncode == 0 and done.stdout == "ended\n", done.stdout + done.stderr
    runs = [Store(tmp_path / "runs").run(spec) for spec in SHAPES]
    hold_what_is_stored(name, tmp_path / "tracking", tmp_path / "runs", runs)


def tracked(name: str, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A sweep into ``runs`` and ``tracking``, without a network."""
    here = Path(__file__).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
    environment |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code, name, str(folder / "runs"), str(folder / "tracking"),
                           str(here.parents[1]), str(here.parent), str(here)], env=environment, capture_output=True,
                          text=True, cwd=folder, timeout=400, check=False)  # fmt: skip


def hold_what_is_stored(name: str, tracking: Path, root: Path, runs: Any) -> None:
    """Each step of each run once, with the numbers of its metrics.jsonl."""
    for run in runs:
        found = READ[name](tracking, run.name)
        expected = stored(root, run.name)
        assert set(found) >= set(expected[0][1])
        for quantity in expected[0][1]:
            assert [step for step, _ in found[quantity]] == list(range(1, 16)), quantity
            values = [value for _, value in found[quantity]]
            assert values == pytest.approx([v[quantity] for _, v in expected], rel=1e-6)
