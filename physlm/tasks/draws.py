"""Random draws one after another, for generators that cannot say beforehand how many they need.

Draw n of thing i is ``mix(n * GOLDEN + mix(i * GOLDEN + key))`` with ``physlm.rng``'s mix and key: a stream of 64 bits,
a pure function of (key, i), all in integers.  ``physlm.tasks.compiled_draws`` makes the same draws in compiled code.

Free of numba and of torch.
"""

from __future__ import annotations

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLY_1, MULTIPLY_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ATTEMPT = 1 << 24  # counters of one attempt to draw distinct numbers, which are fewer
TEXTS = 1 << 24  # numbers of texts that a row has for itself


def mix(x: int) -> int:
    """The finaliser of SplitMix64, on integers below 2**64."""
    x = ((x ^ (x >> 30)) * MULTIPLY_1) & MASK
    x = ((x ^ (x >> 27)) * MULTIPLY_2) & MASK
    return x ^ (x >> 31)


class Stream:
    """The draws of one thing, one after another."""

    def __init__(self, state: int):
        self.state = state

    @classmethod
    def of(cls, key: int, index: int) -> Stream:
        """The stream of thing ``index``."""
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
