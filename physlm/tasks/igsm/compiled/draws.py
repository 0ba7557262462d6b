"""Sets of numbers below 63 as bits of a word, random members of them, and hashes of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, mix
from physlm.tasks.draws import GOLDEN

_GOLDEN, _21, _43 = np.uint64(GOLDEN), np.uint64(21), np.uint64(43)
EMPTY = np.int64(0)  # the set without members


@part
def bin_of(template: Any, bins: Any) -> Any:
    """The bin of a template's hash."""
    return np.int64(((template >> _21) * np.uint64(bins)) >> _43)


@part
def absorb(state: Any, number: Any) -> Any:
    """The state of a hash after one more number."""
    return mix(state + np.uint64(number + 1) * _GOLDEN)


@part
def bit(number: Any) -> Any:
    """The set of one number."""
    return np.int64(1) << np.int64(number)


@part
def count(members: Any) -> Any:
    """How many members a set has."""
    x = np.int64(members)
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (x * 0x0101010101010101) >> 56


@part
def first(members: Any) -> Any:
    """The smallest member."""
    return count((members & -members) - 1)


@part
def nth(members: Any, n: Any) -> Any:
    """The member that n smaller ones precede."""
    for _ in range(n):
        members &= members - 1
    return first(members)


@part
def pick(w: Any, members: Any) -> Any:
    """A uniform member."""
    return nth(members, below(w, count(members)))
