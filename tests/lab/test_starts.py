"""Runs that begin with others: these are trained first, once, unmeasured; and killed at any moment it ends the same."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_family, make_spec
from killed import Killed
from sweeps import contents, interrupt_at, operations, run_sweep  # noqa: F401 (a fixture)

from physlm.config import content_hash, from_dict, override, to_dict
from physlm.errors import UserError
from physlm.lab.planner import Population
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.storage import load_tensors
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec

FAMILY = make_family()
FIRST, SECOND = FAMILY[4], FAMILY[2].starts[0]


def test_starts_are_trained_first_and_once_and_measured_if_asked_for(tmp_path: Path) -> None:
    trainer, measure = FakeTrainer(), FakeMeasure()
    runs = run_sweep(tmp_path, FAMILY, trainer=trainer, measure=measure, members=16)
    assert [run.spec for run in runs] == FAMILY, "only what was asked for is returned"
    assert [set(call) for call in trainer.calls] == [
        {content_hash(FIRST), content_hash(SECOND)}, {run.hash for run in runs[:3]}, {runs[3].hash}]
    start = Store(tmp_path).run(SECOND)
    assert start.finished() and start.measures() == {} and all(run.has(("first", "second")) for run in runs)
    assert start.hash not in {name for _, name in measure.calls}
    again = FakeTrainer()
    assert run_sweep(tmp_path, [SECOND], trainer=again)[0].has(("first",)) and not again.calls, "measured later"
    more = dataclasses.replace(FAMILY[0], train=dataclasses.replace(FAMILY[0].train, learning_rate=7e-3))
    run_sweep(tmp_path, [more], trainer=again)
    assert again.calls == [(content_hash(more),)], "a start that is there serves another run"


def test_a_run_begins_with_the_final_weights_of_its_start(tmp_path: Path) -> None:
    """The control: with other ones it ends elsewhere, though all else is the same."""
    runs = run_sweep(tmp_path, FAMILY)
    sums = {run.spec: run.measures()["first"][0].value for run in runs}
    rate = FAMILY[2].train.learning_rate
    assert FAMILY[0].train == FAMILY[2].train and rate == 1e-3 and sums[FAMILY[0]] != sums[FAMILY[2]]


def test_a_finished_run_does_not_need_its_start_any_more(tmp_path: Path) -> None:
    run_sweep(tmp_path, FAMILY[:1])
    start = Store(tmp_path).run(FIRST)
    for file in start.path.iterdir():
        file.unlink()
    trainer = FakeTrainer()
    run_sweep(tmp_path, FAMILY[:1], measures=("third",), trainer=trainer)
    assert trainer.calls == [] and not start.trained()
    run_sweep(tmp_path, FAMILY[:2], trainer=trainer)
    assert trainer.calls == [(content_hash(FIRST),), (content_hash(FAMILY[1]),)], "but another run does"


def test_a_measure_can_read_the_start_while_it_is_there(tmp_path: Path) -> None:
    seen: list[float | None] = []

    def measure(name: str, run: Trained) -> list[Row]:
        begun: Any = None if run.load_start is None else run.load_start()
        seen.append(None if begun is None else begun.weight.sum().item())
        return FakeMeasure()(name, run)

    tuned, plain = FAMILY[2], make_spec(9e-3)
    for specs in ([tuned], [plain]):
        sweep(specs, ("first",), Store(tmp_path), CPU, progress=False, train=FakeTrainer(), load=load, measure=measure)
    start = Store(tmp_path).run(SECOND)
    assert seen == [load_tensors(start.model_path)[0]["weight"].sum().item(), None]
    for file in start.path.iterdir():
        file.unlink()
    sweep([tuned], ("second",), Store(tmp_path), CPU, progress=False, train=FakeTrainer(), load=load, measure=measure)
    assert seen[2:] == [None], "the measure is taken without it"


def test_a_damaged_start_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    run_sweep(tmp_path, FAMILY[:1])
    path = Store(tmp_path).run(FIRST).model_path
    path.write_bytes(path.read_bytes()[:-1])
    trainer = FakeTrainer()
    run_sweep(tmp_path, FAMILY[:1], trainer=trainer)
    with pytest.raises(UserError, match=f"{path.parent.name}.*delete the folder"):
        run_sweep(tmp_path, [make_spec(9e-3), FAMILY[1]], trainer=trainer)
    assert trainer.calls == []


def test_kill_at_every_moment(tmp_path: Path, operations: list[int]) -> None:  # noqa: F811
    start = make_spec(exposures=3, seed=1)
    family = [dataclasses.replace(make_spec(exposures=2), start=start)]
    run_sweep(tmp_path / "count", family, measures=("first",))
    total, expected = operations[1], contents(tmp_path / "count")
    assert total > 40
    for moment in range(total):
        root = tmp_path / str(moment)
        operations[:] = [moment, 0]
        with pytest.raises(Killed):
            run_sweep(root, family, measures=("first",))
        operations[:] = [-1, 0]
        had_models = {run.hash for run in map(Store(root).run, [*family, start]) if run.trained()}
        trainer = FakeTrainer()
        run_sweep(root, family, measures=("first",), trainer=trainer)
        assert contents(root) == expected, f"killed before operation {moment}"
        assert all(not set(call) <= had_models for call in trainer.calls), "trained again for nothing"
        assert not list(root.rglob("*.tmp"))


def test_a_resumed_population_gets_the_starts_of_members_that_nobody_asked_for(tmp_path: Path) -> None:
    pair = [FAMILY[0], FAMILY[2]]
    run_sweep(tmp_path / "whole", pair)
    interrupt_at(tmp_path / "runs", [FIRST, SECOND, *pair], step=2, members=2)  # while the starts are trained
    run_sweep(tmp_path / "runs", [FIRST, SECOND])
    interrupt_at(tmp_path / "runs", pair, step=4)
    store = Store(tmp_path / "runs")
    assert [population.members for population in store.open_populations()] == [tuple(pair)]
    for file in store.run(SECOND).path.iterdir():
        file.unlink()
    trainer = FakeTrainer()
    run_sweep(tmp_path / "runs", pair[:1], trainer=trainer)
    assert trainer.calls == [(content_hash(SECOND),), Population(tuple(pair)).hashes]
    name = store.run(pair[0]).name
    whole, resumed = (contents(tmp_path / root) for root in ("whole", "runs"))
    for part in ("model.safetensors", "measures.csv", "metrics.jsonl"):
        assert whole[f"{name}/{part}"] == resumed[f"{name}/{part}"]


def test_a_run_with_a_start_is_another_run_and_survives_its_json() -> None:
    for spec in FAMILY[:4]:
        assert from_dict(RunSpec, to_dict(spec)) == spec
        assert spec.slug.endswith("-ft") and ", from " in spec.title
    assert len({content_hash(spec) for spec in FAMILY}) == len(FAMILY)
    plain = dataclasses.replace(FAMILY[0], start=None)
    assert content_hash(plain) == content_hash(RunSpec(plain.task, plain.model, plain.train)) != content_hash(FAMILY[0])
    old = {name: value for name, value in to_dict(plain).items() if name != "start"}
    assert from_dict(RunSpec, old) == plain, "a config that was written before there were starts"
    longer = override(FAMILY[0], ["start.train.exposures=9"])
    assert longer.start is not None and longer.start.train.exposures == 9 and longer.train == FAMILY[0].train


@pytest.mark.parametrize(("change", "words"), [
    (lambda s: dataclasses.replace(s, model=ModelConfig(layers=2, heads=1, width=8)), ["start.model.layers", "2", "1"]),
    (lambda s: override(s, ["model.mixer.rope=0"]), ["start.model.mixer", "rope=1.0", "rope=0"]),
    (lambda s: override(s, ["task.alphabet=11"]), ["start.task", "'v10'", "same words"]),
    (lambda s: override(s, ["task.attributes=3"]), ["start.task", "1820 words", "1819", "word 9 is '3' in", "'v0'"]),
    (lambda s: dataclasses.replace(s, task=BioSConfig(people=10)), ["bioS", "bioD", "'He'", "'Her'"]),
])  # fmt: skip
def test_a_start_of_another_shape_or_vocabulary_is_refused(
    change: Callable[[RunSpec], RunSpec], words: list[str]
) -> None:
    spec = make_spec()
    with pytest.raises(UserError) as caught:
        dataclasses.replace(spec, start=change(spec))
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), str(caught.value)
    other_people = override(spec, ["task.people=7", "task.seed=3"])
    assert dataclasses.replace(spec, start=other_people).start == other_people, "the same words serve"


def test_the_real_trainer_begins_with_the_stored_weights_also_when_killed(
    tmp_path: Path, operations: list[int]  # noqa: F811
) -> None:
    spec = make_spec(exposures=4)
    tuned = [dataclasses.replace(spec, start=override(spec, [f"train.seed={seed}"])) for seed in (1, 2)]

    def measure(name: str, run: Trained) -> list[Row]:
        value = run.model.embedding.weight.sum().item()
        return [Row(name, value, "1", 1, value, value)]

    def real(root: Path, specs: list[RunSpec]) -> list[Run]:
        return sweep(specs, ("sum",), Store(root), CPU, progress=False, measure=measure)

    runs = real(tmp_path / "whole", tuned)
    expected, store = contents(tmp_path / "whole"), Store(tmp_path / "whole")
    frozen = [override(one, ["train.learning_rate=0"]) for one in tuned]
    for run, control in zip(runs, real(tmp_path / "whole", frozen), strict=True):
        start = load_tensors(store.run(run.spec.starts[0]).model_path)[0]
        assert all(value.equal(start[name]) for name, value in load_tensors(control.model_path)[0].items())
        assert not load_tensors(run.model_path)[0]["embedding.weight"].equal(start["embedding.weight"])
    operations[:] = [-1, 0]
    real(tmp_path / "count", tuned)
    for moment in range(0, operations[1], 23):
        root = tmp_path / str(moment)
        operations[:] = [moment, 0]
        with pytest.raises(Killed):
            real(root, tuned)
        operations[:] = [-1, 0]
        real(root, tuned)
        assert contents(root) == expected, f"killed before operation {moment}"


def test_an_unfinished_run_without_measures_is_finished_with_an_empty_table(tmp_path: Path) -> None:
    run = run_sweep(tmp_path, [make_spec()], measures=())[0]
    assert run.finished() and run.measures() == {} and (run.path / "measures.csv").exists()
    os.remove(run.path / "DONE")
    (run.path / "measures.csv").write_text("{")
    run.finish()
    assert run.finished() and run.measures() == {}
