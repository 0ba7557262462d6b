"""Noise in iGSM problems: twin and kernel alike, provably irrelevant by the checker's own reading, as much as asked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.tasks.igsm import kernel, plain
from physlm.tasks.igsm.checker import check, standard_reader
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig, Noise
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.pieces import AT_LEAST, AT_MOST, NOISE_PHRASES, NOTE, ORDERS
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.reading import Graph

MED, SMALL, TINY = (replace(FAMILIES[name], noise_words=True) for name in ("med", "small8", "tiny"))
KINDS = ("graph", "style", "facts", "all")
NOISES = {
    **{kind: Noise(kind) for kind in KINDS},  # type: ignore[arg-type]  # mypy takes KINDS for any strings
    "long": Noise("graph", tokens=900),
    "much": Noise("all", share=0.9, amount="uniform", rate=0.7),
    "few": Noise("facts", tokens=30),
}


def problem(config: IgsmConfig, index: int) -> Problem:
    return plain.generate(config, stream_key(config, "evaluation"), index, "evaluation")


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace("?", ".").split(".") if line.strip()]


def others(made: Problem, kind: Noise) -> list[str]:
    """The sentences of noise; what is left are the problem's own ones in their order."""
    own, noisy = lines(made.text()), lines(made.text(noise=kind))
    left = [line for line in noisy if line not in own]
    assert [line for line in noisy if line in own] == own and noisy[-1 if made.config.order == "pq" else 0] in own
    return left


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("base", [SMALL, TINY, replace(MED, order="qp", modulus=97), replace(SMALL, reask=True)])
def test_twin_and_kernel_are_equal_bit_for_bit(base: IgsmConfig, name: str) -> None:
    config = replace(base, noise=NOISES[name])
    numbers = [*range(12), 2**40 + 3]
    batch = kernel.problems(config, numbers, "evaluation")
    clean = kernel.problems(base, numbers, "evaluation")
    assert batch.records_N.tobytes() == clean.records_N.tobytes(), "the problem is the same without noise"
    assert (batch.lengths_N > clean.lengths_N).any()
    for place, number in enumerate(numbers):
        ids, length = batch.ids_NW[place], int(batch.lengths_N[place])
        assert ids[:length].tolist() == problem(config, number).ids() and not ids[length:].any()


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("base", [SMALL, TINY, MED, MED.exactly(20)])
def test_noise_has_nothing_to_do_with_the_answer(base: IgsmConfig, name: str) -> None:
    """Held against the checker's reading of both texts, which knows nothing of the generator."""
    reader, seen = standard_reader(base.modulus), 0
    for index in range(40):
        made = problem(base, index)
        clean, noisy = reader.read(made.text()), reader.read(made.text(noise=NOISES[name]))
        assert noisy.query == clean.query and noisy.needed == clean.needed
        assert all(noisy.formula(parameter) == clean.formula(parameter) for parameter in clean.needed)
        assert noisy.value(base.modulus) == clean.value(base.modulus) == made.answer
        for graph in (clean, noisy):
            assert check(graph, f"{made.solution()} <answer> {made.answer}", reader=reader, answer=True).right
        apart(clean, noisy)
        for line in others(made, NOISES[name]):
            assert line.startswith("The number of each ") or line in ORDERS or fact_holds(line, clean, base)
            seen += 1
    assert seen > 20


def apart(clean: Graph, noisy: Graph) -> None:
    """Other graphs have no item of the problem's, and are whole."""
    mine, more = (set(map(str, graph.described)) for graph in (clean, noisy))
    assert mine <= more
    items = {name for edge in mine for name in edge.split("'s ")}
    for edge in more - mine:
        assert items.isdisjoint(edge.split("'s "))
        assert items.isdisjoint(name for need in noisy.described[edge].needs for name in need.split("'s "))


def told_of(line: str) -> tuple[str, str, int]:
    """Parameter, phrase and number of a fact."""
    assert line.startswith(f"{NOTE} ")
    for told in (AT_LEAST, AT_MOST):
        parameter, found, number = line.removeprefix(f"{NOTE} ").partition(f" {told} ")
        if found:
            return parameter, told, int(number)
    raise AssertionError(line)


def fact_holds(line: str, clean: Graph, config: IgsmConfig) -> bool:
    """A bound that every number keeps, of a parameter of the problem."""
    parameter, told, number = told_of(line)
    assert clean.formula(parameter) is not None
    return number == {AT_LEAST: 0, AT_MOST: config.modulus - 1}[told]


