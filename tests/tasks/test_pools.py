"""The pools are what the papers' sizes say, every word has one role, and a damaged file is named with its line."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from itertools import combinations

import pytest

from physlm.tasks.biography import pools
from physlm.tasks.biography.config import name_pools
from physlm.tasks.biography.pools import ATTRIBUTES, SIZES, load_pools, words

PLAIN = re.compile("[A-Za-z ]+")
TEMPLATES = [(attribute, template) for attribute in ATTRIBUTES for template in load_pools().templates[attribute]]
PRONOUNS = {
    "he",
    "she",
    "him",
    "her",
    "his",
    "hers",
    "himself",
    "herself",
    "they",
    "them",
    "their",
    "it",
    "its",
    "i",
    "my",
}


def text_of(file: str) -> str:
    return resources.files("physlm.tasks.biography").joinpath("data", file).read_text(encoding="utf-8")


def value_lists() -> dict[str, tuple[str, ...]]:
    p = load_pools()
    return {"cities": p.cities, "universities": p.universities, "majors": p.majors, "employers": p.employers}


def value_words() -> set[str]:
    return {word for values in value_lists().values() for value in values for word in words(value)}


def template_words() -> set[str]:
    return {word for _, template in TEMPLATES for word in template} - {"{subject}", "{value}"}


def test_the_sizes_are_the_published_ones() -> None:
    p = load_pools()
    assert [len(names) for names in (p.first_names, p.middle_names, p.last_names)] == [400, 400, 1000]
    assert [len(values) for values in value_lists().values()] == [200, 300, 100, 263]
    assert len(p.employer_cities) == 263
    assert len(p.months) * len(p.days) * len(p.years) == 12 * 28 * 200
    assert (p.months[0], p.months[-1], p.days[0], p.days[-1], p.years[0], p.years[-1]) == (
        "January", "December", 1, 28, 1900, 2099,
    )  # fmt: skip
    assert [len(p.templates[attribute]) for attribute in ATTRIBUTES] == [46, 49, 49, 52, 48, 47]


def test_nothing_stands_twice() -> None:
    p = load_pools()
    for values in (*value_lists().values(), p.months, p.first_names, p.middle_names, p.last_names):
        assert len(set(values)) == len(values)
    assert len({template for _, template in TEMPLATES}) == len(TEMPLATES)


def test_every_word_has_one_role() -> None:
    p = load_pools()
    dates = {*p.months, *map(str, p.days), *map(str, p.years), "He", "She"}
    roles = {
        "first": set(p.first_names), "middle": set(p.middle_names), "last": set(p.last_names),
        "value": value_words(), "date": dates,
    }  # fmt: skip
    for (a, left), (b, right) in combinations(roles.items(), 2):
        common = left & right - {","}
        assert not common, f"{a} and {b} share {sorted(common)}"
    names = roles["first"] | roles["middle"] | roles["last"]
    assert not {name.lower() for name in names} & {word.lower() for word in template_words()}
    assert value_words() & template_words() <= {"of", "the"}  # University of the Pacific


def test_names_and_values_are_plain_words() -> None:
    p = load_pools()
    assert all(re.fullmatch("[A-Z][A-Za-z]+", name) for name in (*p.first_names, *p.middle_names, *p.last_names))
    assert all(re.fullmatch("[A-Z][A-Za-z ]+, [A-Z]{2}", city) for city in p.cities)
    assert all(PLAIN.fullmatch(value) for value in (*p.universities, *p.majors, *p.employers))
    assert all(len(words(major)) <= 3 for major in p.majors)


@pytest.mark.parametrize("kind", list(value_lists()))
def test_no_value_begins_another(kind: str) -> None:
    split = {words(value) for value in value_lists()[kind]}
    assert len(split) == len(value_lists()[kind])
    assert not [value for value in split for size in range(1, len(value)) if value[:size] in split]


def test_words_split_off_the_comma_only() -> None:
    assert words("Princeton, NJ") == ("Princeton", ",", "NJ")
    assert words("October 2, 1996") == words("October 2 , 1996") == ("October", "2", ",", "1996")
    for values in value_lists().values():
        assert [" ".join(words(value)).replace(" ,", ",") for value in values] == list(values)


def test_headquarters_are_cities_and_36_of_263_are_in_new_york() -> None:
    p = load_pools()
    headquarters = {employer: p.cities[i] for employer, i in zip(p.employers, p.employer_cities, strict=True)}
    assert text_of("employers.txt") == "".join(f"{employer}\t{city}\n" for employer, city in headquarters.items())
    known = {"Microsoft": "Redmond, WA", "Walmart": "Bentonville, AR", "Deere": "Moline, IL", "Pfizer": "New York, NY"}
    assert known.items() <= headquarters.items()
    assert list(headquarters.values()).count("New York, NY") == 36


@pytest.mark.parametrize(("attribute", "template"), TEMPLATES, ids=lambda x: x if isinstance(x, str) else " ".join(x))
def test_a_template_is_one_sentence_with_each_slot_once(attribute: str, template: tuple[str, ...]) -> None:
    assert template[0] == "{subject}" and template[-1] == "."
    assert template.count("{subject}") == template.count("{value}") == template.count(".") == 1
    assert template[1] != "{value}"
    assert not set(template) & PRONOUNS
    assert all(re.fullmatch("[a-z]+", word) for word in template[1:-1] if word != "{value}")
    assert len(template) - 2 <= 10


def test_templates_rejoin_to_the_file() -> None:
    for attribute in ATTRIBUTES:
        rejoined = "".join(" ".join(template) + "\n" for template in load_pools().templates[attribute])
        assert rejoined == text_of(f"templates/{attribute}.txt")


def test_a_sentence_tells_its_attribute_without_its_value() -> None:
    """Dates and cities could stand in one another's sentences, so the words around them must be about birth or work."""
    birth = re.compile("born|birth|life|world|breath|cry|daylight|eyes|delivered|newborn|native|original|zero days old")
    work = re.compile("work|employ|job|hired|salary|career|position|staff|company|office|desk|payroll|manager")
    for attribute, template in TEMPLATES:
        sentence = " ".join(template)
        if attribute in ("birth_date", "birth_city"):
            assert birth.search(sentence) and not work.search(sentence), sentence
        if attribute == "employer_city":
            assert work.search(sentence) and not birth.search(sentence), sentence


