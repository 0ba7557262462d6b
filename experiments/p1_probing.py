"""Part 1: the hidden states of a trained GPT hold the whole derivation tree, linearly.

    physlm run p1_probing --tier demo
"""

from __future__ import annotations

from _part1 import DEVIATIONS, at_last_layers, run_of
from physlm.figures.grammar.probing import probing_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.probing import probing_law
from physlm.laws.verdict import bound, published_bound
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The base model."""
    return [run_of(tier)]


EXPERIMENT = Experiment(
    name="p1_probing",
    claim=(
        "After training on strings alone, a GPT's hidden states hold every token's ancestors and every subtree's end, "
        "at every level of the derivation tree, linearly and almost perfectly."
    ),
    source="arXiv:2305.13673, Result 4",
    runs=runs,
    measures=("trees",),
    law=probing_law,
    figure=probing_figure,
    expect=(
        bound("least_ancestor", "at least", 0.97, "Result 4", "97 % at every level is our reading",
              label="ancestors read, worst level"),
        bound("least_boundary", "at least", 0.97, "Result 4", "97 % at every level is our reading",
              label="ends of subtrees read, worst level"),
        # near the root nearly no token ends a subtree, and always "no" is right 99 % of the time; balanced it is half
        bound("least_boundary_balanced", "at least", 0.95, "Result 4", "balanced and 95 % are ours",
              label="ends of subtrees read, balanced, worst level"),
        published_bound("gap_untrained", "at least", 0.0, "Result 4: far above an untrained model",
                        label="ancestors read, over an untrained model"),
        published_bound("gap_untrained_boundary", "at least", 0.0, "Result 4: far above an untrained model",
                        label="ends of subtrees read, over an untrained model"),
    ),
    deviations=(*DEVIATIONS, "Probes: 16 heads of 64 position dimensions, our reading of H = 16 and d' = 1024."),
    columns=at_last_layers("ancestor/level=2/mask=full", "boundary/level=2/mask=full"),
)
