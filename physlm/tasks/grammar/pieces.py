"""The tables a sampler reads: rules of the upper levels, and all expansions ("pieces") of one lower level's symbols.

A string is drawn by expanding the root level by level; from the level of the pieces down, one draw decides the whole
rest, because all token strings of a symbol of that level are listed in advance:

    level 0 .. cut - 1      one draw a symbol, from the symbol's rules
    level cut               one draw a symbol, from the symbol's pieces; a piece is a run of the token pool

Every draw is from an alias table (Walker 1977): n equally likely columns, each shared by two options.

Besides its number a token has labels, which are packed into one record of 64-bit words:

    | token | ancestors: a lane of 8 (or 16) bits a level | subtrees: a lane of 16 (or 32) bits a level |

so that the record of a token is the sum of its piece's record and of the pool's record, one addition for all levels.

Letters: C options, S symbols, K words of a record, N tokens of the pool.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import MAX_CHILDREN, Grammar

# Tokens of all pieces together, at most: the pool should stay in a processor's near caches.  Where the pieces begin
# decides which draw chooses what, so another limit gives other strings (of the same distribution) for the same key.
POOL_TOKENS = 1 << 15
LONGEST = 1 << 20  # tokens of the longest string, at most
FRACTION_BITS = 43  # random bits that choose an option, of the 64 of a draw
_WORD = 64


class Choices(NamedTuple):
    """Alias tables of all symbols of one level; the last symbol is the tail, whose one option is the tail again."""

    first_S: Tensor
    count_S: Tensor
    threshold_C: Tensor  # of 2**FRACTION_BITS: below it a column means itself
    alias_C: Tensor
    uniform: bool


class Layer(NamedTuple):
    """How the symbols of one level above the pieces are expanded."""

    choices: Choices
    children_C3: Tensor
    counts_C: Tensor


class Lanes(NamedTuple):
    """Where a record holds what: words and lane widths in bits."""

    levels: int
    ancestor_bits: int
    subtree_bits: int

    @property
    def ancestor_words(self) -> int:
        """Words of the ancestors."""
        return -(-self.levels * self.ancestor_bits // _WORD)

    @property
    def words(self) -> int:
        """Words of a record, K."""
        return 1 + self.ancestor_words - (-self.levels * self.subtree_bits // _WORD)

    def ancestor(self, level: int) -> tuple[int, int]:
        """Word of a record and shift in it."""
        bit = level * self.ancestor_bits
        return 1 + bit // _WORD, bit % _WORD

    def subtree(self, level: int) -> tuple[int, int]:
        """Word of a record and shift in it."""
        bit = level * self.subtree_bits
        return 1 + self.ancestor_words + bit // _WORD, bit % _WORD


class Pieces(NamedTuple):
    """All expansions of the symbols of level ``cut``.

    The pool ends with a run of pads for the tail's only piece.
    """

    choices: Choices
    start_C: Tensor
    length_C: Tensor
    counts_CK: Tensor  # subtrees of the levels below the cut that a piece holds, in the lanes of a record
    pool_N: Tensor  # tokens alone, int64
    pool_NK: Tensor  # records


def lanes_of(grammar: Grammar, longest: int) -> Lanes:
    """Lanes wide enough for every symbol number and every subtree number of strings of up to ``longest`` tokens.

    Raises:
        UserError: strings too long or levels too large for the sampler.
    """
    if longest > LONGEST:
        raise UserError(f"grammar: its longest string has {longest:,} tokens, expected at most {LONGEST:,} to sample")
    widest = max(map(len, grammar.levels))
    if widest >= 1 << 15:
        raise UserError(f"grammar: a level has {widest:,} symbols, expected fewer than {1 << 15:,} to sample")
    return Lanes(grammar.depth + 1, 8 if widest < 1 << 7 else 16, 16 if longest < 1 << 15 else 32)


def choose_cut(grammar: Grammar) -> int:
    """The highest level whose pieces, all together, have at most ``POOL_TOKENS`` tokens."""
    count, tokens = [1] * len(grammar.terminals), [1] * len(grammar.terminals)
    cut = grammar.depth - 1
    for level in reversed(range(grammar.depth)):
        size = len(grammar.levels[level])
        counts, lengths = [0] * size, [0] * size
        for parent, children, _ in grammar.rules[level]:
            n = math.prod(count[child] for child in children)
            counts[parent] += n
            lengths[parent] += sum(tokens[child] * n // count[child] for child in children)
        count, tokens = counts, lengths
        if sum(tokens) > POOL_TOKENS:
            break
        cut = level
    return cut


def layer(grammar: Grammar, level: int) -> Layer:
    """The rules of ``level``, and the tail's."""
    below = len(grammar.levels[level + 1])
    rules = [grammar.rules_of(level, symbol) for symbol in range(len(grammar.levels[level]))]
    children = [list(rule.children) for group in rules for rule in group] + [[below]]
    padded = [side + [0] * (MAX_CHILDREN - len(side)) for side in children]
    choices = alias_tables([[rule.probability for rule in group] for group in rules] + [[1.0]])
    return Layer(choices, torch.tensor(padded), torch.tensor([len(side) for side in children]))


