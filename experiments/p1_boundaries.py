"""Part 1: what the tree's inner symbols are is stored at the ends of their subtrees.

    physlm run p1_boundaries --tier demo
"""

from __future__ import annotations

from _part1 import DEVIATIONS, at_last_layers, run_of
from physlm.figures.grammar.boundaries import boundaries_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.boundaries import boundaries_law
from physlm.laws.verdict import bound, published_bound
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The base model."""
    return [run_of(tier)]


EXPERIMENT = Experiment(
    name="p1_boundaries",
    claim=(
        "The symbol at the root of a subtree can be read, linearly, from the hidden state of the subtree's last token "
        "alone, or from that token and its neighbours."
    ),
    source="arXiv:2305.13673, Result 5",
    runs=runs,
    measures=("trees",),
    law=boundaries_law,
    figure=boundaries_figure,
    expect=(
        bound("least_ancestor@diagonal", "at least", 0.95, "Result 5", "95 % is our reading",
              label="roots read from the last token alone, worst level"),
        bound("least_ancestor@tridiagonal", "at least", 0.95, "Result 5", "95 % is our reading",
              label="roots read from the last token and its neighbours, worst level"),
        published_bound("gap_untrained@diagonal", "at least", 0.0, "Result 5: far above an untrained model",
                        label="roots read from the last token, over an untrained model"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The gap to an untrained model is judged for the subtree's last token alone: at the lowest level that "
            "token and its neighbours tell the symbol by themselves, so that an untrained model reads it as well."
        ),
    ),
    columns=at_last_layers("ancestor/level=2/mask=diagonal", "ancestor/level=2/mask=tridiagonal"),
)
