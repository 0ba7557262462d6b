"""Templates of iGSM solutions: the published hashes and counts, and bins that training and tests do not share."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from families import HARD, MED

from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.kernel import problems
from physlm.tasks.igsm.problem import Problem

ALL = replace(MED, templates="all")
A = " Define Inst as a. so a = 0."
# the SHA-256 of the text modulo 23
PUBLISHED = {
    A: 10,
    " Define Inter as a. so a = 0.": 20,
    A + " Define Inst as b. so b = a = 0.": 1,
    A + " Define Inter as b. so b = a = 0.": 0,
    A + " Define Inst as b. so b = 0 * a = 0 * 0 = 0.": 17,
    A + " Define Inst as b. so b = 0 + a = 0 + 0 = 0.": 16,
}
# different templates in 4,000 draws
COUNTS = {1: 2, 2: 7, 3: 54, 4: 469, 5: 2027, 6: 3383, 8: 3958, 10: 3992, 12: 4000, 15: 4000}


def drawn(config: IgsmConfig, count: int, split: str = "train", stream: int = 0) -> list[Problem]:
    return [Problem(record, config) for record in problems(config, np.arange(count), split, stream).records_N]


def test_template_texts_are_those_whose_hashes_are_published() -> None:
    made = {problem.template() for op in (1, 2) for problem in drawn(ALL.exactly(op), 300)}
    assert len(made) == 9 and set(PUBLISHED) <= made
    for text, expected in PUBLISHED.items():
        assert int(hashlib.sha256(text.encode()).hexdigest(), 16) % 23 == expected


@pytest.mark.parametrize("config", [ALL.exactly(2), ALL.exactly(3), ALL, replace(ALL, op=20, reask=True), HARD])
def test_a_template_has_one_hash_and_a_hash_one_template(config: IgsmConfig) -> None:
    texts: dict[int, str] = {}
    hashes: dict[str, int] = {}
    for problem in drawn(config, 1200):
        text, hashed = problem.template(), int(problem.record["template"])
        assert texts.setdefault(hashed, text) == text and hashes.setdefault(text, hashed) == hashed
        assert problem.record["bin"] in config.bins("train")


def test_a_template_of_several_operations_in_words() -> None:
    problem = next(problem for problem in drawn(ALL.exactly(6), 400)
                   if " * " in problem.template() and len(problem.needed) == 4)  # fmt: skip
    solution, template = problem.solution(), problem.template()
    assert template.count(".") == solution.count(";") + solution.count(".")
    assert [word for word in template.split() if word in ("Inst", "Inter")] == [
        "Inter" if problem.is_total(parameter) else "Inst" for parameter in problem.needed]  # fmt: skip
    letters = [word.strip(".") for word in template.split() if len(word.strip(".")) == 1 and word[0].isalpha()]
    assert list(dict.fromkeys(letters)) == sorted(set(letters)) and len(set(letters)) == problem.op


def test_training_and_tests_share_no_template() -> None:
    for op in (1, 2, 3, 5):
        bins, made = [], []
        for split in ("train", "validation", "evaluation"):
            records = problems(MED.exactly(op), np.arange(3000), split).records_N
            bins.append(set(records["bin"].tolist()))
            made.append(set(records["template"].tolist()))
        assert bins[0] <= set(range(17)) and bins[1] | bins[2] <= set(range(17, 23))
        assert not made[0] & (made[1] | made[2])
        if op <= 3:
            every = set(problems(ALL.exactly(op), np.arange(20_000)).records_N["template"].tolist())
            assert every == made[0] | made[1] | made[2]
    both = [problems(MED.exactly(1), np.arange(200), split).records_N["bin"] for split in ("train", "evaluation")]
    assert set(both[0]) == {10} and set(both[1]) == {20}, "as by the SHA-256"
    share = np.mean(problems(ALL.exactly(15), np.arange(20_000)).records_N["bin"] < 17)
    assert abs(share - 17 / 23) < 4 * (17 * 6 / 23**2 / 20_000) ** 0.5


@pytest.mark.parametrize("op", COUNTS)
def test_as_many_templates_as_published(op: int) -> None:
    # the counts are of sentences in the released order; shuffled ones have more templates
    config = replace(ALL.exactly(op), dependency_order="released")
    counts = np.array([len(set(problems(config, np.arange(4000), "train", stream).records_N["template"].tolist()))
                       for stream in range(6)])  # fmt: skip
    assert abs(counts.mean() - COUNTS[op]) <= 0.5 + 4 * counts.std(ddof=1) * (1 + 1 / 6) ** 0.5
    shuffled = len(set(problems(ALL.exactly(op), np.arange(4000)).records_N["template"].tolist()))
    assert shuffled > counts.mean() if 3 <= op <= 8 else shuffled >= counts.min()


def test_effective_number_of_templates() -> None:
    # pairs of equal templates among 60,000: the reciprocal of the chance that two draws are equal
    config = replace(ALL.exactly(8), dependency_order="released")
    _, counts = np.unique(problems(config, np.arange(60_000)).records_N["template"], return_counts=True)
    pairs = (counts * (counts - 1) // 2).sum()
    assert 1.4e5 < 60_000 * 59_999 / 2 / pairs < 1.7e5, "1.6e5 at op = 8"