class _Token(NamedTuple):
    """A token of a piece: ancestors from the piece's level down, and the highest level whose subtree begins here."""

    path: tuple[int, ...]
    begins: int


_Piece = tuple[float, tuple[_Token, ...]]


def pieces(grammar: Grammar, cut: int, lanes: Lanes, longest: int) -> Pieces:
    """List every expansion of the symbols of level ``cut`` and pack their labels; ``longest`` tokens of tail."""
    listed = _expansions(grammar, cut)
    flat = [piece for group in listed for _, piece in group]
    tokens = [token for piece in flat for token in piece]
    lengths = np.array([len(piece) for piece in flat])
    starts = lengths.cumsum() - lengths
    paths = np.array([token.path for token in tokens], dtype=np.int64)  # (N, depth + 1 - cut)
    begins = np.array([token.begins for token in tokens])
    records = np.zeros((len(tokens) + longest, lanes.words), dtype=np.int64)  # pads for the tail's piece
    counts = np.zeros((len(flat) + 1, lanes.words), dtype=np.int64)
    records[: len(tokens), 0] = paths[:, -1]
    for level in range(cut + 1, grammar.depth + 1):
        word, shift = lanes.ancestor(level)
        records[: len(tokens), word] += paths[:, level - cut] << shift
        begun = np.concatenate(([0], (begins <= level).cumsum()))
        inside = begun[1:] - np.repeat(begun[starts], lengths) - 1
        word, shift = lanes.subtree(level)
        records[: len(tokens), word] += inside << shift
        counts[:-1, word] += (begun[starts + lengths] - begun[starts]) << shift
    choices = alias_tables([[p for p, _ in group] for group in listed] + [[1.0]])
    pool = torch.from_numpy(records)
    return Pieces(choices, torch.tensor([*starts.tolist(), len(tokens)]), torch.tensor([*lengths.tolist(), 0]),
                  torch.from_numpy(counts), pool[:, 0].contiguous(), pool)


def _expansions(grammar: Grammar, cut: int) -> list[list[_Piece]]:
    """For each symbol of level ``cut`` its expansions with their probabilities."""
    below: list[list[_Piece]] = [[(1.0, (_Token((i,), grammar.depth),))] for i in range(len(grammar.terminals))]
    for level in reversed(range(cut, grammar.depth)):
        here: list[list[_Piece]] = [[] for _ in grammar.levels[level]]
        for parent, children, p in grammar.rules[level]:
            for parts in itertools.product(*(below[child] for child in children)):
                first, *others = (token for _, part in parts for token in part)
                piece = (_Token((parent, *first.path), level),
                         *(_Token((parent, *token.path), token.begins) for token in others))
                here[parent].append((p * math.prod(q for q, _ in parts), piece))
        below = here
    return below


def choose(choices: Choices, symbol_P: Tensor, state_P: Tensor) -> Tensor:
    """An option of each symbol, from 43 random bits times the number of columns: whole part and fraction."""
    high_P = (state_P >> (_WORD - FRACTION_BITS)) & ((1 << FRACTION_BITS) - 1)
    scaled_P = high_P * choices.count_S.take(symbol_P)
    column_P = choices.first_S.take(symbol_P) + (scaled_P >> FRACTION_BITS)
    if choices.uniform:
        return column_P
    fraction_P = scaled_P & ((1 << FRACTION_BITS) - 1)
    return torch.where(fraction_P < choices.threshold_C.take(column_P), column_P, choices.alias_C.take(column_P))


def move(tables: Any, device: torch.device | str) -> Any:
    """The same named tuple, of tensors and of further tuples, on ``device``."""
    if isinstance(tables, Tensor):
        return tables.to(device)
    return type(tables)(*(move(x, device) for x in tables)) if isinstance(tables, tuple) else tables


def alias_tables(groups: Sequence[Sequence[float]]) -> Choices:
    """Alias tables (Vose 1991) for groups of probabilities that each sum to 1, up to rounding."""
    first: list[int] = []
    thresholds: list[int] = []
    aliases: list[int] = []
    one = 1 << FRACTION_BITS
    for group in groups:
        offset, n = len(thresholds), len(group)
        first.append(offset)
        total = math.fsum(group)
        share = [p * n / total for p in group]
        threshold, alias = [one] * n, list(range(offset, offset + n))
        small = [i for i in range(n) if share[i] < 1 - 1e-12]
        large = [i for i in range(n) if share[i] > 1 + 1e-12]
        while small and large:
            low, high = small.pop(), large[-1]
            threshold[low], alias[low] = round(share[low] * one), offset + high
            share[high] -= 1 - share[low]
            if share[high] <= 1 + 1e-12:
                large.pop()
                if share[high] < 1 - 1e-12:
                    small.append(high)
        thresholds += threshold
        aliases += alias
    return Choices(torch.tensor(first), torch.tensor([len(group) for group in groups]), torch.tensor(thresholds),
                   torch.tensor(aliases), all(threshold == one for threshold in thresholds))
