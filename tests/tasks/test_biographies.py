"""bioS and bioD: every entry against a plain re-reading of its own text, exposures counted, splits apart."""

import math
import re
from collections import Counter

import pytest
import torch

from physlm.config import from_dict
from physlm.errors import UserError
from physlm.tasks.biography.biod import chunk_strings
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.exposure import SPLITS, chosen, exposures
from physlm.tasks.biography.people import distinct_names
from physlm.tasks.biography.pools import ATTRIBUTES, load_pools
from physlm.tasks.task import BiographyTask

SMALL = BioDConfig(people=40, attributes=3, chunks=2, diversity=5, chunk_tokens=2, alphabet=4, name_pools=(4, 5, 6),
                   entries_per_row=3, row_tokens=120)  # fmt: skip
MANY = BioDConfig(people=20, attributes=8, chunks=1, diversity=3, chunk_tokens=1, alphabet=3)
TASKS = [BioSConfig(people=50), BioSConfig(people=50, fresh=False), SMALL, MANY]


def texts(task: BiographyTask, draw: int = 0) -> list[list[tuple[str, str]]]:
    """(word, role) of every token of every person's text."""
    person = torch.arange(task.config.people)
    entries = task.entries(person, torch.full_like(person, draw))
    words, roles = task.vocabulary.words, task.roles
    return [
        [(words[i], roles[r]) for i, r in zip(ids, codes, strict=True) if r]
        for ids, codes in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)
    ]


