"""A layered context-free grammar, and its text form, which NLTK reads too.

Symbols live on levels: level 1 holds the root alone, level L the terminals, and a rule replaces a symbol of level l by
1 to 3 symbols of level l + 1 (arXiv 2305.13673, section 2).  So every string is L - 1 rounds of replacing old:

    s -> a b | b          level 1   s
    a -> '1' '2'          level 2   a b
    b -> '2' | '1' '1'    level 3   1 2          the strings are 122, 1211, 2 and 11

A symbol takes one of its rules with the rule's probability: equal for all, or written behind the rule as in
``nltk.PCFG`` (``s -> a b [0.25] | b [0.75]``).  Free of torch.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from physlm.errors import UserError, counted, listed, shown

MAX_CHILDREN = 3
MAX_LEVELS = 32  # the longest string of so many levels is still a number of 64 bits
# NLTK prints probabilities with six digits, 1/3 as 0.333333: each, and so their sum, is off by no more of itself
_SUM_TOLERANCE = 5e-6
_SUM_ROUNDING = 1e-9  # of float64, and what is left as it is
_COMMENT = re.compile(r"""('[^']*'|"[^"]*")|#.*""")  # quoted text is kept as it is
_START = re.compile(r"%start\s+(\S+)")
_PIECE = re.compile(r"""\s*(?:(->)|(\|)|\[([^\]]*)\]|'([^']*)'|"([^"]*)"|([\w/](?:[\w/^<>]|-(?!>))*))""")


class Rule(NamedTuple):
    """``parent`` -> ``children``: numbers of symbols within their levels; probability among the parent's rules."""

    parent: int
    children: tuple[int, ...]
    probability: float


