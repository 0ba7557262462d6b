"""The plain generator of iGSM: what its problems say is true of them, and labels are what a search finds."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from families import EVERY, HARD, MED

from physlm.errors import UserError
from physlm.tasks.config import SPLITS
from physlm.tasks.draws import Stream
from physlm.tasks.igsm import plain
from physlm.tasks.igsm.config import IgsmConfig, Retry
from physlm.tasks.igsm.draws import favours, size_shares, stream_key
from physlm.tasks.igsm.pieces import pieces
from physlm.tasks.igsm.plain import generate
from physlm.tasks.igsm.problem import Problem


def some(config: IgsmConfig, count: int, split: str = "train") -> list[Problem]:
    key = stream_key(config, split)
    return [generate(config, key, index, split) for index in range(count)]


@pytest.fixture(scope="module", params=EVERY)
def family(request: pytest.FixtureRequest) -> tuple[IgsmConfig, list[Problem]]:
    config = EVERY[request.param]
    return config, some(config, 40) + some(config, 20, "evaluation")


def followed(text: str, modulus: int) -> int:
    """The value of a solution's last letter, by nothing but its arithmetic; every number in it is checked."""
    known: dict[str, int] = {}
    for clause in re.findall(r"(?:; )(?:so )?(\w = [^;.]*)", text):
        letter, *sides = clause.split(" = ")
        value = int(sides[-1])
        for side in sides[:-1]:
            left, *rest = side.split()
            terms = [known[term] if term.isalpha() else int(term) for term in (left, *rest[1:])]
            made = {"": terms[0], "+": sum(terms), "-": terms[0] - terms[-1], "*": terms[0] * terms[-1]}[
                rest[0] if rest else ""]  # fmt: skip
            assert made % modulus == value, clause
        assert letter not in known or known[letter] == value
        known[letter] = value
    return value


def test_solutions_compute_the_answer(family: tuple[IgsmConfig, list[Problem]]) -> None:
    config, problems = family
    for problem in problems:
        solution = problem.solution()
        assert followed(solution, config.modulus) == problem.answer
        assert solution.count(";") == problem.op == len(set(problem.letters))
        assert solution.count("Define") == len(problem.needed)
        assert problem.op <= 52 and problem.ip <= config.edges
        if config.op is not None and not config.reask:
            assert problem.op == config.op
        elif config.op is None:
            assert problem.op <= config.max_op
        names = [parameter.name for parameter in problem.parameters]
        assert len(set(names)) == len(names)
        defined = re.findall(r"Define (.*?) as", solution)
        assert defined == [names[parameter] for parameter in problem.needed]


def test_solutions_are_the_shortest(family: tuple[IgsmConfig, list[Problem]]) -> None:
    _, problems = family
    for problem in problems:
        needed, left = set(), [problem.query]
        while left:
            parameter = left.pop()
            needed.add(parameter)
            left += problem.direct[parameter] - needed
        assert needed == set(problem.needed)
        done: set[int] = set()
        for parameter in problem.order:
            assert problem.direct[parameter] <= done
            done.add(parameter)
        assert done == set(range(len(problem.parameters)))


def test_texts_describe_every_edge_once(family: tuple[IgsmConfig, list[Problem]]) -> None:
    config, problems = family
    words = pieces(config).vocabulary
    for problem in problems:
        text = problem.text("pq")
        *sentences, question = re.split(r"(?<=\.) ", text)
        assert len(sentences) == problem.ip and question.startswith("How many ")
        described = {sentence.removeprefix("The number of each ").split(" equals ")[0] for sentence in sentences}
        assert described == {parameter.name for parameter in problem.parameters if not parameter.total}
        assert problem.text("qp") == " ".join((question, *sentences)) and problem.text() == problem.text(config.order)
        tokens, lost = problem.tokens()
        assert words.decode(problem.ids()) == f"<bos> <problem> {problem.text()} <solution> " + problem.solution(
            config.retry) + f" <answer> {problem.answer}"  # fmt: skip
        assert words.encode(words.decode(problem.ids())) == problem.ids()
        assert len(tokens) == len(lost) and (any(lost) <= (config.retry.mask != "none"))


def test_edges_have_at_most_four_dependencies_and_say_what_they_compute() -> None:
    forms = set()
    for problem in some(HARD, 200):
        for edge, made in problem.formulas.items():
            count = len(made.dependencies) + (made.form > 0)
            assert 1 <= count <= 4 and len(set(made.dependencies)) == len(made.dependencies)
            assert made.difference <= (len(made.dependencies) == 2)
            assert problem.values[edge] == made.value(dict(enumerate(problem.values)), 23)
            sentence = next(s for s in problem.text().split(". ") if f"each {problem.parameters[edge].name} eq" in s)
            right = sentence.split(" equals ")[1]
            named = re.findall(r"each (.*?'s .*?)(?=,| and each|$)", right.removesuffix("."))
            assert named == [problem.parameters[dependency].name for dependency in made.dependencies]
            forms.add((made.form, len(made.dependencies), made.difference))
    assert {(1, 0, False), (0, 1, False), (0, 2, True), (0, 2, False), (2, 2, True), (3, 3, False), (0, 4, False)} <= (
        forms)  # fmt: skip


