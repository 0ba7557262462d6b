"""Part 1: a bidirectional encoder, trained by masking, learns less of the levels near the root than a GPT.

    physlm run p1_encoder --tier demo
"""

from __future__ import annotations

from _part1 import DEVIATIONS, at_last_layers, run_of
from physlm.figures.grammar.encoder import encoder_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.encoder import encoder_law
from physlm.laws.verdict import published_bound
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The base model, and the same with attention in both directions at equal tokens."""
    return [run_of(tier), run_of(tier, causal=False)]


EXPERIMENT = Experiment(
    name="p1_encoder",
    claim=(
        "A bidirectional encoder trained to fill in masked tokens knows less of the derivation tree near its root than "
        "a GPT of the same size after equally many tokens."
    ),
    source="arXiv:2305.13673, Result 5 (BERT and DeBERTa)",
    runs=runs,
    measures=("trees",),
    law=encoder_law,
    figure=encoder_figure,
    expect=(
        published_bound("deep_gap@ancestor", "at least", 0.0, "Result 5",
                        label="ancestors near the root: GPT over encoder"),
        published_bound("deep_gap@boundary", "at least", 0.0, "Result 5",
                        label="ends of subtrees near the root: GPT over encoder"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The encoder has rotary positions, so that it differs from the GPT in direction and objective alone; the "
            "paper has BERT and DeBERTa."
        ),
    ),
    columns=at_last_layers("ancestor/level=2/mask=full", "boundary/level=2/mask=full"),
)
