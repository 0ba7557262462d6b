"""Reads the facts out of a biography: knows the pools of values and everyday words, but not how texts are made.

    >>> told = Extractor().read("Anya Briar Forger , born in Reno , NV , worked for Meta in Menlo Park , CA .".split())
    >>> told["name"], told["birth_city"], told["employer"], told["employer_city"]
    ('Anya Briar Forger', 'Reno, NV', 'Meta', 'Menlo Park, CA')

Values are found by their own words, the longest first; which of two cities somebody was born in is told by the words
around it.  It reads texts from the templates of bioS as well as rewrites, though nothing here is made for either.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from physlm.tasks.biography.pools import Pools, load_pools, words

PRONOUNS = {**dict.fromkeys(("he", "his", "him"), "He"), **dict.fromkeys(("she", "her", "hers"), "She")}
OF_BIRTH = frozenset((
    "baby", "birth", "birthplace", "born", "breath", "cry", "daylight", "delivered", "eyes", "hailed", "infant", "life",
    "native", "newborn", "originally", "parents", "raised", "welcomed", "world",
))  # fmt: skip
OF_WORK = frozenset((
    "career", "company", "desk", "employed", "employee", "employer", "employment", "hired", "job", "manager", "office",
    "offices", "paid", "pay", "payroll", "position", "salary", "staff", "work", "workdays", "worked", "worker",
    "working", "workplace", "works",
))  # fmt: skip
SENTENCE_ENDS = frozenset(".!?")
CLAUSE_ENDS = SENTENCE_ENDS | {",", ";", "and", "while"}
CITY, DATE = "city", "birth_date"


class Found(NamedTuple):
    """A value of a pool, and the words of the text that hold it."""

    pool: str
    value: str
    begin: int
    end: int


class Extractor:
    """Knows the pools; ``read`` reads a text.

    Args:
        pools: values and names to look for; by default the whole pools.
    """

    def __init__(self, pools: Pools | None = None):
        pools = pools or load_pools()
        listed: Mapping[str, Sequence[str]] = {
            CITY: pools.cities, "university": pools.universities, "major": pools.majors, "employer": pools.employers}
        self._names = tuple(map(frozenset, (pools.first_names, pools.middle_names, pools.last_names)))
        self._months, self._days, self._years = (set(map(str, x)) for x in (pools.months, pools.days, pools.years))
        self._begun: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
        for pool, values in listed.items():
            for value in values:
                self._begun.setdefault(words(value)[0], []).append((words(value), pool, value))
        for known in self._begun.values():
            known.sort(key=lambda one: -len(one[0]))

    def read(self, text: Sequence[str]) -> dict[str, str]:
        """The facts of one text; what it does not tell, or tells more than once in different ways, is left out.

        Returns:
            ``name``, ``pronoun`` (``He`` or ``She``) and the six attributes.
        """
        text = tuple(text)
        found = self._values(text)
        told: dict[str, set[str]] = {}
        for place, one in enumerate(found):
            attribute = one.pool if one.pool != CITY else _city(text, found, place)
            if attribute is not None:
                told.setdefault(attribute, set()).add(one.value)
        told["name"] = {" ".join(text[i : i + 3]) for i in range(len(text) - 2) if self._is_name(text[i : i + 3])}
        told["pronoun"] = {PRONOUNS[word.lower()] for word in text if word.lower() in PRONOUNS}
        return {name: next(iter(values)) for name, values in told.items() if len(values) == 1}

    def _values(self, text: tuple[str, ...]) -> list[Found]:
        found, at = [], 0
        while at < len(text):
            one = self._value_at(text, at)
            if one is not None:
                found.append(one)
            at = at + 1 if one is None else one.end
        return found

    def _value_at(self, text: tuple[str, ...], at: int) -> Found | None:
        four = text[at : at + 4]
        if len(four) == 4 and four[0] in self._months and four[1] in self._days and four[3] in self._years:
            return Found(DATE, f"{four[0]} {four[1]}, {four[3]}", at, at + 4)
        for value, pool, shown in self._begun.get(text[at], ()):
            if text[at : at + len(value)] == value:
                return Found(pool, shown, at, at + len(value))
        return None

    def _is_name(self, three: tuple[str, ...]) -> bool:
        return all(word in names for word, names in zip(three, self._names, strict=True))


def _city(text: tuple[str, ...], found: Sequence[Found], place: int) -> str | None:
    """Whether a city is of birth or of work: the nearest telling word of its clause, before it or else after it, or
    else of its sentence; other values are not passed over.  None if nothing tells."""
    one = found[place]
    begin = found[place - 1].end if place else 0
    end = found[place + 1].begin if place + 1 < len(found) else len(text)
    before, after = text[begin : one.begin][::-1], text[one.end : end]
    for stops in (CLAUSE_ENDS, SENTENCE_ENDS):
        for stretch in (before, after):
            for word in itertools.takewhile(lambda word: word not in stops, stretch):  # noqa: B023  used at once
                if word.lower() in OF_BIRTH | OF_WORK:
                    return "birth_city" if word.lower() in OF_BIRTH else "employer_city"
    return None
