"""The sweep's promise: killed at any moment and started again, it ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from fakes import CHECKPOINT_EVERY, CPU, FakeMeasure, FakeTrainer, load, make_spec, make_specs
from killed import repeated

from physlm import storage
from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.planner import Population
from physlm.lab.run import MetricsLog, Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec

MEASURES = ("first", "second")
# what a repetition cannot repeat: where and how fast
VARYING = {"env.json", "timing.json", "measuring.json", ".lock"}


class Killed(BaseException):
    """Stands for kill -9: no ``except Exception`` sees it, and ``storage`` leaves its temporary files."""


def run_sweep(root: Path, specs: list[RunSpec] | None = None, measures: tuple[str, ...] = MEASURES,
              trainer: FakeTrainer | None = None, measure: FakeMeasure | None = None, members: int = 2) -> list[Run]:
    return sweep(specs or make_specs(), measures, Store(root), CPU, members=members, progress=False,
                 train=trainer or FakeTrainer(), load=load, measure=measure or FakeMeasure())


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a repetition must repeat, bit for bit."""
    return {str(path.relative_to(root)): repeated(path)
            for path in sorted(root.rglob("*")) if path.is_file() and path.name not in VARYING}


def done_times(root: Path) -> dict[str, int]:
    return {str(path.parent): path.stat().st_mtime_ns for path in root.glob("*/DONE")}


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts everything that reaches the disk; dies before operation number ``operations[0]``."""
    state = [-1, 0]

    def guard(original: Callable[..., object], half: bool = False) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            state[1] += 1
            if state[1] - 1 == state[0]:
                if half and isinstance(args[0], MetricsLog):
                    original(*args, **kwargs)
                    file = args[0]._files.get(args[1]["member"])  # type: ignore[index]
                    if file is not None:
                        file.truncate(file.tell() - 5)  # the line was cut short
                raise Killed
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", guard(lambda handle: None))
    monkeypatch.setattr(os, "replace", guard(os.replace))
    monkeypatch.setattr(Path, "unlink", guard(Path.unlink))
    monkeypatch.setattr(MetricsLog, "log", guard(MetricsLog.log, half=True))
    return state


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted sweep leaves."""
    root = tmp_path_factory.mktemp("reference") / "runs"
    run_sweep(root)
    return root


