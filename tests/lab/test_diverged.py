"""A run that diverged is an end of its own: no number comes from it, nobody waits for it, and every report names it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import CPU, FakeMeasure, FakeModel, FakeTrainer, make_spec
from killed import Killed
from sweeps import contents, operations, run_sweep  # noqa: F401 (a fixture)
from test_results import FILES, TOY

from physlm.config import override
from physlm.errors import NotFiniteError, UserError
from physlm.lab import results, verify
from physlm.lab.experiment import Experiment
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.laws.law import Law
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

WILD = 1e30


def family() -> list[RunSpec]:
    """Two of one shape, of which one diverges; another shape, of which all do; and runs that begin with those."""
    sane, wild = make_spec(1e-3), make_spec(WILD)
    tuned = [dataclasses.replace(make_spec(2e-3, exposures=4), start=start) for start in (wild, sane)]
    return [sane, wild, make_spec(WILD, layers=2), *tuned, dataclasses.replace(make_spec(3e-3), start=tuned[0])]


def diverged(runs: list[Run]) -> list[bool]:
    return [run.diverged() is not None for run in runs]


def test_a_sweep_goes_on_and_says_who_diverged_and_why(tmp_path: Path) -> None:
    trainer, measure = FakeTrainer(), FakeMeasure()
    runs = run_sweep(tmp_path, family(), trainer=trainer, measure=measure)
    assert diverged(runs) == [False, True, True, True, False, True] and all(run.finished() for run in runs)
    assert {name for _, name in measure.calls} == {runs[0].hash, runs[4].hash}, "nothing is measured of the others"
    assert [bool(run.measures()) for run in runs] == [True, False, False, False, True, False]
    assert [run.model_path.exists() for run in runs] == [True, False, False, False, True, False]
    assert sorted(itertools.chain(*trainer.calls)) == sorted(runs[i].hash for i in (0, 1, 2, 4))
    reasons = [run.diverged() for run in runs]
    assert reasons[1:3] == [f"its loss is not finite from step {step} of 8 on" for step in (4, 2)]
    assert reasons[3] == f"it begins with {runs[1].name}, which diverged"
    assert reasons[5] == f"it begins with {runs[3].name}, which diverged"
    assert not list((tmp_path / "populations").iterdir())


def test_it_counts_as_finished(tmp_path: Path) -> None:
    runs = run_sweep(tmp_path, family())
    before, trainer, measure = contents(tmp_path), FakeTrainer(), FakeMeasure()
    assert diverged(run_sweep(tmp_path, family(), trainer=trainer, measure=measure)) == diverged(runs)
    assert (trainer.calls, measure.calls) == ([], []) and contents(tmp_path) == before
    run_sweep(tmp_path, family(), measures=("first", "second", "third"), trainer=trainer, measure=measure)
    assert trainer.calls == [] and {name for _, name in measure.calls} == {runs[0].hash, runs[4].hash}


def test_who_trains_beside_it_does_not_matter(tmp_path: Path) -> None:
    for name, members in (("alone", 1), ("together", 16)):
        specs = [make_spec(rate) for rate in (1e-3, WILD, 2e-3, 2 * WILD)]
        assert diverged(run_sweep(tmp_path / name, specs, members=members)) == [False, True, False, True]


def test_killed_at_every_moment_it_ends_the_same(tmp_path: Path, operations: list[int]) -> None:  # noqa: F811
    specs = [*family()[:2], *family()[3:5]]
    run_sweep(tmp_path / "whole", specs)
    total, expected = operations[1], contents(tmp_path / "whole")
    assert total > 50
    for moment in range(total):
        operations[:] = [moment, 0]
        with pytest.raises(Killed):
            run_sweep(tmp_path / str(moment), specs)
        operations[:] = [-1, 0]
        run_sweep(tmp_path / str(moment), specs)
        assert contents(tmp_path / str(moment)) == expected, f"killed before operation {moment}"


class LateTrainer(FakeTrainer):
    """``losses`` is what its log says of the first member, one of whose weights is ``last`` at the end."""

    def __init__(self, losses: list[float | None], last: float):
        super().__init__()
        self.losses, self.last = iter(losses), last

    def __call__(self, specs: Any, device: Any, *, log: Any, **rest: Any) -> list[FakeModel]:
        def instead(line: dict[str, Any]) -> None:
            log({**line, "loss": next(self.losses)} if line["member"] == 0 else line)

        models = super().__call__(specs, device, log=instead, **rest)
        models[0].weight = models[0].weight.clone()
        models[0].weight[0] = self.last
        return models


@pytest.mark.parametrize(("losses", "last", "reason"), [
    ([1.0, None, 1.0, 1.0], 0.5, None),
    ([None, None, None, 1.0], 0.5, None),
    ([1.0, 1.0, 1.0, 1.0], torch.inf, "its weights are not finite after its last step, 8"),
    ([None, 1.0, 1.0, 1.0], torch.nan, "its weights are not finite after its last step, 8"),
    ([1.0, None, 1.0, None], 0.5, "its loss is not finite from step 8 of 8 on"),
    ([1.0, None, None, None], torch.nan, "its loss is not finite from step 4 of 8 on"),
])  # fmt: skip
def test_the_end_of_its_training_decides(tmp_path: Path, losses: list[float | None], last: float,
                                         reason: str | None) -> None:
    runs = run_sweep(tmp_path, [make_spec(1e-3), make_spec(2e-3)], trainer=LateTrainer(losses, last))
    assert [run.diverged() for run in runs] == [reason, None]
    assert [bool(run.measures()) for run in runs] == [reason is None, True]


def test_what_a_measure_cannot_read_has_diverged(tmp_path: Path) -> None:
    runs = run_sweep(tmp_path, [make_spec(1e-3), make_spec(2e-3)], measures=("first",))

    class Refusing(FakeMeasure):
        def __call__(self, name: str, run: Trained) -> list[Row]:
            if run.spec.train.learning_rate == 1e-3:
                raise NotFiniteError("got logits of words that are not finite")
            return super().__call__(name, run)

    again = run_sweep(tmp_path, [run.spec for run in runs], measures=("first", "second"), measure=Refusing())
    assert [run.diverged() for run in again] == ["got logits of words that are not finite", None]
    assert set(results.results_table(again, ("first", "second"))["run"]) == {again[1].name}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"run": "0", "reason": "x"}', '{"reason": 3}'])
def test_a_damaged_note_is_named(tmp_path: Path, text: str) -> None:
    (run,) = run_sweep(tmp_path, [make_spec(WILD)])
    (run.path / "diverged.json").write_text(text)
    with pytest.raises(UserError, match="diverged.json: expected .*delete the folder"):
        run_sweep(tmp_path, [make_spec(WILD)])
    (run.path / "DONE").unlink()
    (run,) = run_sweep(tmp_path, [make_spec(WILD)], trainer=(trainer := FakeTrainer()))
    assert len(trainer.calls) == 1 and run.diverged() is not None, "without DONE nothing is promised"


def report(root: Path, specs: list[RunSpec], experiment: Experiment = TOY) -> tuple[results.Finding, Path]:
    runs = run_sweep(root / "runs", specs, measures=("size",))
    finding = results.find(experiment, "gpu", runs)
    results.write_finding(finding, root / "p33_toy", runs, "redo")
    return finding, root / "p33_toy"


def test_tables_laws_verdicts_and_figures_leave_it_out_and_name_it(tmp_path: Path) -> None:
    sane = [make_spec(1e-3), make_spec(2e-3)]
    whole, folder = report(tmp_path / "whole", sane)
    assert "diverged" not in (folder / "VERDICT.md").read_text() and "diverged" not in whole.law.details
    tall = _height(folder / "figure.png")
    finding, folder = report(tmp_path, [*sane, make_spec(WILD)])
    lost = Store(tmp_path / "runs").run(make_spec(WILD)).name
    assert lost not in set(finding.table["run"]) and finding.law.quantities[0].n == len(sane)
    text = (folder / "VERDICT.md").read_text()
    assert f"1 of 3 runs diverged and is left out:\n\n- `{lost}`: its loss is not finite from step 2 of 8 on" in text
    law = json.loads((folder / "law.json").read_text())
    assert law["runs"] == {"finished": 3, "planned": 3}
    assert law["details"]["diverged"]["runs"] == 3 and list(law["details"]["diverged"]["reasons"]) == [lost]
    assert _height(folder / "figure.png") > tall, "a line under the figure says so"
    drawn = (folder / "figure.png").read_bytes()
    assert results.redraw(TOY, folder).read_bytes() == drawn, "from its files alone"


def test_if_all_diverged_there_is_a_report_without_numbers(tmp_path: Path) -> None:
    finding, folder = report(tmp_path, [make_spec(WILD), make_spec(2 * WILD)])
    assert finding.table.empty and finding.law.quantities == ()
    assert [row["verdict"] for row in finding.verdicts] == ["not run"] * len(TOY.expect)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert "2 of 2 runs diverged and are left out" in (folder / "VERDICT.md").read_text()
    again = results.read_finding(TOY, folder)
    assert again.law == finding.law and list(again.table.columns) == list(finding.table.columns)
    assert results.redraw(TOY, folder).exists()


def test_a_refitted_law_still_says_so(tmp_path: Path) -> None:
    specs = [make_spec(1e-3), make_spec(WILD)]
    claim = dataclasses.replace(TOY, runs=lambda tier: specs)
    finding, folder = report(tmp_path, specs)
    checked = verify.check("p33_toy", claim, tmp_path)
    assert checked.law is not None and checked.law.details["diverged"] == finding.law.details["diverged"]
    assert not checked.disagreements
    before = (folder / "VERDICT.md").read_text()
    verify.rewrite(checked, tmp_path)
    again = (folder / "VERDICT.md").read_text()
    assert before.partition("## How to redo it")[0] == again.partition("## How to redo it")[0]
    report(tmp_path / "all", specs[1:])
    claim = dataclasses.replace(TOY, runs=lambda tier: specs[1:])
    assert not verify.check("p33_toy", claim, tmp_path / "all").disagreements


def test_a_law_that_needs_more_runs_says_which_diverged(tmp_path: Path) -> None:
    def law(table: Any) -> Law:
        raise UserError("expected two runs")

    with pytest.raises(UserError, match=r"expected two runs \(1 of 2 runs diverged and is left out: bioD"):
        report(tmp_path, [make_spec(1e-3), make_spec(WILD)], dataclasses.replace(TOY, law=law))


def _height(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[20:24], "big")  # of the header of a PNG


def test_a_command_names_them_and_trains_them_once(tmp_path: Path, physlm: Any) -> None:
    (tmp_path / "experiments").mkdir()
    claim = (Path(__file__).parents[2] / "experiments" / "p33_capacity.py").read_text()
    rates = "SMOKE_RATES = (4e-3, 1.6e-2)"
    assert rates in claim
    (tmp_path / "experiments" / "p33_capacity.py").write_text(claim.replace(rates, "SMOKE_RATES = (4e-3, 1e30)"))
    command = ("run", "p33_capacity", "--tier", "smoke", "--experiments", tmp_path / "experiments", "--runs", tmp_path)
    code, out, _ = physlm(*command)
    assert code == 0 and "4 of 8 runs diverged and are left out" in out
    assert out.count("lr1e+30-s0") == 8, "each once when it happens and once in the report"
    code, again, _ = physlm(*command)
    assert code == 0 and "4 of them diverged" in again and "population 1" not in again
    assert again[again.index("fitted "):].split("time ")[0] == out[out.index("fitted "):].split("time ")[0]
    code, out, _ = physlm("show", "p33_capacity", "--experiments", tmp_path / "experiments", "--runs", tmp_path)
    assert code == 0 and "8 of the 8 runs are finished" in out and ", 4 of them diverged" in out
    for name in Store(tmp_path).root.glob("*lr1e+30*"):
        assert not (name / "model.safetensors").exists()


def test_a_low_rank_finetuning_can_diverge(tmp_path: Path) -> None:
    """The weights that it does not train stay finite; the model with its updates is not."""
    from test_workers import BASE

    from physlm.lab.sweep import sweep

    tuned = override(dataclasses.replace(BASE, start=BASE), ["train.lora_rank=2", "train.learning_rate=1e30"])
    runs = sweep([BASE, tuned], (), Store(tmp_path), CPU, progress=False)
    assert diverged(runs) == [False, True]
