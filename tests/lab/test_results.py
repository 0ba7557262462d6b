"""From run folders to the five files and back, exactly."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_family, make_spec, make_specs
from matplotlib.figure import Figure

from physlm import storage
from physlm.config import override
from physlm.errors import UserError
from physlm.lab import committed, environments, results
from physlm.lab.compare import tables_of
from physlm.lab.experiment import Experiment
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import Expectation
from physlm.measures.rows import Row
from physlm.models.counting import parameter_counts, training_flops

FILES = ["VERDICT.md", "env.json", "figure.png", "law.json", "measures.csv"]


def toy_law(table: pd.DataFrame) -> Law:
    values = table.loc[table["quantity"] == "size_sum", "value"]
    return Law((Quantity("mean@8", values.mean(), values.min(), values.max(), len(values), "bits"),), {"notes": ["n"]})


def toy_figure(table: pd.DataFrame, law: Law) -> Figure:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot(table["params_used"], table["value"], "o")
    return figure


TOY = Experiment(
    "p33_toy", "A claim.", "arXiv", lambda tier: make_specs(), ("size",), toy_law, toy_figure,
    (Expectation("mean@8", 0.0, "at least", 0.0, "bits", "Fig. 1"),
     Expectation("other@8", 1.0, "about", 0.1, "bits", "Fig. 2", reason="the paper's own")),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    store = Store(tmp_path_factory.mktemp("runs"))
    return sweep(make_specs(), ("size", "unused"), store, CPU, progress=False, train=FakeTrainer(), load=load,
                 measure=FakeMeasure())


def test_the_table_has_one_row_for_each_run_and_quantity(runs: list[Run]) -> None:
    table = results.results_table(runs, ("size",))
    assert len(table) == 2 * len(runs) and set(table["quantity"]) == {"size_sum", "size_third"}
    for run, (_, rows) in zip(runs, table.groupby("run", sort=False), strict=True):
        row, words = rows.iloc[0], len(run.spec.task.vocabulary())
        assert row["run"] == run.name and row["task.kind"] == "bioD" and row["task.people"] == 100
        assert row["train.learning_rate"] == run.spec.train.learning_rate and row["train.betas"] == "[0.9, 0.98]"
        assert row["facts.items"] == run.spec.task.items == 100, "what a task says of itself"
        assert row["label"] == run.spec.model.label and row["steps"] == 8 and row["tokens"] == 8 * 20 * 64
        assert row["params_used"] == parameter_counts(run.spec.model, words)["params_used"]
        assert row["training_flops"] == training_flops(run.spec.model, words, 64) * row["tokens"]
        assert [row["value"], row["lo"]] == [run.measures()["size"][0].value, run.measures()["size"][0].lo]


def test_the_table_tells_what_a_run_began_with(tmp_path: Path) -> None:
    family = sweep(make_family(), ("size",), Store(tmp_path), CPU, progress=False, train=FakeTrainer(), load=load,
                   measure=FakeMeasure())
    table = results.results_table(family, ("size",))
    for run, (_, rows) in zip(family, table.groupby("run", sort=False), strict=True):
        row, start = rows.iloc[0], run.spec.start
        if start is None:
            assert row["start.task.kind"] == "" and math.isnan(row["start.train.seed"])
        else:
            assert row["start.task.kind"] == "bioD" and row["start.train.seed"] == start.train.seed
            assert row["start.train.exposures"] == start.train.exposures
            assert row["start.facts.items"] == start.task.items
        assert (row["start.start.task.kind"] == "bioD") == (len(run.spec.starts) == 2)
    results.write_finding(results.find(TOY, "gpu", family), tmp_path / "p33_toy", family, "redo")
    again = results.read_finding(TOY, tmp_path / "p33_toy")
    pd.testing.assert_frame_equal(again.table, table, check_exact=True)


def test_no_run_begins_with_another_and_no_column_says_so(runs: list[Run]) -> None:
    """So that tables without starts are as they were."""
    assert not [name for name in results.results_table(runs, ("size",)).columns if name.startswith("start")]


def test_columns_of_many_planned_runs_are_added_at_once(runs: list[Run]) -> None:
    """Warnings are errors here, and pandas warns of a table of more than a hundred single columns."""
    chain = runs[0].spec
    for seed in range(1, 6):
        chain = dataclasses.replace(make_specs()[0], start=chain)
        chain = dataclasses.replace(chain, train=dataclasses.replace(chain.train, seed=seed))
    planned = [*(run.spec for run in runs), chain]
    bare, table = (results.results_table(runs, ("size",), specs) for specs in ((), planned))
    added = [name for name in table.columns if name not in bare.columns]
    assert len(added) > 100 and table.columns.tolist() == [*bare.columns, *added]
    pd.testing.assert_frame_equal(table[bare.columns.tolist()], bare, check_exact=True)
    assert set(added) == {name for name in {**results.settings_of(chain), **results.facts_of(chain)}
                          if name.startswith("start.")}
    deepest = table[["start.start.start.start.start.task.kind", "start.start.start.start.start.train.seed"]]
    assert set(deepest.iloc[:, 0]) == {""} and deepest.iloc[:, 1].isna().all()
    table.assign(number=0)  # what a report does first


def test_five_files_are_written_and_read_back_exactly(runs: list[Run], tmp_path: Path) -> None:
    finding = results.find(TOY, "gpu", runs)
    figure = results.write_finding(finding, tmp_path / "p33_toy", runs, "physlm run p33_toy --tier gpu")
    assert sorted(path.name for path in (tmp_path / "p33_toy").iterdir()) == FILES
    again = results.read_finding(TOY, tmp_path / "p33_toy")
    assert again.law == finding.law and again.tier == "gpu" and again.verdicts == finding.verdicts
    pd.testing.assert_frame_equal(again.table, finding.table, check_exact=True)
    drawn = figure.read_bytes()
    figure.unlink()
    assert results.redraw(TOY, tmp_path / "p33_toy").read_bytes() == drawn
    text = (tmp_path / "p33_toy" / "VERDICT.md").read_text()
    assert "A claim." in text and "physlm run p33_toy --tier gpu" in text
    environments = json.loads((tmp_path / "p33_toy" / "env.json").read_text())["environments"]
    assert sum(environment["runs"] for environment in environments) == len(runs)


def test_a_resumed_run_is_as_fast_as_its_last_part(tmp_path: Path) -> None:
    """Two of eight steps in 2 seconds: speeds of whole runs over the seconds of a part were four times that."""
    runs = sweep(make_specs()[:1], ("size",), Store(tmp_path / "runs"), CPU, progress=False, train=FakeTrainer(),
                 load=load, measure=FakeMeasure())
    spec = runs[0].spec
    runs[0].write_timing({"seconds": 2.0, "first_step": spec.steps - 2, "last_step": spec.steps, "members": 1,
                          "tokens_per_second_all_members": spec.tokens * 2 / spec.steps / 2.0})
    results.write_finding(results.find(TOY, "gpu", runs), tmp_path / "p33_toy", runs, "physlm run p33_toy --tier gpu")
    speeds = json.loads((tmp_path / "p33_toy" / "env.json").read_text())["tokens_per_second"]
    (device,) = {run.environment()["device_name"] for run in runs}
    assert list(speeds) == [device] and list(speeds[device].values()) == [round(spec.tokens / spec.steps)]


def test_speeds_of_two_devices_are_said_apart(tmp_path: Path) -> None:
    """One model at 100 tokens a second on one and at 300 on the other has no speed of 200."""
    runs = sweep([make_spec(1e-3), make_spec(2e-3)], ("size",), Store(tmp_path / "runs"), CPU, progress=False,
                 train=FakeTrainer(), load=load, measure=FakeMeasure())
    for run, (device, speed) in zip(runs, (("A", 100.0), ("B", 300.0)), strict=True):
        storage.write_json(run.path / "env.json", {**run.environment(), "device_name": device})
        run.write_timing({"seconds": 2.0, "first_step": 0, "last_step": run.spec.steps, "members": 1,
                          "tokens_per_second_all_members": speed})
    folder = tmp_path / "results" / "p33_toy"
    results.write_finding(results.find(TOY, "gpu", runs), folder, runs, "physlm run p33_toy --tier gpu")
    speeds = json.loads((folder / "env.json").read_text())["tokens_per_second"]
    assert {device: list(models.values()) for device, models in speeds.items()} == {"A": [100], "B": [300]}
    table = tables_of(["p33_toy"], "gpu", tmp_path / "results", tmp_path / "runs")["p33_toy"]
    assert set(table["tokens_per_second"]) == {100}, "those of one device"


def test_what_is_not_finite_is_left_out_and_said_to_be_so(runs: list[Run], tmp_path: Path) -> None:
    """The law sees the rest; the table keeps it, and a refit says the same."""
    table = results.results_table(runs, ("size",))
    lost = table.index[table["quantity"] == "size_sum"][0]
    table.loc[lost, ["value", "lo"]] = math.nan
    law = results.fit(TOY, table)
    assert law.details["not_finite"] == [f"{table.loc[lost, 'run']}: size_sum"]
    found, whole = law.get("mean@8"), results.find(TOY, "gpu", runs).law.get("mean@8")
    assert found is not None and whole is not None and (found.n, whole.n) == (len(runs) - 1, len(runs))
    folder = tmp_path / "p33_toy"
    results.write_finding(results.Finding(TOY, "gpu", table, law), folder, runs, "redo")
    assert "## Not finite, and left out" in (folder / "VERDICT.md").read_text()
    again = results.read_finding(TOY, folder)
    assert again.law == law == results.fit(TOY, again.table) and math.isnan(again.table["value"][lost])
    assert "not_finite" not in results.find(TOY, "gpu", runs).law.details


def test_columns_none_of_which_was_measured_are_an_error_when_the_table_is_there(runs: list[Run]) -> None:
    some = dataclasses.replace(TOY, columns=("size_sum", "size_of_another_tier"))
    assert results.find(some, "gpu", runs).law == results.find(TOY, "gpu", runs).law
    with pytest.raises(UserError, match="p33_toy: columns: .*unknown name 'size_sun'; did you mean 'size_sum'"):
        results.find(dataclasses.replace(TOY, columns=("size_sun",)), "gpu", runs)


def test_places_are_columns_and_survive_a_file(tmp_path: Path) -> None:
    def measure(name: str, run: Any) -> list[Row]:
        first = Row("loss", 0.5, "nats", 9, 0.4, 0.6, {"split": "test", "layer": 3, "rate": 0.5})
        return [first, Row("loss", 0.7, "nats", 9, 0.6, 0.8, {"split": "train"}), Row("size", 1.0, "1", 1, 1.0, 1.0)]

    runs = sweep(make_specs()[:1], ("size",), Store(tmp_path / "runs"), CPU, progress=False, train=FakeTrainer(),
                 load=load, measure=measure)
    table = results.results_table(runs, ("size",))
    assert list(table.columns[-8:]) == ["at.split", "at.layer", "at.rate", "value", "unit", "n", "lo", "hi"]
    assert table[["at.split", "at.layer", "at.rate"]].to_numpy().tolist() == [["test", 3, 0.5], ["train", "", ""],
                                                                            ["", "", ""]]
    assert runs[0].measures()["size"][0].where == {"split": "test", "layer": 3, "rate": 0.5}
    table.to_csv(tmp_path / "measures.csv", index=False)
    pd.testing.assert_frame_equal(results.read_table(tmp_path / "measures.csv"), table, check_exact=True)


def test_a_claim_says_how_long_it_took(tmp_path: Path) -> None:
    """Two runs begin with one, which trained beside another: its time counts once, by half."""
    first = make_specs()[0]
    specs = [dataclasses.replace(override(first, [f"train.seed={seed}"]), start=first) for seed in (1, 2)]
    store = Store(tmp_path)
    for spec, seconds, members, measures in (
        (first, 10.0, 2, {"other": 100.0}), (specs[0], 3.0, 1, {"size": 5.0, "more": 1.0}), (specs[1], 4.0, 1, {}),
    ):
        run = store.run(spec)
        run.path.mkdir()
        (run.path / "timing.json").write_text(json.dumps({"seconds": seconds, "members": members}))
        for name, taken in measures.items():
            run.keep_seconds(name, 2 * taken)
            run.keep_seconds(name, taken)
    runs = [store.run(spec) for spec in specs]
    own = environments.spent((runs, ("size", "other")))
    assert own == {"training": 12.0, "measuring": 5.0}, "of their own measures"
    both = environments.spent((runs, ("size",)), (runs[:1], ("size", "more")))
    assert both == {"training": 12.0, "measuring": 6.0}, "what two claims share counts once"
    (runs[1].path / "timing.json").unlink()
    assert environments.spent((runs, ()))["training"] == 8.0


def test_a_part_of_a_tier_says_that_it_is_a_part(runs: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / "p33_toy"
    results.write_finding(results.find(TOY, "gpu", runs), folder, runs, "redo", planned=len(runs) + 3)
    assert f"{len(runs)} of its {len(runs) + 3} runs" in (folder / "VERDICT.md").read_text()
    assert json.loads((folder / "law.json").read_text())["runs"] == {"finished": len(runs), "planned": len(runs) + 3}
    results.write_finding(results.find(TOY, "gpu", runs), folder, runs, "redo")
    assert "of its" not in (folder / "VERDICT.md").read_text()


def test_verdicts_are_read_from_results_alone(runs: list[Run], tmp_path: Path) -> None:
    results.write_finding(results.find(TOY, "gpu", runs), tmp_path / "p33_toy", runs, "redo")
    for name in FILES:
        if name != "law.json":
            (tmp_path / "p33_toy" / name).unlink()
    assert committed.committed_claims(tmp_path) == ["p33_toy"]
    rows = committed.committed_verdicts("p33_toy", tmp_path)
    assert [tuple(row) for row in rows] == [committed.VERDICT_KEYS] * 2
    assert [row["verdict"] for row in rows] == ["reproduced", "not run"] and rows[0]["tier"] == "gpu"


def test_small_tiers_and_altered_settings_never_replace_results() -> None:
    committed, runs = Path("results"), Path("runs")
    places = {(tier, altered): results.results_folder("c", tier, committed, runs, altered)
              for tier in ("smoke", "demo", "gpu", "paper") for altered in (False, True)}
    assert {key for key, place in places.items() if place == committed / "c"} == {("gpu", False), ("paper", False)}
    assert places["demo", False] == runs / "demo" / "c" and places["gpu", True] == runs / "gpu-custom" / "c"


def test_the_largest_tier_that_ran_is_found(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not run yet"):
        results.latest_folder("p33_toy", None, tmp_path / "results", tmp_path / "runs")
    for tier in ("smoke", "gpu"):
        folder = results.results_folder("p33_toy", tier, tmp_path / "results", tmp_path / "runs")
        results.write_finding(results.find(TOY, tier, runs), folder, runs, "redo")
        assert results.latest_folder("p33_toy", None, tmp_path / "results", tmp_path / "runs") == folder
    with pytest.raises(UserError, match="--tier demo"):
        results.latest_folder("p33_toy", "demo", tmp_path / "results", tmp_path / "runs")


@pytest.mark.parametrize("tier", ["gpu", "demo"])
def test_no_link_leads_out_of_a_folder_of_results(tmp_path: Path, tier: str) -> None:
    (tmp_path / "outside" / "c").mkdir(parents=True)
    for root in ("results", "runs"):
        (tmp_path / root).mkdir()
    (tmp_path / "results" / "c").symlink_to(tmp_path / "outside" / "c")
    (tmp_path / "runs" / "demo").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "c" / "law.json").write_text("{}")
    with pytest.raises(UserError, match="it is a symbolic link, expected a folder"):
        results.results_folder("c", tier, tmp_path / "results", tmp_path / "runs")
    with pytest.raises(UserError, match="it is a symbolic link, expected a folder"):
        committed.committed_verdicts("c", tmp_path / "results")


@pytest.mark.parametrize("text", [
    "", "{}", "[]", '{"quantities": [', '{"quantities": [], "details": {}, "tier": "gpu"}',
    '{"quantities": [], "details": {}, "tier": "gpu", "verdicts": [{"claim": "x"}]}',
])
def test_damaged_results_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "law.json").write_text(text)
    with pytest.raises(UserError, match=r"law\.json: .*restore it from git"):
        committed.committed_verdicts("c", tmp_path)


@pytest.mark.parametrize("damage", [
    lambda text: text.replace(",value,", ",worth,", 1), lambda text: text.replace("run,", "ran,", 1),
    lambda text: "\n".join(line + ",x" for line in text.splitlines()[1:]), lambda text: "", lambda text: text[:5],
    lambda text: text.replace("size_sum,", "size_sum,much", 1),
    lambda text: text.replace(",bits,100,", ",bits,many,", 1),
], ids=["value", "run", "no header", "empty", "cut", "no number", "no count"])  # fmt: skip
def test_a_damaged_table_is_one_line(runs: list[Run], tmp_path: Path, damage: Callable[[str], str]) -> None:
    results.write_finding(results.find(TOY, "gpu", runs), tmp_path, runs, "redo")
    table = (tmp_path / "measures.csv").read_text()
    assert damage(table) != table
    (tmp_path / "measures.csv").write_text(damage(table))
    with pytest.raises(UserError, match=r"measures\.csv: .*restore it from git"):
        results.redraw(TOY, tmp_path)


def test_damage_inside_a_law_names_the_file(tmp_path: Path) -> None:
    law = {"quantities": [{"name": "x"}], "details": {}, "tier": "gpu", "verdicts": []}
    (tmp_path / "law.json").write_text(json.dumps(law))
    with pytest.raises(UserError, match=r"law\.json: .*restore it from git"):
        results.read_finding(TOY, tmp_path)


def test_a_packed_table_is_read_as_the_table_itself(runs: list[Run], tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    results.write_finding(results.find(TOY, "gpu", runs), plain, runs, "redo")
    packed.mkdir()
    for path in plain.iterdir():
        (packed / path.name).write_bytes(path.read_bytes())
    (packed / "measures.csv").unlink()
    (packed / "measures.csv.gz").write_bytes(gzip.compress((plain / "measures.csv").read_bytes()))
    one, other = (results.read_finding(TOY, folder) for folder in (plain, packed))
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    (packed / "measures.csv.gz").write_bytes((packed / "measures.csv.gz").read_bytes()[:50])
    with pytest.raises(UserError, match=r"measures\.csv\.gz: expected a gzip file, found damage"):
        results.read_finding(TOY, packed)


def test_what_was_asked_for_is_read_back(runs: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / "results" / "p33_toy"
    results.write_finding(results.find(TOY, "gpu", runs), folder, runs, "redo")
    assert committed.committed_expectations("p33_toy", tmp_path / "results") == TOY.expect
    whole = json.loads((folder / "law.json").read_text())
    for change in ({"relation": "near"}, {"tolerance": "1"}, {"label": "\x1b[2J"}, {"more": 1}, {"published": None}):
        (folder / "law.json").write_text(json.dumps({**whole, "expect": [{**whole["expect"][0], **change}]}))
        with pytest.raises(UserError, match=r"law\.json: expect: "):
            committed.committed_expectations("p33_toy", tmp_path / "results")
    (folder / "law.json").write_text(json.dumps({key: value for key, value in whole.items() if key != "expect"}))
    assert committed.committed_expectations("p33_toy", tmp_path / "results") == (), "as older files are"
