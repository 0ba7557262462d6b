"""Reading strings back: is it in the language, with which parses, and if not, how far away is it?

    parser = Parser(published("cfg3f"))
    parser.valid([[0, 1, 2], ...])      array of bool; batches of strings, tens of thousands a second on one core
    parser.chart(string)                all spans: which symbol derives which part of the string
    parser.tree(string)                 one parse as nltk.Tree, None if there is none
    parser.count(string)                number of parses, an exact integer of any size
    parser.edits(string)                least number of tokens to replace until the string is valid

Strings are sequences of terminal numbers 0 .. T - 1 (``Grammar.encode``).  Any other number matches no terminal, so a
string that holds one is invalid.  Strings longer than the grammar's longest are turned down at once.

Shape letters: B strings, W longest length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.compiled import over_slices
from physlm.tasks.grammar.chart import Chart, Span, check_room, read_chart, too_many_spans
from physlm.tasks.grammar.counting import count_parses
from physlm.tasks.grammar.edits import least_edits
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.membership import TOO_MANY, VALID, membership
from physlm.tasks.grammar.tables import Ints, length_range, tables

if TYPE_CHECKING:
    import nltk

Strings = Sequence[Sequence[int] | Ints] | npt.NDArray[np.integer]


class Parser:
    """Parses the strings of one grammar (CPU)."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self._tables = tables(grammar)
        self._lengths = length_range(grammar)

    @property
    def length_range(self) -> tuple[int, int]:
        """(shortest, longest) length of a valid string."""
        least, most = self._lengths[0]
        return int(least[0]), int(most[0])

    def valid(
        self, strings: Strings, lengths_B: npt.ArrayLike | None = None, threads: int = 1
    ) -> npt.NDArray[np.bool_]:
        """Which strings the grammar generates, (B,).

        Args:
            strings: sequences of terminal numbers, or one array (B, W) of them with ``lengths_B``.
            lengths_B: tokens of each row of the array; what stands behind them does not matter.
            threads: threads to spread the strings over.

        Raises:
            UserError: an array without lengths, lengths outside of 0 .. W; a string so long and so ambiguous that its
                spans would fill the memory or take minutes to find (not with the published grammars).
        """
        flat, start_B, length_B = _flatten(strings, lengths_B)
        verdict_B = np.zeros(length_B.size, np.int8)
        shortest, longest = self.length_range
        longest = min(longest, int(length_B.max(initial=0)))
        check_room("valid", self._tables, longest)

        def some(begin: int, end: int) -> None:
            membership(self._tables, flat, start_B[begin:end], length_B[begin:end], shortest, longest, True,
                       verdict_B[begin:end])

        over_slices(some, length_B.size, threads)
        if (verdict_B == TOO_MANY).any():
            raise too_many_spans("valid", int(length_B[verdict_B.argmax()]))
        return verdict_B == VALID

    def chart(self, string: Sequence[int] | Ints) -> Chart:
        """All spans of all levels, those that are part of no parse included.

        Raises:
            UserError: so many spans that they would fill the memory, or take minutes to find.
        """
        return read_chart(self._tables, _tokens(string), prune=False)

    def tree(self, string: Sequence[int] | Ints) -> nltk.Tree | None:
        """One parse, labels and leaves by name; None for an invalid string.  Of several always the same."""
        import nltk

        tokens = _tokens(string)
        if not self.valid([tokens])[0]:
            return None
        chart = read_chart(self._tables, tokens, prune=True)
        names = self.grammar.levels

        def grow(level: int, symbol: int, start: int, end: int) -> nltk.Tree | str:
            if level == self.grammar.depth:
                return names[level][symbol]
            children = chart.first_parse(self.grammar, level, symbol, start, end)
            return nltk.Tree(names[level][symbol], [grow(level + 1, *child) for child in children])

        return grow(0, 0, 0, tokens.size)

    def count(self, string: Sequence[int] | Ints) -> int:
        """Number of parse trees, 0 for an invalid string.

        Raises:
            UserError: a string so long and so ambiguous that counting would take minutes (not with the published
                grammars).
        """
        tokens = _tokens(string)
        return count_parses(self._tables, tokens) if self.valid([tokens])[0] else 0

    def edits(self, string: Sequence[int] | Ints) -> int | None:
        """Least number of tokens to replace (none added, none removed) until the string is valid.

        0 for a valid string; None where no replacing helps, because no valid string has this length.

        Raises:
            UserError: a string so long that its costs would fill the memory or take minutes to find.
        """
        tokens = _tokens(string)
        shortest, longest = self.length_range
        if not shortest <= tokens.size <= longest:
            return None
        if self.valid([tokens])[0]:
            return 0
        return least_edits(self._tables, self._lengths, tokens)


def _tokens(string: Sequence[int] | Ints) -> Ints:
    tokens = np.array(string, dtype=np.int64)
    if tokens.ndim != 1:
        raise UserError(f"got an array of shape {tokens.shape} as a string, expected one sequence of token numbers")
    return tokens


def _flatten(strings: Strings, lengths_B: npt.ArrayLike | None) -> tuple[Ints, Ints, Ints]:
    """All tokens in one array, and where each string starts and how long it is."""
    if lengths_B is not None:
        tokens_BW = np.asarray(strings)
        length_B = np.array(lengths_B, dtype=np.int64)
        if tokens_BW.ndim != 2 or length_B.shape != tokens_BW.shape[:1]:
            raise UserError(f"got tokens of shape {tokens_BW.shape} with lengths of shape {length_B.shape}, "
                            "expected (B, W) and (B,)")
        count, width = tokens_BW.shape
        if count and not 0 <= length_B.min() <= length_B.max() <= width:
            raise UserError(f"got lengths {length_B.min()} to {length_B.max()}, expected 0 to {width}")
        flat = np.ascontiguousarray(tokens_BW, dtype=np.int64).reshape(-1)
        if not flat.flags.writeable:
            flat = flat.copy()  # the kernel is compiled for arrays that can be written to, though it never does
        return flat, np.arange(count, dtype=np.int64) * width, length_B
    if isinstance(strings, np.ndarray) and strings.ndim == 2:
        raise UserError("got an array of strings without lengths, expected lengths_B beside it")
    parts = [_tokens(string) for string in strings]
    length_B = np.array([part.size for part in parts], dtype=np.int64)
    flat = np.concatenate([*parts, np.empty(0, np.int64)])
    return flat, np.cumsum(length_B) - length_B, length_B


__all__ = ["Chart", "Parser", "Span"]
