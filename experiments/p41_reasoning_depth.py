"""Part 4.1: how many hops and how deep a graph, by layers and Canon: ``physlm run p41_reasoning_depth --tier demo``."""

from dataclasses import replace
from typing import Any

import pandas as pd
from _part41 import BREVO, DEPO, NAMES, SMALL_TIERS, with_answers

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Ratio, Reach, Shares, laws
from physlm.laws.law import Law
from physlm.laws.verdict import bound
from physlm.training.config import RunSpec

SHAPES = {  # layers, heads and width: those of the playground, and others
    "smoke": ((1, 1, 8), (2, 1, 8)),
    "demo": ((1, 2, 32), (2, 2, 32)),
    "gpu": ((2, 4, 128), (4, 4, 128), (8, 4, 128)),
    "paper": ((4, 8, 512), (8, 8, 512), (12, 8, 512)),
}
SEEDS = {"smoke": (1,), "demo": (1,), "gpu": (1, 2, 3), "paper": (1,)}


def runs(tier: str) -> list[RunSpec]:
    """Rotary models of several depths without and with Canon layers, on Depo; of the playground's depth on Brevo."""
    found = [run for shape in SHAPES[tier]
             for run in replace(DEPO[tier], shape=shape, seeds=SEEDS[tier], rates=()).grid((1.0,))]
    return found + (replace(BREVO[tier], seeds=SEEDS[tier], rates=()).grid((1.0,)) if tier in BREVO else [])


def numbered(table: pd.DataFrame) -> pd.DataFrame:
    """With k, and the depth of a graph, as numbers in columns ``at.hops`` and ``at.depth`` instead of ``at.kind``."""
    table = table.assign(**{"at.kind": table["at.kind"].astype(object)})
    for column, start, quantities in (("at.hops", "k", ("forced", "forced_majority", "forced_untrained")),
                                      ("at.depth", "depth", ("answer_depth",))):
        here = table["quantity"].isin(quantities) & table["at.kind"].astype(str).str.fullmatch(start + r"\d+")
        table[column] = [int(str(kind).removeprefix(start)) if told else "" for kind, told in zip(
            table["at.kind"], here, strict=True)]
        table.loc[here, "at.kind"] = ""
    return table


BY = ("model.layers", "model.local")
HOPS = Shares("forced", (*BY, "at.hops"), {"task.kind": "depo", "at.half": "test"}, called="hops")
DEPTH = Shares("answer_depth", (BY[1], "at.depth"), {"task.kind": "brevo", "at.half": "test"}, called="depth")
REACH = Reach("reach", HOPS, "hops", 0.5)
# Without Canon layers a model may not take a single hop: its reach then counts as 1, so that there is a ratio, and a
# lower bound of it.
FARTHER = Ratio("farther", *(Reach(local, Shares("forced", (BY[0], "at.hops"), {
    **HOPS.where, "model.local": local}, called="hops"), "hops", 0.5, least=least)
    for local, least in (("canon", 0.0), ("none", 1.0))))  # fmt: skip
GAIN, DEEPER = (Contrast(name, of, "local", "canon", "none") for name, of in (("gain", HOPS), ("depth_gain", DEPTH)))
_FIGURE = curves(HOPS, "hops", "local", names={**NAMES, **{("layers", n): f"{n} layers" for n in (2, 4, 8, 12)},
                                              ("layers", 1): "one layer"},
                 control=Shares("forced_majority", HOPS.columns, HOPS.where), control_name="best constant token",
                 xlabel="k, hops", ylabel="tokens of answers right (%)")  # fmt: skip
TIMES = ("the reach is a measure of ours; the ratio is a lower bound where the reach is K with Canon layers, and where "
         "it is less than one hop without, which counts as one")


def figure(table: pd.DataFrame, law: Law) -> Any:
    """Tokens of answers by k, a panel a number of layers."""
    return _FIGURE(numbered(table), law)


EXPERIMENT = Experiment(
    name="p41_reasoning_depth",
    claim="With Canon layers a rotary transformer takes 2 to 4 times as many hops, and reads deeper graphs.",
    source="arXiv:2512.17351, Result 2, Figures 7, 8 and 9",
    runs=runs,
    measures=("answers", "forced"),
    measures_of=with_answers,
    law=laws(HOPS, REACH, FARTHER, GAIN, DEPTH, DEEPER, HOPS.of("forced_untrained", "untrained"),
             items="windows or questions", prepare=numbered,
             notes=("farther: with Canon layers over without; models that take no hop count as one: a lower bound.",)),
    figure=figure,
    expect=(
        *(bound(f"farther@layers={layers}", "at least", 2.0, "Result 2: depth 2 to 4 times", TIMES)
          for layers in (4, 8)),
        *(bound(f"gain@layers=4/hops={hops}", "at least", 0.1, "Figure 7",
                "0.97 at K = 8, twice the depth and four times the width; a tenth is ours") for hops in (1, 4)),
        bound("depth_gain@depth=3", "at least", 0.05, "Figure 9", "breadth +30 % there; a twentieth is ours"),
    ),
    deviations=(
        "Depo and Brevo as in p41_playground, whose runs are used; 2, 4 and 8 layers; three seeds at its rate.",
        "The reach is where half of the tokens of answers are right; the paper says no level.", SMALL_TIERS,
    ),
)  # fmt: skip
