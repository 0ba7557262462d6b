"""The sweep's promise: killed at any moment and started again, it ends as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import CHECKPOINT_EVERY, FakeMeasure, FakeTrainer, make_spec, make_specs
from killed import VARYING, Killed
from sweeps import MEASURES, contents, done_times, interrupt_at, operations, run_sweep  # noqa: F401 (a fixture)

from physlm import storage
from physlm.errors import UserError
from physlm.lab.planner import Population
from physlm.lab.store import Store


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


def test_kill_at_every_moment(reference: Path, tmp_path: Path, operations: list[int]) -> None:  # noqa: F811
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


def test_kill_again_while_resuming(reference: Path, tmp_path: Path, operations: list[int]) -> None:  # noqa: F811
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


def test_an_interrupted_population_is_resumed_whole_by_a_plan_that_wants_one_of_it(tmp_path: Path) -> None:
    pair = [make_spec(1e-3), make_spec(2e-3)]
    run_sweep(tmp_path / "whole", pair)
    interrupt_at(tmp_path / "runs", pair)
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
    interrupt_at(tmp_path, [make_spec(1e-3)])
    trainer = FakeTrainer()
    run_sweep(tmp_path, [make_spec(2e-3)], trainer=trainer)
    assert trainer.calls == [(Store(tmp_path).run(make_spec(2e-3)).hash,)]
    assert Store(tmp_path).checkpoint(Population((make_spec(1e-3),))).exists()


def test_a_population_too_large_for_the_device_is_regrouped_before_its_first_checkpoint(tmp_path: Path) -> None:
    pair = [make_spec(1e-3), make_spec(2e-3)]
    interrupt_at(tmp_path / "early", pair, step=2)
    interrupt_at(tmp_path / "late", pair)
    for name, sizes in (("early", [1, 1]), ("late", [2])):
        trainer = FakeTrainer()
        run_sweep(tmp_path / name, pair, trainer=trainer, members=1)
        assert [len(call) for call in trainer.calls] == sizes


@pytest.mark.parametrize("file", ["config.json", "env.json", "measures.csv", "model.safetensors"])
def test_a_half_written_run_is_continued(reference: Path, tmp_path: Path, file: str) -> None:
    for run in run_sweep(tmp_path):
        (run.path / "DONE").unlink()
        (run.path / file).write_bytes(b"{")
    run_sweep(tmp_path)
    assert contents(tmp_path) == contents(reference)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    interrupt_at(tmp_path, make_specs())
    checkpoint = next((tmp_path / "populations").glob("*.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{checkpoint.name}.*delete this file"):
        run_sweep(tmp_path)
    checkpoint.unlink()
    run_sweep(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"members": [{}]}', '{"members": []}', "[]"])
def test_a_damaged_note_of_a_population_is_named(tmp_path: Path, text: str) -> None:
    interrupt_at(tmp_path, make_specs())
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
