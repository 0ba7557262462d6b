"""Compiled draws by key and counter, as ``physlm.rng`` and ``physlm.tasks.playground.drawing`` make them, bit for bit.

A key is an unsigned integer of 64 bits (``unsigned``).  ``sort`` and ``distinct`` write into memory that the caller has
from ``work``, so that nothing is allocated in a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from physlm import rng
from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import mix
from physlm.tasks.draws import ATTEMPT, GOLDEN

_GOLDEN = np.uint64(GOLDEN)
_1, _12, _21, _43 = (np.uint64(size) for size in (1, 12, 21, 43))
_SIGN = np.uint64(1 << 63)
_NEAR = 1 << 20  # below, numbers are drawn by a product, else by a remainder
_FEW = 12  # things that are sorted without buckets
UNIFORM_BITS = 52


class Work(NamedTuple):
    """Memory of ``sort`` and ``distinct``."""

    value: Any  # (n,), unsigned
    order: Any  # (n,)
    starts: Any  # (2 n + 1,)
    seen: Any  # (n,): the mark of the last attempt that drew each number
    mark: Any  # (1,)


def work(most: int) -> Work:
    """Memory to sort so many things, and to draw from so many."""
    def whole(size: int) -> Any:
        return np.zeros(size, np.int64)

    return Work(np.zeros(most, np.uint64), whole(most), whole(2 * most + 1), whole(most), whole(1))


def unsigned(keys: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Keys of ``physlm.rng.key`` as compiled code takes them."""
    return np.array(keys, np.int64).view(np.uint64)


Keys = TypeVar("Keys", bound=NamedTuple)


def keys_of(kind: type[Keys], key: int) -> Keys:
    """The key of each draw that ``kind`` has a field for, by the name of the field, below one key of all."""
    return kind(*unsigned([rng.key(name, key) for name in kind._fields]))


@part
def bits(key: Any, counter: Any) -> Any:
    """64 random bits; also the key of what has this number (``drawing.own_key``)."""
    return mix(np.uint64(counter) * _GOLDEN + key)


@part
def below(n: Any, key: Any, counter: Any) -> Any:
    """Uniform in 0 .. n - 1."""
    if n < _NEAR:
        return np.int64(((bits(key, counter) >> _21) * np.uint64(n)) >> _43)
    return np.int64(bits(key, counter) >> _1) % np.int64(n)


@part
def uniform_bits(key: Any, counter: Any) -> Any:
    """What ``uniform`` makes a number of: ``UNIFORM_BITS`` bits in the same order."""
    return bits(key, counter) >> _12


@part
def as_uniform(drawn: Any) -> Any:
    """In (0, 1), of ``uniform_bits``."""
    return (np.float64(np.int64(drawn)) + 0.5) * 2.0**-52


@part
def uniform(key: Any, counter: Any) -> Any:
    """Uniform in (0, 1)."""
    return as_uniform(uniform_bits(key, counter))


@part
def sort(m: Any, count: Any, size: Any) -> None:
    """The places of the ``count`` values of ``m.value`` in rising order, equal ones in the order of their places, into
    ``m.order``.  Values are of ``size`` bits and spread evenly: so few share a bucket, and are put in order there."""
    value, order, starts, shift = m.value, m.order, m.starts, np.uint64(size)
    buckets: Any = 1
    if count <= _FEW:
        for place in range(count):
            order[place] = place
    else:
        while buckets < count:
            buckets, shift = 2 * buckets, shift - _1
        starts[: buckets + 1] = 0
        for place in range(count):
            starts[np.int64(value[place] >> shift) + 1] += 1
        for bucket in range(buckets):
            starts[bucket + 1] += starts[bucket]
        for place in range(count):
            of = np.int64(value[place] >> shift)
            order[starts[of]] = place
            starts[of] += 1
    for rank in range(1, count):
        place, at = order[rank], rank
        while at > 0 and value[order[at - 1]] > value[place]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = place


@part
def distinct(m: Any, found: Any, wanted: Any, count: Any, n: Any, key: Any) -> None:
    """The first ``wanted`` of ``count`` distinct numbers in 0 .. n - 1, into ``found``: those of ``drawing.distinct``.

    Each of them depends on those before it alone."""
    if n <= 4 * count:
        for number in range(n):
            m.value[number] = bits(key, number) ^ _SIGN  # in the order of signed numbers
        sort(m, n, 64)
        found[:wanted] = m.order[:wanted]
        return
    for place in range(wanted):
        found[place] = below(n, key, place)
    attempt, again = 0, True
    while again:
        m.mark[0] += 1
        attempt, again = attempt + 1, False
        for place in range(wanted):
            if m.seen[found[place]] == m.mark[0]:
                found[place], again = below(n, key, place + attempt * ATTEMPT), True
            else:
                m.seen[found[place]] = m.mark[0]


@part
def beside(rank: Any, free: Any, count: Any) -> Any:
    """The number of this rank among those that are not taken (``drawing.beside``); ``free`` says of each of ``count``
    taken ones, in rising order, how many below it are not taken."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if free[middle] <= rank:
            low = middle + 1
        else:
            high = middle
    return rank + low
