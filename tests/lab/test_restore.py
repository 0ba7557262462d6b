"""Committed results give back the finished runs that they were made of, all but weights and curves."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_family, make_spec, make_specs
from sweeps import run_sweep
from test_results import TOY

from physlm import storage
from physlm.errors import UserError
from physlm.lab import results
from physlm.lab.environments import environments_of
from physlm.lab.experiment import Experiment, load_experiment
from physlm.lab.restore import restore
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.laws.law import Law
from physlm.measures.rows import Row
from physlm.training.config import RunSpec

ROOT = Path(__file__).parents[2]
MEASURES = ("size", "second")


class Placed(FakeMeasure):
    """Numbers of every kind: at places, exact to the last bit, without an end, and none at all."""

    def __call__(self, measure: Any, trained: Any) -> list[Row]:
        (first, *rest) = super().__call__(measure, trained)
        return [first, *rest, dataclasses.replace(first, quantity=f"{measure}_at", value=1 / 3, lo=0.1, hi=math.inf,
                                                  where={"kind": "employer", "layer": 3, "share": 0.5}),
                Row(f"{measure}_lost", math.nan, "1", 0, math.nan, math.nan)]


def claim(specs: list[RunSpec], name: str = "p33_toy", measures: tuple[str, ...] = MEASURES) -> Experiment:
    return dataclasses.replace(TOY, name=name, runs=lambda tier: specs, measures=measures, law=lambda table: Law(()),
                               expect=())


def commit(specs: list[RunSpec], folder: Path, name: str = "p33_toy",
           measures: tuple[str, ...] = MEASURES) -> list[Run]:
    """Train, and write the results of a claim at a clean commit; environments differ between the runs."""
    runs = sweep(specs, measures, Store(folder / "runs"), CPU, progress=False, train=FakeTrainer(), load=load,
                 measure=Placed())
    for number, run in enumerate(runs):
        storage.write_json(run.path / "env.json", {**run.environment(), "device_name": f"machine {number % 2}",
                                                   "git_dirty": False})
        run.write_timing({"seconds": 10.0 + number, "members": 2, "tokens_per_second_all_members": 100.0 + number})
    found = results.find(claim(specs, name, measures), "gpu", runs)
    results.write_finding(found, folder / "results" / name, runs, "redo", planned=len(specs))
    return runs


def asked(specs: list[RunSpec], measures: tuple[str, ...] = MEASURES) -> dict[RunSpec, tuple[str, ...]]:
    return dict.fromkeys(specs, measures)


def test_the_same_results_are_made_of_them_and_nothing_is_trained_again(tmp_path: Path) -> None:
    specs = [*make_specs(), make_spec(1e30)]
    runs = commit(specs, tmp_path)
    assert runs[-1].diverged() is not None
    store = Store(tmp_path / "elsewhere")
    made = restore(asked(specs), store, tmp_path / "results")
    assert [run.hash for run in made] == [run.hash for run in runs] and all(run.finished() for run in made)
    for ours, theirs in zip(made, runs, strict=True):
        assert (ours.environment(), ours.diverged()) == (theirs.environment(), theirs.diverged())
        assert ours.training_seconds() == pytest.approx(theirs.training_seconds())
        assert ours.training_speed() == theirs.training_speed()
        assert ours.measuring_seconds() == pytest.approx(theirs.measuring_seconds(), abs=1e-3)
        assert not ours.model_path.exists()
    trainer, measure = FakeTrainer(), FakeMeasure()
    again = sweep(specs, MEASURES, store, CPU, progress=False, train=trainer, load=load, measure=measure)
    assert (trainer.calls, measure.calls) == ([], [])
    results.write_finding(results.find(claim(specs), "gpu", again), tmp_path / "again", again, "redo")
    for name in ("measures.csv", "law.json", "env.json", "VERDICT.md", "figure.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "results" / "p33_toy" / name).read_bytes(), name
    assert restore(asked(specs), store, tmp_path / "results") == [], "what is there is left alone"


def test_only_what_is_missing_is_trained(tmp_path: Path) -> None:
    specs = make_specs()
    commit(specs[:3], tmp_path)
    restore(asked(specs), Store(tmp_path / "elsewhere"), tmp_path / "results")
    trainer = FakeTrainer()
    whole = run_sweep(tmp_path / "elsewhere", specs, MEASURES, trainer)
    assert sorted(one for call in trainer.calls for one in call) == sorted(run.hash for run in whole[3:])


def test_measures_of_several_claims_are_put_together(tmp_path: Path) -> None:
    specs = make_specs()
    commit(specs, tmp_path, "p33_one", ("size",))
    commit(specs[:2], tmp_path, "p33_two", ("second", "third"))
    made = restore(asked(specs), Store(tmp_path / "elsewhere"), tmp_path / "results")
    assert [run.spec for run in made] == specs[:2], "the others lack a measure, which takes weights"
    assert all(set(run.measures()) == {"size", "second"} for run in made)


def rewrite(folder: Path, environment: dict[str, Any], size: str) -> None:
    """Another environment of all runs of a claim's results, and another number in all rows."""
    told = storage.read_json(folder / "env.json")
    storage.write_json(folder / "env.json", {**told, "environments": [{**one, **environment}
                                                                      for one in told["environments"]]})
    table = pd.read_csv(folder / "measures.csv", dtype=str, keep_default_na=False).assign(value=size)
    storage.write_text(folder / "measures.csv", table.to_csv(index=False, lineterminator="\n"))


