"""Who exists: N distinct full names and independent uniform draws for each person."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physlm import rng


def distinct_names(people: int, pools: tuple[int, int, int], seed: int) -> Tensor:
    """First, middle and last name of each person as indices into the pools; no two people share all three.

    Person i has the i-th place of a random permutation of all N0 = first * middle * last full names.

    Returns:
        (N, 3) int64.
    """
    space = math.prod(pools)
    assert people <= space, f"{people} people, {space} names"  # the task's config has made sure
    which = torch.zeros(1, dtype=torch.long)
    name = rng.permute(torch.arange(people), space, rng.key("names", seed), which)
    last = name % pools[2]
    middle = name // pools[2] % pools[1]
    return torch.stack((name // (pools[1] * pools[2]), middle, last), -1)


def draw(n: int, people: int, seed: int, what: str) -> Tensor:
    """One uniform draw from [0, n) for each person, (N,) int64."""
    return rng.below(n, rng.key("person", seed, what), torch.arange(people))
