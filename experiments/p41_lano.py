"""Part 4.1: Lano at the published number of tokens, along training: ``physlm run p41_lano --tier demo``."""

from dataclasses import replace
from typing import Any

import pandas as pd
from _part41 import LANO, NAMES, SMALL_TIERS, along

from _part1 import DEMO
from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Arrival, Contrast, Ratio, Shares, laws, learnt
from physlm.laws.law import Law
from physlm.laws.verdict import bound, published
from physlm.tasks.grammar.config import GrammarConfig
from physlm.training.config import RunSpec

# layers, heads and width, and what else differs from the runs of p41_playground
SETTINGS = {
    "smoke": replace(LANO["smoke"], train=replace(LANO["smoke"].train, snapshots=1)),
    "demo": replace(LANO["smoke"], task=GrammarConfig(DEMO, row_tokens=96), shape=(2, 2, 32), train=replace(
        LANO["smoke"].train, steps=1_000, batch_rows=16, learning_rate=5e-3, snapshots=3)),
    "gpu": replace(LANO["gpu"], task=GrammarConfig("cfg3f"), shape=(8, 8, 256), seeds=(1,), rates=(), train=replace(
        LANO["gpu"].train, steps=100_000, snapshots=5)),
    "paper": replace(LANO["paper"], train=replace(LANO["paper"].train, snapshots=6)),
}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """All of the head rotary, without and with Canon layers."""
    return of_tier(SETTINGS, tier).grid((1.0,))


BY = ("model.position", "model.local")
ACCURACY = Shares("accuracy", BY, {"at.cut": 0})
KL = Shares("kl", BY, unit="nats/token", share=False)
CURVE = Shares("accuracy", (*BY, "at.step"), {"at.cut": 0}, called="curve")
HALF = 0.5
ARRIVALS = {local: Arrival(local, Shares("accuracy", (BY[0], "at.step"), {"at.cut": 0, "model.local": local},
                                         called="curve"), "step", HALF, "steps") for local in ("none", "canon")}
ARRIVAL, FEWER = Arrival("arrival", CURVE, "step", HALF, "steps"), Ratio("fewer", ARRIVALS["none"], ARRIVALS["canon"])
_FIGURE = curves(CURVE, "step", "local", names=NAMES, xlabel="training steps", ylabel="valid strings (%)")
SIZE = "models of 8 x 512 there, so that ours may fall short"

def figure(table: pd.DataFrame, law: Law) -> Any:
    """Valid strings along training."""
    return _FIGURE(along(table), law)


EXPERIMENT = Experiment(
    name="p41_lano",
    claim="With Canon layers a rotary GPT writes more of the strings of a deep grammar right, and from fewer tokens.",
    source="arXiv:2512.17351, Result 2, Figures 4, 7 and 19 (Lano, cfg3f)",
    runs=runs,
    measures=("completion",),
    law=laws(ACCURACY, learnt(Contrast("gain", ACCURACY, "local", "canon", "none"), 0.2), KL,
             Contrast("kl_gain", KL, "local", "none", "canon"), ACCURACY.of("accuracy_untrained", "untrained"),
             ARRIVAL, FEWER, items="strings", details=(CURVE,), prepare=along,
             notes=("fewer: the steps until half of the strings are valid, without Canon layers over with them.",)),
    figure=figure,
    expect=(
        published("gain@position=rope", 0.055, "Figure 7", slack=0.03, reason="of single runs, 2,000 strings each"),
        bound("gain@position=rope", "at least", 0.0, "Figure 7", "any gain"),
        bound("fewer@position=rope", "at least", 1.1, "Figure 19: curves of training",
              "that half of the strings are valid after fewer tokens is our reading; a tenth is ours"),
        published("accuracy@position=rope/local=none", 0.911, "Figure 4", slack=0.1, reason=SIZE),
        published("accuracy@position=rope/local=canon", 0.966, "Figure 7", slack=0.1, reason=SIZE),
    ),
    deviations=(
        (
            "Tier gpu: 8 layers of 256 instead of 512 dimensions, at the published 4.9 billion tokens of cfg3f; one "
            "rate and one seed, since a run takes some 22 minutes of a GPU: intervals are over strings alone. Three "
            "seeds and three rates, on an easier grammar, are in p41_playground."
        ),
        "Snapshots are after 1/32, 1/16, .. of the steps, at rates above those of the end. " + SMALL_TIERS,
    ),
)  # fmt: skip
