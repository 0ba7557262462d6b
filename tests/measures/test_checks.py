"""Every measure says beforehand of which runs it cannot be taken."""

from __future__ import annotations

import pytest

from physlm.errors import UserError
from physlm.measures import CHECKS, MEASURES
from physlm.measures.measure import check
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.junk_config import JunkConfig
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig

GRAMMARS = ("attention", "completion", "robustness", "trees")


def run_on(task: TaskConfig) -> RunSpec:
    return RunSpec(task, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1))


def test_every_measure_has_a_check() -> None:
    assert set(CHECKS) == set(MEASURES)


@pytest.mark.parametrize(("measure", "task", "words"), [
    *((measure, ManoConfig(), "expected one on strings of a grammar") for measure in (*GRAMMARS, "bags")),
    ("bags", GrammarConfig(), "expected task.bag_tokens above 0"),
    ("capacity", ManoConfig(), "expected one on biographies alone"),
    ("capacity", QuestionsConfig(people=20), "expected one on biographies alone"),
])  # fmt: skip
def test_a_task_that_does_not_fit_is_refused_by_name(measure: str, task: TaskConfig, words: str) -> None:
    with pytest.raises(UserError, match=f"measure {measure}: got a run on .*{words}"):
        check(measure, run_on(task))


@pytest.mark.parametrize(("measure", "task"), [
    *((measure, GrammarConfig()) for measure in GRAMMARS), ("bags", GrammarConfig(bag_tokens=300)),
    *(("capacity", task) for task in (BioSConfig(people=20), BioDConfig(people=20), JunkConfig())),
])  # fmt: skip
def test_a_task_that_fits_is_not(measure: str, task: TaskConfig) -> None:
    check(measure, run_on(task))