def test_facts_do_not_tell_what_is_needed() -> None:
    """Which bound is told, and of how many parameters, is the same of needed ones and of others."""
    reader, kind = standard_reader(SMALL.modulus), Noise("facts", tokens=3 * 7)
    counts: dict[tuple[bool, str], int] = Counter()
    expected = told = 0.0
    for index in range(400):
        made = problem(SMALL, index)
        needed = reader.read(made.text()).needed
        lines = others(made, kind)
        expected += len(lines) * len(made.needed) / len(made.graph)
        for line in lines:
            parameter, phrase, _ = told_of(line)
            told += parameter in needed
            counts[parameter in needed, phrase] += 1
    assert told == pytest.approx(expected, abs=4 * math.sqrt(expected / 2)), "needed ones as often as their share"
    for here in (False, True):
        both = counts[here, AT_LEAST] + counts[here, AT_MOST]
        assert both > 200 and counts[here, AT_LEAST] == pytest.approx(both / 2, abs=4 * math.sqrt(both) / 2)


def test_orders_and_facts_are_asides_of_the_problem() -> None:
    made, kind = problem(MED, 3), Noise("all", tokens=120)
    read = standard_reader().read(made.text(noise=kind))
    assert list(read.asides) == [line for line in others(made, kind) if not line.startswith("The number")]
    assert len(read.asides) > 3 and len(read.described) > made.ip


@pytest.mark.parametrize("base", [SMALL, TINY, MED])
def test_other_graphs_have_names_of_their_own(base: IgsmConfig) -> None:
    place = {item: c for c, one in enumerate(CATEGORISATIONS) for layer in one.layers for group in layer.groups
             for item in group}  # fmt: skip
    for index in range(20):
        made = problem(base, index)
        described = [line.removeprefix("The number of each ").split(" equals ")[0]
                     for line in others(made, Noise("graph", tokens=600))]  # fmt: skip
        assert len(set(described)) == len(described) > 3
        mine = int(made.record["categorisation"])
        kinds = {place[name] for edge in described for name in edge.split("'s ")}
        assert kinds == {0} if base.categorisations == 1 else mine not in kinds


def tokens_of(config: IgsmConfig, kind: Noise, count: int = 300) -> tuple[Any, Any]:
    """How long problems are with noise, and without."""
    lengths = [kernel.problems(replace(config, noise=one), np.arange(count)).lengths_N for one in (kind, Noise())]
    return lengths[0], lengths[1]


