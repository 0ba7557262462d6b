"""The strings that questions are made of: fixed words, and every value of every person as a place in a token pool.

Shape letters: N people, S strings, E questions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.config import name_pools
from physlm.tasks.biography.kinds import LARGEST
from physlm.tasks.biography.people import attribute_numbers, date_ids, date_parts, distinct_names, name_ids
from physlm.tasks.biography.pools import Pools, cut_pools, words
from physlm.tasks.rows import Pool
from physlm.tasks.vocabulary import EOS, Vocabulary

# what a pair of people gives: the number that is compared, and how
PAIRS = {f"{what}_{how}": (what, how) for what in ("month", "day", "luck") for how in ("later", "minus")}


class Strings:
    """All strings, numbered, and the string of every value of every person.

    Attributes:
        columns: for each field the number of its string, (N,); ``name`` and ``birth_date``, ``month_mod6``, ...
        numbers: what pairs compare, (N,) each: month 1 .. 12, day 1 .. 28, luckiness of the major 0 .. 99.
        zero, yes: numbers of the strings ``0`` (the other numbers stand around it) and ``Yes`` (``No`` is the next).
    """

    def __init__(self, people: int, seed: int, vocabulary: Vocabulary, pool_size: int = 0):
        self.vocabulary, self._pool, self._count = vocabulary, Pool(), 0
        self._rows: list[Tensor] = []
        self._fixed: dict[str, int] = {}
        self.add([(EOS,)])
        pools = cut_pools(pool_size)
        dates = self._add_table(date_ids(vocabulary, pool_size))
        self.zero = self.add((str(n),) for n in range(-LARGEST, LARGEST + 1)) + LARGEST
        self.yes = self.add([("Yes",), ("No",)])
        date_N, city_N, university_N, major_N, employer_N, employer_city_N = attribute_numbers(
            people, seed, pool_size).unbind(-1)
        month_N, day_N, year_N = date_parts(date_N, pools)
        luck_N = luckiness(len(pools.majors))[major_N]
        cities = self.add(map(words, pools.cities))
        years = self.add((str(year),) for year in pools.years)
        names_N3 = distinct_names(people, name_pools(pool_size), seed)
        parts = (pools.first_names, pools.middle_names, pools.last_names)
        names = self._add_table(name_ids(names_N3, parts, vocabulary))
        self.columns = {
            "birth_date": dates + date_N,
            "month": self.add((month,) for month in pools.months) + month_N,
            "day": self.add((str(day),) for day in pools.days) + day_N,
            "year": years + year_N,
            "birth_city": cities + city_N,
            "university": self.add(map(words, pools.universities)) + university_N,
            "major": self.add(map(words, pools.majors)) + major_N,
            "employer": self.add(map(words, pools.employers)) + employer_N,
            "employer_city": cities + employer_city_N,
            "university_year": years + _founded("university", len(pools.universities), pools, seed)[university_N],
            "employer_year": years + _founded("employer", len(pools.employers), pools, seed)[employer_N],
            "first_name": self.add((name,) for name in pools.first_names) + names_N3[:, 0],
            "name": names + torch.arange(people),
            "month_mod2": self.yes + (month_N + 1) % 2,
            "month_mod6": self.zero + (month_N + 1) % 6,
            "month_mod12": self.zero + month_N + 1,
            **{f"luck_mod{m}": self.zero + luck_N % m for m in (5, 20, 100)},
        }
        self.numbers = {"month": month_N + 1, "day": day_N + 1, "luck": luck_N}

    def add(self, strings: Iterable[tuple[str, ...]]) -> int:
        """Append strings of words; return the number of the first."""
        first = self._count
        table = self._pool.add([self.vocabulary.encode(string) for string in strings])
        self._rows.append(table)
        self._count += len(table)
        return first

    def fixed(self, text: str) -> int:
        """The number of a text, which is kept once."""
        if text not in self._fixed:
            self._fixed[text] = self.add([tuple(text.split())])
        return self._fixed[text]

    def _add_table(self, ids_XL: Tensor) -> int:
        """Append strings of equally many tokens; return the number of the first."""
        first, (count, length) = self._count, ids_XL.shape
        start_X = self._pool.add_table(ids_XL) + length * torch.arange(count)
        self._rows.append(torch.stack((start_X, torch.full_like(start_X, length)), -1))
        self._count += count
        return first

    def table(self) -> Tensor:
        """Start and length in the pool of every string, (S, 2)."""
        return torch.cat(self._rows)

    def pool(self) -> Tensor:
        """The pool's tokens; the first is <eos>."""
        return self._pool.tokens()


def luckiness(count: int) -> Tensor:
    """The luckiness of each of ``count`` majors (100 are published), a fixed permutation of 0 .. count - 1."""
    return rng.permute(torch.arange(count), count, rng.key("luckiness"), torch.zeros(1, dtype=torch.long))


def _founded(what: str, count: int, pools: Pools, seed: int) -> Tensor:
    """The invented founding year of each university or employer, as the place in the list of years."""
    return rng.below(len(pools.years), rng.key("founded", what, seed), torch.arange(count))
