"""Likelihoods against enumeration, an obvious inside pass, and numbers known beforehand."""

import math
import random

import numpy as np
import pytest
from grammar_oracles import all_strings, draw, inside

from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.likelihood import Likelihood, kl
from physlm.tasks.grammar.published import PUBLISHED, published
from physlm.tasks.grammar.random_grammar import random_grammar

SMALL = {
    "ambiguous": parse_grammar("s -> a b [0.2] | b a [0.7] | b [0.1]\n"
                               "a -> '1' [0.3] | '1' '1' [0.3] | '2' [0.4]\nb -> '1' '2' '1' [0.5] | '1' [0.5]"),
    "uniform": random_grammar((1, 2, 3, 2), 1, rules=(2, 2), lengths=(1, 2)),
    "weighted": random_grammar((1, 2, 2, 2), 2, rules=(2, 3), lengths=(1, 2), weighted=True),
    "triples": random_grammar((1, 3, 3), 3, rules=(2, 3), lengths=(2, 3), weighted=True),
    "wide": random_grammar((1, 4, 6, 4), 4, rules=(2, 3), lengths=(2, 2), weighted=True),
}
SMALL_GRAMMARS = pytest.mark.parametrize("grammar", SMALL.values(), ids=SMALL)


@SMALL_GRAMMARS
def test_string_probabilities_are_those_of_enumeration_and_sum_to_one(grammar):
    truth, likelihood = all_strings(grammar), Likelihood(grammar)
    found = {string: likelihood.log_probability(string) for string in truth}
    assert math.fsum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-9)
    for string, (p, _) in truth.items():
        assert found[string] == pytest.approx(math.log(p), abs=1e-10)
        for other in (string[:-1], (*string, 0), (*string[:-1], -1), (*string[:-1], 99)):
            assert likelihood.log_probability(other) == pytest.approx(
                math.log(truth[other][0]) if other in truth else -math.inf, abs=1e-10)


@SMALL_GRAMMARS
def test_prefixes_and_next_tokens_are_those_of_enumeration(grammar):
    truth, likelihood = all_strings(grammar), Likelihood(grammar)
    prefixes: dict[tuple[int, ...], float] = {}
    for string, (p, _) in truth.items():
        for i in range(len(string) + 1):
            prefixes[string[:i]] = prefixes.get(string[:i], 0.0) + p
    for string in list(truth)[:: max(1, len(truth) // 150)]:
        rows = likelihood.next_token(string)
        assert rows.shape == (len(string) + 1, 1 + len(grammar.terminals))
        for i, row in enumerate(rows):
            prefix = string[:i]
            expected = [truth.get(prefix, (0.0, 0))[0],
                        *(prefixes.get((*prefix, t), 0.0) for t in range(len(grammar.terminals)))]
            np.testing.assert_allclose(row, np.array(expected) / prefixes[prefix], atol=1e-11)
            assert likelihood.prefix_log_probability(prefix) == pytest.approx(math.log(prefixes[prefix]), abs=1e-10)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_grammars_agree_with_an_obvious_inside_pass(name):
    grammar, rng = published(name), random.Random(1)
    likelihood = Likelihood(grammar)
    for string in (draw(grammar, rng) for _ in range(3)):
        p, _ = inside(grammar, string)[0][0, 0, len(string)]
        rows = likelihood.next_token(string)
        assert likelihood.log_probability(string) == pytest.approx(math.log(p), abs=1e-8)
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-9)
        # the chain rule: the string is the product of its steps
        taken = rows[np.arange(len(string) + 1), [*(token + 1 for token in string), 0]]
        assert np.log(taken).sum() == pytest.approx(math.log(p), abs=1e-8)


def test_behind_an_impossible_prefix_nothing_is_said():
    grammar = published("cfg3b")
    likelihood, string = Likelihood(grammar), draw(grammar, random.Random(2))
    rows = likelihood.next_token(string)
    for place, wrong in ((40, int(rows[40, 1:].argmin())), (7, 3), (7, -1)):
        assert wrong in (3, -1) or rows[place, 1 + wrong] == 0
        broken = [*string[:place], wrong, *string[place + 1:]]
        after = likelihood.next_token(broken)
        np.testing.assert_array_equal(after[: place + 1], rows[: place + 1])
        assert np.isnan(after[place + 1:]).all()
        assert likelihood.prefix_log_probability(broken[: place + 1]) == -math.inf
        assert likelihood.log_probability(broken) == -math.inf


def test_strings_longer_than_the_longest_are_impossible_from_there_on():
    grammar = parse_grammar("s -> a a\na -> '1' | '1' '1' '1'")
    rows = Likelihood(grammar).next_token([0] * 5000)
    expected = np.array([[0, 1], [0, 1], [0.25, 0.75], [0, 1], [2 / 3, 1 / 3], [0, 1], [1, 0]])
    np.testing.assert_allclose(rows[:7], expected)
    assert np.isnan(rows[7:]).all() and len(rows) == 5001
    np.testing.assert_allclose(Likelihood(grammar).next_token([]), [[0, 1]])


def test_a_hypothesis_that_nearly_died_still_counts():
    # Both halves of the grammar write 128 tokens; only the first can end in 2, and its ones have probability 1e-5
    lines = ["r -> a0 [0.5] | b0 [0.5]"]
    for symbol in "ab":
        lines += [f"{symbol}{i} -> {symbol}{i + 1} {symbol}{i + 1} [1]" for i in range(7)]
    lines += ["a7 -> '1' [0.00001] | '2' [0.99999]", "b7 -> '1' [1]"]
    likelihood = Likelihood(parse_grammar("\n".join(lines)))
    string = [0] * 127 + [1]
    expected = math.log(0.5) + 127 * math.log(1e-5) + math.log(0.99999)
    assert expected < -1400  # far below float64's least number
    assert likelihood.log_probability(string) == pytest.approx(expected, rel=1e-12)
    assert likelihood.prefix_log_probability(string[:127]) == pytest.approx(math.log(0.5), rel=1e-12)
    np.testing.assert_allclose(likelihood.next_token(string)[-1], [1, 0, 0])


def test_batches_equal_single_strings():
    grammar, rng = published("cfg3f"), random.Random(3)
    likelihood, strings = Likelihood(grammar), [draw(grammar, rng) for _ in range(5)]
    lengths_B = [len(string) for string in strings]
    tokens_BW = np.zeros((5, max(lengths_B)), np.int32)
    for row, string in zip(tokens_BW, strings, strict=True):
        row[: len(string)] = string
    for threads in (1, 3):
        batch = likelihood.next_tokens(tokens_BW, lengths_B, threads=threads)
        assert batch.shape == (5, max(lengths_B) + 1, 4)
        for rows, string in zip(batch, strings, strict=True):
            np.testing.assert_array_equal(rows[: len(string) + 1], likelihood.next_token(string))
            assert np.isnan(rows[len(string) + 1:]).all()


def test_divergence():
    truth = np.array([[0.5, 0.5, 0], [0.25, 0.25, 0.5], [1, 0, 0], [np.nan] * 3])
    model = np.array([[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0, 0.5, 0.5], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(kl(truth, model), [math.log(2), 0, math.inf, np.nan])
    assert kl(truth[2], model[2], epsilon=1e-5) == pytest.approx(math.log(1e5), rel=1e-3)
    assert kl(truth[0], model[0], epsilon=1e-5) == pytest.approx(math.log(2), rel=1e-3)
