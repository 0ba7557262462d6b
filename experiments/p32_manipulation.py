"""Part 3.2: the four tasks beside each other: retrieval, classification, comparison, inverse search.

    physlm run p32_manipulation --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, HINTED_DEVIATION, PUBLISHED_HALF, answer_run, base_run, hinted_run, inverse_run
from physlm.figures.knowledge.answers_bars import answers_bars
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound
from physlm.tasks.biography.kinds import INVERSE, RETRIEVAL
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("hints",)
GROUPS = {"retrieval": RETRIEVAL, "classification": ("month_mod2", "month_mod6", "luck_mod5", "luck_mod20"),
          "comparison": ("month_later", "luck_later"), "inverse search": INVERSE}  # fmt: skip
HINTED = {"smoke": ("month_mod2",), "demo": ("month_mod2", "month_later"),
          "gpu": (*GROUPS["classification"], *GROUPS["comparison"])}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """All four tasks on one base model, about all people of the half that is trained on."""
    base = base_run(tier, "multi5+permute")
    plain = [answer_run(tier, base, Ask()), inverse_run(tier, base)]
    return [*plain, *(hinted_run(tier, base, kind, hints) for kind in HINTED.get(tier, HINTED["gpu"])
                      for hints in (0.0, 0.5))]  # fmt: skip


EXPERIMENT = Experiment(
    name="p32_manipulation",
    claim=(
        "A model retrieves what it knows, but without writing it down first it neither classifies nor compares it "
        "reliably, and it cannot search by it at all."
    ),
    source="arXiv:2309.14402, Results 1 to 4",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, GROUPS),
    figure=answers_bars(BY, GROUPS, PUBLISHED_HALF, published={
        ("plain", "answer", RETRIEVAL): 0.966,  # arXiv:2309.14316, Figure 3
        ("plain", "answer", GROUPS["comparison"]): (0.856 + 0.539) / 2,  # the mean of both, as the bar is
        # of tiers that ask for one kind of a group
        ("plain", "answer", ("month_mod2",)): 0.953, ("plain", "answer", ("month_later",)): 0.856,
    }),
    expect=(
        bound("answer@plain/retrieval", "at least", 0.95, "Figure 3", "95 % is our reading", label="retrieval"),
        bound("answer@plain/classification", "at most", 0.8, "Figure 4: month parity 75.9 % at 10,000",
              "80 % is our reading", label="classification without hints"),
        bound("answer@plain/comparison", "at most", 0.8, "Figure 4: below 86 % at 50,000", "80 % is our reading",
              label="comparison without hints"),
        bound("hinted@hints/classification", "at least", 0.9, "Figure 4", "90 % is our reading",
              label="classification, hint written first"),
        bound("hinted@hints/comparison", "at least", 0.9, "Figure 4", "90 % is our reading",
              label="comparison, hint written first"),
        bound("answer@plain/inverse search", "at most", 0.02, "Figure 6: about 0", "2 % is our reading",
              label="inverse search"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Retrieval (six kinds together) and inverse search (ten kinds together, in 30,000 steps at a rate of 1e-5) "
            "are learned by all weights; what follows is said of classification and comparison."
        ),
        HINTED_DEVIATION,
    ),
    columns=("answer/kind=employer/half=test", "answer/kind=month_mod2/half=test",
             "answer_hinted/kind=month_mod2/half=test", "answer/kind=all_to_full/half=test"),
    found=(
        "With hints 0.88 of the classifications are right, asked are 0.9: months mod 6 and 12 come to 0.87 and 0.84, "
        "luck mod 5, 20 and 100 to 0.87, 0.77 and 0.79. After true hints 0.99 of the answers follow: the model writes "
        "the hint wrong, though it told all attributes before."
    ),
)
