"""Full name and six values of each person of bioS as text, and where a text tells them.

    >>> Facts(10).of(1)[:4]
    ('Linnea Marlowe Amano', 'January 25, 1913', 'Detroit, MI', 'Temple University')

A text tells all of them if each stands in it word for word, at a place of its own: no word counts for two.  So somebody
who works where they were born needs a text that names the city twice, and ``Corning, NY`` does not name Corning, the
employer.  Longer ones are placed first, of equally long ones those first that come first in ``FIELDS``, and each takes
the first place that is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from physlm.errors import UserError
from physlm.tasks.biography.config import name_pools
from physlm.tasks.biography.people import attribute_numbers, date_parts, distinct_names
from physlm.tasks.biography.pools import ATTRIBUTES, cut_pools, words

FIELDS = ("name", *ATTRIBUTES)
ABSENT = -1
MOST_PEOPLE = 1 << 24  # about 5 GB


class Facts:
    """The facts of the people of ``BioSConfig(people, seed=seed, pool_size=pool_size)``.

    Raises:
        UserError: so many people that their facts would fill the memory.
    """

    def __init__(self, people: int, seed: int = 0, pool_size: int = 0):
        if people > MOST_PEOPLE:
            raise UserError(f"task.people: got {people:,}, expected at most {MOST_PEOPLE:,} where texts tell of them")
        self._pools = cut_pools(pool_size)
        self._names: list[list[int]] = distinct_names(people, name_pools(pool_size), seed).tolist()
        self._numbers: list[list[int]] = attribute_numbers(people, seed, pool_size).tolist()

    def of(self, person: int) -> tuple[str, ...]:
        """Full name and values of one person, in the order of ``FIELDS``."""
        pools = self._pools
        parts = zip((pools.first_names, pools.middle_names, pools.last_names), self._names[person], strict=True)
        date, city, university, major, employer, employer_city = self._numbers[person]
        month, day, year = date_parts(date, pools)
        return (
            " ".join(pool[number] for pool, number in parts),
            f"{pools.months[month]} {pools.days[day]}, {pools.years[year]}",
            pools.cities[city], pools.universities[university], pools.majors[major], pools.employers[employer],
            pools.cities[employer_city],
        )  # fmt: skip

    def words(self, person: int) -> list[tuple[str, ...]]:
        """The same, as tokens."""
        return [words(fact) for fact in self.of(person)]


def places(text: Sequence[str], facts: Sequence[Sequence[str]]) -> list[int]:
    """Where each of the facts begins in a text, ``ABSENT`` where it finds no place of its own.

    >>> places("Ann works in Ames , IA and was born in Ames , IA".split(), [("Ames", ",", "IA"), ("Ann",)])
    [3, 0]
    """
    text, found, taken = tuple(text), [ABSENT] * len(facts), set[int]()
    for number in sorted(range(len(facts)), key=lambda number: -len(facts[number])):
        fact = tuple(facts[number])
        for begin in _occurrences(text, fact):
            span = range(begin, begin + len(fact))
            if taken.isdisjoint(span):
                found[number] = begin
                taken.update(span)
                break
    return found


def _occurrences(text: tuple[str, ...], fact: tuple[str, ...]) -> Iterator[int]:
    """Where ``fact`` begins in ``text``, in order."""
    for begin, word in enumerate(text):
        if word == fact[0] and text[begin : begin + len(fact)] == fact:
            yield begin
