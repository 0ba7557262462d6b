"""Problems are read back from their text: edges, formulas, totals, and what the query depends on."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from written_problems import Writer, written

from physlm.errors import UserError
from physlm.tasks.igsm.checker import standard_reader
from physlm.tasks.igsm.expressions import normal
from physlm.tasks.igsm.expressions import written as shown
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.reading import Reader

READER = standard_reader()
BASE = ("The number of each Film Studio's Brown Satchel equals 13. The number of each Film Studio's Tartan Satchel "
        "equals 5. The number of each Dance Studio's Brown Satchel equals 4. ")


def formula(right: str) -> tuple[str, str]:
    """The expression read from what stands after "equals", for readers, and its operators."""
    right = right.replace("Tote", "Brown Satchel")
    problem = READER.read(f"{BASE}The number of each Dance Studio's Tartan Satchel equals {right}. "
                          "How many Tartan Satchel does Dance Studio have?")
    found = problem.formula(problem.query)
    assert found is not None
    return shown(found.expression), found.operators


@pytest.mark.parametrize(("right", "expression", "operators"), [
    ("7", "7", ""),
    ("each Film Studio's Brown Satchel", "Film Studio's Brown Satchel", ""),
    ("7 more than each Film Studio's Backpack", "7 + Film Studio's Backpack", "+"),
    ("7 times as much as each Film Studio's Backpack", "7 * Film Studio's Backpack", "*"),
    ("the difference of each Film Studio's Brown Satchel and each Film Studio's Tartan Satchel",
     "Film Studio's Brown Satchel - Film Studio's Tartan Satchel", "-"),
    ("7 times as much as the difference of each Film Studio's Brown Satchel and each Film Studio's Backpack",
     "7 * (Film Studio's Brown Satchel - Film Studio's Backpack)", "*-"),
    ("the sum of each Film Studio's Brown Satchel and each Film Studio's Backpack",
     "Film Studio's Brown Satchel + Film Studio's Backpack", "+"),
    ("0 more than the sum of each Film Studio's Tote, each Film Studio's Backpack and each Dance Studio's Tote",
     "0 + Film Studio's Brown Satchel + Film Studio's Backpack + Dance Studio's Brown Satchel", "+++"),
])
def test_every_form_of_a_sentence_is_read(right: str, expression: str, operators: str) -> None:
    assert formula(right) == (expression, operators)


@pytest.mark.parametrize(("text", "says"), [
    ("", "0 questions"),
    ("no problem at all", "0 questions"),
    (BASE, "0 questions"),
    (BASE + "How many Backpack does Film Studio have? How many Backpack does Dance Studio have?", "2 questions"),
    (BASE + "How many Backpack does Film Studio have", "1 questions .* expected one"),
    (BASE + "How many Backpack has Film Studio?", "'How many Backpack has Film Studio\\?', expected 'How many B does"),
    (BASE + "How many Backpack does Film Studio have left?", "expected 'How many B does A have"),
    (BASE + "How many Gel Pen does Film Studio have?", "the question asks for 'Film Studio's Gel Pen'"),
    (BASE + "How many Stationery does Film Studio have?", "the question asks for 'Film Studio's Stationery'"),
    (BASE + "How many Classroom does Film Studio have?", "the question asks for"),
    (BASE + "How many Furniture does Film Studio have?", "the question asks for"),
    (BASE + "How many  does  have?", "the question asks for ''s '"),
    (BASE + "The number of each Film Studio's Brown Satchel equals 14. How many Backpack does Film Studio have?",
     "'Film Studio's Brown Satchel' is described twice"),
])
def test_what_is_no_problem_is_named(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        READER.read(text)


@pytest.mark.parametrize(("sentence", "says"), [
    ("Film Studio's Golden Nowhere equals 7", "expected a name of the tables for 'Golden Nowhere'"),
    ("Film Studio's Gel Pen equals 7", "expected an item and one of the next deeper layer"),
    ("Film Studio's Backpack equals seven", "with a formula"),
    ("Backpack's Backpack equals 7", "expected a name of the tables for 'Backpack'"),
    ("Brown Satchel's Film Studio equals 7", "expected an item and one of the next deeper layer"),
    ("Film Studio's Suede Satchel is 7", "expected 'The number of each A's B equals ...'"),
    ("Film Studio's Suede Satchel equals 23", "with a formula"),
    ("Film Studio's Suede Satchel equals 23 more than each Film Studio's Backpack", "with a formula"),
    ("Film Studio's Suede Satchel equals more than each Film Studio's Backpack", "with a formula"),
    ("Film Studio's Suede Satchel equals Film Studio's Backpack", "with a formula"),
    ("Film Studio's Suede Satchel equals each Backpack", "with a formula"),
    ("Film Studio's Suede Satchel equals the sum of each Film Studio's Backpack", "with a formula"),
    ("Film Studio's Suede Satchel equals the sum of each Film Studio's Backpack and each Film Studio's Backpack",
     "with a formula"),
    ("Film Studio's Suede Satchel equals the difference of each A's B, each Film Studio's Backpack and each C's D",
     "with a formula"),
    ("Film Studio's Suede Satchel equals each Dance Studio's Suede Satchel",
     "'Film Studio's Suede Satchel' is computed from 'Dance Studio's Suede Satchel', expected a described parameter"),
    ("Film Studio's Suede Satchel equals each Film Studio's Backpack", "depends on itself"),
])
def test_a_sentence_that_does_not_fit_is_named(sentence: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        READER.read(f"{BASE}The number of each {sentence}. How many Suede Satchel does Film Studio have?")


def test_totals_follow_from_the_edges() -> None:
    problem = READER.read(
        f"{BASE}The number of each Eastlake High's Film Studio equals 2. The number of each Eastlake High's Dance "
        "Studio equals each Westmoor High's Backpack. How many Backpack does Eastlake High have?"
    )
    totals = {
        "Film Studio's Backpack": "(+Film Studio's Brown Satchel +Film Studio's Tartan Satchel)",
        "Dance Studio's Backpack": "Dance Studio's Brown Satchel",
        "Eastlake High's Classroom": "(+Eastlake High's Dance Studio +Eastlake High's Film Studio)",
        "Eastlake High's Backpack": "(+[Dance Studio's Backpack*Eastlake High's Dance Studio] "
                                    "+[Eastlake High's Film Studio*Film Studio's Backpack])",
        "Westmoor High's Backpack": "0",  # no edge describes this school; the sentence makes it occur
    }
    for total, expression in totals.items():
        found = problem.formula(total)
        assert found is not None and normal(found.expression) == expression
    absent = ("Eastlake High's Stationery", "Brown Satchel's Stationery", "Film Studio's Classroom", "Film Studio", "",
              "Film Studio's School", "Film Studio's Gel Pen", "Film Studio's Furniture", "Backpack's Pen", "'s ",
              "Cedar Hill Academy's Backpack", "Backpack", "Film Studio's Backpack's Backpack")
    assert [problem.formula(parameter) for parameter in absent] == [None] * len(absent)
    assert problem.children["Film Studio"] == ["Brown Satchel", "Tartan Satchel"]


@pytest.mark.parametrize("seed", range(200))
def test_what_the_writer_wrote_is_read(seed: int) -> None:
    draw = written(seed)
    problem = READER.read(draw.problem)
    assert set(problem.needed) == set(draw.parameters)
    assert problem.needed[-1] == problem.query == draw.parameters[-1]
    for place, parameter in enumerate(problem.needed):
        found = problem.formula(parameter)
        assert found is not None and {*found.needs} <= {*problem.needed[:place]}
        text = shown(found.expression)
        for need in sorted(found.needs, key=len, reverse=True):
            text = text.replace(need, str(draw.values[need]))
        assert eval(text) % 23 == draw.values[parameter], (parameter, text)


def test_a_question_may_stand_anywhere_and_asides_are_kept() -> None:
    question = "How many Backpack does Film Studio have?"
    problems = [READER.read(text) for text in (
        BASE + question, f"{question} {BASE}", f"{BASE}{question} {BASE}",
        f"Write in red. {BASE} Be short. {question} Thanks.",
        f"The number of each Film Studio's Backpack equals 18. {BASE}{question}",
    )]  # fmt: skip
    assert [problem.asides for problem in problems] == [
        (), (), (), ("Write in red", "Be short", "Thanks"), ("The number of each Film Studio's Backpack equals 18",)]
    for problem in problems[1:]:
        assert (problem.described, problem.needed) == (problems[0].described, problems[0].needed)


def test_a_second_graph_changes_nothing() -> None:
    for seed in range(100):
        rng = random.Random(seed)
        one, other = Writer(rng), Writer(rng)
        if {name for layer in one.items for name in layer} & {name for layer in other.items for name in layer}:
            continue
        draw, noise = one.write(), other.write()
        sentences = noise.problem.partition("How many")
        more = sentences[0] + sentences[2].partition("?")[2]
        alone, both = READER.read(draw.problem), READER.read(f"{draw.problem} {more}")
        assert alone.needed == both.needed
        assert [alone.formula(name) for name in alone.needed] == [both.formula(name) for name in alone.needed]
        assert set(both.described) > set(alone.described)
        if one.categories[0] != other.categories[0] and not {*one.categories} & {*other.categories}:
            assert both.formula(f"{one.items[0][0]}'s {other.categories[-1]}") is None


def test_the_modulus_is_the_reader_s() -> None:
    text = BASE.replace("13", "3") + "How many Backpack does Film Studio have?"
    assert Reader(CATEGORISATIONS, 7).read(text).query == "Film Studio's Backpack"
    with pytest.raises(UserError, match="equals 5"):
        Reader(CATEGORISATIONS, 5).read(text)


def test_a_chain_of_any_length_is_read() -> None:
    """20 items of a layer to every item of the next: 24,000 sentences, each after the one before."""
    edges = [f"{a}'s {b}" for categorisation in CATEGORISATIONS for above, below in pairwise(categorisation.layers)
             for a in above.groups[0] for group in below.groups for b in group]
    assert len(edges) == 24_000
    sentences = [f"The number of each {edge} equals 1 more than each {before}." for before, edge in pairwise(edges)]
    item, child = edges[-1].split("'s ")
    text = f"The number of each {edges[0]} equals 1. {' '.join(sentences)} How many {child} does {item} have?"
    assert READER.read(text).needed == tuple(edges)