@pytest.mark.parametrize(("claims", "measures", "machine", "size"), [
    ({}, ("size",), "first", 1.0),
    ({"p33_two": ("size", "second")}, ("size",), "second", 2.0),
    ({}, ("second",), "second", 2.0),
], ids=["the first", "that of the claim that asks", "the first that has the measure"])
def test_numbers_and_the_machine_that_made_them_come_from_one_table(
    claims: dict[str, tuple[str, ...]], measures: tuple[str, ...], machine: str, size: float, tmp_path: Path,
) -> None:
    specs = make_specs()
    for name, own, where, number in (("p33_one", ("size",), "first", "1.0"), ("p33_two", MEASURES, "second", "2.0")):
        commit(specs, tmp_path / name, name, own)
        rewrite(tmp_path / name / "results" / name, {"device_name": where}, number)
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / name / "results" / name).rename(tmp_path / "results" / name)
    made = restore(asked(specs, measures), Store(tmp_path / "elsewhere"), tmp_path / "results", claims)
    assert len(made) == len(specs) and {run.environment()["device_name"] for run in made} == {machine}
    assert {row.value for run in made for row in run.measures()[measures[0]]} == {size}


def test_what_uncommitted_changes_made_is_not_taken(tmp_path: Path) -> None:
    specs = make_specs()
    commit(specs, tmp_path)
    folder = tmp_path / "results" / "p33_toy"
    for dirty, taken in ((True, 0), (None, len(specs))):
        rewrite(folder, {"git_dirty": dirty}, "1.0")
        assert len(restore(asked(specs), Store(tmp_path / f"{dirty}"), tmp_path / "results")) == taken


def test_a_run_that_another_begins_with_is_trained_where_the_other_is(tmp_path: Path) -> None:
    family = make_family()
    commit(family, tmp_path)
    (one,) = restore(asked(family[-1:]), Store(tmp_path / "alone"), tmp_path / "results")
    assert one.spec == family[-1]
    other = dataclasses.replace(make_spec(9e-3, exposures=4), start=family[-1])
    made = restore(asked([*family, other]), Store(tmp_path / "with"), tmp_path / "results")
    assert [run.spec for run in made] == family[:-1], "the other needs its weights"
    runs = run_sweep(tmp_path / "with", [*family, other], MEASURES)
    assert all(run.finished() for run in runs)


def test_older_results_give_back_what_they_tell(tmp_path: Path) -> None:
    """Tables did not name their measures, and env.json did not tell runs apart."""
    specs = make_specs()
    commit(specs, tmp_path, measures=("size",))
    folder = tmp_path / "results" / "p33_toy"
    table = pd.read_csv(folder / "measures.csv", dtype=str, keep_default_na=False).drop(columns="measure")
    storage.write_text(folder / "measures.csv", table.to_csv(index=False, lineterminator="\n"))
    told = storage.read_json(folder / "env.json")
    del told["each"]
    storage.write_json(folder / "env.json", told)
    wanted, claims = asked(specs, ("size",)), {"p33_toy": ("size",)}
    assert restore(wanted, Store(tmp_path / "two"), tmp_path / "results", claims) == [], "which machine, is not known"
    storage.write_json(folder / "env.json", {**told, "environments": told["environments"][:1]})
    assert restore(wanted, Store(tmp_path / "none"), tmp_path / "results") == [], "which measure, is not known"
    made = restore(wanted, Store(tmp_path / "one"), tmp_path / "results", claims)
    assert len(made) == len(specs) and {run.environment()["device_name"] for run in made} == {"machine 0"}
    assert [run.training_seconds() for run in made] == [0.0] * len(specs)


def change(name: str, before: str, after: str) -> Callable[[Path], None]:
    """The first such text of a file becomes another."""
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return damage


def retell(key: str, value: Any) -> Callable[[Path], None]:
    """Another entry of one run in env.json."""
    def damage(folder: Path) -> None:
        told = json.loads((folder / "env.json").read_text())
        next(iter(told["each"].values()))[key] = value
        (folder / "env.json").write_text(json.dumps(told))

    return damage


