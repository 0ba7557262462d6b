"""Part 1: GPTs learn to write long strings of deep context-free grammars.

    physlm run p1_generation --tier demo
"""

from __future__ import annotations

from _part1 import ACCURACIES, BASE, DEVIATIONS, FIVE, grammar_of, run_of
from physlm.figures.grammar.generation import generation_figure
from physlm.lab.experiment import Experiment
from physlm.laws.grammar.generation import generation_law
from physlm.laws.verdict import bound
from physlm.training.config import RunSpec

# Tier gpu takes more and smaller steps than the other claims: the three deep grammars were short of steps (DEVIATIONS).
# Adam's second average spans as many tokens as theirs does.
TRAINING = {"steps": 80_000, "batch_rows": 24, "warmup_steps": 2_000, "betas": (0.9, 0.995)}


def runs(tier: str) -> list[RunSpec]:
    """The five published grammars, which train together; the small tiers have one of their own."""
    names = FIVE if tier in ("gpu", "paper") else (BASE,)
    return [run_of(tier, grammar_of(tier, name), TRAINING) for name in names]


FIGURE_4 = "Figure 4; the table's cells are recalled, not checked"
EXPERIMENT = Experiment(
    name="p1_generation",
    claim=(
        "A rotary GPT trained on strings of a deep context-free grammar writes new strings that parse as a whole, from "
        "nothing and from a true beginning, with the grammar's own probabilities and diversity."
    ),
    source="arXiv:2305.13673, Result 1, Figure 4",
    runs=runs,
    measures=("completion",),
    law=generation_law,
    figure=generation_figure,
    expect=(
        *(bound(f"accuracy@cfg3b/cut={cut}", "at least", 0.99, FIGURE_4, "one point of slack is ours", slack=0.01,
                label=f"valid strings of cfg3b, {cut or 'no'} tokens given")
          for cut in (0, 50)),
        *(bound(f"accuracy@{name}/cut={cut}", "at least", 0.95, FIGURE_4, "95 % is our reading",
                label=f"valid strings of {name}, {cut or 'no'} tokens given")
          for name in ("cfg3i", "cfg3h") for cut in (0, 50)),
        *(bound(f"accuracy@{name}/cut={cut}", "at least", 0.8, FIGURE_4, "80 % is our reading",
                label=f"valid strings of {name}, {cut or 'no'} tokens given")
          for name in ("cfg3g", "cfg3f") for cut in (0, 50)),
        bound("kl@cfg3b", "at most", 0.005, "Figure 4", "the bound is ours", unit="nats/token",
              label="distance from the grammar's own probabilities"),
        bound("entropy_gap@cfg3b", "at least", -2.0, "Figure 4, 169 bits", "the bound is ours", unit="bits/string",
              label="diversity of the strings over the grammar's own"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Tier gpu of this claim, unlike the others: 80,000 steps of 24 windows (0.98 billion tokens) with 2,000 "
            "steps of warm-up and betas of 0.9 and 0.995. A first training, 25,000 steps of 96 windows (1.2 billion "
            "tokens) with betas of 0.9 and 0.98, as the other claims have it, came to 99.6 % from nothing on cfg3b, "
            "97.8 % on cfg3i, 83.8 % on cfg3h, 50.1 % on cfg3g and 30.1 % on cfg3f (n = 2,000 each; the results of "
            "commit fc2fbec); smaller and more steps were then tried on a small grammar, and taken over."
        ),
    ),
    columns=(*ACCURACIES, "kl", "entropy_model", "entropy_truth"),
    found=(
        "The three harder grammars are still being learnt when training ends, at a fifth of the published tokens and "
        "a twentieth of the parameters: from half of the training to its end cfg3h rises from 0.38 to 0.79, cfg3f "
        "from 0.11 to 0.36."
    ),
)
