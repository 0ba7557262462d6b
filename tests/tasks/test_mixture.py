"""A mixture: rows are those of its tasks in words of its own, and answers are graded by the task that was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_examples import example, kinds
from torch import Tensor

from physlm.errors import UserError
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.igsm.config import FAMILIES, Noise
from physlm.tasks.mixture import MixtureConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.prompts import Prompts, joined
from physlm.tasks.rows import IGNORE, unpacked

IGSM = replace(FAMILIES["tiny"], group_items=4)
MANO = ManoConfig(length=2, modulus=5)
CONFIG = MixtureConfig((MANO, IGSM, GrammarConfig()), row_tokens=192)
INDEX = torch.arange(40, 240)


def words_of(task: Any, ids: Tensor) -> list[str]:
    """With the first word of every vocabulary as one."""
    named = {IGNORE: "IGNORE", 0: "FIRST"}
    return [named.get(i) or task.vocabulary.words[i] for i in ids.flatten().tolist()]


def written(prompts: Prompts, answers_BQ: Tensor) -> Tensor:
    ids_BW = torch.zeros(len(answers_BQ), int(prompts.lengths_B.max()) + answers_BQ.shape[1], dtype=torch.long)
    for row, ids, n, answer in zip(ids_BW, prompts.ids_BP, prompts.lengths_B.tolist(), answers_BQ, strict=True):
        row[: n + len(answer)] = torch.cat((ids[:n], answer))
    return ids_BW


def test_each_row_is_that_of_one_of_the_tasks_as_often_as_its_share_says() -> None:
    config = replace(CONFIG, shares=(1.0, 2.0, 5.0))
    mixture, rows = config.build(), config.build().rows(INDEX)
    tasks = [task.build() for task in config.members.values()]
    theirs = [task.rows(INDEX) for task in tasks]
    counts = [0, 0, 0]
    for r in range(len(INDEX)):
        same = [all(words_of(mixture, mine[r]) == words_of(task, its[r]) for mine, its in zip(rows, one, strict=True))
                for task, one in zip(tasks, theirs, strict=True)]
        assert sum(same) == 1
        counts[same.index(True)] += 1
    assert all(abs(count - 200 * share / 8) < 25 for count, share in zip(counts, config.shares, strict=True)), counts
    assert not replace(config, seed=1).build().rows(INDEX).inputs_RT.equal(rows.inputs_RT)


def test_rows_that_all_tasks_make_on_the_host_are_made_there() -> None:
    other = replace(IGSM, retry=replace(IGSM.retry, rate=0.5, mask="name"), modulus=7)
    config = MixtureConfig((IGSM, other), row_tokens=192)
    assert config.made_on_host and not CONFIG.made_on_host and tuple(config.members) == ("igsm1", "igsm2")
    task = config.build()
    packed = torch.from_numpy(task.host_rows(np.arange(40, 240), "validation", 3))
    rows = task.rows(INDEX, "validation", 3)
    assert all(mine.equal(its) for mine, its in zip(unpacked(packed), rows, strict=True))
    assert (rows.targets_RT == IGNORE).any(), "masked tokens stay so"


def test_words_that_tasks_share_are_one_token() -> None:
    mano, igsm = MANO.vocabulary().words, IGSM.vocabulary().words
    words = MixtureConfig((MANO, IGSM), row_tokens=192).vocabulary().words
    assert {*mano} & {*igsm} - {"<bos>"} >= {"0", "1", "2"}, "else this shows nothing"
    assert words[: len(mano)] == mano and {*words} == {*mano, *igsm} and len(words) == len({*mano, *igsm})
    assert CONFIG.vocabulary().words[0] == "<bos>" and "<eos>" not in CONFIG.vocabulary().words


def test_every_task_is_asked_and_grades_its_own_answers() -> None:
    """Also iGSM, which has no conditions, where its settings are given; answers of one task are none to another."""
    task = CONFIG.build()
    every = task.prompts(6)
    assert every.kinds == ("mano_length2", f"igsm_{IGSM.title}")
    assert all(bool(grade.all()) for grade in task.grade(every, written(every, every.answers_BQ)))
    own = task.prompts(6, task="mano")
    assert own.kinds == ("mano_length2",) and words_of(task, own.ids_BP) == words_of(
        MANO.build(), replace(MANO, row_tokens=192).build().prompts(6).ids_BP)
    noisy = task.prompts(6, task="igsm", noise=Noise("graph", tokens=40))
    plain = task.prompts(6, task="igsm")
    assert bool((noisy.lengths_B > plain.lengths_B).any()) and noisy.answers_BQ.equal(plain.answers_BQ)
    both = joined([own, noisy])
    assert both.kinds == (*own.kinds, *noisy.kinds) and both.kind_B.tolist() == [0] * 6 + [1] * 6
    right = task.grade(both, written(both, both.answers_BQ))
    assert all(bool(grade.all()) for grade in right)
    swapped = task.grade(both, written(both, both.answers_BQ.roll(6, 0)))
    assert not swapped.exact_B.any() and not swapped.answer_B.any()
    half = both.answers_BQ.clone()
    half[::2] = 0
    assert task.grade(both, written(both, half)).exact_B.tolist() == [False, True] * 6


@pytest.mark.parametrize("kind", ["mano", "igsm"])
def test_a_word_of_another_task_is_a_wrong_one(kind: str) -> None:
    task = CONFIG.build()
    prompts = task.prompts(5, task=kind)
    foreign = [i for i, word in enumerate(CONFIG.vocabulary().words)
               if word not in CONFIG.members[kind].vocabulary().words]
    for place in range(int(prompts.answer_lengths_B.min()) - 1):
        answers = prompts.answers_BQ.clone()
        answers[:, place] = foreign[place % len(foreign)]
        assert not task.grade(prompts, written(prompts, answers)).exact_B.any()


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind not in ("mixture", "mano")])
def test_words_of_another_task_are_wrong_to_every_task(kind: str, tmp_path: Path) -> None:
    """At every place of an answer, alone and everywhere, and before the end; the row may also have no end."""
    config = example(kind, tmp_path)
    if not config.conditions():
        pytest.skip(f"{kind} asks no questions")
    task = MixtureConfig((config, ManoConfig(length=3, modulus=5)), row_tokens=config.row_tokens).build()
    prompts = task.prompts(6, task=kind)
    assert prompts.kinds[0].startswith(f"{kind}_")
    foreign = task.vocabulary.id("<ans_3>")
    lengths_B1 = prompts.answer_lengths_B[:, None]
    for back in range(2, 1 + int(prompts.answer_lengths_B.max())):
        answers = prompts.answers_BQ.scatter(1, (lengths_B1 - back).clamp_min(0), foreign)
        grades = task.grade(prompts, written(prompts, answers))
        assert not grades.exact_B.any() and (back > 2 or not grades.answer_B.any())
    for answers in (torch.full_like(prompts.answers_BQ, foreign), prompts.answers_BQ.masked_fill(
            prompts.answers_BQ == 0, foreign)):
        assert not task.grade(prompts, written(prompts, answers)).exact_B.any()


def test_what_is_no_mixture_is_refused() -> None:
    for settings, message in (({"tasks": (MANO,)}, "got 1, expected at least two"), ({"shares": (1.0,)}, "got 1 for 3"),
                              ({"shares": (1.0, 0.0, 1.0)}, "above 0"), ({"tasks": (MANO, CONFIG)}, "got a mixture"),
                              ({"row_tokens": 8}, "row_tokens: got 8"), ({"row_tokens": 0}, "row_tokens: got 0")):
        with pytest.raises(UserError, match=message):
            replace(CONFIG, **settings)
    task = CONFIG.build()
    for condition in ({"task": "depo"}, {"length": 1}):
        with pytest.raises(UserError, match="mixture: task: unknown name"):
            task.prompts(3, **condition)
    only = MixtureConfig((GrammarConfig(), GrammarConfig()), row_tokens=64)
    assert only.conditions() == {}
    with pytest.raises(UserError, match="no questions"):
        only.build().prompts(3)
