"""Part 3.1: questions in wordings that were never trained on are answered as well as those that were.

    physlm run p31_paraphrase --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import own_test
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("forms",)
FORMS = (1, 4)


def runs(tier: str) -> list[RunSpec]:
    """Questions in one wording, and in four."""
    return [answer_run(tier, base_run(tier, "multi5+permute"), Ask(forms=forms)) for forms in FORMS]


EXPERIMENT = Experiment(
    name="p31_paraphrase",
    claim="A model that was asked in four wordings answers two others, which it has never seen, about held-out people.",
    source="arXiv:2309.14316, section 3 (our own test of it)",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY),
    figure=answers_table(BY, besides=("reworded",)),
    expect=(
        own_test("answer@4 forms", "at least", 0.95, "our reading", label="answers to the four wordings of training"),
        own_test("reworded@4 forms", "at least", 0.90, "our reading", label="answers to two wordings never seen"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The published questions have one wording each; the five others are our own. Every word of the two that "
            "are never asked in training stands in the biographies or in wordings that are: they test other ways to "
            "ask, not unknown words."
        ),
    ),
    columns=("answer/kind=employer/half=test", "answer_reworded/kind=employer/half=test"),
    found=(
        "Two wordings that were never seen are understood for birth date and city (1.00), university and major (0.91, "
        "0.93), not for the employer (0.52) and its city (0.02). That is one seed, and after a single wording three "
        "seeds differ by 0.2."
    ),
)
