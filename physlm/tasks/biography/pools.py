"""The pools of bioS: names, attribute values and sentence templates, read from the plain text files in ``data/``.

    file                      a line                        becomes
    cities.txt                Princeton, NJ                 Pools.cities[i]
    employers.txt             Meta <tab> Menlo Park, CA     Pools.employers[i], Pools.employer_cities[i] -> cities
    templates/birth_city.txt  {subject} was born in {value} .
                                                            Pools.templates["birth_city"][i], a tuple of six words

``words`` is the one place that knows how a value becomes words: ``Princeton, NJ`` is ``Princeton`` ``,`` ``NJ``.
In every pool no value's words begin another value's words, so a value is known for sure from its own words
and the bits of a value are all in the loss of its value tokens.

Sizes: arXiv 2309.14316, appendix A; the lists and sentences are our own.  Free of torch.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from physlm.tasks.biography.config import name_pools

ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "employer_city")
SUBJECT, VALUE = "{subject}", "{value}"
DAYS = tuple(range(1, 29))
YEARS = tuple(range(1900, 2100))

SIZES: Mapping[str, int] = {
    "first_names.txt": 400,
    "middle_names.txt": 400,
    "last_names.txt": 1000,
    "cities.txt": 200,
    "universities.txt": 300,
    "majors.txt": 100,
    "employers.txt": 263,
    "months.txt": 12,
    "templates/birth_date.txt": 46,
    "templates/birth_city.txt": 49,
    "templates/university.txt": 49,
    "templates/major.txt": 52,
    "templates/employer.txt": 48,
    "templates/employer_city.txt": 47,
}

_NAME = re.compile(r"[A-Z][A-Za-z]+")
_CITY = re.compile(r"[A-Z][A-Za-z]+( [A-Z][A-Za-z]+)*, [A-Z]{2}")
_PLAIN = re.compile(r"[A-Za-z]+( [A-Za-z]+)*")

Template = tuple[str, ...]


@dataclass(frozen=True)
class Pools:
    """All pools; the place of an item in its tuple is its number everywhere.

    Attributes:
        cities: ``City, ST``; both birth cities and the employers' cities.
        employer_cities: for each employer the index into ``cities`` of its headquarters.
        days, years: 1 .. 28 and 1900 .. 2099.
        templates: for each of ``ATTRIBUTES`` its sentences as words, ``{subject}`` first, ``{value}`` once, ``.`` last.
    """

    first_names: tuple[str, ...]
    middle_names: tuple[str, ...]
    last_names: tuple[str, ...]
    cities: tuple[str, ...]
    universities: tuple[str, ...]
    majors: tuple[str, ...]
    employers: tuple[str, ...]
    employer_cities: tuple[int, ...]
    months: tuple[str, ...]
    days: tuple[int, ...]
    years: tuple[int, ...]
    templates: Mapping[str, tuple[Template, ...]]


def words(value: str) -> tuple[str, ...]:
    """The words of a value, one token each; a comma is a word of its own.

    >>> words("Princeton, NJ")
    ('Princeton', ',', 'NJ')
    """
    return tuple(value.replace(",", " , ").split())


@functools.cache
def cut_pools(pool_size: int = 0) -> Pools:
    """The pools cut as ``BioSText.pool_size`` says; 0 leaves them whole.

    Headquarters that are cut off move to the city whose number is the rest of theirs by the number of cities.
    """
    pools = load_pools()
    if not pool_size:
        return pools
    first, middle, last = name_pools(pool_size)
    size = slice(pool_size)
    cities = pools.cities[size]
    return replace(
        pools, first_names=pools.first_names[:first], middle_names=pools.middle_names[:middle],
        last_names=pools.last_names[:last], cities=cities, universities=pools.universities[size],
        majors=pools.majors[size], employers=pools.employers[size], days=pools.days[size], years=pools.years[size],
        employer_cities=tuple(city % len(cities) for city in pools.employer_cities[size]),
    )  # fmt: skip


@functools.cache
def load_pools() -> Pools:
    """Read and check all data files, once per process; ``ValueError`` names the file and line of a fault."""
    cities = parse_values("cities.txt", _read("cities.txt"), _CITY, "a city and state like 'Princeton, NJ'")
    employers, employer_cities = parse_employers("employers.txt", _read("employers.txt"), cities)
    return Pools(
        first_names=_plain("first_names.txt", _NAME, "one capitalised word"),
        middle_names=_plain("middle_names.txt", _NAME, "one capitalised word"),
        last_names=_plain("last_names.txt", _NAME, "one capitalised word"),
        cities=cities,
        universities=_plain("universities.txt"),
        majors=_plain("majors.txt"),
        employers=employers,
        employer_cities=employer_cities,
        months=_plain("months.txt", _NAME, "one capitalised word"),
        days=DAYS,
        years=YEARS,
        templates=load_templates(),
    )


@functools.cache
def load_templates() -> Mapping[str, tuple[Template, ...]]:
    """The sentence templates of each attribute; no sentence serves two attributes."""
    files = {attribute: f"templates/{attribute}.txt" for attribute in ATTRIBUTES}
    templates = {attribute: parse_templates(file, _read(file)) for attribute, file in files.items()}
    check_unshared((files[attribute], items) for attribute, items in templates.items())
    return templates


def parse_values(file: str, text: str, pattern: re.Pattern[str], form: str) -> tuple[str, ...]:
    """The items of a text with one item a line, each matching ``pattern`` (described by ``form``).

    Raises:
        ValueError: a wrong number of lines, a blank line, a line of another form, a line or a value's words twice, or
            a value whose words begin another value's; the message starts with ``file:line:``.
    """
    items = _lines(file, text)
    for number, item in enumerate(items, 1):
        if not pattern.fullmatch(item):
            raise ValueError(f"{file}:{number}: got {item!r}, expected {form}")
    _check_prefix_free(file, [words(item) for item in items])
    return tuple(items)


class Employers(NamedTuple):
    """Names, and the index of each one's headquarters in the list of cities."""

    names: tuple[str, ...]
    cities: tuple[int, ...]


