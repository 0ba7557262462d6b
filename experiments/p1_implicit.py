"""Part 1: where terminals are hidden behind bags of words, the embeddings of a bag's words become alike.

    physlm run p1_implicit --tier demo
"""

from __future__ import annotations

import dataclasses

from _part1 import DEVIATIONS, grammar_of, run_of
from physlm.figures.grammar.implicit import implicit_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.implicit import implicit_law
from physlm.laws.verdict import bound, published_bound
from physlm.tasks.grammar.config import GrammarConfig
from physlm.training.config import RunSpec

STEPS = 8_000
WORDS = {"smoke": 9, "demo": 30, "gpu": 90, "paper": 300}


def runs(tier: str) -> list[RunSpec]:
    """Disjoint bags, uniform and not, and overlapping ones; they train together."""
    base = grammar_of(tier)
    words = WORDS[tier]
    tasks: list[GrammarConfig] = [
        dataclasses.replace(base, bag_tokens=words),
        dataclasses.replace(base, bag_tokens=words, bag_weights="ramp"),
        dataclasses.replace(base, bag_tokens=words, bags="overlap"),
    ]
    return [run_of(tier, task, {"steps": STEPS}) for task in (tasks[:1] if tier == "demo" else tasks)]


EXPERIMENT = Experiment(
    name="p1_implicit",
    claim="Trained on an implicit grammar, a GPT gives the words of one bag similar embeddings, so that the bags show.",
    source="arXiv:2305.13673, Result 10",
    runs=runs,
    measures=("bags",),
    law=implicit_law,
    figure=implicit_figure,
    expect=(
        published_bound("least_gap", "at least", 0.0, "Result 10",
                        label="likeness within bags over that between them, worst grammar"),
        bound("least_neighbours", "at least", 0.9, "Result 10", "90 % is our reading",
              label="words whose nearest is of their bag, worst grammar"),
    ),
    deviations=(*DEVIATIONS, "Tier gpu: 90 words and 8,000 steps, on cfg3b."),
    columns=("gap", "gap_untrained", "neighbours", "clusters"),
)