def test_labels_of_probes_are_what_a_search_finds() -> None:
    for problem in (*some(MED, 25), *some(EVERY["reask"], 10)):
        count = len(problem.parameters)
        for a, b in itertools.product(range(count), repeat=2):
            seen: set[int] = set()
            left = [a]
            while left:
                new = problem.direct[left.pop()] - seen
                seen |= new
                left += new
            assert problem.dep_PP[a, b] == (b in seen)
        assert set(np.flatnonzero(problem.nece_P)) == set(problem.needed)
        for place in range(len(problem.needed) + 1):
            done = set(problem.needed[:place])
            for parameter in range(count):
                can = parameter not in done and problem.direct[parameter] <= done
                assert problem.known_NP[place, parameter] == (parameter in done)
                assert problem.can_next_NP[place, parameter] == can
                assert problem.nece_next_NP[place, parameter] == (can and parameter in problem.needed)
                assert problem.value_NP[place, parameter] == (problem.values[parameter] if parameter in done else 23)
            if place < len(problem.needed):
                assert problem.nece_next_NP[place, problem.needed[place]]
        assert not problem.nece_next_NP[-1].any()
        assert set(np.flatnonzero(problem.distance_P >= 0)) == set(problem.needed)
        assert problem.distance_P[problem.query] == 0
        on_graph = {parameter for edge in range(problem.ip) for parameter in (edge, *problem.direct[edge])}
        for parameter in sorted(on_graph | {problem.query}):
            on_graph |= set(np.flatnonzero(problem.dep_PP[parameter]))
        assert problem.graph - on_graph == (problem.graph - on_graph) & set(range(problem.ip, count))
        assert on_graph <= problem.graph and (problem.config.reask or on_graph | {problem.query} == problem.graph)
        assert set(np.flatnonzero(problem.graph_P)) == problem.graph


def test_problems_are_pure_functions_of_seed_split_stream_and_number() -> None:
    texts = {problem.text() for split in SPLITS for problem in some(MED, 5, split)}
    texts |= {generate(MED, stream_key(MED, "train", 1), index).text() for index in range(5)}
    texts |= {problem.text() for problem in some(replace(MED, seed=1), 5)}
    assert len(texts) == 25
    key = stream_key(MED)
    assert generate(MED, key, 3).record.tobytes() == some(MED, 4)[3].record.tobytes()
    other = replace(MED, order="qp", row_tokens=99, retry=Retry(0.5))
    assert generate(other, key, 3).record.tobytes() == generate(MED, key, 3).record.tobytes()


def test_wrong_starts_name_what_their_kind_allows() -> None:
    for kind in ("wrong", "weak", "miss"):
        config = replace(MED, retry=Retry(0.4, kind, "start"))
        problems, named, sentences, barren = some(config, 400), 0, 0, 0
        for problem in problems:
            starts = problem.wrong_starts(config.retry)
            for done, before in enumerate(starts):
                defined = set(problem.needed[:done])
                allowed = {"wrong": {p for p in problem.graph - defined if problem.direct[p] - defined},
                           "weak": set(problem.needed[done + 1 :]), "miss": set(problem.graph) - defined}[kind]
                assert set(before) <= allowed
                named += len(before)
                sentences += 1
                barren += not allowed
            text = problem.solution(config.retry)
            assert text.count(" as BACK.") == sum(map(len, starts))
            assert re.sub(r"Define [^.]*? as BACK\. ", "", text) == problem.solution()
            lost = problem.tokens()[1]
            assert sum(lost) == 5 * sum(map(len, starts))
        expected = (sentences - barren) * 0.4 / 0.6
        assert abs(named - expected) < 4 * (expected / 0.6) ** 0.5, "rate / (1 - rate) a sentence"
        if kind == "wrong":
            assert 0.03 < barren / sentences < 0.055, "4 to 5 % of sentences have none to offer"


def test_where_there_is_no_problem_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IgsmConfig, "bins", lambda self, split, op=0: range(0))
    monkeypatch.setattr(plain, "MOST_DRAWS", 100)
    with pytest.raises(UserError, match=r"no problem of op = 7 of the split 'train'.*expected a larger task\.max_ip"):
        generate(MED.exactly(7), 0, 0, "train")


def test_the_smallest_graphs_make_problems_too() -> None:
    config = IgsmConfig(layers=2, width=2, max_ip=2, max_op=1)
    for split, total in (("train", False), ("evaluation", True)):
        for problem in some(config, 20, split):
            assert problem.op == 1 and problem.ip == 2 and problem.is_total(problem.query) == total


def test_draws_are_fair() -> None:
    stream = Stream.of(stream_key(MED), 0)
    counts = np.bincount([stream.below(7) for _ in range(7000)], minlength=7)
    assert counts.sum() == 7000 and abs(counts - 1000).max() < 130
    assert abs(sum(stream.coin() for _ in range(4000)) - 2000) < 130
    assert abs(sum(stream.chance(1 << 30) for _ in range(4000)) - 1000) < 110
    orders = []
    for _ in range(3000):
        items = [0, 1, 2]
        stream.shuffle(items)
        orders.append(tuple(items))
    assert all(abs(orders.count(order) - 500) < 90 for order in itertools.permutations(range(3)))
    # the absolute value of a normal variable: E exp(-|g|) would be 0.5232, its median 0.6745
    weights = np.array(favours()) / (1 << 16)
    assert abs(np.median(np.log(weights[:, 0])) - 0.6745) < 0.001
    assert abs((np.log(weights[:, 0]) ** 2).mean() - 1) < 0.005 and np.allclose(weights[:, 1], weights[:, 0] ** 2, 1e-4)
    # s = 15 of max_ip = 20: r = 14 / 19
    w = np.exp(-((14 / 19 - np.array([0.2, 0.5, 0.8])) ** 2))
    assert np.allclose(np.array(size_shares(20, 4)[15]) / 2**32, (w / w.sum()).cumsum()[:2])
    assert np.allclose(np.array(size_shares(20, 3)[15]) / 2**32, [w[0] / (w[0] + w[1]), 1])
