"""Part 3.3: a mixture that begins with a dense model holds more than one from nothing: half of each expert drawn anew.

    physlm run p33_upcycling --tier demo
"""

import dataclasses

import pandas as pd
from _part33 import DEVIATIONS as SETTING
from _part33 import SETTINGS
from _part33_architectures import rates, run_of

from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Best, Ratio, Shares, laws
from physlm.laws.verdict import bound, own_test
from physlm.models.config import ModelConfig
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.training.config import RunSpec

SHAPE = {"smoke": (1, 1, 16), "demo": (1, 3, 6), "gpu": (2, 4, 64), "paper": (8, 2, 128)}
SEEDS = {"smoke": (0,), "demo": (0,), "gpu": (0, 1, 2), "paper": (0,)}
# Exposures in all, the dense model's half of them included.  8 experts of 4 d, of which a token uses 2, as published.
# R^max is 1.6 bits a parameter at tier gpu, more than 300 exposures teach a mixture.
EXPOSURES = (100, 300)
MIXTURE = ModelConfig(mlp=(MoE(experts=8, top_k=2, expert=Plain(), alpha=0.02),))
REDRAWN = {"copies": 0.0, "half": 0.5}


def runs(tier: str) -> list[RunSpec]:
    """From nothing, from a dense model in two ways, and the dense model itself: equally many exposures each."""
    specs, shape = [], SHAPE[tier]
    for exposures in EXPOSURES:
        for rate in rates(tier, 100):
            for seed in SEEDS[tier]:
                specs += [run_of(tier, shape, exposures, rate, seed),
                          run_of(tier, shape, exposures, rate, seed, MIXTURE)]  # fmt: skip
                dense = run_of(tier, shape, exposures // 2, rate, seed)
                rest = run_of(tier, shape, exposures // 2, rate, seed, MIXTURE)
                specs += [dataclasses.replace(rest, train=dataclasses.replace(rest.train, redrawn=share), start=dense)
                          for share in REDRAWN.values()]  # fmt: skip
    return specs


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns ``way``, what a model began as, and ``exposures``, in all."""
    totals = {round(count * found.exposures[100] / 100): str(count)
              for found in SETTINGS.values() for count in EXPOSURES}  # fmt: skip
    before = table["start.train.exposures"] if "start.train.exposures" in table else pd.Series(0.0, table.index)
    ways = [_way(str(mlp), bool(pd.notna(start) and start), float(share))
            for mlp, start, share in zip(table["model.mlp"], before, table["train.redrawn"], strict=True)]  # fmt: skip
    total = (table["train.exposures"] + before.fillna(0)).astype(int)
    return table.assign(way=ways, exposures=[totals.get(count, str(count)) for count in total])


def _way(mlp: str, began: bool, redrawn: float) -> str:
    if not began:
        return "nothing" if mlp.startswith("moe") else "dense"
    return next((name for name, share in REDRAWN.items() if share == redrawn), f"redrawn {redrawn:g}")


def best(*by: str, called: str = "best", **where: object) -> Best:
    """The bits, by these columns, at the best rate of the mean over seeds."""
    return Best(called, Shares("bits", by, where, unit="bits", share=False), over="train.learning_rate")


BEST = best("way", "exposures")
NOTHING, DENSE, COPIES, HALF = (
    best("exposures", called=way, way=way) for way in ("nothing", "dense", "copies", "half"))  # fmt: skip
DRAW = bars(BEST, "way", "exposures", names={
    ("way", "dense"): "dense throughout", ("way", "nothing"): "mixture from nothing",
    ("way", "copies"): "mixture of copies", ("way", "half"): "half drawn anew",
    ("exposures", "100"): "100 exposures", ("exposures", "300"): "300 exposures"},
    ylabel="learned knowledge (bits)", title="8 experts, of which a token uses 2",
    caption="The best of the learning rates; the dense model's half of the exposures included.")  # fmt: skip

EXPERIMENT = Experiment(
    name="p33_upcycling",
    claim=(
        "At equal training in all, a mixture of experts that begins with a dense model learns more than one from "
        "nothing, and more so if half of each expert is drawn anew."
    ),
    source="arXiv:2502.19261 (Drop-Upcycling), 8 experts from a dense model, r = 0.5; arXiv:2404.05405, Figure 7",
    runs=runs,
    measures=("capacity",),
    law=laws(BEST, Ratio("half_gain", HALF, NOTHING), Ratio("copies_gain", COPIES, NOTHING),
             Ratio("half_over_copies", HALF, COPIES), Ratio("mixture_over_dense", NOTHING, DENSE), items="people",
             prepare=named),
    figure=lambda table, law: DRAW(named(table), law),
    expect=(
        *(bound(f"half_gain@{exposures}", "at least", 1.0, "half drawn anew is ahead of a mixture from nothing",
                "any gain in bits will do; published are losses of language models",
                label=f"half drawn anew over from nothing, {exposures} exposures") for exposures in EXPOSURES),
        bound("half_over_copies@300", "at least", 1.0, "r = 0.5 is best of 0, 0.5 and 1 in the long run",
              "any gain in bits will do; published are losses of language models",
              label="half drawn anew over plain copies, 300 exposures"),
        own_test("mixture_over_dense@300", "at least", 1.0, "a mixture holds more bits than its dense model",
                 label="mixture over its dense model, 300 exposures"),
    ),
    deviations=(
        *SETTING,
        (
            "Facts about people instead of web text; models of two layers and 64 dimensions instead of 12 and 512 or "
            "more; the dense model has half of the exposures, where it had trillions of tokens there."
        ),
        (
            "Hidden units are not shuffled before they are drawn anew, which changes no function; gate and up, and "
            "down, have subsets of their own, as in the released code; the router begins with normal numbers of "
            "deviation 0.02, where the released code has uniform ones."
        ),
        "The second training warms up and decays anew, from the rate of the first.",
    ),
    found=(
        "Three seeds scatter more than the ways differ: half drawn anew over nothing is 1.15 (0.78 to 1.63) after 100 "
        "exposures and 0.92 (0.72 to 1.45) after 300, so that neither a gain nor a loss is shown."
    ),
    columns=("bits", "bits_per_param"),
)  # fmt: skip