@dataclass(frozen=True)
class Grammar:
    """A layered grammar.

    Attributes:
        levels: names of the symbols of each level, all different, the root's first, the terminals' last.  Code counts
            levels from 0 (the root's) to ``depth`` (the terminals'); the papers count them from 1 to L = depth + 1.
        rules: for each level but the last its rules, sorted by parent; a parent's equal rules are one.

    Raises:
        UserError: a level without symbols, a symbol without rules or never used, a rule that is empty, too long or
            points outside of its level, probabilities that are not positive or do not sum to 1.
    """

    levels: tuple[tuple[str, ...], ...]
    rules: tuple[tuple[Rule, ...], ...]

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or len(self.rules) != len(self.levels) - 1:
            raise UserError(f"grammar: got {counted(len(self.levels), 'level')} and {counted(len(self.rules), 'set')} "
                            "of rules, expected at least 2 levels and rules from each to the next")
        if len(self.levels) > MAX_LEVELS:
            raise UserError(f"grammar: got {len(self.levels)} levels, expected at most {MAX_LEVELS}")
        if len(self.levels[0]) != 1:
            raise UserError(f"grammar: got {len(self.levels[0])} root symbols, expected one")
        for level, rules in enumerate(self.rules):
            self._check_level(level, rules)
        names = [name for level in self.levels for name in level]
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise UserError(f"grammar: got two symbols {listed([twice])} on different levels, expected different names")

    def _check_level(self, level: int, rules: Sequence[Rule]) -> None:
        names, below = self.levels[level], self.levels[level + 1]
        if not below or len(set(below)) < len(below):
            raise UserError(f"grammar: level {level + 2}: got the symbols {listed(below)}, expected different ones")
        total = [0.0] * len(names)
        for rule in rules:
            if not (0 <= rule.parent < len(names) and all(0 <= child < len(below) for child in rule.children)):
                raise UserError(f"grammar: level {level + 1}: {rule} points to a symbol that is not there")
            if not 1 <= len(rule.children) <= MAX_CHILDREN:
                raise UserError(f"grammar: {names[rule.parent]}: got a rule of {len(rule.children)} symbols, "
                                f"expected 1 to {MAX_CHILDREN}")
            if not rule.probability > 0:
                raise UserError(f"grammar: {names[rule.parent]}: got the probability {rule.probability}, "
                                "expected more than 0")
            total[rule.parent] += rule.probability
        for name, mass in zip(names, total, strict=True):
            if mass == 0:
                raise UserError(f"grammar: symbol {name} has no rule, expected at least one")
            if abs(mass - 1) > _SUM_TOLERANCE:
                raise UserError(f"grammar: {name}: got probabilities that sum to {mass:.9g}, expected 1, or what six "
                                "digits of each make of it")
        unused = set(range(len(below))) - {child for rule in rules for child in rule.children}
        if unused:
            raise UserError(f"grammar: symbol {below[min(unused)]} is never used, expected it in a rule of level "
                            f"{level + 1}")

    @property
    def depth(self) -> int:
        """Rounds of replacing from the root to the terminals, L - 1."""
        return len(self.rules)

    @property
    def terminals(self) -> tuple[str, ...]:
        """The alphabet."""
        return self.levels[-1]

    @cached_property
    def uniform(self) -> bool:
        """Whether each symbol takes all its rules with the same probability."""
        return all(math.isclose(rule.probability, 1 / len(rules), rel_tol=1e-9)
                   for groups in self._rules_by_parent for rules in groups for rule in rules)

    def rules_of(self, level: int, symbol: int) -> tuple[Rule, ...]:
        """The rules of one symbol of ``level`` (counted from 0)."""
        return self._rules_by_parent[level][symbol]

    @cached_property
    def _rules_by_parent(self) -> tuple[tuple[tuple[Rule, ...], ...], ...]:
        """For each level and symbol its rules, in their order."""
        groups: list[list[list[Rule]]] = [[[] for _ in names] for names in self.levels[:-1]]
        for group, rules in zip(groups, self.rules, strict=True):
            for rule in rules:
                group[rule.parent].append(rule)
        return tuple(tuple(map(tuple, group)) for group in groups)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each terminal."""
        return {name: i for i, name in enumerate(self.terminals)}

    def encode(self, words: Iterable[str]) -> list[int]:
        """Numbers of terminals; the inverse is ``decode``.

        Raises:
            UserError: a word outside of the alphabet.
        """
        number, tokens = self._numbers, []
        for place, word in enumerate(words, start=1):
            if word not in number:
                raise UserError(f"token {place}: got {shown(word)}, expected one of {listed(self.terminals)}")
            tokens.append(number[word])
        return tokens

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """Names of terminals."""
        return [self.terminals[token] for token in tokens]

    def text(self) -> str:
        """One line a symbol, terminals quoted; ``parse_grammar`` and ``nltk.CFG.fromstring`` read it.

        With unequal probabilities each rule is followed by its own in brackets, for ``nltk.PCFG.fromstring``.
        """
        lines = []
        for level, names in enumerate(self.levels[:-1]):
            quoted = level == self.depth - 1
            below = [_quoted(name) if quoted else name for name in self.levels[level + 1]]
            for symbol, name in enumerate(names):
                sides = []
                for rule in self.rules_of(level, symbol):
                    weight = "" if self.uniform else f" [{Decimal(repr(rule.probability)):f}]"
                    sides.append(" ".join(below[child] for child in rule.children) + weight)
                lines.append(f"{name} -> {' | '.join(sides)}\n")
        return "".join(lines)


class _Line(NamedTuple):
    """One right-hand side as it was written."""

    parent: str
    children: tuple[str, ...]
    probability: float | None


def parse_grammar(text: str) -> Grammar:
    """Read the text form, which is NLTK's.

    The root is the symbol of a line ``%start symbol``, or else of the first rule; ``#`` starts a comment, and ``\\`` at
    the end of a line goes on with the next.  Probabilities that were rounded to six digits, as NLTK prints them, are
    divided by their sum.

    Raises:
        UserError: names the line or the symbol: a syntax error, an empty rule, an unknown symbol, a cycle, a symbol
            on two levels, terminals on several levels, a symbol that the root does not reach, no root.
    """
    lines, terminals, start = _read_lines(text)
    if not lines:
        raise UserError("grammar: no rules, expected lines such as  s -> a b | b  and  a -> '1' '2'")
    level_of = _levels(lines, terminals, start or lines[0].parent)
    depth = max(level_of.values())
    names: list[list[str]] = [[] for _ in range(depth + 1)]
    for name, level in level_of.items():
        names[level].append(name)
    names[-1].sort(key=_natural)
    number = {name: i for group in names for i, name in enumerate(group)}
    merged: list[dict[_Side, float]] = [{} for _ in range(depth)]
    sides: dict[str, int] = {}
    for line in lines:
        sides[line.parent] = sides.get(line.parent, 0) + 1
    for line in lines:
        rules = merged[level_of[line.parent]]
        side = number[line.parent], tuple(number[child] for child in line.children)
        rules[side] = rules.get(side, 0.0) + (line.probability or 1 / sides[line.parent])
    rules_by_level = (sorted((Rule(*side, p) for side, p in _rescaled(rules).items()), key=lambda rule: rule.parent)
                      for rules in merged)
    return Grammar(tuple(map(tuple, names)), tuple(map(tuple, rules_by_level)))


_Side = tuple[int, tuple[int, ...]]  # parent, children


def _rescaled(rules: dict[_Side, float]) -> dict[_Side, float]:
    """Probabilities divided by the sum of their parent's, where that is not 1 by rounding to six digits."""
    total: dict[int, list[float]] = {}
    for (parent, _), p in rules.items():
        total.setdefault(parent, []).append(p)
    scale = {parent: math.fsum(ps) for parent, ps in total.items()}
    scale = {parent: mass for parent, mass in scale.items() if _SUM_ROUNDING < abs(mass - 1) <= _SUM_TOLERANCE}
    return {side: p / scale.get(side[0], 1.0) for side, p in rules.items()}


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _natural(name: str) -> tuple[int, str]:
    """Sorts 2 before 10, and numbers before words."""
    return (int(name), name) if name.isdecimal() and len(name) <= 18 else (1 << 62, name)


