"""Grouping into populations: complete, of one shape, bounded, and stable when earlier ones are done."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fakes import make_family, make_spec, make_specs
from hypothesis import given
from hypothesis import strategies as st

from physlm.config import content_hash, override
from physlm.errors import UserError
from physlm.lab.planner import Population, group, plan, with_starts
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.training.config import RunSpec, shape_key


def hashes(populations: list[Population]) -> list[tuple[str, ...]]:
    return [population.hashes for population in populations]


@pytest.mark.parametrize("field", make_spec().member_fields)
def test_member_fields_do_not_change_the_shape(field: str) -> None:
    changed = override(make_spec(), [f"{field}=3"])
    assert content_hash(changed) != content_hash(make_spec()) and shape_key(changed) == shape_key(make_spec())


@pytest.mark.parametrize("setting", ["task.people=101", "model.width=16", "train.exposures=9", "train.batch_rows=21",
                                     "train.warmup_steps=3", "train.precision=bf16", "task.fresh=false"])
def test_any_other_setting_does(setting: str) -> None:
    assert shape_key(override(make_spec(), [setting])) != shape_key(make_spec())


def test_every_setting_is_either_of_the_shape_or_of_the_member() -> None:
    """The shape key must not forget a field that somebody adds later."""
    spec = make_spec()
    assert [field.name for field in dataclasses.fields(RunSpec)] == ["task", "model", "train", "start"]
    for part in dataclasses.fields(RunSpec)[:3]:
        child = getattr(spec, part.name)
        for field in dataclasses.fields(child):
            value = getattr(child, field.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                name, bump = f"{part.name}.{field.name}", 1 if isinstance(value, int) else value / 2 or 1.0
                parts: dict[str, Any] = {part.name: _set(child, field.name, value + bump)}
                base = spec
                if field.name.startswith("lora_"):  # low ranks need a run to begin with
                    base = dataclasses.replace(spec, start=spec)
                elif field.name == "redrawn":  # as do experts, a dense one
                    experts = dataclasses.replace(spec.model, mlp=(MoE(experts=2, expert=Plain()),))
                    base = dataclasses.replace(spec, model=experts, start=spec)
                changed = dataclasses.replace(base, **parts)
                assert (shape_key(changed) == shape_key(base)) == (name in spec.member_fields), name


def _set(config: object, name: str, value: object) -> object:
    changed = object.__new__(type(config))
    changed.__dict__.update({**config.__dict__, name: value})  # past the checks: any value will do
    return changed


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 30)), max_size=60), st.integers(1, 16))
def test_groups_hold_every_run_once_and_have_one_shape(pairs: list[tuple[int, int]], limit: int) -> None:
    specs = [make_spec(layers=layers, seed=seed) for layers, seed in pairs]
    populations = group(specs, limit)
    members = [member for population in populations for member in population.members]
    assert sorted(map(content_hash, members)) == sorted({content_hash(spec) for spec in specs})
    assert all(len({shape_key(member) for member in population.members}) == 1 for population in populations)
    assert all(1 <= len(population.members) <= limit for population in populations)


@given(st.integers(1, 70), st.integers(1, 16), st.data())
def test_what_is_left_is_grouped_as_before(count: int, limit: int, data: st.DataObject) -> None:
    specs = [make_spec(seed=seed) for seed in range(count)]
    before = group(specs, limit)
    done = data.draw(st.integers(0, len(before)))
    finished = {name for population in before[:done] for name in population.hashes}
    after = group([spec for spec in specs if content_hash(spec) not in finished], limit)
    assert hashes(after) == hashes(before[done:])


def test_the_run_that_another_begins_with_does_not_change_its_shape() -> None:
    base, tuned = make_spec(), [dataclasses.replace(make_spec(), start=make_spec(seed=seed)) for seed in (1, 2)]
    assert len({content_hash(spec) for spec in (base, *tuned)}) == 3
    assert len({shape_key(spec) for spec in (base, *tuned)}) == 1
    assert hashes(group(tuned)) == [tuple(map(content_hash, tuned))]


def test_runs_come_after_those_that_they_begin_with() -> None:
    family = make_family()
    everything = with_starts(family)
    assert len(everything) == 6 and family[-1] == everything[0], "each run once, also a start that is asked for itself"
    for limit in (1, 2, 16):
        seen: set[str] = set()
        for population in [*group(everything, limit), *plan(everything[::-1], [], limit)]:
            assert len({len(member.starts) for member in population.members}) == 1
            seen.update(population.hashes)
            assert all({content_hash(start) for start in member.starts} <= seen for member in population.members)
    assert [len(p.members) for p in group(everything)] == [2, 3, 1]


def test_an_interrupted_population_waits_for_the_runs_that_it_begins_with() -> None:
    family = make_family()
    interrupted = Population(tuple(family[:3]))
    populations = plan(with_starts(family), [interrupted])
    assert [len(p.members) for p in populations] == [2, 3, 1] and populations[1] is interrupted


def test_starts_that_are_trained_are_not_trained_again() -> None:
    family = make_family()
    done = {content_hash(family[2])}
    found = with_starts(family[3:4], lambda spec: content_hash(spec) in done)
    assert found == [family[3]], "nor those that they began with"
    assert with_starts(family[2:3], lambda spec: content_hash(spec) in done) == [family[2]]


def test_an_interrupted_population_comes_first_and_unchanged() -> None:
    specs = make_specs()
    elsewhere = make_spec(8e-3)
    interrupted = Population((elsewhere, specs[2]))
    populations = plan(specs, [interrupted], limit=16)
    assert populations[0] is interrupted
    assert hashes(populations[1:]) == hashes(group([specs[0], specs[1], specs[3], specs[4]]))


def test_interrupted_populations_without_an_open_run_are_left_alone() -> None:
    assert plan([make_spec(1e-3)], [Population((make_spec(2e-3),))])[0].members == (make_spec(1e-3),)
    assert plan([], [Population((make_spec(2e-3),))]) == []


def test_a_run_is_never_in_two_resumed_populations() -> None:
    first, second = Population((make_spec(1e-3), make_spec(2e-3))), Population((make_spec(2e-3), make_spec(4e-3)))
    assert plan([make_spec(2e-3)], [first, second]) == [first]


def test_the_name_does_not_depend_on_the_order() -> None:
    a, b = make_spec(1e-3), make_spec(2e-3)
    assert Population((a, b)).name == Population((b, a)).name != Population((a,)).name


def test_a_population_has_at_least_one_member() -> None:
    with pytest.raises(UserError, match="got 0, expected at least 1"):
        group([make_spec()], 0)


def test_every_process_has_a_population_of_each_shape() -> None:
    specs = [make_spec(seed=seed) for seed in range(5)]
    for parts, sizes in ((1, [5]), (2, [3, 2]), (4, [2, 1, 1, 1]), (9, [1] * 5)):
        found = group(specs, 16, parts)
        assert [len(population.members) for population in found] == sizes
        assert [spec for population in found for spec in population.members] == specs
    assert [len(population.members) for population in group(specs, 2, 2)] == [2, 2, 1]


def test_no_more_runs_train_together_than_the_device_has_memory_for() -> None:
    specs = [make_spec(layers=layers, seed=seed) for layers in (1, 2) for seed in range(7)]

    def fits(spec: RunSpec) -> int:
        return {1: 3, 2: 0}[spec.model.layers]  # 0: not even one, but somebody has to try

    assert [len(p.members) for p in group(specs, 16, fits=fits)] == [3, 2, 2, *[1] * 7]
    assert [len(p.members) for p in group(specs, 2, fits=fits)] == [2, 2, 2, 1, *[1] * 7]
    assert hashes(plan(specs, [], 16, 1, fits)) == hashes(group(specs, 16, fits=fits))


def by_steps(population: Population) -> float:
    """A start, and less for each member than it takes alone: what training together is for."""
    return 15.0 + population.members[0].steps * (1.0 + len(population.members)) / 2


def ends(populations: list[Population], parts: int) -> float:
    """When the last of so many processes ends, each taking the next population of the list as soon as it is free."""
    free = [0.0] * parts
    for population in populations:
        free[free.index(min(free))] += by_steps(population)
    return max(free)


def test_enough_populations_are_not_parted_any_more() -> None:
    """Six shapes of four runs keep three processes at work: parted, all would only take longer."""
    specs = [make_spec(layers=layers, seed=seed) for layers in range(1, 7) for seed in range(4)]
    assert [len(p.members) for p in group(specs, parts=3, seconds=by_steps)] == [4] * 6
    assert hashes(group(specs, parts=3, seconds=by_steps)) == hashes(group(specs))


def test_the_longest_is_parted_so_that_nobody_waits_for_it() -> None:
    short, long = [make_spec(layers=1, seed=seed) for seed in range(4)], [
        make_spec(layers=2, seed=seed, exposures=1000) for seed in range(4)]  # fmt: skip
    sizes = [len(p.members) for p in group([*short, *long], parts=4, seconds=by_steps)]
    assert sizes[-4:] == [1] * 4, "one for each process"
    first = plan([*short, *long], [], parts=4, seconds=by_steps)
    assert [by_steps(p) for p in first] == sorted(map(by_steps, first), reverse=True), "the longest is begun first"


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(1, 400)), min_size=1, max_size=30),
       st.integers(1, 8))  # fmt: skip
def test_parting_never_ends_later(runs: list[tuple[int, int, int]], parts: int) -> None:
    specs = [make_spec(layers=layers, seed=seed, exposures=exposures) for layers, seed, exposures in runs]
    whole, parted = plan(specs, [], seconds=by_steps), plan(specs, [], parts=parts, seconds=by_steps)
    assert sorted(h for names in hashes(parted) for h in names) == sorted(h for names in hashes(whole) for h in names)
    longest_first = sorted(whole, key=by_steps, reverse=True)
    assert ends(parted, parts) <= ends(longest_first, parts) + 1e-9
