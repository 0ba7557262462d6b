"""Part 3.1 on rewritten biographies: what of bioS holds of texts that a language model might have written.

    finetuned/single+rewritten/all           one rewrite of each person, then questions about half of the people
    finetuned/multi5+rewritten/all           five rewrites of each
    mixed/single+rewritten/all               one rewrite of each, questions from the beginning
    finetuned/single+rewritten/celebrities   celebrities have five rewrites, and questions are about them alone

    physlm run p31_bior --tier demo
"""

from __future__ import annotations

from _part31_bior import DEVIATIONS as BIOR_DEVIATIONS
from _part31_bior import MULTI, SINGLE, read_and_asked_run, read_run

from _part3 import DEVIATIONS, RATES_DEVIATION, answer_runs, setting
from physlm.figures.knowledge.answers_table import OTHERS, answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.best_rate import figure_at_best_rate, law_at_best_rate
from physlm.laws.verdict import bound, own_test, published
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("way", "augmentation", "group")
ALONE, SEVERAL, MIXED = f"finetuned/{SINGLE}/all", f"finetuned/{MULTI}/all", f"mixed/{SINGLE}/all"
FAMOUS = f"finetuned/{SINGLE}/celebrities"


def runs(tier: str) -> list[RunSpec]:
    """Three base models, each finetuned at all rates, and one of mixed training; a demonstration has time for two."""
    alone = answer_runs(tier, read_run(tier, SINGLE), Ask())
    mixed = read_and_asked_run(tier, Ask())
    if tier == "demo":
        return [*alone, mixed]
    famous = read_run(tier, SINGLE, setting(tier).people // 2)
    return [*alone, *answer_runs(tier, read_run(tier, MULTI), Ask()),
            *answer_runs(tier, famous, Ask(group="celebrities")), mixed]


SLACK = (
    "ours are a tenth of the people, a smaller model (26.8 million parameters instead of 302 million), one seed, and "
    "texts of a grammar instead of a language model's"
)

EXPERIMENT = Experiment(
    name="p31_bior",
    claim=(
        "Of biographies that are written as freely as a language model writes them, knowledge is memorised and not "
        "extractable if each person has one, and extractable with several of each, with questions from the beginning, "
        "or with several of celebrities alone."
    ),
    source="arXiv:2309.14316, bioR in Figures 1, 3 and 8 and appendix",
    runs=runs,
    measures=("answers", "recall"),
    law=law_at_best_rate(BY, answers_law(BY)),
    figure=figure_at_best_rate(BY, answers_table(BY, published={
        (ALONE, "mean"): 0.100, (MIXED, "mean"): 0.777, (FAMOUS + OTHERS, "mean"): 0.763,
    }, note="Published: bioR by a language model, 100,000 people.")),
    expect=(
        bound(f"recall@{ALONE}", "at least", 0.99, "99 % and more of first tokens, of bioS",
              "ours are whole values, of bioR", label="recalled, one rewrite of each"),
        published(f"answer@{ALONE}", 0.100, "Figure 8: 10.0 %", slack=0.10, reason=SLACK,
                  label="answers, one rewrite of each"),
        published(f"answer@{MIXED}", 0.777, "Figure 1: 77.7 %", slack=0.10, reason=SLACK,
                  label="answers, questions from the beginning"),
        published(f"others@{FAMOUS}", 0.763, "Figure 8: 76.3 %", slack=0.10, reason=SLACK,
                  label="answers about others than the celebrities"),
        own_test(f"answer@{SEVERAL}", "at least", 0.763, "five rewrites of everybody help no less than five of others",
                 label="answers, five rewrites of each"),
    ),
    deviations=(
        *DEVIATIONS,
        RATES_DEVIATION,
        *BIOR_DEVIATIONS,
        (
            "Half of the people are celebrities (published: as many celebrities as other people, added to them), each "
            "read five times as often as one of the others; their five rewrites have orders of their own. One seed. "
            "Tier demo has no celebrities and no person with five rewrites."
        ),
    ),
    columns=("answer/kind=employer/half=test", "answer_others/kind=employer/half=test", "recall/attribute=employer"),
)
