"""Right solutions in all their forms are right, each kind of error is found and named, no text breaks the checker."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from right_solutions import DRAWS, NAMES, PEN, PROBLEM, SOLUTION, changed, written_texts
from written_problems import written

from physlm.tasks.igsm import checker, expressions, reading, walk
from physlm.tasks.igsm.audit import CHECKED, agrees, check_generated, verdict_of
from physlm.tasks.igsm.checker import ERRORS, Verdict, check, check_many, standard_reader
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.plain import generate
from physlm.tasks.igsm.planted_errors import PLANTERS, generated_texts, planted_errors
from physlm.tasks.igsm.reading import Reader
from physlm.tasks.igsm.walk import Step


def test_a_right_solution_is_right() -> None:
    steps = tuple(Step(name, False) for name in NAMES)
    assert check(PROBLEM, SOLUTION) == Verdict("right", 0, "", 3, steps, 8, 12, 0, 0, 0)
    assert check(PROBLEM, f"{SOLUTION} <answer> 3", answer=True) == check(PROBLEM, SOLUTION)
    assert check(standard_reader().read(PROBLEM), SOLUTION).right
    assert check(PROBLEM, f"  {SOLUTION}\n<answer> 3 \n").right


def test_the_checker_stands_apart_from_the_generator() -> None:
    for module in (checker, walk, reading, expressions):
        nodes = ast.walk(ast.parse(inspect.getsource(module)))
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        own = {str(name).removeprefix("physlm.") for name in names if str(name).startswith("physlm")}
        assert own <= {"errors", *(f"tasks.igsm.{name}" for name in ("names", "expressions", "reading", "walk"))}


def test_there_are_twenty_kinds_each_with_its_line() -> None:
    assert checker.__doc__ is not None
    assert len(ERRORS) == 20 and set(ERRORS) == set(PLANTERS)
    lines = re.findall(r"^    ([a-z]+(?: [a-z]+)+)  +\S", checker.__doc__, re.MULTILINE)
    assert sorted(lines) == sorted([*ERRORS, "not a problem", "not a solution"])


@pytest.mark.parametrize(("old", "new"), [
    ("R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12 = 15", "R = 3 - a = 3 - 13 = 13; so d = R + b = 13 + 2 = 15"),
    ("R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12 = 15", "R = a - b = 13 - 2 = 11; so d = 3 - R = 3 - 11 = 15"),
    ("S = c + d = 15 + 15 = 7; so e = 5 * S = 5 * 7 = 12", "S = d + c = 15 + 15 = 7; so e = S * 5 = 7 * 5 = 12"),
    ("T = e * c = 12 * 15 = 19; U = f * g = 2 * 15 = 7; so h = T + U = 19 + 7 = 3",
     "U = g * f = 15 * 2 = 7; T = c * e = 15 * 12 = 19; so h = U + T = 7 + 19 = 3"),
    ("so c = a + b = 13 + 2 = 15", "so c = b + a = 2 + 13 = 15"),
    ("so b = 12 + a = 12 + 13 = 2", "so b = a + 12 = 13 + 12 = 2"),
])
def test_the_same_expression_in_another_order_is_right(old: str, new: str) -> None:
    assert check(PROBLEM, changed(old, new)) == check(PROBLEM, SOLUTION)


CASES = [
    ("so a = 13", "so a = 14", "wrong constant", 1, "'Film Studio's Brown Satchel' is computed as 14, expected 13"),
    ("so b = 12 + a = 12 + 13 = 2", "so b = 2", "wrong dependencies", 2, "as 2, expected 12 + Film Studio's Brown Sat"),
    ("so b = 12 + a = 12 + 13 = 2", "so b = a = 13", "wrong constant", 2, "expected 12 + Film Studio's Brown Satchel"),
    ("12 + a = 12 + 13 = 2", "12 - a = 12 - 13 = 22", "wrong operator", 2, "computed as 12 - Film Studio's Brown Satc"),
    ("12 + a = 12 + 13 = 2", "12 + a = 12 - 13 = 22", "wrong operator", 2, "'+' between letters and '-' between numbe"),
    ("12 + a = 12 + 13 = 2", "12 + a = 11 + 13 = 1", "wrong constant", 2, "11 for the constant 12"),
    ("12 + a = 12 + 13 = 2", "35 + a = 35 + 13 = 2", "wrong constant", 2, "one number of 0 to 22"),
    ("12 + a = 12 + 13 = 2", "12 + a = 12 + 12 = 1", "wrong number", 2, "12 is put in for 'a', expected 13"),
    ("12 + a = 12 + 13 = 2", "12 + a = 12 + 13 = 3", "wrong result", 2, "ends with 3, expected 2 modulo 23"),
    ("12 + a = 12 + 13 = 2", "12 + a = 12 + 13 = 25", "wrong result", 2, "ends with 25, expected 2 modulo 23"),
    ("12 + a = 12 + 13 = 2", "12 + q = 12 + 13 = 2", "undefined letter", 2, "'q' is not defined"),
    ("12 + a = 12 + 13 = 2", "12 + b = 12 + 13 = 2", "undefined letter", 2, "'b' stands for nothing that this sentenc"),
    ("so f = b = 2", "so f = R = 12", "undefined letter", 6, "'R' stands for nothing that this sentence can use"),
    ("so f = b = 2", "so f = b = 12", "wrong number", 6, "12 is put in for 'b', expected 2"),
    ("so f = b = 2", "so f = a = 13", "wrong dependencies", 6, "Brown Satchel, expected Film Studio's Tartan Satchel"),
    ("so f = b = 2", "so f = 2 = 2", "malformed sentence", 6, "'so f = 2 = 2', expected one number, or a letter"),
    ("R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12", "R = a - b = 13 - 2 = 11; so d = 3 + R = 3 + 11",
     "wrong result", 4, "ends with 15, expected 14 modulo 23"),
    ("R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12 = 15", "R = a - b = 13 - 2 = 11; so d = 3 + R = 3 + 11 = 14",
     "wrong grouping", 4, "computed as 3 + Film Studio's Brown Satchel - Film Studio's Tartan Satchel, expected 3 + F"),
    ("R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12 = 15", "so d = 3 + b - a = 3 + 2 - 13 = 15",
     "missing intermediate", 4, "has 2 operations, expected one"),
    ("S = c + d = 15 + 15 = 7; so e = 5 * S = 5 * 7 = 12", "S = 5 * c = 5 * 15 = 6; so e = S + d = 6 + 15 = 21",
     "wrong grouping", 5, "expected 5 * (Film Studio's Backpack + Dance Studio's Brown Satchel)"),
    ("S = c + d = 15 + 15 = 7; so e = 5 * S = 5 * 7 = 12", "S = c + d = 15 + 15 = 7; so e = S + S = 7 + 7 = 14",
     "wrong dependencies", 5, "'S' is used a second time"),
    ("S = c + d = 15 + 15 = 7;", "S = c + d = 15 + 15 = 7; V = c * d = 15 * 15 = 18;",
     "unused intermediate", 5, "'V' is computed for 'Eastlake High's Film Studio' and not used"),
    ("S = c + d = 15 + 15 = 7;", "S = c = 15;", "malformed sentence", 5, "expected an operation in an intermediate re"),
    ("Studio as f; so f", "Studio as d; so d", "letter reused", 6, "'d' already stands for something"),
    ("Studio as f; so f", "Studio as R; so R", "letter reused", 6, "'R' already stands for something"),
    ("Studio as f; so f", "Studio as f; so k", "malformed sentence", 6, "expected 'so f ='"),
    ("Dance Studio as f", "Dance Hovel as f", "unknown name", 6, "'Dance Hovel' is no name"),
    ("Dance Studio as f", "Robotics Lab as f", "absent parameter", 6, "the problem has no 'Eastlake High's Robotics L"),
    ("Eastlake High's Dance Studio as", "Eastlake High's Stationery as", "not computable yet", 6, "'Eastlake High's D"),
    ("Eastlake High's Dance Studio as", "Dance Studio's Classroom as", "absent parameter", 6, "no 'Dance Studio's Cla"),
    ("Eastlake High's Dance Studio as", "Film Studio's Backpack as", "repeated parameter", 6, "a second time"),
    ("Eastlake High's Dance Studio as", "Eastlake High Dance Studio as", "malformed sentence", 6, "a parameter"),
    ("Define Dance Studio's Backpack as g; so g = d = 15. ", "", "not computable yet", 7, "depends on 'Dance Studio's"),
    ("= 3.", "= 3", "truncated sentence", 8, "has no full stop"),
    ("= 3.", "= 3. ok", "continues after query", 9, "'ok' stands after the sentence that defines 'Eastlake High's"),
    ("= 3.", "= 3. <answer> 4", "wrong answer", 0, "'4' stands after <answer>, expected 3"),
    ("Define Dance Studio's Backpack as g", "Define Dance Studio's Backpack as BACK", "malformed sentence", 7, "one l"),
]


@pytest.mark.parametrize(("old", "new", "kind", "sentence", "says"), CASES, ids=lambda part: str(part)[:24])
def test_an_error_is_found_and_named(old: str, new: str, kind: str, sentence: int, says: str) -> None:
    verdict = check(PROBLEM, changed(old, new))
    assert (verdict.kind, verdict.sentence) == (kind, sentence)
    assert says in verdict.text and not verdict.right


def test_the_counts_are_those_before_the_error() -> None:
    verdict = check(PROBLEM, changed("so f = b = 2", "so f = b = 3"))
    assert (verdict.sentence, verdict.sentences, verdict.operations, verdict.answer) == (6, 5, 7, 3)
    assert [step.parameter for step in verdict.steps] == NAMES


def test_an_answer_may_be_demanded() -> None:
    verdict = check(PROBLEM, SOLUTION, answer=True)
    assert (verdict.kind, verdict.answer) == ("wrong answer", 3) and "there is no <answer>, expected 3" in verdict.text
    assert check(PROBLEM, f"{SOLUTION} <answer> 4").answer == 4
    assert check(PROBLEM, f"{SOLUTION} <answer> four").answer is None
    assert check(PROBLEM, SOLUTION[:-2]).answer is None


def test_right_but_unneeded_parameters_are_counted() -> None:
    total = "Define Brown Satchel's Stationery as q; so q = G = 7. "
    more = changed("Define Eastlake High's Backpack", f"{PEN}{total}Define Eastlake High's Backpack")
    verdict = check(PROBLEM, more)
    assert verdict.right and (verdict.sentences, verdict.operations) == (10, 15)
    assert (verdict.unneeded_parameters, verdict.unneeded_operations) == (2, 3)
    assert [step.parameter for step in verdict.steps][7:9] == ["Brown Satchel's Gel Pen", "Brown Satchel's Stationery"]
    wrong = check(PROBLEM, more.replace("so q = G = 7", "so q = G = 8"))
    assert (wrong.kind, wrong.sentence, wrong.unneeded_parameters) == ("wrong number", 9, 1)


def test_unneeded_sentences_of_the_writer_are_right_too() -> None:
    found = 0
    for draw in DRAWS:
        before, define, last = draw.solution.rpartition("Define ")
        extra = draw.extra[0] if draw.extra else ""
        item = extra.removeprefix("Define ").split("'s ")[0]
        if not extra or f"each {item}'s" not in draw.problem:
            continue  # nothing left, or an item without children that the text does not name
        if f" {last.split(' as ')[1][0]} " in extra.partition(";")[2]:
            continue  # it depends on the query
        verdict = check(draw.problem, f"{before}{extra} {define}{last}")
        assert verdict.right, (draw, verdict)
        assert verdict.unneeded_parameters == 1 and verdict.unneeded_operations == extra.count(";")
        assert verdict.operations == draw.operations + extra.count(";")
        found += 1
    assert found > len(DRAWS) / 4


def test_wrong_starts_are_allowed_where_they_are_asked_for() -> None:
    start = "Define Eastlake High's Backpack as BACK. "
    pieces = SOLUTION.split("Define Film Studio's Backpack")
    other = "Define Brown Satchel's Stationery as BACK. Define Film Studio's Backpack"
    solution = start + start + pieces[0] + other + pieces[1]
    verdict = check(PROBLEM, solution, retries=True)
    assert verdict.right and (verdict.retries, verdict.sentences, verdict.operations) == (3, 8, 12)
    assert [place for place, step in enumerate(verdict.steps) if step.retry] == [0, 1, 4]
    assert (check(PROBLEM, solution).kind, check(PROBLEM, solution).sentence) == ("malformed sentence", 1)
    for text, kind, sentence in [
        (start, "unfinished retry", 1),
        (pieces[0] + start, "unfinished retry", 3),
        (f"{SOLUTION} {start}", "continues after query", 9),
        ("Define Eastlake High's Robotics Lab as BACK. " + SOLUTION, "absent parameter", 1),
        ("Define Golden Nowhere's Backpack as BACK. " + SOLUTION, "unknown name", 1),
        (start.replace(". ", "; so x = 3. ") + SOLUTION, "not computable yet", 1),
        (start.strip(". "), "truncated sentence", 1),
    ]:
        verdict = check(PROBLEM, text, retries=True)
        assert (verdict.kind, verdict.sentence) == (kind, sentence), text


@pytest.mark.parametrize(("text", "kind"), [
    ("", "not a solution"), ("   \n", "not a solution"), (".", "not a solution"), (". . .", "not a solution"),
    ("The answer is 3.", "not a solution"), ("<answer> 3", "not a solution"), ("Defining terms", "not a solution"),
    ("D", "truncated sentence"), ("Define", "truncated sentence"), ("Define ", "truncated sentence"),
    ("Define.", "not a solution"), ("Define x.", "malformed sentence"), ("Define  as x.", "malformed sentence"),
])
def test_what_is_no_solution_is_said(text: str, kind: str) -> None:
    assert check(PROBLEM, text).kind == kind


def test_what_is_no_problem_is_said() -> None:
    verdict = check("How many Backpack?", SOLUTION)
    assert (verdict.kind, verdict.sentence, verdict.steps) == ("not a problem", 0, ())
    assert "expected 'How many B does A have?'" in verdict.text


def test_written_solutions_are_right() -> None:
    verdicts = list(check_many([draw.problem for draw in DRAWS], [draw.solution for draw in DRAWS]))
    for draw, verdict in zip(DRAWS, verdicts, strict=True):
        steps = tuple(Step(parameter, False) for parameter in draw.parameters)
        value = draw.values[draw.parameters[-1]]
        assert verdict == Verdict("right", 0, "", value, steps, len(steps), draw.operations, 0, 0, 0), draw
    with pytest.raises(ValueError, match="shorter"):
        list(check_many([PROBLEM], []))


@pytest.mark.parametrize("config", CHECKED.values(), ids=CHECKED)
def test_generated_solutions_are_right(config: IgsmConfig) -> None:
    """A share of the 200,000 of ``physlm igsm check --generated 200000``, made by the twin."""
    for index in range(40):
        made = generate(config, stream_key(config), index)
        solution = made.solution(config.retry if config.retry.rate else None)
        verdict = verdict_of(config, made.text(), f"{solution} <answer> {made.answer}")
        assert agrees(verdict, made), (config, index, verdict)


def test_generated_problems_are_checked_as_many_as_asked_for() -> None:
    found = list(check_generated(401))
    assert len(found) == 401 and all(one.wrong is None for one in found)


@pytest.mark.parametrize("modulus", [2, 5, 101])
def test_the_modulus_is_the_reader_s(modulus: int) -> None:
    reader = Reader(CATEGORISATIONS, modulus)
    for seed in range(100):
        draw = written(seed, modulus)
        assert check(draw.problem, draw.solution, reader=reader).right
    assert not check(PROBLEM, SOLUTION, reader=reader).right


@pytest.mark.parametrize("texts", [written_texts, generated_texts])
def test_planted_errors_are_found_and_named(texts: Callable[[], Iterator[tuple[str, str]]]) -> None:
    """A share of the 10,000 of ``physlm igsm check --planted 10000``."""
    planted = list(planted_errors(1000, texts()))
    assert not [missed for _, missed in planted if missed]
    assert Counter(kind for kind, _ in planted) == dict.fromkeys(ERRORS, 50)
