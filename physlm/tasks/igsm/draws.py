"""Random draws of a problem: a stream of 64 bits, a pure function of (seed, split, stream, index).

A problem has a stream of ``physlm.tasks.draws``, all in integers: probabilities are compared in 32 bits and the normal
variable is one of 4,096 equally likely values, so that twin and kernel, which have the same tables, draw the same bits
on every machine.

Free of numba, and of torch but for ``stream_key``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

from physlm.tasks.draws import MASK, as_share
from physlm.tasks.igsm.config import LETTERS, IgsmConfig

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


def stream_key(config: IgsmConfig, split: str = "train", stream: int | str = 0) -> int:
    """The key of all problems of a seed, split and stream, below 2**64."""
    from physlm import rng

    return rng.key("igsm", config.seed, split, stream) & MASK


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