def parse_employers(file: str, text: str, cities: tuple[str, ...]) -> Employers:
    """Employers from lines ``name<TAB>City, ST``; a city that is not one of ``cities`` is a ``ValueError``."""
    place = {city: i for i, city in enumerate(cities)}
    names, headquarters = [], []
    for number, line in enumerate(_lines(file, text), 1):
        name, tab, city = line.partition("\t")
        if not tab or not _PLAIN.fullmatch(name):
            raise ValueError(f"{file}:{number}: got {line!r}, expected an employer of plain words, a tab, and a city")
        if city not in place:
            raise ValueError(f"{file}:{number}: got the city {city!r}, expected one of the {len(cities)} in cities.txt")
        names.append(name)
        headquarters.append(place[city])
    _check_prefix_free(file, [words(name) for name in names])
    return Employers(tuple(names), tuple(headquarters))


def parse_templates(file: str, text: str) -> tuple[Template, ...]:
    """Templates as word tuples: each line is words separated by single blanks, ``{subject}`` first, ``.`` last.

    Raises:
        ValueError: a slot missing, doubled or misspelt, no word between the slots (two items could run together),
            a sentence that does not end in its only ``.``, irregular blanks, or a line twice.
    """
    templates = []
    for number, line in enumerate(_lines(file, text), 1):
        template = tuple(line.split(" "))
        slots = [word for word in template if "{" in word or "}" in word]
        if slots != [SUBJECT, VALUE] or template[0] != SUBJECT or template[1] == VALUE:
            expected = f"{SUBJECT} as the first word and {VALUE} once, words between them"
            raise ValueError(f"{file}:{number}: got {line!r}, expected {expected}")
        if template[-1] != "." or not all(re.fullmatch("[a-z]+", word) for word in template[1:-1] if word != VALUE):
            expected = "lower-case words separated by single blanks and ' .' at the end"
            raise ValueError(f"{file}:{number}: got {line!r}, expected {expected}")
        templates.append(template)
    return tuple(templates)


def check_unshared(pools: Iterable[tuple[str, tuple[Template, ...]]]) -> None:
    """``ValueError`` if a template stands in two files: its sentence would not say which attribute it is about."""
    seen: dict[Template, str] = {}
    for file, items in pools:
        for number, item in enumerate(items, 1):
            if item in seen:
                raise ValueError(f"{file}:{number}: {' '.join(item)!r} stands in {seen[item]} too, expected it once")
            seen[item] = file


def _plain(file: str, pattern: re.Pattern[str] = _PLAIN, form: str = "words of letters") -> tuple[str, ...]:
    return parse_values(file, _read(file), pattern, form)


def _read(file: str) -> str:
    """A data file's text, also from an installed package."""
    return importlib.resources.files(__package__).joinpath("data", file).read_text(encoding="utf-8")


def _lines(file: str, text: str) -> list[str]:
    """The lines of a data file: as many as ``SIZES`` says, none blank, none twice, no blanks at either end."""
    if not text.endswith("\n"):
        raise ValueError(f"{file}:{text.count(chr(10)) + 1}: the last line does not end, expected a newline")
    lines = text.removesuffix("\n").split("\n")
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line or line != line.strip():
            raise ValueError(f"{file}:{number}: got {line!r}, expected an item without blanks at its ends")
        if line in first:
            raise ValueError(f"{file}:{number}: {line!r} stands in line {first[line]} too, expected it once")
        first[line] = number
    if len(lines) != SIZES[file]:
        raise ValueError(f"{file}:{len(lines)}: the file has {len(lines)} lines, expected {SIZES[file]}")
    return lines


def _check_prefix_free(file: str, values: list[tuple[str, ...]]) -> None:
    """``ValueError`` if a value's words are, or begin, another value's words."""
    line = {value: number for number, value in enumerate(values, 1)}
    for number, value in enumerate(values, 1):
        for size in range(1, len(value) + 1):
            other = line.get(value[:size], number)
            if other != number:
                raise ValueError(
                    f"{file}:{number}: {' '.join(value)!r} begins with all of line {other}, "
                    f"{' '.join(value[:size])!r}; expected values none of which begins another"
                )