@pytest.mark.parametrize("kind", ["graph", "all"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_share_of_the_window_leaves_room_for_the_problem(kind: Any, share: float) -> None:
    noisy, clean = tokens_of(MED, Noise(kind, share=share))
    room = np.minimum(int(share * MED.row_tokens), MED.row_tokens - clean)
    assert ((noisy - clean) <= np.maximum(room, 0)).all()
    assert (noisy - clean).sum() > 0.9 * room.sum(), "graphs are whole, so a little room is left"
    wide = replace(MED, row_tokens=4 * MED.row_tokens)
    much, _ = tokens_of(wide, Noise(kind, share=share), 100)
    assert (much - clean[:100]).mean() > 0.93 * share * wide.row_tokens and (much <= wide.row_tokens).all()


def test_a_number_of_tokens_does_not_look_at_the_window() -> None:
    noisy, clean = tokens_of(replace(SMALL, row_tokens=64), Noise("graph", tokens=500))
    assert ((noisy - clean) <= 500).all() and (noisy - clean).mean() > 475
    assert np.array_equal(*tokens_of(SMALL, Noise("all", tokens=0)))
    orders, clean = tokens_of(SMALL, Noise("style", tokens=7))
    assert set(orders - clean) == {6}, "three orders"
    every, clean = tokens_of(SMALL, Noise("style", tokens=700))
    assert set(every - clean) == {2 * len(ORDERS)}
    facts, clean = tokens_of(SMALL, Noise("facts", tokens=22))
    assert set((facts - clean).tolist()) <= {7, 14, 21} and (facts - clean == 21).mean() > 0.9


def test_amount_and_rate() -> None:
    some, clean = tokens_of(MED, Noise("graph", tokens=400, rate=0.3), 2000)
    assert abs((some > clean).mean() - 0.3) < 0.04
    spread, clean = tokens_of(MED, Noise("graph", tokens=400, amount="uniform"), 2000)
    parts = np.histogram(spread - clean, 4, (0, 400))[0] / 2000
    assert (abs(parts - 0.25) < 0.08).all(), parts


def test_noise_stands_anywhere_among_the_sentences() -> None:
    places, ends = [], []
    for index in range(300):
        made = problem(SMALL, index)
        own = set(lines(made.text()))
        mixed = [line not in own for line in lines(made.text(noise=Noise("all", tokens=100)))[:-1]]
        where = np.flatnonzero(mixed)
        places.append(np.mean(where) / (len(mixed) - 1))
        ends.append((mixed[0], mixed[-1], float(np.mean(mixed))))
    assert abs(np.mean(places) - 0.5) < 0.03
    first, last, share = np.mean(ends, 0)
    assert abs(first - share) < 0.09 and abs(last - share) < 0.09, "the ends are places as all others"


def test_rows_of_training_with_noise_lose_no_problem() -> None:
    for amount in ("full", "uniform"):
        config = replace(SMALL, row_tokens=256, noise=Noise("all", share=0.9, amount=amount))
        ids, _ = kernel.rows(config, np.arange(4))
        for row, tokens in enumerate(ids):
            batch = kernel.problems(config, row * kernel.ROW_PROBLEMS + np.arange(16))
            clean = kernel.problems(replace(config, noise=Noise()), row * kernel.ROW_PROBLEMS + np.arange(16))
            kept = clean.lengths_N <= config.row_tokens
            assert (batch.lengths_N[kept] <= config.row_tokens).all()
            whole = np.concatenate([one[:n] for one, n in zip(batch.ids_NW[kept], batch.lengths_N[kept], strict=True)])
            assert np.array_equal(whole[: len(tokens)], tokens)


def test_words_of_noise_stand_behind_all_others() -> None:
    without = FAMILIES["small8"].vocabulary().words
    assert SMALL.vocabulary().words == (*without, *NOISE_PHRASES)
    assert kernel.problems(SMALL, [5]).ids_NW.tolist() == kernel.problems(FAMILIES["small8"], [5]).ids_NW.tolist()
    graph = replace(FAMILIES["small8"], noise=Noise("graph"))
    assert kernel.problems(graph, [5]).ids_NW.max() < len(without)
    assert content_hash(SMALL) != content_hash(FAMILIES["small8"]) == content_hash(IgsmConfig(
        max_op=8, max_ip=12, row_tokens=384, templates="long")), "settings of noise leave older hashes as they were"


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_with_noise_are_graded_by_the_problem_within(kind: Any) -> None:
    task = SMALL.build()
    clean, noisy = task.prompts(24), task.prompts(24, noise=Noise(kind, tokens=150))
    longer = task.prompts(24, noise=Noise(kind, share=0.9), row_tokens=4 * SMALL.row_tokens)
    assert (noisy.lengths_B > clean.lengths_B).all() and noisy.answers_BQ.equal(clean.answers_BQ)
    if kind == "graph":
        assert (longer.lengths_B > SMALL.row_tokens).all(), "longer than any row of training"
    for prompts in (noisy, longer):
        told = torch.nn.functional.pad(prompts.ids_BP, (0, prompts.answers_BQ.shape[1]))
        for row, (length, end) in enumerate(zip(prompts.lengths_B.tolist(), prompts.answer_lengths_B.tolist(),
                                                strict=True)):  # fmt: skip
            told[row, length : length + end] = prompts.answers_BQ[row, :end]
        assert task.grade(prompts, told).exact_B.all()
        told[told == task.vocabulary.id("+")] = task.vocabulary.id("-")
        assert not task.grade(prompts, told).exact_B.all()


@pytest.mark.parametrize(("change", "message"), [
    ({"noise": Noise("style")}, r"task\.noise\.sentences: got 'style' without its words .* task\.noise_words=true"),
    ({"noise": Noise("all")}, r"task\.noise\.sentences: got 'all'"),
])  # fmt: skip
def test_words_have_to_be_asked_for(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(FAMILIES["med"], **change)


@pytest.mark.parametrize(("settings", "message"), [
    ({"share": 0.95}, r"task\.noise\.share: got 0\.95, expected between 0 and 0\.9"),
    ({"share": float("nan")}, r"task\.noise\.share"),
    ({"tokens": -1}, r"task\.noise\.tokens: got -1, expected between 0 and 65536"),
    ({"rate": 1.5}, r"task\.noise\.rate: got 1\.5, expected between 0 and 1"),
])  # fmt: skip
def test_amounts_that_there_are_not(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Noise("graph", **settings)


def test_titles() -> None:
    assert replace(MED, noise=Noise("graph")).title == "iGSM op<=15 ip<=20 noise graph 0.5 of 768"
    mixed = replace(MED, noise=Noise("all", tokens=90, amount="uniform", rate=0.5))
    assert mixed.slug.endswith("-noise-all-up-to-90-at-0.5")
