"""Exact statistics of a layered grammar: entropy of derivations, lengths.  Free of torch.

All are sums over rules from the terminals up.  For a symbol a with rules r of probability p_r and children c_1 .. c_k:

    entropy   H(a) = sum_r p_r (-log2 p_r + sum_i H(c_i))
    length    E(a) = sum_r p_r sum_i E(c_i),   Var(a) = sum_r p_r (sum_i Var(c_i) + (sum_i E(c_i) - E(a))^2)
"""

from __future__ import annotations

import math
from typing import NamedTuple

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import Grammar


class Lengths(NamedTuple):
    """Number of symbols a derivation has on one level: mean, smallest, largest, variance."""

    mean: float
    min: int
    max: int
    variance: float


def derivation_entropy(grammar: Grammar) -> float:
    """Entropy in bits of the derivation of a random string; at least the entropy of the string (arXiv 2305.13673).

    The two are equal where no string has two derivations.
    """
    below = [0.0] * len(grammar.terminals)
    for level in reversed(range(grammar.depth)):
        here = [0.0] * len(grammar.levels[level])
        for parent, children, p in grammar.rules[level]:
            here[parent] += p * (-math.log2(p) + sum(below[child] for child in children))
        below = here
    return below[0]


def length_statistics(grammar: Grammar, level: int | None = None) -> Lengths:
    """Statistics of the length of a random string, in terminals; or of its number of symbols on another level.

    Args:
        level: counted from 0 (the root's) to ``grammar.depth`` (the terminals', the default).

    Raises:
        UserError: no such level.
    """
    end = grammar.depth if level is None else level
    if not 0 <= end <= grammar.depth:
        raise UserError(f"level: got {end}, expected 0 to {grammar.depth}")
    below = [Lengths(1.0, 1, 1, 0.0)] * len(grammar.levels[end])
    for above in reversed(range(end)):
        below = [_lengths(grammar, above, symbol, below) for symbol in range(len(grammar.levels[above]))]
    return below[0]


def derivations(grammar: Grammar) -> int:
    """Number of derivations, an exact integer; at least the number of different strings."""
    below = [1] * len(grammar.terminals)
    for level in reversed(range(grammar.depth)):
        here = [0] * len(grammar.levels[level])
        for parent, children, _ in grammar.rules[level]:
            here[parent] += math.prod(below[child] for child in children)
        below = here
    return below[0]


def log10_derivations(grammar: Grammar) -> float:
    """log10 of the number of derivations, also where that number would fill the memory."""
    below = [0.0] * len(grammar.terminals)
    for level in reversed(range(grammar.depth)):
        sides: list[list[float]] = [[] for _ in grammar.levels[level]]
        for parent, children, _ in grammar.rules[level]:
            sides[parent].append(sum(below[child] for child in children))
        below = [_log10_sum(own) for own in sides]
    return below[0]


def _log10_sum(logs: list[float]) -> float:
    """log10 of the sum of the numbers that have these logarithms."""
    most = max(logs)
    return most + math.log10(sum(10.0 ** (one - most) for one in logs))


def _lengths(grammar: Grammar, level: int, symbol: int, below: list[Lengths]) -> Lengths:
    """Of one symbol, from those of the next level."""
    sides = [(rule.probability, [below[child] for child in rule.children]) for rule in grammar.rules_of(level, symbol)]
    means = [sum(child.mean for child in side) for _, side in sides]
    mean = sum(p * m for (p, _), m in zip(sides, means, strict=True))
    variance = sum(p * (sum(child.variance for child in side) + (m - mean) ** 2)
                   for (p, side), m in zip(sides, means, strict=True))
    return Lengths(mean, min(sum(child.min for child in side) for _, side in sides),
                   max(sum(child.max for child in side) for _, side in sides), variance)
