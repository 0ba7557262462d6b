"""The sampler: its labels are a derivation, its strings have the right probabilities, and nothing else matters.

``pieces.POOL_TOKENS`` decides how much of a string one draw decides; both extremes are tested against the same truths.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from physlm.errors import UserError
from physlm.tasks.grammar import pieces, sampler
from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.published import PUBLISHED, published
from physlm.tasks.grammar.random_grammar import random_grammar
from physlm.tasks.grammar.sampler import Sampler
from physlm.tasks.grammar.statistics import length_statistics

WEIGHTED = parse_grammar("""
    s -> a b [0.15] | b a b [0.55] | b [0.3]
    a -> c d [0.7] | d [0.3]
    b -> c c [0.05] | d c [0.95]
    c -> '1' [0.4] | '2' '1' [0.6]
    d -> '2' [0.25] | '1' [0.25] | '3' '1' '1' [0.5]
""")
POOLS = pytest.mark.parametrize("pool", [0, pieces.POOL_TOKENS], ids=["symbol by symbol", "by pieces"])


def derivation_of(grammar, sample, row):
    """Read the labels of one string back as a derivation: for each level its symbols' (symbol, children).

    Fails unless the labels say the same thing in all their ways.
    """
    length = int(sample.lengths_B[row])
    ancestors, subtrees, ends = (label[:, row].numpy() for label in sample[2:])
    assert (sample.tokens_BW[row, length:] == -1).all() and (sample.tokens_BW[row, :length] >= 0).all()
    assert (ancestors[:, length:] == -1).all() and (subtrees[:, length:] == -1).all() and not ends[:, length:].any()
    assert (ancestors[0, :length] == 0).all() and (subtrees[0, :length] == 0).all()
    assert (ancestors[-1, :length] == sample.tokens_BW[row, :length].numpy()).all()
    assert (subtrees[-1, :length] == np.arange(length)).all()
    found = []
    for level in range(grammar.depth + 1):
        starts = [i for i in range(length) if i == 0 or subtrees[level, i] != subtrees[level, i - 1]]
        assert [subtrees[level, i] for i in starts] == list(range(len(starts)))
        stops = [*starts[1:], length]
        assert [i + 1 for i in range(length) if ends[level, i]] == stops
        symbols = []
        for start, stop in zip(starts, stops, strict=True):
            assert len(set(ancestors[level, start:stop])) == 1
            children = []
            if level < grammar.depth:
                below = subtrees[level + 1, start:stop]
                first = [start + i for i in range(stop - start) if i == 0 or below[i] != below[i - 1]]
                children = [int(ancestors[level + 1, i]) for i in first]
                assert start == 0 or subtrees[level + 1, start] != subtrees[level + 1, start - 1]  # nested
            symbols.append((int(ancestors[level, start]), tuple(children)))
        found.append(symbols)
    return found


@POOLS
@pytest.mark.parametrize("name", [*PUBLISHED, "wide", "weighted"])
def test_labels_are_a_derivation(name, pool, monkeypatch):
    monkeypatch.setattr(pieces, "POOL_TOKENS", pool)
    monkeypatch.setattr(sampler, "CHUNK", 5000)  # several chunks
    if name == "wide":  # lanes of 16 bits for ancestors, three words of them
        grammar = random_grammar((1, 3, 9, 20, 60, 150, 150, 40, 20, 4), 1, rules=(3, 3), lengths=(2, 2),
                                 repeated_rules=True)
    else:
        grammar = WEIGHTED if name == "weighted" else published(name)
    sample = Sampler(grammar).draw(torch.arange(30), 7)
    assert sample.tokens_BW.shape[1] == sample.lengths_B.max()
    for row in range(30):
        for level, symbols in enumerate(derivation_of(grammar, sample, row)[:-1]):
            for symbol, children in symbols:
                assert children in {rule.children for rule in grammar.rules_of(level, symbol)}


def all_strings(grammar, level=0, symbol=0):
    """Probability of every string, by listing."""
    if level == grammar.depth:
        return {(symbol,): 1.0}
    total: dict[tuple[int, ...], float] = {}
    for rule in grammar.rules_of(level, symbol):
        strings = {(): rule.probability}
        for child in rule.children:
            below = all_strings(grammar, level + 1, child)
            strings = {a + b: 0.0 for a in strings for b in below} | _product(strings, below)
        for string, p in strings.items():
            total[string] = total.get(string, 0.0) + p
    return total


def _product(left, right):
    joined: dict[tuple[int, ...], float] = {}
    for a, p in left.items():
        for b, q in right.items():
            joined[a + b] = joined.get(a + b, 0.0) + p * q
    return joined


def frequencies_p(strings, probability):
    """p of the chi-squared test; strings expected fewer than 10 times are one class."""
    count = dict.fromkeys(probability, 0)
    for string in strings:
        count[string] += 1  # a string that cannot occur is a KeyError
    rare = {s for s, p in probability.items() if p * len(strings) < 10}
    observed = [c for s, c in count.items() if s not in rare] + [sum(count[s] for s in rare)]
    expected = [p * len(strings) for s, p in probability.items() if s not in rare]
    expected.append(len(strings) - sum(expected))
    keep = slice(None) if expected[-1] > 5 else slice(-1)
    o, e = np.array(observed[keep], float), np.array(expected[keep])
    return stats.chisquare(o, e * o.sum() / e.sum()).pvalue


@POOLS
def test_strings_come_with_their_probabilities(pool, monkeypatch):
    monkeypatch.setattr(pieces, "POOL_TOKENS", pool)
    probability = all_strings(WEIGHTED)
    assert math.fsum(probability.values()) == pytest.approx(1)
    drawn = Sampler(WEIGHTED).draw(torch.arange(100_000), 3, labels=False)
    strings = [tuple(t[:n]) for t, n in zip(drawn.tokens_BW.tolist(), drawn.lengths_B.tolist(), strict=True)]
    assert frequencies_p(strings, probability) > 1e-3
    # control: the same strings are not from a grammar whose weights differ by 6 %
    other = all_strings(parse_grammar(WEIGHTED.text().replace("[0.55]", "[0.58]").replace("[0.3]\na", "[0.27]\na")))
    assert frequencies_p(strings, other) < 1e-4


@POOLS
def test_every_rule_of_a_published_grammar_has_its_frequency(pool, monkeypatch):
    """And where a symbol stands makes no difference: choices of neighbours and of parent and child are independent."""
    monkeypatch.setattr(pieces, "POOL_TOKENS", pool)
    grammar = published("cfg3h")
    sample = Sampler(grammar).draw(torch.arange(400), 11)
    rules: Counter[Any] = Counter()  # by (level, symbol), children
    pairs: Counter[Any] = Counter()  # the same of two neighbours
    for row in range(400):
        for level, symbols in enumerate(derivation_of(grammar, sample, row)[:-1]):
            chosen = [((level, symbol), children) for symbol, children in symbols]
            rules.update(((head,), children) for head, children in chosen)
            pairs.update(((a[0], b[0]), (a[1], b[1])) for a, b in zip(chosen[::2], chosen[1::2], strict=False))
    p_values = []
    for counts in (rules, pairs):
        groups: dict[Any, list[int]] = {}
        for (heads, _), count in counts.items():
            groups.setdefault(heads, []).append(count)
        for heads, observed in groups.items():
            options = math.prod(len(grammar.rules_of(level, symbol)) for level, symbol in heads)
            if sum(observed) >= 10 * options:
                assert len(observed) == options
                p_values.append(stats.chisquare(observed).pvalue)
    assert len(p_values) > 30
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3 and min(p_values) > 1e-5


def test_lengths_of_many_strings():
    """Mean length within 5 standard errors of the exact one."""
    for name in ("cfg3b", "cfg3f", "cfg3k"):
        grammar = published(name)
        exact = length_statistics(grammar)
        lengths = Sampler(grammar).draw(torch.arange(2000), 1, labels=False).lengths_B.double()
        assert abs(lengths.mean() - exact.mean) < 5 * math.sqrt(exact.variance / 2000)
        assert lengths.var() == pytest.approx(exact.variance, rel=0.15)
        assert exact.min <= lengths.min() and lengths.max() <= exact.max


@POOLS
def test_a_string_depends_on_key_and_number_alone(pool, monkeypatch):
    monkeypatch.setattr(pieces, "POOL_TOKENS", pool)
    draw = Sampler(published("cfg3i")).draw
    index = torch.arange(50)
    whole = draw(index, 5)
    turned = draw(index.flip(0), 5, width=564)
    width = whole.tokens_BW.shape[1]
    for mine, theirs in zip(whole, turned, strict=True):
        if mine.ndim == 1:
            assert torch.equal(mine, theirs.flip(0))
        else:
            assert torch.equal(mine, theirs.flip(-2)[..., :width])
    alone = draw(index[17:18], 5)
    assert torch.equal(alone.tokens_BW[0], whole.tokens_BW[17, : int(alone.lengths_B[0])])
    assert torch.equal(draw(index, 5, labels=False).tokens_BW, whole.tokens_BW)
    assert not torch.equal(draw(index, 6).lengths_B, whole.lengths_B)
    text = Sampler(published("cfg3i")).text(index, 5)
    assert torch.equal(text.lengths_B, whole.lengths_B)
    for row, (start, length) in enumerate(zip(text.starts_B.tolist(), text.lengths_B.tolist(), strict=True)):
        assert text.tokens_N[start : start + length].tolist() == whole.tokens_BW[row, :length].tolist()
        assert text.tokens_N[start + length] == -1
    assert len(text.tokens_N) == int(text.lengths_B.sum()) + 50


def test_no_strings():
    drawn = Sampler(published("cfg3b")).draw(torch.arange(0), 5)
    assert drawn.tokens_BW.shape == (0, 0) and drawn.lengths_B.shape == (0,)
    assert drawn.ancestors_LBW.shape == (7, 0, 0)


@pytest.mark.parametrize(("below", "bits"), [(126, 8), (128, 16)])
def test_lanes_are_as_wide_as_symbols_need(below, bits):
    grammar = random_grammar((1, 30, 60, below), 0, rules=(15, 15), lengths=(3, 3))
    assert pieces.lanes_of(grammar, 9).ancestor_bits == bits
    sample = Sampler(grammar).draw(torch.arange(400), 1)
    assert int(sample.tokens_BW.max()) > below - 4
    assert torch.equal(sample.ancestors_LBW[-1].long(), sample.tokens_BW)


def chain(depth, length):
    """A grammar whose only string has length ** depth tokens."""
    lines = [f"a{i} -> " + " ".join([f"a{i + 1}"] * length) for i in range(depth - 1)]
    return parse_grammar("\n".join([*lines, f"a{depth - 1} -> " + " ".join(["'1'"] * length)]))


def test_long_strings():
    """Beyond 2**15 tokens subtrees need 32 bits; beyond 2**20 the sampler says no before it allocates anything."""
    sample = Sampler(chain(10, 3)).draw(torch.arange(2), 0)
    assert sample.lengths_B.tolist() == [3**10] * 2 and sample.subtrees_LBW.dtype == torch.int32
    for level in range(11):
        assert torch.equal(sample.subtrees_LBW[level, 1].long(), torch.arange(3**10) // 3 ** (10 - level))
        assert int(sample.boundaries_LBW[level, 1].sum()) == 3**level
    with pytest.raises(UserError, match="longest string has 1,594,323 tokens"):
        Sampler(chain(13, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["cfg3b", "cfg3f", "cfg3k"])
def test_the_same_bits_on_the_gpu(name):
    here = Sampler(published(name))
    there = here.to("cuda")
    index = torch.arange(500)
    for mine, theirs in zip(here.draw(index, 9), there.draw(index.cuda(), 9), strict=True):
        assert torch.equal(mine, theirs.cpu())
    for mine, theirs in zip(here.text(index, 9), there.text(index.cuda(), 9), strict=True):
        assert torch.equal(mine, theirs.cpu())
