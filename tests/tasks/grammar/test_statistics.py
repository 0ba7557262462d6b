"""Entropies and lengths: the published values, and against listing every derivation of small grammars."""

import itertools
import math

import pytest

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.published import published
from physlm.tasks.grammar.random_grammar import random_grammar
from physlm.tasks.grammar.statistics import derivation_entropy, derivations, length_statistics

# sizes of the levels, rules, fewest and most rules of a symbol, mean, shortest, longest string, entropy of derivations
PUBLISHED = {
    "cfg3b": (7, 32, 2, 2, 275.6, 138, 432, 169.2),
    "cfg3i": (7, 32, 2, 2, 308.1, 114, 564, 186.9),
    "cfg3h": (7, 39, 2, 3, 236.4, 97, 459, 204.8),
    "cfg3g": (7, 48, 3, 3, 252.4, 80, 729, 269.9),
    "cfg3f": (7, 54, 3, 4, 249.9, 64, 729, 268.7),
    "cfg3j": (8, 57, 3, 3, 543.9, 128, 2052, 618.6),
    "cfg3k": (8, 68, 3, 4, 516.3, 132, 1458, 608.3),
}
SMALL = {
    "weighted": parse_grammar("s -> a b [0.2] | b [0.8]\na -> '1' '2' [1.0]\nb -> '2' [0.5] | '1' '1' '1' [0.5]"),
    "ambiguous": parse_grammar("s -> a b | b a\na -> '1' | '1' '1'\nb -> '1' | '1' '1' '2'"),
    "random": random_grammar((1, 2, 2, 3), 5, rules=(1, 3), lengths=(1, 2), weighted=True),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    grammar, (levels, rules, fewest, most, mean, shortest, longest, entropy) = published(name), PUBLISHED[name]
    assert tuple(map(len, grammar.levels)) == (1, *[3] * (levels - 1))
    assert grammar.uniform and grammar.terminals == ("1", "2", "3")
    assert sum(map(len, grammar.rules)) == rules
    degrees = [len(grammar.rules_of(level, s)) for level in range(1, grammar.depth) for s in range(3)]
    assert (min(degrees), max(degrees)) == (fewest, most)
    lengths = length_statistics(grammar)
    assert (round(lengths.mean, 1), lengths.min, lengths.max) == (mean, shortest, longest)
    assert round(derivation_entropy(grammar), 1) == entropy


def all_derivations(grammar, level=0, symbol=0, end=None):
    """(probability, symbols on level ``end``) of each derivation."""
    end = grammar.depth if end is None else end
    if level == end:
        return [(1.0, (symbol,))]
    return [(rule.probability * math.prod(p for p, _ in parts), sum((string for _, string in parts), ()))
            for rule in grammar.rules_of(level, symbol)
            for parts in itertools.product(*(all_derivations(grammar, level + 1, c, end) for c in rule.children))]


@pytest.mark.parametrize("name", SMALL)
def test_against_all_derivations(name):
    grammar = SMALL[name]
    listed = all_derivations(grammar)
    assert sum(p for p, _ in listed) == pytest.approx(1)
    assert derivations(grammar) == len(listed)
    assert derivation_entropy(grammar) == pytest.approx(-sum(p * math.log2(p) for p, _ in listed))
    for level in range(grammar.depth + 1):
        strings = [(p, len(string)) for p, string in all_derivations(grammar, end=level)]
        mean = sum(p * n for p, n in strings)
        lengths = length_statistics(grammar, level)
        assert lengths.mean == pytest.approx(mean)
        assert lengths.variance == pytest.approx(sum(p * (n - mean) ** 2 for p, n in strings))
        assert (lengths.min, lengths.max) == (min(n for _, n in strings), max(n for _, n in strings))


def test_no_such_level():
    with pytest.raises(UserError, match="level: got 7, expected 0 to 6"):
        length_statistics(published("cfg3b"), 7)
