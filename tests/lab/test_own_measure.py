"""A measure of an experiment file: asked before training, taken once, kept under its name; no line in the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from fakes import CPU, FakeTrainer, load, make_specs

from physlm.errors import UserError
from physlm.lab.results import results_table
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.measure import Measure, check_quantity, name_of
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

TAKEN: list[str] = []


@dataclass(frozen=True)
class Seconds(Measure):
    """Of these tests."""

    kind: ClassVar[str] = "test_seconds"
    quantities: ClassVar[tuple[str, ...]] = ("seconds", "seconds_*")
    budget: int = 3
    most: float = 1.0

    def check(self, spec: RunSpec) -> None:
        if spec.train.learning_rate > self.most:
            raise UserError(f"measure {self.kind}: got rate {spec.train.learning_rate}, expected at most {self.most}")

    def __call__(self, run: Trained) -> list[Row]:
        TAKEN.append(self.name)
        value = run.spec.train.learning_rate * self.budget
        return [Row("seconds", value, "s", self.budget, value, value, {"budget": self.budget})]


def test_it_is_taken_once_beside_others_and_its_rows_are_in_the_table(tmp_path: Path) -> None:
    measures = (Seconds(), Seconds(budget=5))
    for _ in range(2):
        runs = sweep(make_specs(), measures, Store(tmp_path), CPU, progress=False, train=FakeTrainer(), load=load)
    names = [name_of(one) for one in measures]
    assert names[0] == "test_seconds" and names[1].startswith("test_seconds-") and names[0] != names[1]
    assert sorted(TAKEN) == sorted(names * len(runs)) and all(run.has(names) for run in runs)
    table = results_table(runs, names)
    assert table["at.budget"].tolist() == [3, 5] * len(runs)
    assert table["value"].tolist() == [run.spec.train.learning_rate * b for run in runs for b in (3, 5)]


def test_it_refuses_a_run_before_anything_is_trained(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    with pytest.raises(UserError, match="measure test_seconds: got rate"):
        sweep(make_specs(), (Seconds(most=0.0),), Store(tmp_path), CPU, progress=False, train=trainer, load=load)
    assert not list(tmp_path.glob("*/config.json"))


def test_quantities_that_it_does_not_return_are_refused() -> None:
    for name in ("seconds", "seconds_untrained"):
        check_quantity((Seconds(), "recall"), name)
    with pytest.raises(UserError, match="unknown name 'second'; did you mean 'seconds'"):
        check_quantity((Seconds(), "recall"), "second")
    check_quantity(("measure_that_does_not_say",), "anything")


def test_the_names_of_places_are_no_part_of_a_quantity() -> None:
    with pytest.raises(UserError, match=r"got quantity 'answer/kind=employer', expected .* belongs into where"):
        Row("answer/kind=employer", 0.5, "1", 9, 0.4, 0.6)
    for wrong in ({"kind": ""}, {"a kind": "x"}, {"kind": None}):
        with pytest.raises(UserError, match="row answer: got where"):
            Row("answer", 0.5, "1", 9, 0.4, 0.6, wrong)  # type: ignore[arg-type]
    row = Row("answer", 0.5, "1", 9, 0.4, 0.6, {"kind": "employer", "layer": "3", "rate": "0.10"})
    assert row.where == {"kind": "employer", "layer": 3, "rate": 0.1}
    assert row.label == "answer/kind=employer/layer=3/rate=0.1"
    assert (row.interval.covers, Row("n", 2.0, "1", 1, 2.0, 2.0).interval.covers) == ("items", "nothing")
