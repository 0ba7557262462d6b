"""Random strings of a layered grammar with the labels of their derivations, vectorised on the device.

    string     3 2 1 3 1 2 1 3 ...
    ancestors  the symbol above each token at every level, the root's first, the token itself last
    subtrees   which of the level's subtrees the token is in, counted from 0 from the left
    boundaries whether the token is the last of its subtree

A symbol of the tree has a state of 64 bits, the hash of its parent's state and of its place among its siblings; the
root's is the hash of key and number.  The state decides the symbol's rule.  So every string is a pure function of
(key, number), whatever else is drawn with it and wherever.  ``pieces`` holds the tables.

Shape letters: B strings, W positions, L levels, N tokens, P symbols of one level of all strings, K words of a record.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.noise import Noise, perturbed, replace_symbols
from physlm.tasks.grammar.pieces import Layer, Pieces, choose, choose_cut, lanes_of, layer, move, pieces
from physlm.tasks.grammar.statistics import length_statistics

CHUNK = 1 << 15  # positions labelled at once on a CPU: what they need stays in its caches
_LANES = {8: torch.int8, 16: torch.int16, 32: torch.int32}


class Sample(NamedTuple):
    """Strings with labels; beyond a string's length tokens, ancestors and subtrees are -1 and boundaries False.

    ``ancestors_LBW`` and ``subtrees_LBW`` are views of small integer types; labels not asked for have L = 0 levels.
    """

    tokens_BW: Tensor
    lengths_B: Tensor
    ancestors_LBW: Tensor
    subtrees_LBW: Tensor
    boundaries_LBW: Tensor


class Text(NamedTuple):
    """Strings end to end, -1 behind each: ``tokens_N``; where each begins and how many tokens it has."""

    tokens_N: Tensor
    starts_B: Tensor
    lengths_B: Tensor


class _Tree(NamedTuple):
    """All symbols of one level, strings one after another, a tail behind each."""

    symbol_P: Tensor
    state_P: Tensor
    tail_B: Tensor  # where the tails are
    record_PK: Tensor | None  # ancestors so far; in the subtrees' lanes 1 where a subtree begins with this symbol


class _Laid(NamedTuple):
    """Chosen pieces of all strings."""

    start_P: Tensor
    length_P: Tensor
    tail_B: Tensor
    lengths_B: Tensor
    record_PK: Tensor | None


class Sampler:
    """Draws strings of one grammar on one device.

    Args:
        grammar: at most 2**20 tokens in its longest string, less than 2**15 symbols on a level.
        device: where to draw; the same bits on every one.
        noise: replaces symbols of the last level above the terminals; labels and tokens are of the tree after that.
    """

    def __init__(self, grammar: Grammar, device: torch.device | str = "cpu", noise: Noise | None = None):
        self.grammar, self.device, self.noise = grammar, torch.device(device), noise
        self.longest = _longest(grammar, noise)
        self._lanes = lanes_of(grammar, self.longest)
        self._cut = choose_cut(grammar) if noise is None else grammar.depth - 1
        self._layers: list[Layer] = [move(layer(grammar, level), device) for level in range(self._cut)]
        self._pieces: Pieces = move(pieces(grammar, self._cut, self._lanes, self.longest), device)

    def to(self, device: torch.device | str) -> Sampler:
        """The same sampler on another device."""
        moved = object.__new__(Sampler)
        moved.__dict__.update(self.__dict__, device=torch.device(device), _pieces=move(self._pieces, device),
                              _layers=[move(rules, device) for rules in self._layers])
        return moved

    def draw(self, index_B: Tensor, key: int, *, labels: bool = True, width: int | None = None) -> Sample:
        """Strings number ``index`` of the stream ``key``.

        Args:
            index_B: int64 on the sampler's device.
            labels: also ancestors, subtrees and boundaries.
            width: W, at least the longest of these strings; by default exactly that.
        """
        laid = self._lay(index_B, key, labels)
        longest = int(laid.lengths_B.max()) if len(index_B) else 0
        width = longest if width is None else width
        assert longest <= width <= self.longest, (longest, width, self.longest)
        laid.length_P[laid.tail_B] = width - laid.lengths_B
        if laid.record_PK is None:
            piece_N, place_N = _places(laid.start_P, laid.length_P, len(index_B) * width)
            tokens_BW = self._tokens(laid, piece_N, place_N).view(len(index_B), width)
            none_0BW = torch.empty(0, len(index_B), width, dtype=torch.int8, device=self.device)
            return Sample(tokens_BW, laid.lengths_B, none_0BW, none_0BW, none_0BW.bool())
        return self._labelled(laid, laid.record_PK, width)

    def text(self, index_B: Tensor, key: int) -> Text:
        """The same strings end to end, without labels."""
        laid = self._lay(index_B, key, labels=False)
        laid.length_P[laid.tail_B] = 1
        starts_B = laid.lengths_B.cumsum(0) - laid.lengths_B + torch.arange(len(index_B), device=self.device)
        piece_N, place_N = _places(laid.start_P, laid.length_P, int(laid.lengths_B.sum()) + len(index_B))
        return Text(self._tokens(laid, piece_N, place_N), starts_B, laid.lengths_B)

    def _lay(self, index_B: Tensor, key: int, labels: bool) -> _Laid:
        """Expand the strings down to their pieces."""
        tree = self._roots(index_B, key, labels)
        for level, rules in enumerate(self._layers):
            tree = self._expand(tree, rules, level)
        if self.noise is not None:
            tree = self._disturbed(tree, perturbed(self.noise.fraction, index_B, key))
        option_P = choose(self._pieces.choices, tree.symbol_P, tree.state_P)
        length_P = self._pieces.length_C.take(option_P)
        ends_B = length_P.cumsum(0).take(tree.tail_B)
        lengths_B = ends_B.diff(prepend=ends_B.new_zeros(1))
        record_PK = None if tree.record_PK is None else self._records(tree, tree.record_PK, option_P)
        return _Laid(self._pieces.start_C.take(option_P), length_P, tree.tail_B, lengths_B, record_PK)

    def _roots(self, index_B: Tensor, key: int, labels: bool) -> _Tree:
        """A root and a tail for each string."""
        symbol_B2 = torch.tensor([0, 1], device=self.device).repeat(len(index_B), 1)
        state_B2 = rng.bits(key, index_B)[:, None].repeat(1, 2)
        tail_B = torch.arange(len(index_B), device=self.device) * 2 + 1
        record_PK = None
        if labels:
            record_PK = torch.zeros(2 * len(index_B), self._lanes.words, dtype=torch.long, device=self.device)
            word, shift = self._lanes.subtree(0)
            record_PK[:, word] += 1 << shift
        return _Tree(symbol_B2.flatten(), state_B2.flatten(), tail_B, record_PK)

    def _expand(self, tree: _Tree, rules: Layer, level: int) -> _Tree:
        """Replace every symbol of ``level`` by the children of its rule, a tail by a tail."""
        option_P = choose(rules.choices, tree.symbol_P, tree.state_P)
        count_P = rules.counts_C.take(option_P)
        ends_P = count_P.cumsum(0)
        starts_P = ends_P - count_P
        size = int(ends_P[-1]) if len(ends_P) else 0
        parent_Q = torch.repeat_interleave(count_P, output_size=size)
        slot_Q = torch.arange(size, device=self.device) - starts_P.take(parent_Q)
        symbol_Q = rules.children_C3.take(option_P.take(parent_Q) * rules.children_C3.shape[1] + slot_Q)
        state_Q = rng.bits(tree.state_P.take(parent_Q), slot_Q + 1)
        record_QK = None
        if tree.record_PK is not None:
            record_QK = tree.record_PK.index_select(0, parent_Q)
            first = 1 + self._lanes.ancestor_words
            record_QK[:, first:] *= (slot_Q == 0)[:, None]
            word, shift = self._lanes.subtree(level + 1)
            record_QK[:, word] += 1 << shift
            word, shift = self._lanes.ancestor(level + 1)
            record_QK[:, word] += symbol_Q << shift
        return _Tree(symbol_Q, state_Q, starts_P.take(tree.tail_B), record_QK)

    def _disturbed(self, tree: _Tree, perturbed_B: Tensor) -> _Tree:
        """The tree with symbols of the cut's level replaced in the strings that are perturbed."""
        assert self.noise is not None
        pieces_B = tree.tail_B.diff(prepend=tree.tail_B.new_full((1,), -1))
        perturbed_P = torch.repeat_interleave(perturbed_B, pieces_B, output_size=len(tree.symbol_P))
        perturbed_P.index_fill_(0, tree.tail_B, False)
        size = len(self.grammar.levels[self._cut])
        symbol_P = replace_symbols(self.noise, tree.symbol_P, size, perturbed_P, tree.state_P)
        record_PK = tree.record_PK
        if record_PK is not None:
            word, shift = self._lanes.ancestor(self._cut)
            record_PK[:, word] += (symbol_P - tree.symbol_P) << shift
        return tree._replace(symbol_P=symbol_P, record_PK=record_PK)

    def _records(self, tree: _Tree, begun_PK: Tensor, option_P: Tensor) -> Tensor:
        """What the pieces add to the records of their tokens: ancestors, and how many subtrees came before.

        The lanes of the levels down to the cut hold 1 where a subtree begins, those below hold a piece's subtrees.  The
        running sum runs over all strings; a lane may overflow on the way, but the difference between two places of one
        string is exact in wrapping arithmetic.
        """
        first = 1 + self._lanes.ancestor_words
        inside_PK = self._pieces.counts_CK.index_select(0, option_P)[:, first:]
        begun_PK, ancestors_PK = begun_PK[:, first:], begun_PK[:, :first]
        before_PK = _running_sums(begun_PK + inside_PK) - inside_PK
        pieces_B = tree.tail_B.diff(prepend=tree.tail_B.new_full((1,), -1))
        string_P = torch.repeat_interleave(pieces_B, output_size=len(option_P))
        begin_B = tree.tail_B + 1 - pieces_B
        # at a string's first piece every level's subtree number is 0
        subtrees_PK = before_PK - before_PK.index_select(0, begin_B).index_select(0, string_P)
        return torch.cat((ancestors_PK, subtrees_PK), 1).index_fill_(0, tree.tail_B, -1)

    def _tokens(self, laid: _Laid, piece_N: Tensor, place_N: Tensor) -> Tensor:
        tail_P = torch.zeros_like(laid.start_P).index_fill_(0, laid.tail_B, -1)
        return self._pieces.pool_N.take(place_N) + tail_P.take(piece_N)

    def _labelled(self, laid: _Laid, record_PK: Tensor, width: int) -> Sample:
        """Add up the records of all tokens and cut them into their lanes, some strings at a time."""
        lanes, strings, device = self._lanes, len(laid.lengths_B), self.device
        tokens_BW = torch.empty(strings, width, dtype=torch.long, device=device)
        records_BWK = torch.empty(strings, width, lanes.words, dtype=torch.long, device=device)
        first = 64 // lanes.ancestor_bits
        ancestors_BWL = records_BWK.view(_LANES[lanes.ancestor_bits])[..., first : first + lanes.levels]
        first = (1 + lanes.ancestor_words) * 64 // lanes.subtree_bits
        subtrees_BWL = records_BWK.view(_LANES[lanes.subtree_bits])[..., first : first + lanes.levels]
        boundaries_BWL = torch.empty(strings, width, lanes.levels, dtype=torch.bool, device=device)
        step = strings if device.type == "cuda" else max(1, CHUNK // max(1, width))
        begin = 0
        for some in (slice(i, min(i + step, strings)) for i in range(0, strings, step or 1)):
            end = int(laid.tail_B[some.stop - 1]) + 1
            start_P, length_P = laid.start_P[begin:end], laid.length_P[begin:end]
            piece_N, place_N = _places(start_P, length_P, (some.stop - some.start) * width)
            record_NK = records_BWK[some].view(-1, lanes.words)
            torch.index_select(self._pieces.pool_NK, 0, place_N, out=record_NK)
            record_NK += record_PK[begin:end].index_select(0, piece_N)
            tokens_BW[some] = records_BWK[some][..., 0]
            here = subtrees_BWL[some]
            torch.ne(here[:, 1:], here[:, :-1], out=boundaries_BWL[some][:, :-1])
            boundaries_BWL[some][:, -1:] = here[:, -1:] >= 0
            begin = end
        labels = (label_BWL.permute(2, 0, 1) for label_BWL in (ancestors_BWL, subtrees_BWL, boundaries_BWL))
        return Sample(tokens_BW, laid.lengths_B, *labels)


def _longest(grammar: Grammar, noise: Noise | None) -> int:
    """Tokens of the longest possible string; noise may put the symbol with the longest rule everywhere."""
    if noise is None:
        return length_statistics(grammar).max
    return length_statistics(grammar, grammar.depth - 1).max * max(len(rule.children) for rule in grammar.rules[-1])


def _running_sums(x_PK: Tensor) -> Tensor:
    """The running sum of every column; column by column, since GPUs add up a few long columns of a table one by one."""
    return torch.stack([column_P.contiguous().cumsum(0) for column_P in x_PK.unbind(1)], 1)


def _places(start_P: Tensor, length_P: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For each of the ``size`` tokens its piece, and its place in the pool."""
    piece_N = torch.repeat_interleave(length_P, output_size=size)
    shift_P = start_P - length_P.cumsum(0) + length_P
    return piece_N, torch.arange(size, device=start_P.device) + shift_P.take(piece_N)
