"""Part 3.1: knowledge does not sit in one layer: without any one of half of the layers, part of it can still be told.

    physlm run p31_layers --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run
from physlm.figures.knowledge.without_layer import without_layer_figure
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.without_layer import without_layer_law
from physlm.laws.verdict import own_test
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The model that answers best."""
    return [answer_run(tier, base_run(tier, "multi5+permute"), Ask())]


EXPERIMENT = Experiment(
    name="p31_layers",
    claim=(
        "A model still answers a quarter or more of the questions that it can when any one of at least half of its "
        "layers is taken out of it."
    ),
    source="arXiv:2309.14316 (our own test: knowledge is not stored in one layer)",
    runs=runs,
    measures=("answers", "without_layer"),
    law=without_layer_law,
    figure=without_layer_figure,
    expect=(
        # the median layer: the best of several, left_most, would hardly ever fail
        own_test("left@block", "at least", 0.25, "our reading: a quarter of what the intact model tells",
                 label="answers left without a layer, median layer"),
        own_test("left@mlp", "at least", 0.25, "our reading", label="answers left without an MLP, median layer"),
        own_test("left@attention", "at least", 0.25, "our reading",
                 label="answers left without an attention, median layer"),
    ),
    deviations=(
        *DEVIATIONS,
        "A part is taken out by making it add nothing to the residual stream; nothing is retrained.",
        "Judged is the median layer: the mean of the middle two of eight, and of both layers at tier demo.",
    ),
    columns=("answer/kind=employer/half=test", "answer_without/kind=employer/half=test/layer=0/part=block"),
)
