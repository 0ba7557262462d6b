"""Part 3.3: fixed texts, and rewritten ones, hold about as many bits as fresh ones: two a parameter, slightly fewer.

The same people in three ways, each read 1000 times:

    bioS           new templates and a new order of sentences at every exposure
    bioS simple    one text of each person
    bioR           40 rewrites of each person, 25 times each

    physlm run p33_simple_bior --tier demo
"""

from __future__ import annotations

import dataclasses
from typing import Any

from _part33 import NOTHING_UNTRAINED, base_run, deviations, setting

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Best, Most, Ratio, Shares, laws, smallest
from physlm.laws.verdict import bound, published
from physlm.training.config import RunSpec

# The settings that tell the data apart, under the names that tables have for them: ``facts.augmentation``.
FRESH, SIMPLE, BIOR = "", "single+permute1", "multi40+rewritten"
DATA: dict[str, dict[str, Any]] = {
    FRESH: {}, SIMPLE: {"fresh": False}, BIOR: {"texts": 40, "rewritten": True},
}  # fmt: skip
# One text a row of 72 tokens, whatever the data: none of bioS is longer, and of rewrites one in 1,200 is cut, by two
# tokens or so.
# Packed rows hold eight rewrites.
ROW_TOKENS, PACKED = 72, 8
SEEDS = {"gpu": (0, 1), "paper": (0, 1)}


def runs(tier: str) -> list[RunSpec]:
    """Data x sizes x rates x seeds."""
    found = setting(tier)
    rows: dict[str, Any] = {"row_tokens": ROW_TOKENS}
    if found.task.entries_per_row > 1:
        rows = {"entries_per_row": PACKED}
    specs = [base_run(tier, shape, 1000, rate, seed, **rows, **data) for data in DATA.values()
             for shape in found.shapes for rate in found.rates for seed in SEEDS.get(tier, (0,))]
    if tier == "demo":  # few people, little in all, are learnt late
        specs = [dataclasses.replace(spec, train=dataclasses.replace(spec.train, exposures=DEMO_EXPOSURES))
                 for spec in specs]  # fmt: skip
    return specs


DEMO_EXPOSURES = 400
TEXTS = {"texts": "facts.augmentation"}
CELLS = {**TEXTS, "width": "model.width", "rate": "train.learning_rate"}
PER_PARAM = Shares("bits_per_param", CELLS, unit="bits/parameter", share=False)
# The peaks are those of single runs, as in the figure, and as in the claims that have one seed.  Student's t over two
# seeds is 12.7 times as wide as they differ: means over them told 1.9 from 1.4 in no planted world, and met "at least
# 0.85" in none where nothing was lost.  The best of eight runs that scatter by 3 % is 2 to 3 % high; runs of rewrites
# scatter by more.
RUN = {"width": "model.width", "rate": "train.learning_rate", "seed": "train.seed"}
PEAK = Most("peak", Shares("bits_per_param", {**TEXTS, **RUN}, called="by_run", unit="bits/parameter", share=False),
            over=tuple(RUN), share=False)  # fmt: skip
FRESH_PEAK = Most("peak_fresh", Shares("bits_per_param", RUN, {"facts.augmentation": FRESH}, called="fresh_by_run",
                                       unit="bits/parameter", share=False), share=False)  # fmt: skip
ONE = {"model.width": smallest, "train.learning_rate": smallest}
IN_DATA = Shares("bits_max", TEXTS, ONE, called="in_data", unit="bits", share=False)
IN_FRESH = Shares("bits_max", (), {"facts.augmentation": FRESH, **ONE}, called="in_fresh", unit="bits", share=False)
UNTRAINED = Most("untrained", Shares("bits_untrained", CELLS, unit="bits", share=False), share=False)
PARTS = [Shares(name, CELLS, unit="bits", share=False) for name in ("bits_name", "bits_value")]
BITS = Best("bits", Shares("bits", {"params": "params_used", **TEXTS}, unit="bits", share=False), "train.learning_rate")
NAMES = {FRESH: "bioS, fresh texts", SIMPLE: "bioS simple, one text", BIOR: "bioR, 40 rewrites"}
NEAR = ("the paper draws these as 'about 2, slightly lower' at its own sizes; ours are two of two layers, where fresh "
        "texts gave 2.10")  # fmt: skip

EXPERIMENT = Experiment(
    name="p33_simple_bior",
    claim=(
        "Whether each person has one fixed text, 40 rewrites, or a fresh text at every exposure, a GPT that has seen "
        "everybody 1000 times holds about 2 bits a parameter, of fixed texts and of rewrites at most 15 % fewer."
    ),
    source="arXiv:2404.05405, Result 2, Figure 11",
    runs=runs,
    measures=("capacity",),
    law=laws(PER_PARAM, PEAK, FRESH_PEAK, Ratio("against_fresh", PEAK, FRESH_PEAK),
             Ratio("information", IN_DATA, IN_FRESH), UNTRAINED, items="people", details=PARTS),
    figure=curves(BITS, "params", "texts", names=NAMES, log_y=True, guides=(2.0, 1.0),
                  xlabel="parameters (embedding rows in use included)", ylabel="learned knowledge (bits)",
                  caption="Grey: 2 bits and 1 bit a parameter. The best of the learning rates of each size."),
    expect=(
        published(f"peak@texts={SIMPLE}", 2.0, "Result 2, Figure 11", slack=0.25, reason=NEAR, unit="bits/parameter",
                  label="most bits per parameter, one fixed text"),
        published(f"peak@texts={BIOR}", 2.0, "Result 2, Figure 11", slack=0.25, reason=NEAR, unit="bits/parameter",
                  label="most bits per parameter, 40 rewrites"),
        bound(f"against_fresh@texts={SIMPLE}", "at least", 0.85, "'slightly lower'", "15 % is our reading",
              label="one fixed text over fresh texts"),
        bound(f"against_fresh@texts={BIOR}", "at least", 0.85, "'slightly lower'", "15 % is our reading",
              label="40 rewrites over fresh texts"),
        NOTHING_UNTRAINED,
    ),
    deviations=(
        *deviations(row_tokens=ROW_TOKENS),
        (
            "bioR is written by a grammar of surface forms (docs/bior.md), published by LLaMA2. One text a row of 72 "
            "tokens for all three, where the capacity law has rows of 60: of rewrites 0.08 % are cut, of bioS none. "
            "Tier paper packs eight texts into 512 tokens."
        ),
        (
            "bioS simple keeps the one order of sentences of each person's text, drawn at random. Capacity is measured "
            "on texts of the data: of simple ones the one that was read, of rewrites two of the 40."
        ),
        (
            "Two seeds at tiers gpu and paper; peaks are the best of all single runs of the data, and their intervals "
            "are over people; this was fixed after 6 of the 24 runs of tier gpu had been trained and looked at. Tier "
            "demo: 400 exposures."
        ),
    ),
    found=(
        "The best runs hold 1.94 bits a parameter of fixed texts, 2.04 of fresh ones and 2.18 of rewrites: of these "
        "slightly more than of fresh texts, where the paper draws slightly less. Seeds of rewrites scatter by up to "
        "0.29; means over both seeds are at most 2.13, 1.05 times those of fresh texts. With 64 dimensions fixed texts "
        "hold 1.62 beside 2.03, 0.80 of fresh ones, below the bound that the peaks meet."
    ),
    columns=("bits_per_param", "bits", "bits_name", "bits_value", "bits_max"),
)
