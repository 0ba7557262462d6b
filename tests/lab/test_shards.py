"""Runs divided among machines that share nothing: each once, chains whole, work nearly equal, merged by copying."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_family, make_spec, make_specs

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.cost import run_flops
from physlm.lab.experiment import load_experiment
from physlm.lab.planner import with_starts
from physlm.lab.shards import Shard, describe, divided
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.training.config import RunSpec, shape_key

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SPECS = [*make_specs(), *make_family()]


def hashes(specs: list[RunSpec]) -> set[str]:
    return set(map(content_hash, specs))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_every_run_is_in_one_shard_with_all_that_it_begins_with(count: int) -> None:
    shards = divided(SPECS, count)
    assert len(shards) == count and sum(map(len, shards)) == len(SPECS)
    assert set().union(*map(hashes, shards)) == hashes(SPECS)
    assert shards == divided(list(SPECS), count), "the same on every machine"
    trained = [hashes(with_starts(shard)) for shard in shards]
    for place, one in enumerate(trained):
        assert not any(one & other for other in trained[place + 1:]), "nothing is trained twice"


def test_one_shard_is_the_whole_and_runs_given_twice_are_one_run() -> None:
    assert divided([*SPECS, *SPECS], 1) == [SPECS]


def work(specs: list[RunSpec]) -> float:
    return sum(map(run_flops, with_starts(specs)))


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("name", ["p33_capacity", "p31_extraction"])
def test_the_work_of_real_claims_is_nearly_equal(name: str, count: int) -> None:
    """A shard's work is at most its share and one piece that cannot be divided further, as of any such division."""
    specs = load_experiment(name, EXPERIMENTS).specs("gpu")
    shards = divided(specs, count)
    chains: dict[str, list[RunSpec]] = {}
    for spec in specs:
        chains.setdefault(content_hash((*spec.starts, spec)[0]), []).append(spec)
    largest = max(map(work, chains.values()))
    assert max(map(work, shards)) <= max(work(specs) / count + largest, 4 / 3 * work(specs) / count)


def test_runs_of_one_shape_stay_together_where_the_work_allows_it() -> None:
    specs = [make_spec(rate * 1e-3, layers) for layers in (1, 2) for rate in (1, 2, 3)]
    shapes = [{shape_key(spec) for spec in shard} for shard in divided([*specs, make_spec(exposures=32)], 2)]
    assert all(shapes) and sum(len(one) for one in shapes) <= 4


def test_folders_of_shards_are_merged_by_copying(tmp_path: Path) -> None:
    """Then nothing is left to do, and all is there that each machine measured."""
    merged = tmp_path / "merged"
    for number, shard in enumerate(divided(SPECS, 3)):
        root = tmp_path / str(number)
        sweep(shard, ("first",), Store(root), CPU, progress=False, train=FakeTrainer(), load=load,
              measure=FakeMeasure())
        shutil.copytree(root, merged, dirs_exist_ok=True)
    trainer, measure = FakeTrainer(), FakeMeasure()
    runs = sweep(SPECS, ("first",), Store(merged), CPU, progress=False, train=trainer, load=load, measure=measure)
    assert not trainer.calls and not measure.calls and all(run.has(("first",)) for run in runs)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/ 2", "1/100000", "١/٢"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard: got .*, expected I/N with I from 1 to N, as 1/4 \.\. 4/4"):
        Shard.read(text)
    assert Shard.read("2/4") == Shard(2, 4) and str(Shard(2, 4)) == "2/4"


def test_a_shard_says_what_it_holds() -> None:
    tuned = [dataclasses.replace(make_spec(rate, exposures=4), start=make_spec(seed=1)) for rate in (1e-3, 2e-3)]
    (lines,) = [describe(Shard(1, 1), shard, tuned) for shard in divided(tuned, 1)]
    assert lines[0] == ("shard 1/1 holds 2 of the 2 runs, 100% of the training, and 1 that they begin with, which no "
                        "other shard needs:")
    assert [line.split(" x ")[0].strip() for line in lines[1:]] == ["1", "2"]
    empty = describe(Shard(2, 2), divided(tuned, 2)[1], tuned)
    assert empty == ["shard 2/2 holds none of the 2 runs: there is not enough to divide among 2"]