def renumber(n: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        table = pd.read_csv(folder / "measures.csv", dtype=str, keep_default_na=False)
        table.loc[0, "n"] = n
        (folder / "measures.csv").write_text(table.to_csv(index=False, lineterminator="\n"))

    return damage


def shorten(kept: slice) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        lines = (folder / "measures.csv").read_text().splitlines(keepends=True)
        (folder / "measures.csv").write_text("".join(lines[kept]))

    return damage


NUMBER, EACH = "expected a measured number", "env.json: each: expected for each run one of the environments"


@pytest.mark.parametrize(("damage", "named"), [
    (change("measures.csv", "size_at", "size at"), NUMBER),
    (change("measures.csv", ",0.1,inf", ",half,inf"), "numbers"),
    *((renumber(n), NUMBER) for n in ("-1", "2.5", "inf", "1e30")),
    (shorten(slice(0, -1)), "got rows of"), (shorten(slice(1, None)), "is missing"),
    (lambda folder: os.truncate(folder / "measures.csv", (folder / "measures.csv").stat().st_size - 1), "whole lines"),
    (retell("environment", 7), EACH), (retell("training", "long"), EACH), (retell("training", -5.0), EACH),
    (retell("rows", {"size": 9}), "got rows of"), (lambda folder: os.remove(folder / "env.json"), "env.json"),
])
def test_damaged_results_give_back_nothing(damage: Callable[[Path], None], named: str, tmp_path: Path) -> None:
    specs = make_specs()
    commit(specs, tmp_path)
    damage(tmp_path / "results" / "p33_toy")
    with pytest.raises(UserError) as caught:
        restore(asked(specs), Store(tmp_path / "elsewhere"), tmp_path / "results")
    assert named in str(caught.value) and not (tmp_path / "elsewhere").exists()


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a table beside weights that were trained later would be of two models."""
    specs = make_specs()
    commit(specs, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Run, "finish", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            restore(asked(specs), Store(tmp_path / "elsewhere"), tmp_path / "results")
    assert not list((tmp_path / "elsewhere").glob("bio*"))
    assert len(restore(asked(specs), Store(tmp_path / "elsewhere"), tmp_path / "results")) == len(specs)


def _interrupted(run: Run) -> None:
    raise KeyboardInterrupt


def test_what_another_sweep_began_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs, store = make_specs(), Store(tmp_path / "elsewhere")
    commit(specs, tmp_path)
    lock = Store.lock

    def late(self: Store) -> Any:
        self.run(specs[0]).start({"device": "cpu"})
        return lock(self)

    monkeypatch.setattr(Store, "lock", late)
    made = restore(asked(specs), store, tmp_path / "results")
    assert [run.spec for run in made] == specs[1:] and not store.run(specs[0]).finished()


def test_a_report_alone_takes_also_what_others_begin_with(tmp_path: Path) -> None:
    family = make_family()
    commit(family, tmp_path)
    other = dataclasses.replace(make_spec(9e-3, exposures=4), start=family[-1])
    store = Store(tmp_path / "elsewhere")
    made = restore(asked([*family, other]), store, tmp_path / "results", trains=False)
    assert [run.spec for run in made] == family


def test_runs_without_times_are_counted(tmp_path: Path) -> None:
    """Starts that are not among the runs have no folder there, so that the seconds are not those of all."""
    *tuned, _, _ = make_family()
    commit(tuned, tmp_path)
    told = storage.read_json(tmp_path / "results" / "p33_toy" / "env.json")
    made = restore(asked(tuned), Store(tmp_path / "elsewhere"), tmp_path / "results")
    again = environments_of(made, MEASURES)
    assert "untimed" not in told and again["untimed"] == 2
    assert {key: value for key, value in again.items() if key not in ("untimed", "seconds")} == {
        key: value for key, value in told.items() if key != "seconds"}


def test_runs_of_a_committed_claim_come_back_with_the_rows_of_its_table(tmp_path: Path) -> None:
    known = load_experiment("p33_exposures", ROOT / "experiments")
    specs = known.specs("gpu")
    made = restore({spec: known.asked_names(spec) for spec in specs}, Store(tmp_path), ROOT / "results",
                   {known.name: known.measure_names})
    committed = results.read_table(ROOT / "results" / known.name / "measures.csv")
    assert {run.name for run in made} >= set(committed["run"])
    ours = results.results_table([run for run in made if run.name in set(committed["run"])], known.asked_names, specs)
    both = ["run", "quantity", "value", "unit", "n", "lo", "hi"]
    order = ["run", "quantity", "value"]
    pd.testing.assert_frame_equal(ours[both].sort_values(order, ignore_index=True),
                                  committed[both].sort_values(order, ignore_index=True), check_exact=True)
