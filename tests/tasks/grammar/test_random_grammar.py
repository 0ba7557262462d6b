"""Random grammars: what was asked for is what comes, over the whole range of settings; the impossible is named."""

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.random_grammar import random_grammar

ranges = st.tuples(st.integers(1, 3), st.integers(1, 3)).map(lambda pair: (min(pair), max(pair)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99), ranges, ranges, st.booleans(),
       st.booleans(), st.booleans())
def test_random_grammars_are_what_was_asked_for(below, seed, rules, lengths, symbols_again, rules_again, weighted):
    sizes = (1, *below)
    try:
        grammar = random_grammar(sizes, seed, rules=rules, lengths=lengths, repeated_symbols=symbols_again,
                                 repeated_rules=rules_again, weighted=weighted)
    except UserError:  # the tests below say when
        assume(False)
    assert tuple(map(len, grammar.levels)) == sizes
    for level, group in enumerate(grammar.rules):
        sides = [rule.children for rule in group]
        assert all(lengths[0] <= len(side) <= lengths[1] for side in sides)
        assert symbols_again or all(len(set(side)) == len(side) for side in sides)
        assert rules_again or len(set(sides)) == len(sides)
        for symbol in range(sizes[level]):
            own = grammar.rules_of(level, symbol)
            assert rules[0] <= len(own) <= rules[1] and len({rule.children for rule in own}) == len(own)
    assert weighted or grammar.uniform
    assert parse_grammar(grammar.text()) == grammar


def test_seeds_differ_and_repeat():
    grammars = [random_grammar((1, 3, 3, 3), seed) for seed in range(10)]
    assert grammars == [random_grammar((1, 3, 3, 3), seed) for seed in range(10)]
    assert len({grammar.text() for grammar in grammars}) == 10


def test_every_symbol_of_a_wide_level_is_used():
    """The shape of cfg3e1: random rules alone would leave out about 8 % of the symbols."""
    grammar = random_grammar((1, 3, 9, 27, 81, 27, 9), 0, rules=(3, 3))
    assert sum(map(len, grammar.rules)) == 444
    for level, group in enumerate(grammar.rules):
        assert {child for rule in group for child in rule.children} == set(range(len(grammar.levels[level + 1])))


def test_rules_and_lengths_take_all_their_values():
    grammar = random_grammar((1, 3, 9, 15, 15), 1, rules=(3, 5), lengths=(1, 3))
    assert {len(grammar.rules_of(3, symbol)) for symbol in range(15)} == {3, 4, 5}
    assert {len(rule.children) for rule in grammar.rules[3]} == {1, 2, 3}
    assert any(len(set(rule.children)) < len(rule.children) for rule in grammar.rules[3])


def test_weights_are_uniform_on_the_simplex():
    """The first of two weights is uniform between 0 and 1: about 148 / 4 of 148 in each quarter."""
    grammar = random_grammar((1, 3, 9, 27, 81, 27, 9), 0, rules=(2, 2), weighted=True)
    first = [next(iter(grammar.rules_of(level, s))).probability
             for level in range(grammar.depth) for s in range(len(grammar.levels[level]))]
    quarters = [sum(low <= p < low + 0.25 for p in first) for low in (0, 0.25, 0.5, 0.75)]
    assert len(first) == 148 and min(quarters) > 20 and max(quarters) < 60
    assert all(abs(sum(r.probability for r in grammar.rules_of(level, s)) - 1) < 1e-9
               for level, s in itertools.product(range(2, 4), range(9)))


@pytest.mark.parametrize(("sizes", "options", "message"), [
    ((2, 3), {}, "expected 1 for the root"),
    ((1,), {}, "expected 1 for the root"),
    ((1, 3, 0), {}, "at least 1 on each further level"),
    ((1, 3), dict(rules=(0, 2)), "rules: got 0 to 2"),
    ((1, 3), dict(rules=(3, 2)), "rules: got 3 to 2"),
    ((1, 3), dict(lengths=(2, 4)), "expected 1 to 3"),
    ((1, 1), dict(rules=(3, 3)), "found no 3 different rules"),
    ((1, 2), dict(lengths=(3, 3), repeated_symbols=False), "found no 1 different rule of"),
    ((1, 9), dict(rules=(2, 2)), "could not use every one of the 9 symbols"),
])  # fmt: skip
def test_the_impossible_is_named(sizes, options, message):
    with pytest.raises(UserError) as error:
        random_grammar(sizes, 0, **options)
    assert message in str(error.value)
