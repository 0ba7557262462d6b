"""Random draws, as ``physlm.tasks.igsm.draws`` makes them, and sets of numbers below 63 as bits of a word."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.igsm.compiled.building import part
from physlm.tasks.igsm.draws import GOLDEN, MULTIPLY_1, MULTIPLY_2

_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = np.uint64(GOLDEN), np.uint64(MULTIPLY_1), np.uint64(MULTIPLY_2)
_21, _27, _30, _31, _32, _43, _63, _1 = (np.uint64(size) for size in (21, 27, 30, 31, 32, 43, 63, 1))
EMPTY = np.int64(0)  # the set without members


@part
def mix(x: Any) -> Any:
    """The finaliser of SplitMix64."""
    x = (x ^ (x >> _30)) * _MULTIPLY_1
    x = (x ^ (x >> _27)) * _MULTIPLY_2
    return x ^ (x >> _31)


@part
def keyed(key: Any, index: Any) -> Any:
    """The first state of stream ``index`` of a key."""
    return mix(np.uint64(index) * _GOLDEN + key)


@part
def bits(w: Any) -> Any:
    """The next 64 bits."""
    state = w.state
    w.state = state + _GOLDEN
    return mix(state)


@part
def below(w: Any, n: Any) -> Any:
    """Uniform in 0 .. n - 1."""
    return np.int64(((bits(w) >> _21) * np.uint64(n)) >> _43)


@part
def far_below(w: Any, n: Any) -> Any:
    """The same for large n."""
    return np.int64(bits(w) >> _1) % np.int64(n)


@part
def share(w: Any) -> Any:
    """Uniform in 0 .. 2**32 - 1."""
    return np.int64(bits(w) >> _32)


@part
def coin(w: Any) -> Any:
    """True with probability 1/2."""
    return bits(w) >> _63 == np.uint64(0)


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
