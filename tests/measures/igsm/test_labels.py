"""Answers to what probes are asked: against ``Problem``, which walks through one problem's sentences, and its text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from physlm import rng
from physlm.measures.igsm.labels import EDGES, PARAMETERS, Graphs, answers, draw, graphs, positive
from physlm.measures.igsm.settings import KINDS, Kind
from physlm.measures.probes import IGNORE
from physlm.tasks.igsm.config import FAMILIES
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.plain import generate
from physlm.tasks.igsm.problem import Problem

CONFIGS = {
    "tiny": FAMILIES["tiny"], "small": FAMILIES["small8"], "long": replace(FAMILIES["med"], op=20),
    "reask": replace(FAMILIES["med"], op=12, reask=True),
}  # fmt: skip


def problems_of(name: str, count: int = 12) -> list[Problem]:
    config = CONFIGS[name]
    return [generate(config, stream_key(config, "train", "labels"), i) for i in range(count)]


def graphs_of(problems: list[Problem]) -> Graphs:
    return graphs(np.array([problem.record for problem in problems]), problems[0].config)


def numbers_of(problem: Problem) -> np.ndarray:
    """The place here of each parameter of a problem."""
    return np.array([p if p < problem.ip else EDGES + p - problem.ip for p in range(len(problem.order))])


def obvious(kind: Kind, problem: Problem) -> np.ndarray:
    """(R, P) the same answers by ``Problem``, about all of its parameters."""
    return {"nece": problem.nece_P[None], "dep": problem.dep_PP, "known": problem.known_NP, "value": problem.value_NP,
            "can_next": problem.can_next_NP, "nece_next": problem.nece_next_NP}[kind].astype(int)  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("population", ["graph", "existing"])
def test_answers_are_those_of_each_problem_alone(name: str, population: str) -> None:
    problems = problems_of(name)
    found = graphs_of(problems)
    for kind in KINDS:
        grid = answers(kind, found, population)  # type: ignore[arg-type]
        for b, problem in enumerate(problems):
            numbers = numbers_of(problem)
            expected = np.full(grid.shape[1:], IGNORE)
            asked = problem.graph_P if population == "graph" else np.ones_like(problem.graph_P)
            rows = numbers[asked] if kind == "dep" else np.arange(len(obvious(kind, problem)))
            truth = obvious(kind, problem)[asked] if kind == "dep" else obvious(kind, problem)
            expected[np.ix_(rows, numbers[asked])] = truth[:, asked]
            if kind == "dep":
                np.fill_diagonal(expected, IGNORE)
            np.testing.assert_array_equal(grid[b], expected, f"{kind} of problem {b}")


@pytest.mark.parametrize("name", CONFIGS)
def test_names_and_distances_are_those_of_each_problem_alone(name: str) -> None:
    problems = problems_of(name)
    found = graphs_of(problems)
    words = problems[0].config.vocabulary().words
    for b, problem in enumerate(problems):
        numbers = numbers_of(problem)
        named = [f"{words[owner]}'s {words[owned]}" for owner, owned in found.names_BP2[b, numbers]]
        assert named == [parameter.name for parameter in problem.parameters]
        np.testing.assert_array_equal(found.distance_BP[b, numbers], problem.distance_P)
        assert found.exists_BP[b].sum() == len(numbers) and found.needed_B[b] == len(problem.needed)


def test_queries_are_different_allowed_and_uniform() -> None:
    problems = problems_of("small", 8)
    found = graphs_of(problems)
    numbers = np.arange(len(problems))
    for kind in KINDS:
        grid = answers(kind, found, "graph")
        drawn = draw(kind, found, numbers, 10, rng.key("a test"), "graph", balanced=False)
        for b in range(len(problems)):
            here = drawn.labels[b] != IGNORE
            rows, columns = (drawn.first[b], drawn.second[b]) if kind == "dep" else (drawn.place[b], drawn.first[b])
            assert here.sum() == min(10, (grid[b] != IGNORE).sum())
            assert len(set(zip(rows[here].tolist(), columns[here].tolist(), strict=True))) == here.sum()
            np.testing.assert_array_equal(grid[b, rows[here], columns[here]], drawn.labels[b][here])
    counts = np.zeros((answers("known", found, "graph")[0] != IGNORE).sum(), int)
    cells = np.flatnonzero((answers("known", found, "graph")[0] != IGNORE).ravel())
    for key in range(3000):
        drawn = draw("known", found._replace(**{name: getattr(found, name)[:1] for name in found._fields[:-1]}),
                     numbers[:1], 2, rng.key("uniform", key), "graph", balanced=False)
        counts[np.searchsorted(cells, drawn.place[0] * PARAMETERS + drawn.first[0])] += 1
    expected = counts.sum() / len(counts)
    assert counts.min() > 0 and ((counts - expected) ** 2 / expected).sum() < len(counts) + 5 * (2 * len(counts)) ** 0.5


def test_balanced_queries_are_half_of_each_group_where_there_are_enough() -> None:
    problems = problems_of("small", 40)
    found = graphs_of(problems)
    for kind in KINDS:
        drawn = draw(kind, found, np.arange(40), 10, rng.key("a test"), "existing", balanced=True)
        grid = answers(kind, found, "existing").reshape(40, -1)
        for group in (True, False):
            there = ((positive(kind, grid, 23) == group) & (grid != IGNORE)).sum(-1)
            chosen = ((positive(kind, drawn.labels, 23) == group) & (drawn.labels != IGNORE)).sum(-1)
            np.testing.assert_array_equal(chosen, np.minimum(there, 5), kind)


def test_draws_do_not_hang_on_the_batch() -> None:
    problems = problems_of("small", 6)
    key = rng.key("a test")
    whole = draw("can_next", graphs_of(problems), np.arange(6), 4, key, "graph", balanced=True)
    part = draw("can_next", graphs_of(problems[4:]), np.arange(4, 6), 4, key, "graph", balanced=True)
    np.testing.assert_array_equal(whole.labels[4:], part.labels)
    np.testing.assert_array_equal(whole.first[4:], part.first)
