"""Part 3.2: asked one kind of question alone, who read names first finds nobody, who read them last most people.

    physlm run p32_reversed --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, TOLD, base_run, inverse_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound, own_test
from physlm.tasks.biography.kinds import INVERSE
from physlm.training.config import RunSpec

BY = ("augmentation",)
FORWARD, REVERSED = BASES = ("multi5+permute", "multi5+permute+reverse6")
ALL = ("all_to_first", "all_to_full")
KINDS = {"smoke": ALL, "demo": ALL, "gpu": INVERSE, "paper": INVERSE}
AFTER = "added after p32_inverse was run once; "


def runs(tier: str) -> list[RunSpec]:
    """Forward and reversed biographies, each asked every kind of inverse question alone."""
    return [inverse_run(tier, base_run(tier, name), (kind,)) for name in BASES for kind in KINDS[tier]]


EXPERIMENT = Experiment(
    name="p32_reversed",
    claim=(
        "Even a model that learns a single kind of inverse question cannot find a person by known attributes; one "
        "whose biographies named people after their attributes finds them by all of these."
    ),
    source="arXiv:2309.14402, Result 4, Figure 6",
    runs=runs,
    measures=("answers", "recall"),
    law=answers_law(BY),
    figure=answers_table(BY, note=TOLD),
    expect=(
        bound(f"most@{FORWARD}", "at most", 0.02, "Figure 6: about 0", f"{AFTER}2 % is our reading",
              label="people found, best question, names first"),
        own_test(f"train@{FORWARD}", "at least", 0.9, "our control: they were learned",
                 label="questions of training answered, names first"),
        own_test(f"recall_name@{REVERSED}", "at least", 0.9, "our control: reversed biographies told whose they are",
                 label="names recalled, attributes first"),
        own_test(f"train@{REVERSED}", "at least", 0.9, "our control",
                 label="questions of training answered, attributes first"),
        bound(f"answer@{REVERSED}/all_to_first", "at least", 0.9, "Figure 6", f"{AFTER}90 % is our reading",
              label="first names found by all attributes, attributes first"),
        bound(f"answer@{REVERSED}/all_to_full", "at least", 0.9, "Figure 6", f"{AFTER}90 % is our reading",
              label="full names found by all attributes, attributes first"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Each kind of question is learned alone, by all weights (published: by LoRA), at tier gpu in 4,000 steps, "
            "which see each question 44 to 100 times, the longest the fewest. Of the mixed runs of Figure 6 there is "
            "none, and tier gpu has one of the four reversed sets."
        ),
        (
            "The claim was added after p32_inverse, where ten kinds are learned together, had found 0.68 of the people "
            "by all attributes, and its steps were chosen after a pilot (1,000 people, 3 layers of 96 dimensions, "
            "held-out people) that found 0.05 to 0.30 of them there, 0.70 alone, and alone in four times as many steps "
            "0.45. So it differs from p32_inverse in steps and rate too, and does not say which of them matters."
        ),
        "Tiers smoke and demo ask by all six attributes only.",
    ),
    columns=("answer/kind=all_to_full/half=test", "answer/kind=all_to_full/half=train"),
)
