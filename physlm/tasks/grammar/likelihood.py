"""Exact probabilities: of strings, of prefixes, and of the next token after every prefix.

For the true distribution P of a grammar with rule probabilities,

    log P(x_1 .. x_n)            log_probability          summed over all parses (the inside probability)
    log P(x_1 .. x_i ...)        prefix_log_probability   the string begins like this, complete or not
    P(next = t | x_1 .. x_i)     next_token               t = end of string or a terminal; every i in one pass

so a language model's error is exact, too: ``kl`` is the divergence of its predictions from the truth.  Any grammar of
``Grammar``'s kind, any probabilities.  Natural logarithms, float64, log space throughout: long and improbable strings
neither underflow nor lose digits.  The passes run from left to right and build only what the prefix allows (see
``earley``): one or two ms for a string of cfg3f.

Shape letters: B strings, W longest length, T terminals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.compiled import over_slices
from physlm.tasks.grammar.chart import check_room
from physlm.tasks.grammar.earley import MAX_ITEMS, MAX_STEPS, scan
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.tables import Floats, Ints, length_range, tables


class Likelihood:
    """Probabilities under a grammar; strings are sequences of terminal numbers 0 .. T - 1.

    Any other number never matches: what contains it has probability 0.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self._tables = tables(grammar)
        self._longest = int(length_range(grammar)[0][1][0])

    def log_probability(self, string: Sequence[int] | Ints) -> float:
        """log P(string), -inf for a string that the grammar does not generate."""
        return float(self._joint(string)[-1, 0])

    def prefix_log_probability(self, prefix: Sequence[int] | Ints) -> float:
        """log P(a string begins with ``prefix``, or is it), -inf where none does."""
        return float(self._prefixes(prefix, self._joint(prefix))[-1])

    def next_token(self, string: Sequence[int] | Ints) -> Floats:
        """What follows each prefix of a string of n tokens: (n + 1, 1 + T) probabilities.

        Row i belongs to the first i tokens; column 0 is the end of the string, column 1 + t the terminal t.  Rows of
        impossible prefixes are NaN.
        """
        joint = self._joint(string)
        return _conditional(joint, self._prefixes(string, joint))

    def next_tokens(self, tokens_BW: npt.ArrayLike, lengths_B: npt.ArrayLike, threads: int = 1) -> Floats:
        """``next_token`` for many strings: (B, W + 1, 1 + T), NaN behind row ``lengths_B[b]`` of a string."""
        tokens_BW, lengths_B = np.asarray(tokens_BW, np.int64), np.asarray(lengths_B, np.int64)
        count, width = tokens_BW.shape
        truth = np.full((count, width + 1, 1 + len(self.grammar.terminals)), np.nan)

        def some(start: int, end: int) -> None:
            for b in range(start, end):
                truth[b, : lengths_B[b] + 1] = self.next_token(tokens_BW[b, : lengths_B[b]])

        over_slices(some, count, threads)
        return truth

    def _joint(self, string: Sequence[int] | Ints) -> Floats:
        """What ``scan`` computes, (n + 1, 1 + T)."""
        tokens = np.array(string, np.int64).reshape(-1)
        joint = np.full((tokens.size + 1, 1 + len(self.grammar.terminals)), -np.inf)
        possible = min(tokens.size, self._longest + 1)  # longer prefixes have no probability and need no memory
        check_room("likelihood", self._tables, possible)
        if not scan(self._tables, tokens[:possible], joint[: possible + 1]):
            raise UserError(f"likelihood: a string of {tokens.size} tokens has more than {MAX_ITEMS:,} partial parses, "
                            f"or takes more than {MAX_STEPS:,} steps, expected a shorter string or a less ambiguous "
                            "grammar")
        return joint

    def _prefixes(self, string: Sequence[int] | Ints, joint: Floats) -> Floats:
        """log P of each prefix, (n + 1,)."""
        tokens = np.array(string, np.int64).reshape(-1)
        known = (tokens >= 0) & (tokens < joint.shape[1] - 1)
        one_more = joint[np.arange(tokens.size), np.where(known, tokens, 0) + 1]
        return np.concatenate([[0.0], np.where(known, one_more, -np.inf)])


def _conditional(joint: Floats, prefix: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # -inf - -inf = NaN is what is meant
        return np.exp(joint - prefix[:, None])


def kl(truth: npt.ArrayLike, model: npt.ArrayLike, epsilon: float = 0.0) -> Floats:
    """KL(truth || model) in nats along the last axis; NaN where the truth is (impossible prefixes, padding).

    The mean over positions is ``np.nanmean`` of it.

    Args:
        truth: probabilities from ``next_token`` or ``next_tokens``.
        model: the model's probabilities of the same outcomes, same shape; a zero where the truth has none gives inf.
        epsilon: added to both and divided out again before comparing; the released code of arXiv 2305.13673 uses 1e-5.
    """
    p, q = np.asarray(truth, np.float64) + epsilon, np.asarray(model, np.float64) + epsilon
    if epsilon:
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * (np.log(p) - np.log(q)))
    return terms.sum(-1)
