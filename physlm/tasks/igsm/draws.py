"""Random draws of a problem: a stream of 64 bits, a pure function of (seed, split, stream, index).

Draw n of problem i is ``mix(n * GOLDEN + mix(i * GOLDEN + key))`` with ``physlm.rng``'s mix and key, all in integers:
probabilities are compared in 32 bits and the normal variable is one of 4,096 equally likely values, so that twin and
kernel, which have the same tables, draw the same bits on every machine.

Free of numba, and of torch but for ``stream_key``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

from physlm.tasks.igsm.config import LETTERS, IgsmConfig

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLY_1, MULTIPLY_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
RETRY_STREAM = 0x5E77AB1E0DDBA11  # wrong starts have a stream of their own: the problem is the same without them
NOISE_STREAM = 0x0BAD5EED0F0157E5  # so has noise
CHAIN_STREAM = 0x1E55C0FFEE1E5504  # and what is left out of a solution at random
# of the hash of templates; chosen so that the two templates of op = 1 lie in bins 10 ("Inst", for training) and 20
# ("Inter", for tests), as they do by the SHA-256 of the papers
TEMPLATE_SALT = 45
TRIES = 1000  # structure graphs for the same parameters, as released; a few (almost) never have an order
MOST_DRAWS = 100_000  # structure graphs for one problem: then there is none
FAVOURS = 1 << 12  # equally likely values of exp(|g|)
FAVOUR_UNIT = 1 << 16  # the weight of a parameter that nothing favours


def mix(x: int) -> int:
    """The finaliser of SplitMix64, on integers below 2**64."""
    x = ((x ^ (x >> 30)) * MULTIPLY_1) & MASK
    x = ((x ^ (x >> 27)) * MULTIPLY_2) & MASK
    return x ^ (x >> 31)


def stream_key(config: IgsmConfig, split: str = "train", stream: int | str = 0) -> int:
    """The key of all problems of a seed, split and stream, below 2**64."""
    from physlm import rng

    return rng.key("igsm", config.seed, split, stream) & MASK


class Stream:
    """The draws of one problem, one after another."""

    def __init__(self, state: int):
        self.state = state

    @classmethod
    def of(cls, key: int, index: int) -> Stream:
        """The stream of problem ``index``."""
        return cls(mix((index * GOLDEN + key) & MASK))

    def bits(self) -> int:
        """The next 64 bits."""
        state = self.state
        self.state = (state + GOLDEN) & MASK
        return mix(state)

    def below(self, n: int) -> int:
        """Uniform in 0 .. n - 1, for n below 2**20."""
        return ((self.bits() >> 21) * n) >> 43

    def far_below(self, n: int) -> int:
        """Uniform in 0 .. n - 1, for n below 2**40."""
        return (self.bits() >> 1) % n

    def share(self) -> int:
        """Uniform in 0 .. 2**32 - 1: a probability."""
        return self.bits() >> 32

    def chance(self, probability: int) -> bool:
        """True with a probability that is given as a ``share``."""
        return self.share() < probability

    def coin(self) -> bool:
        """True with probability 1/2."""
        return self.bits() >> 63 == 0

    def take(self, pool: list[int]) -> int:
        """A uniform member of a list, which loses it and keeps its order."""
        return pool.pop(self.below(len(pool)))

    def shuffle(self, items: list[int]) -> None:
        """A uniform order."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def as_share(probability: float) -> int:
    """A probability as ``Stream.chance`` takes it."""
    return round(probability * (1 << 32))


@functools.cache
def size_shares(max_ip: int, most: int) -> Sequence[tuple[int, int]]:
    """For each s the shares below which a size of 2, and of 2 or 3, is drawn; sizes go up to ``most``.

    A size v = 2, 3, 4 has weight exp(-(r - {0.2, 0.5, 0.8})^2) with r = (s - 1) / (max_ip - 1) [arXiv 2407.20311 D.4].
    """
    shares = []
    for s in range(LETTERS + 1):
        relative = (s - 1) / (max_ip - 1)
        exponents = [-((relative - place) ** 2) for place in (0.2, 0.5, 0.8)][: most - 1]
        weights = [math.exp(exponent - max(exponents)) for exponent in exponents]
        sums = [sum(weights[: n + 1]) / sum(weights) for n in range(len(weights))]
        shares.append((as_share(sums[0]), as_share(sums[min(1, len(sums) - 1)])))
    return shares


@functools.cache
def favours() -> Sequence[tuple[int, int]]:
    """exp(|g|) and exp(2 |g|) in units of ``FAVOUR_UNIT``, g the middle normal value of each of 4,096 equal parts."""
    normal = NormalDist()
    values = [math.exp(normal.inv_cdf(0.5 + (n + 0.5) / FAVOURS / 2)) for n in range(FAVOURS)]
    return [(round(value * FAVOUR_UNIT), round(value * value * FAVOUR_UNIT)) for value in values]
