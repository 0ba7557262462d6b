"""The parser against enumeration, NLTK, an obvious chart and planted truths.

PHYSLM_GRAMMAR_STRINGS sets how many strings of each grammar are compared with NLTK or with the obvious chart (20000
take hours of one core, shared by all; the default is 120 of a small grammar, 40 of a published one).
"""

import itertools
import multiprocessing
import os
import random
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import nltk
import numpy as np
import pytest
from grammar_oracles import all_strings, draw, inside, mixed_strings, parses

from physlm.errors import UserError
from physlm.machine import cpu_cores
from physlm.tasks.grammar import chart, counting, edits, membership
from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.membership import _DENSE
from physlm.tasks.grammar.parser import Parser
from physlm.tasks.grammar.published import PUBLISHED, published
from physlm.tasks.grammar.random_grammar import random_grammar
from physlm.tasks.grammar.tables import tables

STRINGS = int(os.environ.get("PHYSLM_GRAMMAR_STRINGS", "0"))
AMBIGUOUS = parse_grammar("s -> a b | b a | b\na -> '1' | '1' '1' | '2'\nb -> '1' '2' '1' | '1' | '1' '1'")
SMALL = {
    "ambiguous": AMBIGUOUS,
    "length 1 rules": random_grammar((1, 3, 3, 2), 1, rules=(2, 3), lengths=(1, 2)),
    "length 3 rules": random_grammar((1, 2, 2), 2, rules=(2, 3), lengths=(1, 3)),
    "one terminal": parse_grammar("s -> a b | b a b\na -> 'x' | 'x' 'x'\nb -> 'x' | 'x' 'x' 'x'"),
    "wide": random_grammar((1, 4, 6, 4), 3, rules=(2, 3), lengths=(2, 2)),
}
SMALL_GRAMMARS = pytest.mark.parametrize("grammar", SMALL.values(), ids=SMALL)


