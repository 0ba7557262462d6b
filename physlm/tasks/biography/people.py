"""Who exists: N distinct full names and independent uniform draws for each person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.pools import ATTRIBUTES, Pools, cut_pools
from physlm.tasks.vocabulary import Vocabulary

Number = TypeVar("Number", int, Tensor)


def distinct_names(people: int, pools: tuple[int, int, int], seed: int) -> Tensor:
    """First, middle and last name of each person as indices into the pools; no two people share all three.

    Person i has the i-th place of a random permutation of all N0 = first * middle * last full names.

    Returns:
        (N, 3) int64.
    """
    assert people <= math.prod(pools), f"{people} people, {math.prod(pools)} names"  # the task's config has made sure
    return numbered_names(torch.arange(people), pools, seed)


def numbered_names(person_E: Tensor, pools: tuple[int, int, int], seed: int) -> Tensor:
    """The same of people by number, below the number of names; (E, 3)."""
    which = torch.zeros(1, dtype=torch.long, device=person_E.device)
    name = rng.permute(person_E, math.prod(pools), rng.key("names", seed), which)
    last = name % pools[2]
    middle = name // pools[2] % pools[1]
    return torch.stack((name // (pools[1] * pools[2]), middle, last), -1)


def name_ids(names_N3: Tensor, parts: Sequence[Sequence[str]], vocabulary: Vocabulary) -> Tensor:
    """Full names as token ids, (N, 3), from the three pools that ``distinct_names`` points into."""
    return torch.stack([torch.tensor(vocabulary.encode(part))[names_N3[:, i]] for i, part in enumerate(parts)], -1)


def draw(n: int, people: int | Tensor, seed: int, what: str) -> Tensor:
    """One uniform draw from [0, n) for each of the first so many people, or for each of these, (N,) int64."""
    return rng.below(n, rng.key("person", seed, what), torch.arange(people) if isinstance(people, int) else people)


def date_ids(vocabulary: Vocabulary, pool_size: int = 0) -> Tensor:
    """All birth dates as token ids, month, day, comma and year, (dates, 4); numbered as in ``attribute_numbers``."""
    pools = cut_pools(pool_size)
    parts = (pools.years, pools.months, pools.days, ",")
    dates = torch.cartesian_prod(*(torch.tensor(vocabulary.encode([str(x) for x in part])) for part in parts))
    return dates[:, [1, 2, 3, 0]]


def date_parts(date: Number, pools: Pools) -> tuple[Number, Number, Number]:
    """Month, day and year of birth dates as ``attribute_numbers`` counts them, each counted from 0."""
    months, days = len(pools.months), len(pools.days)
    return date // days % months, date % days, date // (days * months)


def attribute_numbers(people: int | Tensor, seed: int, pool_size: int = 0) -> Tensor:
    """Six values as numbers in their pools, of the first so many people or of these, (N, 6) in the order of
    ``ATTRIBUTES``.

    A birth date is (year * 12 + month) * 28 + day, each counted from 0.  The first five are uniform and independent;
    the employer decides its city.
    """
    pools = cut_pools(pool_size)
    columns = [draw(size, people, seed, name) for name, size in value_counts(pool_size).items()]
    columns.append(torch.tensor(pools.employer_cities, device=columns[-1].device)[columns[-1]])
    return torch.stack(columns, -1)


def value_counts(pool_size: int = 0) -> dict[str, int]:
    """How many values each attribute can have; the employer's city, which is not free, is left out."""
    pools = cut_pools(pool_size)
    dates = len(pools.years) * len(pools.months) * len(pools.days)
    sizes = (dates, len(pools.cities), len(pools.universities), len(pools.majors), len(pools.employers))
    return dict(zip(ATTRIBUTES, sizes, strict=False))


def value_count(pool_size: int = 0) -> int:
    """S0, the number of different people but for their names and genders."""
    return math.prod(value_counts(pool_size).values())
