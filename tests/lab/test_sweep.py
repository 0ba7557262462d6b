"""What a sweep trains and measures, what it leaves alone, and what it refuses before it begins."""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path
from typing import cast

import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_spec, make_specs
from sweeps import MEASURES, contents, done_times, run_sweep

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec


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


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path).lock(), pytest.raises(UserError, match=f"process {os.getpid()} is sweeping"):
        run_sweep(tmp_path)
    run_sweep(tmp_path)


def test_equal_specs_are_one_run_and_order_is_kept(tmp_path: Path) -> None:
    specs = [make_spec(2e-3), make_spec(1e-3), make_spec(2e-3)]
    assert [run.spec for run in run_sweep(tmp_path, specs)] == specs[:2]


def test_values_survive_the_csv_exactly(tmp_path: Path) -> None:
    run = run_sweep(tmp_path, [make_spec()])[0]
    trained = Trained(run.spec, CPU, lambda step: cast(Decoder, load(run.spec, run.weights_path(step), CPU)))
    assert run.measures() == {name: FakeMeasure()(name, trained) for name in MEASURES}
