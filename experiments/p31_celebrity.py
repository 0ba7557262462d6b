"""Part 3.1: celebrities help minorities.

Half of the people are celebrities, who have five biographies and are read about five times as often; the others have
one.  Questions are about celebrities only, and what counts are the others.

    physlm run p31_celebrity --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, RATES_DEVIATION, answer_runs, base_run, setting
from physlm.figures.knowledge.answers_table import OTHERS, answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.best_rate import figure_at_best_rate, law_at_best_rate
from physlm.laws.verdict import bound
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("group",)
MINORITY = "single+permute1"


def runs(tier: str) -> list[RunSpec]:
    """Questions about celebrities; and, where there are none, about half of the people."""
    famous = base_run(tier, MINORITY, celebrities=setting(tier).people // 2)
    return [*answer_runs(tier, famous, Ask(group="celebrities")), *answer_runs(tier, base_run(tier, MINORITY), Ask())]


EXPERIMENT = Experiment(
    name="p31_celebrity",
    claim=(
        "Augmenting the biographies of some people makes the knowledge about other people extractable whose "
        "biographies were never augmented and about whom no question was ever asked."
    ),
    source="arXiv:2309.14316, Result 7, Figure 8",
    runs=runs,
    measures=("answers", "recall"),
    law=law_at_best_rate(BY, answers_law(BY)),
    figure=figure_at_best_rate(BY, answers_table(BY, published={
        ("all", "mean"): 0.044, ("celebrities" + OTHERS, "mean"): 0.868,
    }, words={"all": "without celebrities"}, note=(
        "Celebrities have five biographies each, other people one; questions in training are about celebrities or, "
        "without any, about half of the people."
    ))),
    expect=(
        bound("answer@all", "at most", 0.15, "Figure 3: 4.4 % of single+permute1", "15 % is our reading",
              label="answers, nobody augmented"),
        bound("others@celebrities", "at least", 0.868, "Figure 8: 86.8 %", "the slack is ours", slack=0.1,
              label="answers about others, celebrities augmented"),
    ),
    deviations=(
        *DEVIATIONS,
        RATES_DEVIATION,
        (
            "Half of the people are celebrities (published: as many celebrities as other people, added to them), so a "
            "celebrity is read 900 times, each of five biographies about 180 times, and one of the others 180 times "
            "(computed for the published run: 115). An epoch of all biographies has 333 steps (computed: 694), and "
            "2,500 celebrities are asked about, each question 93 times."
        ),
    ),
    columns=("answer/kind=employer/half=test", "answer_others/kind=employer/half=test"),
    found=(
        "Others than the celebrities are told 0.69 of, published 0.868: employers (0.45) and their cities (0.46) "
        "least, all else in 0.76 to 0.85 of the cases. There are a tenth of the published people, of whom questions "
        "can be learnt; that more would help was not tested here."
    ),
)
