"""Compiled random draws, as ``physlm.tasks.draws`` makes them; ``w`` is a record with the ``state`` of a stream.

numba takes a record for a kind of any other whose fields it has at the same places, and warns of it: so the record of
each generator has a field of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.draws import GOLDEN, MULTIPLY_1, MULTIPLY_2

_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = np.uint64(GOLDEN), np.uint64(MULTIPLY_1), np.uint64(MULTIPLY_2)
_1, _21, _27, _30, _31, _32, _43, _63 = (np.uint64(size) for size in (1, 21, 27, 30, 31, 32, 43, 63))


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
def shuffle(w: Any, items: Any, count: Any) -> None:
    """A uniform order of the first ``count`` items."""
    for last in range(count - 1, 0, -1):
        other = below(w, last + 1)
        items[last], items[other] = items[other], items[last]