def test_a_sweep_leaves_finished_runs_and_nothing_else(reference: Path) -> None:
    files = contents(reference)
    assert len(done_times(reference)) == len(make_specs())
    assert sorted(p.name for p in reference.iterdir() if p.is_dir()) == sorted(
        [*(Store(reference).run(spec).name for spec in make_specs()), "populations"])
    assert list((reference / "populations").iterdir()) == []
    for spec in make_specs():
        run = Store(reference).run(spec)
        assert run.has(MEASURES) and set(run.measures()) == set(MEASURES)
        assert json.loads(files[f"{run.name}/config.json"])["train"]["learning_rate"] == spec.train.learning_rate
        steps = [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        assert steps == [2, 4, 6, 8]
        assert run.environment()["device"] == "cpu" and run.environment()["torch"]


def test_kill_at_every_moment(reference: Path, tmp_path: Path, operations: list[int]) -> None:
    expected = contents(reference)
    run_sweep(tmp_path / "count")
    total = operations[1]
    assert total > 100, "the sweep touches the disk often enough for this to be a test"
    for moment in range(total):
        root = tmp_path / str(moment)
        operations[:] = [moment, 0]
        with pytest.raises(Killed):
            run_sweep(root)
        operations[:] = [-1, 0]
        before, trainer, measure = done_times(root), FakeTrainer(), FakeMeasure()
        had_models = {run.hash for run in map(Store(root).run, make_specs()) if run.trained()}
        run_sweep(root, trainer=trainer, measure=measure)
        assert contents(root) == expected, f"killed before operation {moment}"
        after = done_times(root)
        assert all(after[name] == at for name, at in before.items()), "a finished run was written again"
        finished = {Path(name).name[-12:] for name in before}
        assert all(not set(call) <= had_models for call in trainer.calls), "trained again for nothing"
        assert not finished & {name for _, name in measure.calls}, "measured again"
        assert not list(root.rglob("*.tmp")), "temporary files were left"


def test_kill_again_while_resuming(reference: Path, tmp_path: Path, operations: list[int]) -> None:
    expected = contents(reference)
    chance = random.Random(0)
    for attempt in range(30):
        root = tmp_path / str(attempt)
        for _ in range(chance.randint(2, 5)):
            operations[:] = [chance.randrange(120), 0]
            try:
                run_sweep(root)
                break
            except Killed:
                continue
        operations[:] = [-1, 0]
        run_sweep(root)
        assert contents(root) == expected


def test_a_process_killed_for_real(reference: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fakes import *
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
trainer = FakeTrainer()
trainer.interrupt = lambda step: (print(step, flush=True), time.sleep(0.15))
print("ready", flush=True)
sweep(make_specs(), {MEASURES!r}, Store(Path({str(root)!r})), CPU, members=2, progress=False,
      train=trainer, load=load, measure=FakeMeasure())
"""
    for steps in (CHECKPOINT_EVERY + 1, CHECKPOINT_EVERY + 2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        for _ in range(steps):
            process.stdout.readline()
        with pytest.raises(UserError, match="is sweeping this folder"):
            run_sweep(root)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    trainer = FakeTrainer()
    run_sweep(root, trainer=trainer)
    assert contents(root) == contents(reference)
    assert trainer.steps < 3 * 8, "what the killed processes trained was used"


def test_a_finished_sweep_does_nothing_again(reference: Path) -> None:
    trainer, measure, before = FakeTrainer(), FakeMeasure(), contents(reference)
    run_sweep(reference, trainer=trainer, measure=measure)
    assert (trainer.calls, measure.calls) == ([], []) and contents(reference) == before


@pytest.mark.parametrize(("measure", "expected"), [
    ("knowledge", "bioS"), ("recall", "bioS"), ("answers", "bioQA"), ("without_layer", "bioQA")])
def test_what_cannot_be_measured_is_refused_before_training(tmp_path: Path, measure: str, expected: str) -> None:
    """bioD tells no attributes that probes of biographies or questions could ask for."""
    trainer = FakeTrainer()
    with pytest.raises(UserError, match=f"measure .*: got a run on .*, expected one on {expected}"):
        sweep(make_specs(), (measure,), Store(tmp_path), CPU, progress=False, train=trainer, load=load)
    assert trainer.calls == [] and not list(tmp_path.glob("*/config.json"))


def test_rows_beyond_a_table_of_positions_are_refused_before_training(tmp_path: Path) -> None:
    trainer, spec = FakeTrainer(), make_spec()
    rows = spec.task.row_tokens

    def with_table(positions: int) -> RunSpec:
        return dataclasses.replace(spec, model=dataclasses.replace(spec.model, absolute=positions))

    with pytest.raises(UserError, match=rf"absolute: got a table of {rows - 1} positions, expected at least {rows}"):
        run_sweep(tmp_path, [with_table(rows - 1)], trainer=trainer)
    assert trainer.calls == [] and not list(tmp_path.glob("*/config.json"))
    with_table(rows).check_positions()
    with_table(0).check_positions()


def test_each_run_may_have_measures_of_its_own(tmp_path: Path) -> None:
    specs = make_specs()
    asked = {spec: MEASURES[: i % 3] for i, spec in enumerate(specs)}
    runs = sweep(specs, asked, Store(tmp_path), CPU, members=2, progress=False, train=FakeTrainer(), load=load,
                 measure=(measure := FakeMeasure()))  # fmt: skip
    assert [set(run.measures()) for run in runs] == [set(asked[run.spec]) for run in runs]
    assert all(run.finished() for run in runs) and len(measure.calls) == sum(map(len, asked.values()))
    assert {len(names) for names in asked.values()} == {0, 1, 2}


def test_a_new_measure_is_taken_without_training(tmp_path: Path) -> None:
    run_sweep(tmp_path)
    before = {name: data for name, data in contents(tmp_path).items() if not name.endswith("measures.csv")}
    old = [run.measures() for run in map(Store(tmp_path).run, make_specs())]
    trainer, measure = FakeTrainer(), FakeMeasure()
    runs = run_sweep(tmp_path, measures=("third", *MEASURES), trainer=trainer, measure=measure)
    assert trainer.calls == [] and {name for name, _ in measure.calls} == {"third"} and len(measure.calls) == len(runs)
    assert {n: d for n, d in contents(tmp_path).items() if not n.endswith("measures.csv")} == before
    for run, taken in zip(runs, old, strict=True):
        assert {name: rows for name, rows in run.measures().items() if name != "third"} == taken
    assert run_sweep(tmp_path)[0].has(("third",)), "asking for less later forgets nothing"


def test_only_new_runs_are_trained(tmp_path: Path) -> None:
    specs = make_specs()
    run_sweep(tmp_path, specs[:3])
    before, trainer = done_times(tmp_path), FakeTrainer()
    runs = run_sweep(tmp_path, [*specs, specs[0]], trainer=trainer)
    assert sorted(itertools.chain(*trainer.calls)) == sorted(run.hash for run in runs[3:])
    assert len(runs) == len(specs) and {k: v for k, v in done_times(tmp_path).items() if k in before} == before


def interrupt_at(root: Path, specs: list[RunSpec], step: int, members: int = 2) -> None:
    trainer = FakeTrainer()

    def kill(now: int) -> None:
        if now == step:
            raise Killed

    trainer.interrupt = kill
    with pytest.raises(Killed):
        run_sweep(root, specs, trainer=trainer, members=members)


def test_an_interrupted_population_is_resumed_whole_by_a_plan_that_wants_one_of_it(tmp_path: Path) -> None:
    pair = [make_spec(1e-3), make_spec(2e-3)]
    run_sweep(tmp_path / "whole", pair)
    interrupt_at(tmp_path / "runs", pair, step=5)
    trainer = FakeTrainer()
    run_sweep(tmp_path / "runs", [make_spec(4e-3), pair[1]], trainer=trainer)
    store = Store(tmp_path / "runs")
    assert trainer.calls[0] == Population(tuple(pair)).hashes and len(trainer.calls) == 2
    assert trainer.steps == 8 - 3 + 8, "it went on from its checkpoint"
    along = store.run(pair[0])
    assert along.finished() and not along.measures(), "nobody asked for the measures of this one"
    run_sweep(tmp_path / "runs", pair, trainer=trainer)
    assert len(trainer.calls) == 2, "they are taken without training"
    for spec in pair:
        one, other = store.run(spec), Store(tmp_path / "whole").run(spec)
        assert {p.name: p.read_bytes() for p in one.path.iterdir() if p.name not in VARYING} == {
            p.name: p.read_bytes() for p in other.path.iterdir() if p.name not in VARYING}


def test_interrupted_populations_of_other_plans_are_left_alone(tmp_path: Path) -> None:
    interrupt_at(tmp_path, [make_spec(1e-3)], step=5)
    trainer = FakeTrainer()
    run_sweep(tmp_path, [make_spec(2e-3)], trainer=trainer)
    assert trainer.calls == [(Store(tmp_path).run(make_spec(2e-3)).hash,)]
    assert Store(tmp_path).checkpoint(Population((make_spec(1e-3),))).exists()


def test_a_population_too_large_for_the_device_is_regrouped_before_its_first_checkpoint(tmp_path: Path) -> None:
    pair = [make_spec(1e-3), make_spec(2e-3)]
    interrupt_at(tmp_path / "early", pair, step=2)
    interrupt_at(tmp_path / "late", pair, step=5)
    for name, sizes in (("early", [1, 1]), ("late", [2])):
        trainer = FakeTrainer()
        run_sweep(tmp_path / name, pair, trainer=trainer, members=1)
        assert [len(call) for call in trainer.calls] == sizes


@pytest.mark.parametrize("file", ["config.json", "env.json", "measures.csv", "model.safetensors", "DONE"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "deleted"])
def test_a_damaged_finished_run_is_named_and_nothing_is_lost(tmp_path: Path, file: str, damage: str) -> None:
    runs = run_sweep(tmp_path)
    path = runs[1].path / file
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3] if damage == "cut" else b"")
    others = {name: data for name, data in contents(tmp_path).items() if not name.startswith(runs[1].name)}
    trainer = FakeTrainer()
    if (file, damage) in (("DONE", "deleted"), ("model.safetensors", "deleted")):
        # not finished, so it is finished again from the model that is there; finished, and its weights not needed
        run_sweep(tmp_path, trainer=trainer)
        assert trainer.calls == []
        return
    with pytest.raises(UserError) as caught:
        run_sweep(tmp_path, [*make_specs(), make_spec(9e-3)], trainer=trainer)
    message = str(caught.value)
    assert str(path) in message and f"delete the folder {runs[1].path}" in message and "\n" not in message
    assert trainer.calls == [], "damage is reported before anything starts"
    for rubbish in runs[1].path.iterdir():
        rubbish.unlink()
    run_sweep(tmp_path)
    assert {n: d for n, d in contents(tmp_path).items() if not n.startswith(runs[1].name)} == others


def test_weights_of_a_finished_run_are_needed_only_where_something_is_made_of_them(tmp_path: Path) -> None:
    """Its rows count without them; a new measure, or a run that begins with it, names the folder to delete."""
    first = run_sweep(tmp_path, make_specs()[:1])[0]
    first.model_path.unlink()
    run_sweep(tmp_path, make_specs())  # trains the others
    trainer = FakeTrainer()
    needs_it = dataclasses.replace(make_spec(exposures=2), start=first.spec)
    for specs, measures, why in ((make_specs(), ("first", "third"), "a measure that was not taken yet"),
                                 ([needs_it], ("first",), f"{Store(tmp_path).run(needs_it).name} begins with it")):
        with pytest.raises(UserError, match=f"model.safetensors was removed, and {why}.*; delete the folder"):
            run_sweep(tmp_path, specs, measures=measures, trainer=trainer)
    assert trainer.calls == []
    for file in first.path.iterdir():
        file.unlink()
    run_sweep(tmp_path, [needs_it], trainer=trainer)
    assert [call[0] for call in trainer.calls] == [first.hash, content_hash(needs_it)]


@pytest.mark.parametrize("file", ["config.json", "env.json", "measures.csv", "model.safetensors"])
def test_a_half_written_run_is_continued(reference: Path, tmp_path: Path, file: str) -> None:
    for run in run_sweep(tmp_path):
        (run.path / "DONE").unlink()
        (run.path / file).write_bytes(b"{")
    run_sweep(tmp_path)
    assert contents(tmp_path) == contents(reference)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    interrupt_at(tmp_path, make_specs(), step=5)
    checkpoint = next((tmp_path / "populations").glob("*.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{checkpoint.name}.*delete this file"):
        run_sweep(tmp_path)
    checkpoint.unlink()
    run_sweep(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"members": [{}]}', '{"members": []}', "[]"])
def test_a_damaged_note_of_a_population_is_named(tmp_path: Path, text: str) -> None:
    interrupt_at(tmp_path, make_specs(), step=5)
    note = next((tmp_path / "populations").glob("*.json"))
    note.write_text(text)
    with pytest.raises(UserError, match=f"{note.name}.*delete this file"):
        run_sweep(tmp_path)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = os.replace, itertools.count()

    def replace(*args: Path) -> None:
        if next(count) >= 20:
            raise OSError(28, os.strerror(28))
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(UserError, match="No space left on device"):
            run_sweep(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    run_sweep(tmp_path)
    assert contents(tmp_path) == contents(reference)


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path).lock(), pytest.raises(UserError, match=f"process {os.getpid()} is sweeping"):
        run_sweep(tmp_path)
    run_sweep(tmp_path)


def test_equal_specs_are_one_run_and_order_is_kept(tmp_path: Path) -> None:
    specs = [make_spec(2e-3), make_spec(1e-3), make_spec(2e-3)]
    assert [run.spec for run in run_sweep(tmp_path, specs)] == specs[:2]


def test_rewinding_drops_later_lines_and_a_cut_one(tmp_path: Path) -> None:
    run = Store(tmp_path).run(make_spec())
    lines = ['{"step": 1, "loss": 2.0}\n', '{"step": 2, "loss": 1.0}\n', '{"step": 3, "lo']
    storage.write_text(run.path / "metrics.jsonl", "".join(lines))
    run.rewind(3)
    assert (run.path / "metrics.jsonl").read_text() == "".join(lines[:2])
    run.rewind(1)
    assert (run.path / "metrics.jsonl").read_text() == lines[0]
    run.rewind(0)
    assert (run.path / "metrics.jsonl").read_text() == ""


def test_values_survive_the_csv_exactly(tmp_path: Path) -> None:
    run = run_sweep(tmp_path, [make_spec()])[0]
    trained = Trained(run.spec, CPU, lambda step: cast(Decoder, load(run.spec, run.weights_path(step), CPU)))
    assert run.measures() == {name: FakeMeasure()(name, trained) for name in MEASURES}
