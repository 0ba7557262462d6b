"""Sampling and exporting of augmented biographies and of questions."""

from __future__ import annotations

import json


def test_augmentations_are_settings(physlm):
    plain = ("data", "sample", "bios", "--n", 5, "--set", "people=5", "--set", "texts=1")
    _, out, _ = physlm(*plain)
    code, full, _ = physlm(*plain, "--set", "fullname=true")
    names = [line.split(": ")[1].split(". ")[0].split()[:3] for line in full.splitlines() if line]
    assert not code and len(names) == 5 and all(full.count(" ".join(name)) == 6 for name in names)
    assert all(out.count(" ".join(name)) == 1 for name in names)


def test_questions_are_exported_with_kind_and_person(physlm):
    asked = 'ask.kinds=["birth_city", "month_mod2"]'
    options = ("data", "export", "bioqa", "--set", "people=10", "--set", asked, "--set", "ask.hints=1.0", "--n", 25)
    code, out, _ = physlm(*options)
    lines = [json.loads(line) for line in out.splitlines()]
    kinds = [("birth_city", "month_mod2")[i % 2] for i in range(10)]
    assert not code and [line["kind"] for line in lines] == [*kinds, *kinds, *kinds[:5]]
    assert [line["draw"] for line in lines] == [0] * 10 + [1] * 10 + [2] * 5
    people = [line["person"] for line in lines]
    assert people[:10:2] == people[1:10:2] and len(set(people)) == 5 and people[:10] == people[10:20]
    for line in lines:
        assert len(line["ids"]) == len(line["labels"]) > 10 and "answer" in line["labels"]
        assert ("hint" in line["labels"]) == (line["kind"] == "month_mod2") == (" Hint :" in line["text"])
    _, other, _ = physlm(*options, "--set", "ask.half=test")
    assert not {json.loads(line)["person"] for line in other.splitlines()} & set(people)
    assert physlm("data", "sample", "bioqa", "--n", 2, "--set", "people=10")[1].count("?") == 2


def test_a_mistake_is_one_line_that_names_the_choices(physlm):
    for setting, words in (
        ('ask.kinds=["birth_cty"]', "did you mean 'birth_city'"), ("ask.half=both", "'train', 'test'"),
        ("people=1", "expected at least 1"), ("ask.hint=1", "did you mean 'hints'"),
    ):  # fmt: skip
        code, out, err = physlm("data", "sample", "bioqa", "--set", setting)
        assert (code, out) == (2, "") and words in err and len(err.strip().splitlines()) == 1