def _read_lines(text: str) -> tuple[list[_Line], set[str], str | None]:
    """The rules, the terminals, and the symbol of ``%start`` if there is one."""
    lines: list[_Line] = []
    terminals: set[str] = set()
    start: str | None = None
    begun: list[str] = []  # the parts of a line that goes on
    for number, whole in enumerate(text.splitlines(), start=1):
        content = _COMMENT.sub(lambda match: match[1] or "", whole).strip()
        if content.endswith("\\"):
            begun.append(content[:-1] + " ")
            continue
        content, begun = "".join([*begun, content]), []
        if not content:
            continue
        if content.startswith("%"):
            match = _START.fullmatch(content)
            if match is None:
                raise UserError(f"grammar line {number}: got {shown(content)}, expected  %start symbol  or a rule")
            start = match[1]
        else:
            lines += _read_line(content, f"grammar line {number}", terminals)
    if begun:
        raise UserError(f"grammar: got {shown(begun[0].strip())} \\ at the end, expected a line after it")
    weighted = [line for line in lines if line.probability is not None]
    if weighted and len(weighted) < len(lines):
        bare = next(line for line in lines if line.probability is None)
        raise UserError(f"grammar: {bare.parent} -> {' '.join(bare.children)}: got no probability, expected one for "
                        "each rule or for none")
    clash = terminals & {line.parent for line in lines}
    if clash:
        raise UserError(f"grammar: {min(clash)!r} is a terminal and a symbol with rules, expected one of the two")
    if start is not None and start not in {line.parent for line in lines}:
        raise UserError(f"grammar: %start names {start}, expected a symbol with rules")
    return lines, terminals, start


def _read_line(content: str, where: str, terminals: set[str]) -> list[_Line]:
    """The right-hand sides of ``a -> b c [0.5] | d [0.5]``."""
    place, pieces = 0, []
    while place < len(content):
        match = _PIECE.match(content, place)
        if match is None:
            rest = content[place:].lstrip()[:60]
            raise UserError(f"{where}: cannot read {rest!r}, expected  symbol -> symbols | symbols")
        pieces.append(match)
        place = match.end()
    if len(pieces) < 2 or pieces[0][6] is None or pieces[1][1] is None:
        raise UserError(f"{where}: got {shown(content)}, expected  symbol -> symbols | symbols")
    parent, lines = pieces[0][6], []
    children: list[str] = []
    probability: float | None = None
    for piece in [*pieces[2:], None]:
        if piece is None or piece[2]:
            if not children:
                raise UserError(f"{where}: {parent} has an empty rule, expected 1 to {MAX_CHILDREN} symbols")
            lines.append(_Line(parent, tuple(children), probability))
            children, probability = [], None
            continue
        if probability is not None or piece[1]:
            raise UserError(f"{where}: got {piece[0].strip()!r}, expected | or the end of the line before it")
        if piece[3] is not None:
            probability = _probability(piece[3], where)
            continue
        quoted = piece[4] if piece[4] is not None else piece[5]
        if quoted is not None:
            if not quoted or quoted.split() != [quoted]:
                raise UserError(f"{where}: got the terminal {shown(quoted)}, expected one word without blanks")
            terminals.add(quoted)
        children.append(piece[6] if quoted is None else quoted)
    return lines


def _probability(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise UserError(f"{where}: got the probability {shown(text)}, expected a number above 0 and at most 1")
    return value


def _levels(lines: Sequence[_Line], terminals: set[str], root: str) -> dict[str, int]:
    """The level of every symbol, counted from the root's 0, in order of first use from the root down."""
    below: dict[str, dict[str, None]] = {}
    for line in lines:
        below.setdefault(line.parent, {}).update(dict.fromkeys(line.children))
    for parent, children in below.items():
        for child in children:
            if child not in below and child not in terminals:
                raise UserError(f"grammar: {parent} uses the unknown symbol {child}, expected a symbol with rules or "
                                "a quoted terminal")
            if child == root:
                raise UserError(f"grammar: no root: the first symbol, {root}, is used by {parent}; expected the first "
                                "line, or %start, to name a symbol that no rule uses (a cycle?)")
    level_of, current = {root: 0}, [root]
    for level in range(1, len(below) + 2):
        following = dict.fromkeys(child for symbol in current for child in below.get(symbol, ()))
        for child in following:
            if child in level_of:
                raise UserError(f"grammar: {child} is on level {level_of[child] + 1} and on level {level + 1} "
                                "(a cycle, or a rule that skips a level), expected each symbol on one level")
            level_of[child] = level
        ends = [child for child in following if child in terminals]
        if ends and len(ends) < len(following):
            inner = next(child for child in following if child not in terminals)
            raise UserError(f"grammar: level {level + 1} holds the terminal {ends[0]!r} and the symbol {inner}, "
                            "expected all terminals on the last level and nothing else there")
        current = list(following)
        if ends:
            break
    lost = [symbol for symbol in below if symbol not in level_of]
    if lost:
        raise UserError(f"grammar: symbol {lost[0]} is not reached from the root {root}, expected every symbol to be")
    # symbols of a level in the order of the lines that expand them, terminals in any
    order = {name: i for i, name in enumerate(below)}
    return dict(sorted(level_of.items(), key=lambda item: (item[1], order.get(item[0], 0))))
