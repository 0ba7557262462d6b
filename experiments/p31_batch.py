"""Part 3.1: knowledge comes to stand under a name only where the steps of reading are small.

The same biographies, as often, in steps of more and of fewer windows; then the same questions about half of the people,
at two rates of finetuning.

    physlm run p31_batch --tier demo
"""

from __future__ import annotations

import dataclasses

from _part3 import DEVIATIONS, answer_runs, base_run
from physlm.figures.knowledge.answers_table import answers_table
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import own_test
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("start.train.batch_rows", "train.learning_rate")
ROWS = {"smoke": (2, 4), "demo": (2, 8, 32), "gpu": (10, 96), "paper": (96, 960)}
PILOT = "our reading, after a pilot of this seed"


def runs(tier: str) -> list[RunSpec]:
    """One base model for each number of windows in a step; all are asked the same at each rate of finetuning."""
    base = base_run(tier, "multi5+permute")
    bases = [dataclasses.replace(base, train=dataclasses.replace(base.train, batch_rows=rows)) for rows in ROWS[tier]]
    return [run for one in bases for run in answer_runs(tier, one, Ask())]


EXPERIMENT = Experiment(
    name="p31_batch",
    claim=(
        "Whether memorised knowledge can be told depends on how it was read: the same biographies, read as often in "
        "steps of ten times as many windows, are recalled as well, but fewer questions about them are answered; after "
        "gentle finetuning hardly any."
    ),
    source="our own test; arXiv 2309.14316, appendix A, reads 100,000 people in steps of 96 windows",
    runs=runs,
    measures=("answers", "recall"),
    law=answers_law(BY),
    figure=answers_table(BY, words={"batch_rows": "steps of {} windows", "learning_rate": "finetuned at rate {}"},
                         note="Windows: rows of biographies in one step of reading. Rate: of learning, in finetuning."),
    expect=(
        own_test("recall@batch_rows=96/learning_rate=3e-05", "at least", 0.99, "our control: known all the same",
                 label="recalled, large steps"),
        own_test("answer@batch_rows=10/learning_rate=3e-05", "at least", 0.95, PILOT, label="answers, small steps"),
        own_test("answer@batch_rows=96/learning_rate=3e-05", "at most", 0.50, PILOT,
                 label="answers, large steps, gentle finetuning"),
        own_test("answer@batch_rows=96/learning_rate=0.0001", "at most", 0.85, PILOT, label="answers, large steps"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The numbers of steps follow from the exposures: 60,000 and 6,250 at tier gpu, at one learning rate and "
            "weight decay; all are finetuned at both of two rates. The expectations name the windows and rates of tier "
            "gpu; other tiers have others."
        ),
    ),
    columns=("answer/kind=employer/half=test", "answer/kind=employer/half=train", "recall/attribute=employer"),
)
