"""Part 1: attention goes from subtree end to subtree end, most to the adjacent one, as dynamic programming would.

    physlm run p1_attention --tier demo
"""

from __future__ import annotations

from _part1 import DEVIATIONS, run_of
from physlm.figures.grammar.attention import attention_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.attention import attention_law
from physlm.laws.verdict import published_bound
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The base model."""
    return [run_of(tier)]


EXPERIMENT = Experiment(
    name="p1_attention",
    claim=(
        "Beyond what distance explains, and on average over levels, a GPT attends to the ends of subtrees more than to "
        "their neighbours, from ends to ends, and to the adjacent end more than to farther ones."
    ),
    source="arXiv:2305.13673, Results 6 to 9",
    runs=runs,
    measures=("attention",),
    law=attention_law,
    figure=attention_figure,
    expect=(
        published_bound("peak_at_zero@any", "at least", 0.0, "Result 7",
                        label="attention to ends of subtrees over that to their neighbours"),
        published_bound("end_to_end", "at least", 0.0, "Result 8",
                        label="attention from ends to ends, beyond distance"),
        published_bound("adjacent_decay", "at least", 0.0, "Result 9",
                        label="attention to the adjacent end over that to farther ones"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The verdicts are on means over levels and pairs of levels; levels_peaking_at_zero and "
            "pairs_most_to_adjacent say for how many of them the statement holds one by one."
        ),
        (
            "Every headline number is a difference from the same statistic on the trees of other strings, since "
            "residuals of causal attention are not 0 even for an untrained model."
        ),
    ),
    columns=("to_end/level=2/shift=0", "to_end/level=4/shift=0", "to_end/level=6/shift=0"),
)
