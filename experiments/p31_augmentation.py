"""Part 3.1: which kinds of augmentation make knowledge extractable.

The table of augmentation by attribute: models read differently augmented biographies of the same people, learn to
answer questions about half of them, and are asked about the others.

    physlm run p31_augmentation --tier demo
"""

from __future__ import annotations

from _part3 import AUGMENTED, DEVIATIONS, RATES_DEVIATION, answer_runs, base_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.best_rate import figure_at_best_rate, law_at_best_rate
from physlm.laws.verdict import bound, published
from physlm.tasks.biography.augmentation import AUGMENTATIONS
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("augmentation",)
EIGHT = ("single", "single+fullname", "single+permute1", "single+permute5", "multi2+permute", "multi5",
         "multi5+permute", "multi5+permute+fullname")  # those with published numbers
DATASETS = {"smoke": AUGMENTED, "demo": (*AUGMENTED, "multi5", "single+permute5"), "gpu": EIGHT, "paper": AUGMENTATIONS}


def runs(tier: str) -> list[RunSpec]:
    """For each dataset a model finetuned at each rate."""
    return [run for name in DATASETS[tier] for run in answer_runs(tier, base_run(tier, name), Ask())]


EXPERIMENT = Experiment(
    name="p31_augmentation",
    claim=(
        "What makes knowledge extractable is seeing it in several forms: both other wordings and other orders of the "
        "sentences help, and together they suffice."
    ),
    source="arXiv:2309.14316, Result 3, Figure 3",
    runs=runs,
    measures=("answers", "recall"),
    law=law_at_best_rate(BY, answers_law(BY)),
    figure=figure_at_best_rate(BY, answers_table(BY, row_order=AUGMENTATIONS, published={
        ("single", "mean"): 0.097, ("single", "birth_date"): 0.33, ("single+fullname", "mean"): 0.489,
        ("single+permute1", "mean"): 0.044, ("single+permute5", "mean"): 0.70, ("multi5", "mean"): 0.41,
        ("multi2+permute", "mean"): 0.961, ("multi5+permute", "mean"): 0.966,
        ("multi5+permute+fullname", "mean"): 0.962,
    })),
    expect=(
        bound("answer@single", "at most", 0.30, "Figure 3: 9.7 %", "30 % is our reading",
              label="answers, one text of each"),
        published("answer@multi5", 0.41, "Figure 3: 41 %", slack=0.2, reason="the slack is ours",
                  label="answers, five wordings"),
        published("answer@single+permute5", 0.70, "Figure 3: 70 %", slack=0.2, reason="the slack is ours",
                  label="answers, five orders"),
        bound("answer@multi5+permute", "at least", 0.966, "Figure 3", "no less than published",
              label="answers, five wordings in other orders"),
    ),
    deviations=(
        *DEVIATIONS,
        RATES_DEVIATION,
        (
            "Tier gpu has eight of the sixteen datasets, those with published numbers, one seed each; p31_extraction "
            "has the seeds of two of them."
        ),
    ),
    columns=("answer/kind=birth_date/half=test", "answer/kind=employer/half=test", "recall/attribute=employer"),
)
