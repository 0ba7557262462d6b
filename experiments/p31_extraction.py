"""Part 3.1: who has memorised biographies cannot tell what they say, unless there were several or questions among them.

Three ways to the same knowledge of the same people, then questions about half of them; what counts are the others:

    finetuned/single           one biography of each person, then questions
    finetuned/multi5+permute   five biographies of each, sentences in a random order, then questions
    mixed/single               one biography of each, questions from the beginning

    physlm run p31_extraction --tier demo
"""

from __future__ import annotations

from _part3 import AUGMENTED, DEVIATIONS, SEEDS, answer_run, base_run, mixed_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("way", "augmentation")
LOW_RANK = {"smoke": AUGMENTED, "demo": (), "gpu": AUGMENTED, "paper": AUGMENTED}  # a demonstration has no time for it


def runs(tier: str) -> list[RunSpec]:
    """Finetuned runs of both kinds of biographies for each seed, the same by low-rank updates, and a mixed one."""
    tuned = [answer_run(tier, base_run(tier, name, seed), Ask()) for seed in SEEDS[tier] for name in AUGMENTED]
    low_rank = [answer_run(tier, base_run(tier, name), Ask(), low_rank=True) for name in LOW_RANK[tier]]
    return [*tuned, *low_rank, mixed_run(tier, "single", Ask())]


EXPERIMENT = Experiment(
    name="p31_extraction",
    claim=(
        "A GPT that has memorised one biography of each person and then learns to answer questions about half of the "
        "people cannot answer them about the others; with several biographies of each, or with questions among the "
        "biographies from the beginning, it can."
    ),
    source="arXiv:2309.14316, Results 1 to 3, Figures 1 to 3",
    runs=runs,
    measures=("answers", "recall"),
    law=answers_law(BY),
    figure=answers_table(BY, published={
        ("finetuned/single", "mean"): 0.097, ("finetuned/single", "birth_date"): 0.33,
        ("finetuned/multi5+permute", "mean"): 0.966, ("mixed/single", "mean"): 0.866,
    }),
    expect=(
        bound("recall@finetuned/single", "at least", 0.99, "99 % and more of first tokens", "ours are whole values",
              label="recalled, one text of each"),
        bound("answer@finetuned/single", "at most", 0.30, "Figure 3: 9.7 %", "30 % is our reading",
              label="answers, one text of each"),
        bound("answer@finetuned/multi5+permute", "at least", 0.966, "Figure 3", "no less than published",
              label="answers, five texts of each"),
        bound("answer@mixed/single", "at least", 0.866, "Figure 1: 86.6 %", "the slack is ours", slack=0.05,
              label="answers, questions from the beginning"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Mixed training: as many steps as biographies alone take, as published, 80 % of the rows for questions, so "
            "that each biography is read 108 times; of questions only answers are scored. One seed; the finetuned runs "
            "have three."
        ),
        (
            "Low-rank updates (ranks 16 and 128) learn in 12,000 steps of 4 windows at a rate of 1e-4; published is "
            "3e-4. One seed."
        ),
    ),
    columns=("answer/kind=employer/half=test", "answer/kind=employer/half=train", "recall/attribute=employer"),
    found=(
        "Mixed training tells 0.66 instead of 0.866: where somebody works in 0.08 of the cases, less often than the "
        "commonest city would be right, employers in 0.51, all else in 0.75 to 0.91. Without that one attribute the "
        "mean is 0.77."
    ),
)
