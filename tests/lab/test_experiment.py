"""Experiments are found by name, loaded by path, and give clear errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from physlm.errors import UserError
from physlm.lab.experiment import TIERS, Experiment, experiment_names, full_name, load_experiment, loaded_files, of_tier
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

FILE = """
from physlm.lab.experiment import Experiment
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

EXPERIMENT = Experiment(
    name="{name}", claim="c", source="s", runs=lambda tier: [RunSpec(BioSConfig(), ModelConfig(), TrainConfig())],
    measures=("capacity",), law=None, figure=None, expect=(),
)
"""


def experiment(rates: tuple[float, ...]) -> Experiment:
    def runs(tier: str) -> list[RunSpec]:
        return [RunSpec(BioSConfig(), ModelConfig(), TrainConfig(learning_rate=rate)) for rate in rates]

    return Experiment("p33_x", "c", "s", runs, (), lambda table: None, lambda table, law: None, ())  # type: ignore[arg-type,return-value]


def test_experiments_are_loaded_by_name(tmp_path: Path) -> None:
    (tmp_path / "p33_one.py").write_text(FILE.format(name="p33_one"))
    (tmp_path / "_helper.py").write_text("")
    assert experiment_names(tmp_path) == ["p33_one"]
    loaded = load_experiment("p33_one", tmp_path)
    assert loaded.name == "p33_one" and loaded.part == "3.3" and len(loaded.specs("smoke")) == 1


@pytest.mark.parametrize(("name", "part"), [("p33_x", "3.3"), ("p1_cfg", "1"), ("p41_canon", "4.1"), ("other", "-")])
def test_the_part_is_in_the_name(name: str, part: str) -> None:
    assert Experiment(name, "", "", lambda tier: [], (), None, None, ()).part == part  # type: ignore[arg-type]


def test_bad_names_and_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "p33_capacity.py").write_text(FILE.format(name="another"))
    (tmp_path / "p33_broken.py").write_text("def (")
    (tmp_path / "p33_import.py").write_text("import physlm.nothing")
    (tmp_path / "p33_empty.py").write_text("")
    for name, message in (
        ("p33_capacit", "did you mean 'p33_capacity'"), ("p33_capacity", "expected an Experiment named 'p33_capacity'"),
        ("p33_broken", "SyntaxError"), ("p33_import", "ModuleNotFoundError"), ("p33_empty", "found None"),
    ):
        with pytest.raises(UserError, match=message):
            load_experiment(name, tmp_path)
    assert not [path for path in loaded_files() if path.parent == tmp_path], "or other processes would load them, too"
    with pytest.raises(UserError, match="no such folder of experiments"):
        load_experiment("x", tmp_path / "nowhere")


def test_tiers_are_checked_and_overrides_reach_every_run() -> None:
    with pytest.raises(UserError, match="did you mean 'demo'"):
        experiment((1e-3,)).specs("dem")
    for tier in TIERS:
        assert [spec.model.layers for spec in experiment((1e-3, 2e-3)).specs(tier, ["model.layers=7"])] == [7, 7]
    with pytest.raises(UserError, match="did you mean 'layers'"):
        experiment((1e-3,)).specs("demo", ["model.layer=7"])
    with pytest.raises(UserError, match="has no runs"):
        experiment(()).specs("demo")


def test_settings_are_looked_up_by_tier() -> None:
    assert of_tier({"smoke": 1, "gpu": 2}, "gpu") == 2
    for tier, message in (("gpus", "did you mean 'gpu'"), ("demo", "Allowed: gpu, smoke")):
        with pytest.raises(UserError, match=message):
            of_tier({"smoke": 1, "gpu": 2}, tier)


def test_an_override_of_model_or_people_reaches_what_a_run_begins_with() -> None:
    """A run that begins with one that begins with another, beside one that begins with none."""
    model, train = ModelConfig(layers=1, heads=1, width=8), TrainConfig(exposures=1)
    reader = RunSpec(BioSConfig(people=20, texts=1, questions=True), model, train)
    middle = RunSpec(QuestionsConfig(people=20), model, train, start=reader)
    last = RunSpec(QuestionsConfig(people=20, ask=Ask(kinds=("month_mod2",))), model, train, start=middle)
    asked = dataclasses.replace(experiment((1e-3,)), runs=lambda tier: [last, reader])

    def changed(*overrides: str) -> tuple[RunSpec, RunSpec, RunSpec, RunSpec]:
        deep, plain = asked.specs("demo", overrides)
        return (*deep.starts, deep, plain)  # type: ignore[return-value]

    for name, value in (("people", 30), ("seed", 7), ("pool_size", 5), ("celebrities", 4)):
        found = changed(f"task.{name}={value}")
        assert [getattr(spec.task, name) for spec in found] == [value] * 4, name
    assert [spec.model.layers for spec in changed("model.layers=3")] == [3] * 4
    assert [spec.model.layers for spec in changed(" model.layers=3 ")] == [3] * 4
    with pytest.raises(UserError, match="override 'task.people': expected key=value"):
        changed("task.people")
    assert [spec.train.exposures for spec in changed("train.exposures=5")] == [1, 1, 5, 5], "its own training"
    assert [spec.train.exposures for spec in changed("start.train.exposures=5")] == [1, 5, 1, 1]
    assert [spec.train.exposures for spec in changed("start.start.train.exposures=5")] == [5, 1, 1, 1]
    with pytest.raises(UserError, match="no settings in 'start.start.start.train'"):
        changed("start.start.start.train.exposures=5")
    with pytest.raises(UserError, match="start.task.people: got 20 where questions are asked about"):
        changed("start.task.people=40")


def test_runs_that_an_override_makes_equal_are_one_run() -> None:
    assert len(experiment((1e-3, 2e-3)).specs("demo", ["train.learning_rate=3e-3"])) == 1


def test_a_beginning_of_many_names_is_one_short_line():
    names = [f"p33_{number:03d}" for number in range(300)]
    with pytest.raises(UserError) as error:
        full_name("p33", names)
    assert "'p33' is the beginning of 300 names: p33_000, p33_001" in str(error.value) and len(str(error.value)) < 250
    assert "physlm list lists all; expected one" in str(error.value)
    with pytest.raises(UserError, match="of 2 names: p33_010, p33_011; expected one"):
        full_name("p33_01", names[10:12])
