"""Part 3.2: a model that knows a birth month cannot say whether it is even, unless it writes the month down first.

    physlm run p32_classification --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, FEW, HINTED_DEVIATION, LUCK, PUBLISHED_PEOPLE, base_run, hinted_runs
from physlm.figures.knowledge.answers_curves import answers_curves
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound
from physlm.tasks.biography.kinds import CLASSIFICATION
from physlm.training.config import RunSpec

BY = ("hints", "people")
KINDS = {"smoke": ("month_mod2",), "demo": ("month_mod2", "month_mod6"),
         "gpu": CLASSIFICATION, "paper": CLASSIFICATION}


def runs(tier: str) -> list[RunSpec]:
    """Each kind of question alone, about more and more people, with hints and without."""
    return hinted_runs(tier, base_run(tier, "multi5+permute"), KINDS[tier])


EXPERIMENT = Experiment(
    name="p32_classification",
    claim=(
        "Without a hint a model classifies knowledge that it can tell perfectly hardly better than by guessing while "
        "few people are asked about in training, and slowly better with more; hints help only if it writes them when "
        "it is tested."
    ),
    source="arXiv:2309.14402, Results 2 and 3, Figure 4",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, most=FEW),
    figure=answers_curves(BY, f"{LUCK} {PUBLISHED_PEOPLE}", published={
        ("plain", "answer", "month_mod2"): {2_500: 0.604, 10_000: 0.759, 50_000: 0.953},
        ("hints", "answer", "month_mod2"): {10_000: 0.803}, ("hints", "hinted", "month_mod2"): {10_000: 0.942},
    }),
    expect=(
        bound(f"answer@plain/people<={FEW}/month_mod2", "at most", 0.604, "Figure 4: 60.4 % at 2,500",
              "the slack is ours", slack=0.1, label="parity of the birth month, trained without hints"),
        bound(f"answer@hints/people<={FEW}/month_mod2", "at most", 0.803, "Figure 4: 80.3 % at 10,000",
              "no more than published", label="parity of the birth month, hints in training only"),
        bound(f"hinted@hints/people<={FEW}/month_mod2", "at least", 0.942, "Figure 4: 94.2 % at 10,000",
              "no less than published; the slack is ours", slack=0.042,
              label="parity of the birth month, hint written first"),
    ),
    deviations=(
        *DEVIATIONS,
        HINTED_DEVIATION,
        "No expectation covers that more people help slowly: the published rise needs more people than our 5,000.",
    ),
    columns=("answer/kind=month_mod2/half=test", "answer_hinted/kind=month_mod2/half=test",
             "majority/kind=month_mod2/half=test"),
)
