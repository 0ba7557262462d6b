"""Part 3.2: parts of a value, and two values at once, can be told where single values can.

    physlm run p32_retrieval --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound
from physlm.tasks.biography.kinds import DUAL, PARTIAL
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("augmentation",)
BASES = ("multi5", "multi5+permute")


def runs(tier: str) -> list[RunSpec]:
    """Questions for parts of birth dates and for pairs of values, with and without orders of sentences."""
    return [answer_run(tier, base_run(tier, name), Ask(kinds=(*PARTIAL, *DUAL))) for name in BASES]


EXPERIMENT = Experiment(
    name="p32_retrieval",
    claim="A model of well augmented biographies retrieves two values at once, in either order, and parts of a value.",
    source="arXiv:2309.14402, Result 1, Figure 3",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, {"dual": DUAL, "partial": PARTIAL}),
    figure=answers_table(BY),
    expect=(
        bound("answer@multi5+permute/dual", "at least", 0.95, "Figure 3: near 100 %", "95 % is our reading",
              label="two values at once"),
        bound("answer@multi5+permute/birth_day", "at least", 0.823, "82.3 %", "no less than published",
              label="day of the birth date"),
    ),
    deviations=(
        *DEVIATIONS,
        "All eight kinds of questions are learned together, by all weights; published: LoRA.",
        (
            "Years of birth alone are told poorly in the paper as well, without a number: they have no expectation, so "
            "that of the parts of a value the verdict is about the day alone."
        ),
    ),
    columns=("answer/kind=birth_year/half=test", "answer/kind=university+major/half=test"),
    found=(
        "The day of the birth date alone is told in 0.79 of the cases, 0.823 published, though the same base model "
        "tells whole dates in 1.00: it is the part of a value, asked for by itself, that is lost, and of the year "
        "more than of the day (0.25)."
    ),
)