@SMALL_GRAMMARS
def test_verdicts_of_all_short_strings_are_those_of_enumeration(grammar):
    truth, parser = all_strings(grammar), Parser(grammar)
    lengths = {len(string) for string in truth}
    assert parser.length_range == (min(lengths), max(lengths))
    alphabet = range(len(grammar.terminals))
    strings = list(itertools.chain(itertools.islice(truth, 500), *(
        itertools.islice(itertools.product(alphabet, repeat=n), 600) for n in range(max(lengths) + 2))))
    assert parser.valid(strings).tolist() == [string in truth for string in strings]
    for string in strings[:: max(1, len(strings) // 400)]:
        assert parser.count(string) == truth.get(string, (0, 0))[1]
        distances = [sum(a != b for a, b in zip(string, other, strict=True))
                     for other in truth if len(other) == len(string)]
        assert parser.edits(string) == min(distances, default=None)


@SMALL_GRAMMARS
def test_agrees_with_nltk(grammar):
    parser = Parser(grammar)
    reference = nltk.ChartParser(nltk.CFG.fromstring(grammar.text()))
    strings = list(mixed_strings(grammar, STRINGS or 120, seed=1))
    verdicts = parser.valid(strings)
    assert 0.2 < verdicts.mean() < 1
    for string, valid in zip(strings, verdicts, strict=True):
        trees = list(reference.parse(grammar.decode(string))) if string else []
        assert (len(trees) > 0) == valid and parser.count(string) == len(trees)
        own = parser.tree(string)
        assert own in trees if valid else own is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_agrees_with_an_obvious_chart_on_published_grammars(name):
    grammar = published(name)
    parser = Parser(grammar)
    strings = list(mixed_strings(grammar, STRINGS or 40, seed=2))
    verdicts = parser.valid(strings)
    assert 0.2 < verdicts.mean() < 0.6
    if STRINGS:  # the obvious chart takes seconds a string, so let all cores work
        with ProcessPoolExecutor(cpu_cores(), multiprocessing.get_context("spawn")) as pool:
            ways = list(pool.map(partial(parses, grammar), strings, chunksize=20))
    else:
        ways = [parses(grammar, string) for string in strings]
    assert verdicts.tolist() == [count > 0 for count in ways]
    assert [parser.count(string) for string in strings] == ways
    for string in strings[:4]:
        truth, chart = inside(grammar, string), parser.chart(string)
        for level in range(grammar.depth + 1):
            spans = chart.spans(level)
            assert set(spans) == set(truth[level]) and len(spans) == len(truth[level])
            assert spans == sorted(spans, key=lambda span: (span.start, span.end, span.symbol))


@pytest.mark.parametrize("seed", [1, 2])
def test_very_ambiguous_strings_agree_too(seed):
    grammar = random_grammar((1, 3, 3, 3, 2), seed, rules=(7, 7), lengths=(1, 3), repeated_rules=True)
    parser, densest = Parser(grammar), 0.0
    strings = [string for string in mixed_strings(grammar, 200, seed=3) if len(string) > 30][:12]
    assert len(strings) > 4
    for string in strings:
        truth, chart = inside(grammar, string), parser.chart(string)
        assert parser.valid([string])[0] == ((0, 0, len(string)) in truth[0])
        assert parser.count(string) == truth[0].get((0, 0, len(string)), (0, 0))[1]
        for level in range(grammar.depth):
            assert set(chart.spans(level)) == set(truth[level])
            densest = max(densest, len(truth[level]) / len(string) if level else 0)
    assert densest > 2 * _DENSE, "these strings are meant for the rows of bits"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_tree_derives_the_string_by_rules_of_the_grammar(name):
    grammar = published(name)
    rng = random.Random(3)
    sides = {(grammar.levels[level][rule.parent], tuple(grammar.levels[level + 1][child] for child in rule.children))
             for level, rules in enumerate(grammar.rules) for rule in rules}
    for string in (draw(grammar, rng) for _ in range(3)):
        tree = Parser(grammar).tree(string)
        assert tree is not None and grammar.encode(tree.leaves()) == string and tree.label() == grammar.levels[0][0]
        for node in tree.subtrees():
            assert (node.label(), tuple(getattr(child, "label", lambda c=child: c)() for child in node)) in sides


def test_counts_of_any_size_are_exact():
    # x^n in P_0, where P_l = P_{l+1}^2 + P_{l+1}^3, counts the parses of n equal tokens
    depth = 5
    grammar = parse_grammar("\n".join(f"a{i} -> {y} {y} | {y} {y} {y}" for i, y in enumerate(
        [*(f"a{i}" for i in range(1, depth)), "'1'"])))
    parser, polynomial = Parser(grammar), np.array([0, 1], dtype=object)
    for _ in range(depth):
        square = np.convolve(polynomial, polynomial)
        cube = np.convolve(square, polynomial)
        cube[: len(square)] += square
        polynomial = cube
    assert max(polynomial) > 2**64
    for n in (32, 60, 100, 120, 243):
        assert parser.count([0] * n) == polynomial[n]
    assert parser.count([0] * 31) == parser.count([0] * 244) == 0


def test_counts_beyond_float64_are_exact():
    # every one of the 27 triples of the next level's symbols is a rule of each symbol
    lines = []
    for level in range(7):
        below = [f"{'abcdefg'[level + 1]}{i}" for i in range(3)] if level < 6 else ["'1'"]
        sides = " | ".join(" ".join(side) for side in itertools.product(below, repeat=3))
        lines += [f"{'abcdefg'[level]}{i} -> {sides}" for i in range(3 if level else 1)]
    expected = 1
    for _ in range(6):
        expected = 27 * expected**3
    assert expected > 10**310
    assert Parser(parse_grammar("\n".join(lines))).count([0] * 3**7) == expected


@pytest.mark.parametrize("name", ["cfg3b", "cfg3f"])
def test_edits_find_planted_corruptions(name):
    grammar = published(name)
    parser, rng = Parser(grammar), random.Random(4)
    several = 0
    for corrupted in (1, 1, 2, 2, 3):
        string = draw(grammar, rng)
        assert parser.edits(string) == 0
        for place in rng.sample(range(len(string)), corrupted):
            string[place] = (string[place] + rng.randrange(1, 3)) % 3
        least = parser.edits(string)
        assert least is not None and least <= corrupted and (least == 0) == parser.valid([string])[0]
        neighbours = [[*string[:i], token, *string[i + 1:]] for i in range(len(string)) for token in range(3)]
        assert (least <= 1) == parser.valid(neighbours).any()
        several += least > 1
    assert several


def test_a_token_outside_of_the_alphabet_is_one_edit():
    parser = Parser(AMBIGUOUS)
    assert parser.valid([[0, 0, 1, 0], [0, 1, 1, 0]]).tolist() == [True, False]
    for outside in (-1, 2, 99):
        string = [0, outside, 1, 0]
        assert not parser.valid([string])[0] and parser.count(string) == 0 and parser.tree(string) is None
        assert parser.edits(string) == 1
        assert all(not span.start <= 1 < span.end for span in parser.chart(string).spans(1))


@pytest.mark.parametrize("length", [0, 5000])
def test_impossible_lengths_are_invalid(length):
    parser = Parser(published("cfg3k"))
    string = [0] * length
    assert not parser.valid([string])[0] and parser.count(string) == 0
    assert parser.tree(string) is None and parser.edits(string) is None
    assert len(parser.chart(string).spans(7)) == length and not parser.chart(string).spans(0)


def test_forms_of_a_batch_and_threads_do_not_matter():
    grammar = published("cfg3f")
    parser, strings = Parser(grammar), list(mixed_strings(grammar, 60, seed=5))
    expected = parser.valid(strings)
    assert 0 < expected.sum() < 60
    width = max(map(len, strings)) + 3
    for padding in (-1, 0):  # what stands behind a string does not matter
        for dtype in (np.int8, np.int64):
            tokens_BW = np.full((60, width), padding, dtype)
            for row, string in zip(tokens_BW, strings, strict=True):
                row[: len(string)] = string
            lengths_B = [len(string) for string in strings]
            for threads in (1, 3):
                assert (parser.valid(tokens_BW, lengths_B, threads=threads) == expected).all()
    assert (parser.valid([np.array(string) for string in strings], threads=2) == expected).all()
    assert parser.valid([]).shape == (0,)


def test_malformed_batches_are_refused():
    parser = Parser(AMBIGUOUS)
    with pytest.raises(UserError, match="without lengths"):
        parser.valid(np.zeros((2, 3), int))
    with pytest.raises(UserError, match="got lengths 1 to 4, expected 0 to 3"):
        parser.valid(np.zeros((2, 3), int), [1, 4])
    with pytest.raises(UserError, match=r"shape \(2, 3\) with lengths of shape \(3,\)"):
        parser.valid(np.zeros((2, 3), int), [1, 2, 3])
    with pytest.raises(UserError, match="expected one sequence"):
        parser.count(np.zeros((1, 2), int))


def test_counts_that_would_take_hours_are_refused(monkeypatch):
    parser = Parser(AMBIGUOUS)
    assert parser.count([0, 0, 1, 0]) > 0
    monkeypatch.setattr(counting, "MAX_STEPS", 10)
    with pytest.raises(UserError, match="count: a string of 4 tokens has .* less ambiguous grammar"):
        parser.count([0, 0, 1, 0])


def chain(depth, bottom):
    """A grammar of so many levels of three symbols, whose last symbols are ``bottom``."""
    rules = "".join(f"x{i} -> x{i + 1} x{i + 1} x{i + 1}\n" for i in range(depth))
    return parse_grammar(rules + f"x{depth} -> {bottom}")


def test_counts_beyond_every_float_are_exact():
    """Each of 3^6 tokens is derived in three ways, of one symbol each: 3^729 parses, more than 10^308."""
    grammar = chain(6, "a | b | c\na -> '1'\nb -> '1'\nc -> '1' | '2'")
    assert Parser(grammar).count([0] * 3**6) == 3**729
    assert Parser(grammar).count([0] * 728 + [1]) == 3**728
    assert Parser(grammar).count([0] * 728) == 0


def test_how_long_a_count_takes_depends_on_the_string_and_not_on_the_grammar():
    """The longest strings of this grammar have more than 10^(3^20) derivations, a number that no memory holds."""
    letters, ways = [f"x{i}" for i in range(21)], 6000
    rules = "".join(f"{a} -> {b} {b} {b} | {b}\n" for a, b in itertools.pairwise(letters))
    rules += "x20 -> " + " | ".join(f"a{i}" for i in range(ways)) + "\n"
    rules += "".join(f"a{i} -> '1'\n" for i in range(ways))
    parser = Parser(parse_grammar(rules))
    # trees[n]: derivations of n symbols of the lowest level that has one, counted level by level
    trees = np.array([0, 1] + 70 * [0], dtype=object)
    for _ in range(20):
        trees = trees + np.convolve(np.convolve(trees, trees)[:72], trees)[:72]
    begun = time.process_time()
    for length in (1, 3, 71):
        assert parser.count([0] * length) == ways**length * trees[length]
    assert ways**71 * trees[71] > 10**310  # more than float64 holds
    assert time.process_time() - begun < 120


def test_counts_with_more_digits_than_time_are_refused(monkeypatch):
    """The float64 pass is let through; what the primes would take is known from the number of digits."""
    grammar = chain(6, "a | b | c\na -> '1'\nb -> '1'\nc -> '1' | '2'")
    monkeypatch.setattr(counting, "MAX_STEPS", 100_000)
    with pytest.raises(UserError, match=r"has about 10\^348 parses, which take [\d,]+ steps to count"):
        Parser(grammar).count([0] * 3**6)


def test_steps_are_counted_and_bounded_in_sparse_and_dense_rows():
    """A kernel that has hardly a step left says so, whether it walks lists or joins rows of bits."""
    for grammar in (published("cfg3f"), SMALL["one terminal"]):
        string = np.array(draw(grammar, random.Random(1))) if grammar.depth > 2 else np.zeros(600, np.int64)
        arrays, n = tables(grammar), string.size
        for used, stopped in ((0, False), (membership.MAX_STEPS - 5, True)):
            low, high, seen, agenda, _ = membership.workspace(arrays, n)
            membership.lay_tokens(arrays, string, low)
            for level in range(grammar.depth - 1, -1, -1):
                seen[0][2] = used
                high, agenda = membership.rise(arrays, level, n, low, high, seen, agenda, False)
                assert seen[0][2] > used
                low, high = high, low
                if seen[0][1]:
                    break
            assert bool(seen[0][1]) == stopped


def test_work_that_would_fill_the_memory_is_refused(monkeypatch):
    parser = Parser(AMBIGUOUS)
    monkeypatch.setattr(chart, "MAX_ROOM", 20)
    for call in (lambda: parser.valid([[0] * 9]), lambda: parser.chart([0] * 9), lambda: parser.edits([0] * 4)):
        with pytest.raises(UserError, match=r"a string of \d tokens with a level of 6 beginnings of rules, expected"):
            call()


def test_edits_that_would_take_hours_are_refused(monkeypatch):
    string = draw(published("cfg3b"), random.Random(6))
    string[0] = -1
    monkeypatch.setattr(edits, "MAX_STEPS", 1000)
    with pytest.raises(UserError, match="edits: a string of .* takes more than 1,000 steps"):
        Parser(published("cfg3b")).edits(string)


def test_edits_that_would_fill_the_memory_are_refused(monkeypatch):
    string = draw(published("cfg3b"), random.Random(6))
    string[0] = -1
    assert Parser(published("cfg3b")).edits(string) == 1
    monkeypatch.setattr(edits, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="GiB"):
        Parser(published("cfg3b")).edits(string)


@pytest.mark.parametrize("text", ["s -> '1' | '1' '1' '1'\n", "s -> a | a a a\na -> '1' '2'\n"])
def test_lengths_that_the_grammar_skips_have_no_edits(text):
    """Between the shortest and the longest string, and still no string has this length."""
    parser = Parser(parse_grammar(text))
    lengths = {len(string) for string in all_strings(parser.grammar)}
    shortest, longest = parser.length_range
    skipped = set(range(shortest, longest + 1)) - lengths
    assert skipped
    for length in range(1, longest + 2):
        assert (parser.edits([0] * length) is None) == (length not in lengths)
