"""Random layered grammars with chosen sizes; look-alikes of the published families (arXiv 2305.13673, section 2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from physlm.errors import UserError, counted
from physlm.tasks.grammar.grammar import MAX_CHILDREN, Grammar, Rule

_TRIES = 1000
_BLOCK = 256

Side = tuple[int, ...]


class _Dice:
    """Random numbers of one stream, one after another."""

    def __init__(self, *parts: int | str):
        # torch is imported when a grammar is drawn, not when this module is named
        from physlm import rng

        self._numbers = _numbers(rng.key("random grammar", *parts))

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both possible."""
        return low + int(next(self._numbers) * (high - low + 1))

    def fraction(self) -> float:
        """A float64 between 0 and 1."""
        return next(self._numbers)


def _numbers(key: int) -> Iterator[float]:
    """Endless uniform numbers, a block at a time."""
    import torch

    from physlm import rng

    for block in itertools.count():
        yield from rng.uniform(key, torch.arange(block * _BLOCK, (block + 1) * _BLOCK)).tolist()


def random_grammar(sizes: Sequence[int], seed: int, *, rules: tuple[int, int] = (2, 2),
                   lengths: tuple[int, int] = (2, 3), repeated_symbols: bool = True, repeated_rules: bool = False,
                   weighted: bool = False) -> Grammar:
    """A grammar with ``sizes`` symbols on its levels; every symbol is used by some rule.

    Symbols are named by numbers, the terminals 1 .. sizes[-1], the root last, as in the published grammars.  cfg3b is
    of the kind ``random_grammar((1, 3, 3, 3, 3, 3, 3), seed, repeated_symbols=False)``, cfg3f of ``rules=(3, 4)``.

    Args:
        sizes: of the root's level (1) down to the terminals'.
        seed: another seed is another grammar.
        rules: fewest and most rules of a symbol; each number between them is equally likely.
        lengths: fewest and most symbols of a rule, 1 to 3; likewise.
        repeated_symbols: whether a rule may hold a symbol twice.
        repeated_rules: whether two symbols of a level may have the same right-hand side (one symbol never has).
        weighted: draw each symbol's probabilities uniformly from the simplex, instead of equal ones.

    Raises:
        UserError: impossible sizes or ranges, or too few rules to use every symbol.
    """
    _check(sizes, rules, lengths)
    dice = _Dice(seed, str((tuple(sizes), rules, lengths, repeated_symbols, repeated_rules, weighted)))
    levels: list[tuple[Rule, ...]] = []
    for level, (here, below) in enumerate(itertools.pairwise(sizes)):
        where = f"level {level + 1} with {counted(here, 'symbol')} over {below}"
        counts = [dice.between(*rules) for _ in range(here)]
        parents = [parent for parent, count in enumerate(counts) for _ in range(count)]
        sides: list[Side] = []
        taken: list[set[Side]] = [set() for _ in range(here if repeated_rules else 1)]
        for parent in parents:
            others = taken[parent if repeated_rules else 0]
            sides.append(_side(dice, below, lengths, repeated_symbols, others, where))
            others.add(sides[-1])
        _use_all(dice, below, sides, parents, repeated_symbols, repeated_rules, where)
        weights = [_weights(dice, count) if weighted else [1 / count] * count for count in counts]
        flat = [p for group in weights for p in group]
        levels.append(tuple(Rule(*rule) for rule in zip(parents, sides, flat, strict=True)))
    first = [1 + sum(sizes[level + 1 :]) for level in range(len(sizes))]
    names = tuple(tuple(str(first[level] + i) for i in range(size)) for level, size in enumerate(sizes))
    return Grammar(names, tuple(levels))


def _check(sizes: Sequence[int], rules: tuple[int, int], lengths: tuple[int, int]) -> None:
    if len(sizes) < 2 or sizes[0] != 1 or min(sizes) < 1:
        raise UserError(f"sizes: got {list(sizes)}, expected 1 for the root and at least 1 on each further level")
    if not 1 <= rules[0] <= rules[1]:
        raise UserError(f"rules: got {rules[0]} to {rules[1]}, expected at least 1, smallest first")
    if not 1 <= lengths[0] <= lengths[1] <= MAX_CHILDREN:
        raise UserError(f"lengths: got {lengths[0]} to {lengths[1]}, expected 1 to {MAX_CHILDREN}, smallest first")


def _side(dice: _Dice, below: int, lengths: tuple[int, int], repeated: bool, taken: set[Side],
          where: str) -> Side:
    """A right-hand side that is none of ``taken``."""
    for _ in range(_TRIES):
        side = tuple(dice.between(0, below - 1) for _ in range(dice.between(*lengths)))
        if side not in taken and (repeated or len(set(side)) == len(side)):
            return side
    raise UserError(f"{where}: found no {counted(len(taken) + 1, 'different rule')} of {lengths[0]} to "
                    f"{counted(lengths[1], 'symbol')}; "
                    "expected fewer rules, longer ones, or repeated symbols and rules allowed")


def _use_all(dice: _Dice, below: int, sides: list[Side], parents: Sequence[int], repeated_symbols: bool,
             repeated_rules: bool, where: str) -> None:
    """Put each unused symbol in the place of one that is used elsewhere, too."""
    used = [0] * below
    for child in itertools.chain(*sides):
        used[child] += 1
    for symbol in range(below):
        tries = 0
        while not used[symbol]:
            tries += 1
            if tries > _TRIES:
                raise UserError(f"{where}: {counted(len(sides), 'rule')} with "
                                f"{counted(sum(map(len, sides)), 'symbol')} could not use every "
                                f"one of the {below} symbols below; expected more or longer rules")
            which = dice.between(0, len(sides) - 1)
            side, place = sides[which], dice.between(0, len(sides[which]) - 1)
            new = (*side[:place], symbol, *side[place + 1 :])
            clash = any(other == new and (not repeated_rules or parents[i] == parents[which])
                        for i, other in enumerate(sides))
            if used[side[place]] > 1 and not clash and (repeated_symbols or len(set(new)) == len(new)):
                used[side[place]] -= 1
                used[symbol] += 1
                sides[which] = new


def _weights(dice: _Dice, count: int) -> list[float]:
    """Uniform on the simplex: exponential variables over their sum."""
    weights = [-math.log(dice.fraction()) for _ in range(count)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
