"""Part 3.2: a model that knows two birth months, or two majors, cannot compare them without writing them down first.

    physlm run p32_comparison --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, FEW, HINTED_DEVIATION, LUCK, PUBLISHED_PEOPLE, base_run, hinted_runs
from physlm.figures.knowledge.answers_curves import answers_curves
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import bound
from physlm.tasks.biography.kinds import COMPARISON
from physlm.training.config import RunSpec

BY = ("hints", "people")
KINDS = {"smoke": ("month_later", "luck_later", "luck_minus"), "demo": ("month_later", "luck_later"),
         "gpu": ("month_later", "luck_later", "month_minus", "luck_minus"),
         "paper": COMPARISON}


def runs(tier: str) -> list[RunSpec]:
    """Each kind of question alone, about more and more people, with hints and without."""
    return hinted_runs(tier, base_run(tier, "multi5+permute"), KINDS[tier])


EXPERIMENT = Experiment(
    name="p32_comparison",
    claim=(
        "Without a hint a model compares two people's attributes, which it can tell perfectly, hardly better than by "
        "guessing; with hints that it writes when it is tested it does."
    ),
    source="arXiv:2309.14402, Results 2 and 3, Figure 4",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, most=FEW),
    # of differences no number of people was published, so that they have no place on the axis
    figure=answers_curves(BY, f"{LUCK} {PUBLISHED_PEOPLE}", published={
        ("plain", "answer", "month_later"): {50_000: 0.856},
        ("plain", "answer", "luck_later"): {25_000: 0.522, 50_000: 0.539},
    }),
    expect=(
        bound(f"answer@plain/people<={FEW}/luck_later", "at most", 0.522, "Figure 4: 52.2 % at 25,000",
              "no more than published; the slack is ours", slack=0.05,
              label="whose number is larger, trained without hints"),
        bound(f"answer@plain/people<={FEW}/luck_minus", "at most", 0.012, "Figure 4: 1.1 to 1.2 %",
              "no more than published; the slack is ours", slack=0.05,
              label="difference of numbers, trained without hints"),
        bound(f"answer@hints/people<={FEW}/luck_later", "at most", 0.6,
              "Figure 4: no better untold, whatever it was trained with", "60 % is our reading",
              label="whose number is larger, hints in training only"),
        bound(f"hinted@hints/people<={FEW}/luck_later", "at least", 0.9, "Figure 4", "90 % is our reading",
              label="whose number is larger, hint written first"),
        bound(f"hinted@hints/people<={FEW}/month_later", "at least", 0.9, "Figure 4", "90 % is our reading",
              label="whose month is later, hint written first"),
    ),
    deviations=(
        *DEVIATIONS,
        HINTED_DEVIATION,
        (
            "Tier demo has 100 held-out people, so that an interval is 20 points wide and no bound close to chance can "
            "be met, and 8 majors, whose difference is guessed far more often than that of 100: it is not asked for."
        ),
    ),
    columns=("answer/kind=luck_later/half=test", "answer_hinted/kind=luck_later/half=test",
             "majority/kind=luck_later/half=test"),
    found=(
        "Hints are written before the answer, and with 2,500 people in training both months are written right in 0.03 "
        "of the cases, with 5,000 in 0.80; after true ones 0.996 of the answers follow. So it is the hint that is "
        "wrong, of people who were not asked about."
    ),
)