def spans(text: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word, role in text:
        found.setdefault(role, []).append(word)
    return found


def test_bios_text_is_made_of_its_templates_and_the_persons_values() -> None:
    """Parse each text with the templates alone; values must be the same at every exposure."""
    task, pools = BioSConfig(people=30).build(), load_pools()
    patterns = {
        attribute: [
            re.compile(" ".join("(.+)" if w == "{value}" else "(.+)" if w == "{subject}" else re.escape(w) for w in t))
            for t in pools.templates[attribute]
        ]
        for attribute in ATTRIBUTES
    }
    first, second = texts(task, 0), texts(task, 1)
    for text, again in zip(first, second, strict=True):
        found = spans(text)
        assert {k: v for k, v in found.items() if k != "text"} == {k: v for k, v in spans(again).items() if k != "text"}
        assert set(found) == {"text", "name", "gender", *ATTRIBUTES}
        assert len(found["name"]) == 3 and len(found["gender"]) == 1
        sentences = " ".join(w for w, _ in text[1:-1]).split(" . ")
        assert len(sentences) == 6
        for attribute in ATTRIBUTES:
            value = " ".join(found[attribute])
            candidates = [s.rstrip(" .") + " ." for s in sentences]
            assert any(
                (m := p.fullmatch(s)) and m.group(2) == value for s in candidates for p in patterns[attribute]
            ), (attribute, value, sentences)
    assert first != second  # fresh templates


def test_bios_simple_has_one_text_a_person() -> None:
    task = BioSConfig(people=20, fresh=False).build()
    assert texts(task, 0) == texts(task, 5)
    assert texts(task) != texts(BioSConfig(people=20, fresh=False, seed=1).build())


def test_the_employer_decides_its_city() -> None:
    pools = load_pools()
    headquarters = {e: pools.cities[c] for e, c in zip(pools.employers, pools.employer_cities, strict=True)}
    for text in texts(BioSConfig(people=200).build()):
        found = spans(text)
        assert " ".join(found["employer_city"]).replace(" ,", ",") == headquarters[" ".join(found["employer"])]


def test_attributes_are_uniform_and_independent() -> None:
    """Chi-squared of two attributes' joint counts in coarse bins."""
    from scipy import stats

    task = BioSConfig(people=20_000).build()
    values = task.tables.value_NS
    city, university = values[:, 1], values[:, 2]
    city, university = city - city.min(), university - university.min()
    joint = torch.bincount((city // 20) * 10 + university // 30, minlength=100).view(10, 10).numpy()
    assert stats.chisquare(joint.flatten()).pvalue > 1e-4
    assert stats.chi2_contingency(joint).pvalue > 1e-4


@pytest.mark.parametrize("config", TASKS, ids=lambda c: f"{c.kind}-{c.people}")
def test_rows_are_the_entries_of_their_exposures(config: BioSConfig | BioDConfig) -> None:
    """A training row, cut at its separators, is what its counters say; every person once an epoch."""
    task = config.build()
    k = config.entries_per_row
    rows = math.ceil(2 * config.people / k)
    batch = task.rows(torch.arange(rows), "train", 4)
    one_by_one = [task.rows(torch.tensor([i]), "train", 4) for i in range(rows)]
    assert batch.inputs_RT.equal(torch.cat([r.inputs_RT for r in one_by_one]))
    assert batch.targets_RT.equal(torch.cat([r.targets_RT for r in one_by_one]))
    people = exposures(torch.arange(2 * config.people), config.people, 4, "train").person_E
    assert Counter(people[: config.people].tolist()) == Counter(range(config.people))
    assert Counter(people[config.people :].tolist()) == Counter(range(config.people))
    names = {tuple(spans(t)["name"]): i for i, t in enumerate(texts(task))}
    words = task.vocabulary.words
    cut = [words[i] for i in batch.inputs_RT[0].tolist()]
    starts = [p for p, word in enumerate(cut[:-3]) if word == "<eos>" and cut[p + 1] != "<eos>"]
    seen = [names[tuple(cut[p + 1 : p + 4])] for p in starts]
    assert seen == people[: len(seen)].tolist() and len(seen) >= 2


def test_streams_and_epochs_have_other_orders() -> None:
    def order(epoch: int, stream: int) -> list[int]:
        return exposures(torch.arange(30) + 30 * epoch, 30, stream, "train").person_E.tolist()

    assert len({tuple(order(e, s)) for e in range(3) for s in range(3)}) == 9


def test_splits_never_share_a_counter() -> None:
    """The counter decides the whole text, and the counters of two splits lie in disjoint ranges."""
    far = torch.tensor([0, 1, (1 << 48) - 1])
    person = torch.tensor([0, 9])
    ranges = {}
    for split in SPLITS:
        counters = torch.cat((exposures(far, 10, 0, split).counter_E, chosen(person, 7 * person, 10, split).counter_E))
        ranges[split] = (int(counters.min()) >> 48, int(counters.max()) >> 48)
    assert all(low == high for low, high in ranges.values())
    assert len(set(ranges.values())) == len(SPLITS)
    task = BioSConfig(people=50).build()
    train = {tuple(r) for r in task.rows(torch.arange(200), "train").inputs_RT[:, :60].tolist()}
    other = {tuple(r) for r in task.rows(torch.arange(200), "evaluation").inputs_RT[:, :60].tolist()}
    assert not train & other


def test_biod_text_follows_the_definition() -> None:
    task = SMALL.build()
    strings = [{tuple(s) for s in chunk_strings(SMALL, a).tolist()} for a in range(3)]
    assert all(len(s) == SMALL.diversity for s in strings)
    once = texts(task)
    for text, again in zip(once, texts(task, 3), strict=True):
        body = " ".join(word for word, _ in text[1:-1])
        name = " ".join(spans(text)["name"])
        sentences = body[: -len(" .")].split(" . ")
        values = {}
        for i, sentence in enumerate(sentences):
            opening = f"{name} 's ID" if i == 0 else "Her ID"
            match = re.fullmatch(re.escape(opening) + r" (\d) is (v\d v\d) , (v\d v\d)", sentence)
            assert match, sentence
            values[int(match.group(1))] = match.groups()[1:]
        assert sorted(values) == [1, 2, 3]
        for a, chunks in values.items():
            assert all(tuple(int(t[1:]) for t in chunk.split()) in strings[a - 1] for chunk in chunks)
        assert sum(role == "value_first" for _, role in text) == 3 * 2
        assert sum(role == "value" for _, role in text) == 3 * 2
        assert sorted(spans(again)["value_first"]) == sorted(spans(text)["value_first"])
    assert len({tuple(spans(t)["name"]) for t in once}) == SMALL.people


def test_huge_chunk_spaces_still_have_distinct_strings() -> None:
    config = BioDConfig(people=5, diversity=500, chunk_tokens=20, alphabet=40_000)
    strings = chunk_strings(config, 0)
    assert strings.shape == (500, 20) and len({tuple(s) for s in strings.tolist()}) == 500


def test_information_is_the_published_formula() -> None:
    n = 10_000
    information = BioSConfig(people=n).build().information_terms.information()
    log_s0 = math.log2(2 * 12 * 28 * 200 * 200 * 300 * 100 * 263)
    assert log_s0 == pytest.approx(47.59, abs=0.005)  # as printed in the paper
    assert information["total"] == pytest.approx(n * (math.log2(160_000_000 / n) + log_s0))
    small = SMALL.build().information_terms.information()
    k, c, d = SMALL.attributes, SMALL.chunks, SMALL.diversity
    assert small["value"] == pytest.approx(40 * k * c * math.log2(d))
    assert small["diversity"] == pytest.approx(k * d * math.log2(4**2 / d))
    exact = math.log2(math.comb(4 * 5 * 6, 40))
    assert small["name_set_exact"] == pytest.approx(exact)
    assert small["name"] <= exact <= small["name"] + 40 * math.log2(math.e)


def test_names_are_distinct_up_to_the_last_one() -> None:
    names = distinct_names(120, (4, 5, 6), 0)
    assert len({tuple(n) for n in names.tolist()}) == 120


@pytest.mark.parametrize(("data", "message"), [
    ({"people": 0}, "task.people: got 0"),
    ({"diversity": 17, "alphabet": 4, "chunk_tokens": 2}, "D = 17"),
    ({"alphabet": 0}, "task.alphabet: got 0"),
    ({"name_pools": [500, 4, 4]}, "at most"),
    ({"people": 121, "name_pools": [4, 5, 6]}, "got 121, expected at most 120"),
    ({"people": 160_000_001}, "got 160,000,001, expected at most 160,000,000"),
])  # fmt: skip
def test_bad_settings_are_named(data: dict[str, object], message: str) -> None:
    """By the config itself: before a task is built or a run folder made."""
    with pytest.raises(UserError, match=message):
        from_dict(BioDConfig, data)


def test_bios_has_no_more_people_than_names() -> None:
    assert BioSConfig(people=160_000_000).people == 160_000_000
    with pytest.raises(UserError, match="task.people: got 160,000,001, expected at most 160,000,000"):
        BioSConfig(people=160_000_001)


def test_every_word_of_the_vocabulary_can_be_written() -> None:
    """Only used rows count as parameters: no word is in the vocabulary for nothing."""
    task = BioSConfig(people=20_000).build()
    seen = torch.zeros(len(task.vocabulary), dtype=torch.bool)
    for start in range(0, 20_000, 4000):
        seen[task.entries(torch.arange(start, start + 4000), torch.zeros(4000, dtype=torch.long)).ids_RW] = True
    assert bool(seen.all()), [w for w, s in zip(task.vocabulary.words, seen, strict=True) if not s][:10]
