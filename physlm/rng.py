"""Counter-based randomness, the only source of it.

A draw is a pure function of a key and a counter: ``mix(counter * GOLDEN + key)`` with the finaliser of SplitMix64
(Steele, Lea, Flood, OOPSLA 2014), computed in wrapping 64-bit integer tensor arithmetic.  The same key and counter
give the same bits on the CPU and on a GPU, in any batch and in any order; a generator has no state to save.

    >>> k = key("who", 7)                         # any mix of strings and integers
    >>> below(6, k, torch.arange(4)).tolist()     # four dice, numbers 0 to 3 of this stream
    [4, 2, 2, 2]
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def _signed(value: int) -> int:
    """The 64-bit pattern ``value`` as the signed integer that an int64 tensor holds."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


GOLDEN = _signed(0x9E3779B97F4A7C15)
_MULTIPLY_1 = _signed(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = _signed(0x94D049BB133111EB)
_PERMUTE_ROUNDS = 20


def key(*parts: int | str) -> int:
    """A 64-bit key from any sequence of integers and strings; different sequences give unrelated keys."""
    digest = hashlib.sha256("\x1f".join(f"{type(p).__name__}:{p}" for p in parts).encode()).digest()
    return _signed(int.from_bytes(digest[:8], "little"))


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift (torch's ``>>`` copies the sign bit)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """The SplitMix64 finaliser: a bijection of 64-bit integers that scatters every bit."""
    x = (x ^ _shift(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift(x, 27)) * _MULTIPLY_2
    return x ^ _shift(x, 31)


def bits(key: int | Tensor, counter: Tensor) -> Tensor:
    """64 random bits (as int64, so of either sign) for each counter; ``key`` may be a tensor of keys."""
    return mix(counter * GOLDEN + key)


def below(n: int, key: int | Tensor, counter: Tensor) -> Tensor:
    """Uniform integers in [0, n), int64.  The probabilities of two values differ by less than one part in 2**22."""
    if not 1 <= n < 1 << 40:
        raise ValueError(f"below: got n = {n}, expected 1 <= n < 2**40")
    if n < 1 << 20:
        return (_shift(bits(key, counter), 21) * n) >> 43
    return _shift(bits(key, counter), 1) % n


def uniform(key: int | Tensor, counter: Tensor) -> Tensor:
    """Uniform float64 in the open interval (0, 1), from 52 bits."""
    return (_shift(bits(key, counter), 12).double() + 0.5) * 2.0**-52


def host_uniform(key: int, counter: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same bits as ``uniform`` by numpy alone: in a new thread torch would start threads of its own."""
    x = counter.astype(np.uint64) * _unsigned(GOLDEN) + _unsigned(key)
    x = (x ^ (x >> np.uint64(30))) * _unsigned(_MULTIPLY_1)
    x = (x ^ (x >> np.uint64(27))) * _unsigned(_MULTIPLY_2)
    x ^= x >> np.uint64(31)
    return ((x >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _unsigned(value: int) -> np.uint64:
    return np.uint64(value & ((1 << 64) - 1))


def normal(key: int, count: int) -> Tensor:
    """``count`` standard normal float64 numbers by Box and Muller's transform; on the CPU."""
    counter = torch.arange((count + 1) // 2)
    radius = torch.sqrt(-2.0 * torch.log(uniform(key, 2 * counter)))
    angle = 2.0 * math.pi * uniform(key, 2 * counter + 1)
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), -1).flatten()[:count]


def permute(x: Tensor, n: int, key: int, which: Tensor) -> Tensor:
    """The place of ``x`` in a random permutation of 0 .. n-1; ``which`` numbers the permutation.

    The swap-or-not shuffle (Hoang, Morris, Rogaway, CRYPTO 2012): in each of 20 rounds ``x`` has the partner
    (K - x) mod n and a random bit of the pair decides whether the two change places.  A bijection for every n and
    ``which``, computed without a table, for each element alone.

    Args:
        x: int64, any shape, in [0, n).
        which: int64, broadcast against ``x``; for example the epoch.
    """
    for r in range(_PERMUTE_ROUNDS):
        round_key = _signed(key + r * 0x632BE59BD9B4E019)
        partner = (below(n, round_key, which) - x) % n
        pair = torch.maximum(x, partner)
        # the pair's bit must also depend on ``which``: it is mixed into the key of this draw
        swap = bits(mix(which + round_key), pair) < 0
        x = torch.where(swap, partner, x)
    return x
