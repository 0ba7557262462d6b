"""The spans of a string: which symbols derive which of its parts, and what follows from that.

A chart of a grammar of depth 2 (levels s; a b; 1 2), string 1 2 2, with tokens counted from 0:

    level 1   a (0, 2), b (1, 2), b (2, 3)        from a -> 1 2, b -> 2
    level 0   s (0, 3)                            from s -> a b
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.membership import MAX_SPANS, MAX_STEPS, keep_rows, lay_tokens, rise, workspace
from physlm.tasks.grammar.tables import Ints, Tables

MAX_ROOM = 1 << 27  # numbers, for each node of a level and each token: 1 GiB


class Span(NamedTuple):
    """Symbol number ``symbol`` of some level derives tokens ``start`` .. ``end`` - 1."""

    symbol: int
    start: int
    end: int


class Chart:
    """Spans by level, from the root's (0) to that just above the terminals (depth - 1), then the terminals' own."""

    def __init__(self, tokens: Ints, spans: list[npt.NDArray[np.int64]]) -> None:
        self.tokens = tokens
        self._spans = spans

    def array(self, level: int) -> Ints:
        """The spans of a level as rows (symbol, start, end), sorted by start, end, symbol."""
        return self._spans[level]

    def spans(self, level: int) -> list[Span]:
        """The spans of a level, sorted by start, end, symbol."""
        return [Span(*row) for row in self._spans[level].tolist()]

    @cached_property
    def _ends(self) -> list[dict[tuple[int, int], list[int]]]:
        """For each level and (symbol, start) the ends of its spans."""
        ends: list[dict[tuple[int, int], list[int]]] = []
        for rows in self._spans:
            own: dict[tuple[int, int], list[int]] = {}
            for symbol, start, end in rows.tolist():
                own.setdefault((symbol, start), []).append(end)
            ends.append(own)
        return ends

    def first_parse(self, grammar: Grammar, level: int, symbol: int, start: int, end: int) -> list[Span]:
        """The children of one derivation of a span that is in the chart."""
        below = self._ends[level + 1]
        for rule in grammar.rules_of(level, symbol):
            row_to: dict[int, list[Span]] = {start: []}  # for each place reached one row of children that leads there
            for child in rule.children:
                further: dict[int, list[Span]] = {}
                for place, row in row_to.items():
                    for stop in below.get((child, place), ()):
                        further.setdefault(stop, [*row, Span(child, place, stop)])
                row_to = further
            if end in row_to:
                return row_to[end]
        raise AssertionError("the span has no derivation")


def too_many_spans(what: str, length: int) -> UserError:
    """The error for a string whose spans would fill the memory, or take too long to find."""
    return UserError(f"{what}: a string of {length} tokens has more than {MAX_SPANS:,} spans on one level, or takes "
                     f"more than {MAX_STEPS:,} steps, expected a shorter string or a less ambiguous grammar")


def check_room(what: str, tables: Tables, length: int) -> None:
    """Refuse a string for which the working memory of the spans of a level would be too large.

    Raises:
        UserError: it would.
    """
    nodes = int(np.diff(tables.first_node).max())
    if nodes * (length + 1) > MAX_ROOM:
        raise UserError(f"{what}: a string of {length:,} tokens with a level of {nodes:,} beginnings of rules, "
                        f"expected at most {MAX_ROOM:,} for one times the other")


def read_chart(tables: Tables, tokens: Ints, prune: bool) -> Chart:
    """All spans of a string; of a valid one with ``prune`` only those in rows from 0 to n (see membership)."""
    n, depth = tokens.size, tables.first_node.size - 1
    check_room("chart", tables, n)
    low, high, seen, agenda, behind = workspace(tables, n)
    lay_tokens(tables, tokens, low)
    places = np.arange(n + 1)  # token numbers of the places that are still in use
    spans = [_rows(low, places)]
    for level in range(depth - 1, -1, -1):
        high, agenda = rise(tables, level, places.size - 1, low, high, seen, agenda, prune)
        if seen[0][1]:
            raise too_many_spans("chart", n)
        if prune:
            keep_rows(places.size - 1, high, behind)
            places = places[behind[: places.size] >= 0]
        spans.insert(0, _rows(high, places))
        low, high = high, low
    return Chart(tokens, spans)


def _rows(spans: tuple[Ints, Ints, Ints], places: Ints) -> Ints:
    """Spans as sorted rows (symbol, start, end)."""
    first, symbol, end = spans
    count = first[places.size - 1]
    start = np.repeat(places[:-1], np.diff(first[: places.size]))
    rows = np.stack([symbol[:count], start, places[end[:count]]], axis=1)
    return rows[np.lexsort((rows[:, 0], rows[:, 2], rows[:, 1]))]