def test_words_are_few_and_sentences_short() -> None:
    p = load_pools()
    lengths = [len(template) - 2 for _, template in TEMPLATES]
    assert sum(lengths) / len(lengths) <= 5.5
    assert len(template_words()) <= 330
    dates = {*p.months, *map(str, p.days), *map(str, p.years)}
    names = {*p.first_names, *p.middle_names, *p.last_names}
    everything = names | dates | value_words() | template_words() | {"He", "She", ",", ".", "<eos>"}
    assert len(everything) == 2915  # rows of bioS's embedding: a change here changes every parameter count


@pytest.mark.parametrize("file", sorted(SIZES))
def test_every_fault_in_a_file_is_named_with_its_line(file: str) -> None:
    lines = text_of(file).splitlines()

    def load(damaged: list[str]) -> None:
        text = "".join(f"{line}\n" for line in damaged)
        if file.startswith("templates/"):
            pools.parse_templates(file, text)
        elif file == "employers.txt":
            pools.parse_employers(file, text, load_pools().cities)
        elif file == "cities.txt":
            pools.parse_values(file, text, pools._CITY, "a city")
        else:
            pools.parse_values(file, text, pools._PLAIN, "words")

    load(lines)
    with pytest.raises(ValueError, match=rf"^{file}:3: got ''"):
        load([*lines[:2], "", *lines[3:]])
    with pytest.raises(ValueError, match=rf"^{file}:5: .* stands in line 2 too"):
        load([*lines[:4], lines[1], *lines[5:]])
    with pytest.raises(ValueError, match=rf"^{file}:{len(lines) - 1}: the file has {len(lines) - 1} lines"):
        load(lines[:-1])
    with pytest.raises(ValueError, match=rf"^{file}:4: got "):
        load([*lines[:3], "; ".join(lines[3:5]), *lines[4:]])  # two items on one line
    with pytest.raises(ValueError, match=rf"^{file}:1: got "):
        load([lines[0] + " ", *lines[1:]])


@pytest.mark.parametrize(
    "line",
    [
        "{subject} was born in .",
        "{subject} was born in {value} or {value} .",
        "was born in {value} , said {subject} .",
        "{subject} {value} .",
        "{subject} was born in {value}.",
        "{subject} was born  in {value} .",
        "{subject}'s home was {value} .",
        "{subject} was born in {city} .",
        "{subject} was born in {value} . {subject} came from {value} .",
        "{subject} was born in {value} .{subject} came from {value} .",
    ],
)
def test_a_damaged_template_is_refused(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "SIZES", {"t.txt": 2})
    assert pools.parse_templates("t.txt", "{subject} came from {value} .\n{subject} hailed from {value} .\n")
    with pytest.raises(ValueError, match=r"^t.txt:2: got .*expected"):
        pools.parse_templates("t.txt", f"{{subject}} came from {{value}} .\n{line}\n")


def test_unknown_headquarters_shared_templates_and_value_prefixes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "SIZES", {"e.txt": 2, "m.txt": 2})
    with pytest.raises(ValueError, match=r"^e.txt:2: got the city 'Paris, FR'"):
        pools.parse_employers("e.txt", "Dow\tMidland, MI\nMeta\tParis, FR\n", ("Midland, MI",))
    with pytest.raises(ValueError, match=r"^m.txt:2: 'Music Theory' begins with all of line 1, 'Music'"):
        pools.parse_values("m.txt", "Music\nMusic Theory\n", PLAIN, "words")
    with pytest.raises(ValueError, match=r"^m.txt:2: the last line does not end"):
        pools.parse_values("m.txt", "Music\nLaw", PLAIN, "words")
    template = ("{subject}", "liked", "{value}", ".")
    with pytest.raises(ValueError, match=r"^b:1: .*stands in a too"):
        pools.check_unshared([("a", (template,)), ("b", (template,))])


def test_reading_the_pools_does_not_import_torch() -> None:
    code = "import sys, physlm.tasks.biography.pools as p; p.load_pools(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", [1, 3, 12, 150, 1000])
def test_cut_pools_are_the_beginnings_of_the_whole_ones(size: int) -> None:
    whole, cut = load_pools(), pools.cut_pools(size)
    assert pools.cut_pools(0) is whole
    assert (cut.months, cut.templates) == (whole.months, whole.templates)
    for name in ("cities", "universities", "majors", "employers", "days", "years"):
        assert getattr(cut, name) == getattr(whole, name)[:size]
    names = (cut.first_names, cut.middle_names, cut.last_names)
    assert tuple(map(len, names)) == name_pools(size)
    assert names == tuple(pool[: 10 * size] for pool in (whole.first_names, whole.middle_names, whole.last_names))
    # an employer whose headquarters are still there stays where it is
    assert len(cut.employer_cities) == len(cut.employers)
    for city, before in zip(cut.employer_cities, whole.employer_cities, strict=False):
        assert 0 <= city < len(cut.cities) and (city == before or before >= len(cut.cities))
