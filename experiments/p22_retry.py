"""Part 2.2: training on wrong starts that are taken back: ``physlm run p22_retry --tier demo``."""

from _part2 import COLUMNS, DEVIATIONS, DRAWN, EXACT, REASK, base_run, setting

from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Shares, largest, laws
from physlm.laws.verdict import bound
from physlm.tasks.igsm.config import Retry
from physlm.training.config import RunSpec

HALF, FEW = Retry(0.5), (Retry(), Retry(0.5), Retry(0.5, "weak"))
ALL = (Retry(), Retry(0.1), Retry(0.2), Retry(0.4), HALF, Retry(0.5, mask="name"), Retry(0.5, "weak"),
       Retry(0.5, "miss"))  # fmt: skip
TWICE = (Retry(), HALF)  # from every seed, the others from the first


def runs(tier: str) -> list[RunSpec]:
    """Rates, masked, weak and missing parameters; without wrong starts the base model."""
    seeds = setting(tier).seeds
    return [base_run(tier, seed, retry=retry) for retry in (FEW if tier == "demo" else ALL)
            for seed in (seeds if retry in TWICE else seeds[:1])]


RETRY = {"mask": "task.retry.mask", "names": "task.retry.names", "rate": "task.retry.rate"}
BEYOND, INSIDE, REASKED = (Shares("solved", RETRY, {**where, "at.op": largest}, called=name) for name, where in (
    ("beyond", EXACT), ("inside", DRAWN), ("reask", REASK)))
ERROR_FREE = Shares("solved", (), {**EXACT, "at.op": largest, "task.retry.rate": 0.0}, called="error_free")
STARTS = Shares("retries", RETRY, {**EXACT, "at.op": largest, "at.outcome": "right"}, unit="1/solution", share=False)
UNNEEDED = Shares("unneeded_parameters", RETRY, {**EXACT, "at.op": largest}, called="unneeded", unit="1/solution",
                  share=False)  # fmt: skip
NAMES = {("mask", "none"): "Every token is learnt", ("mask", "name"): "The wrong parameter is no target",
         "wrong": "not computable yet", "weak": "of a later sentence (weak)", "miss": "any (miss)"}  # fmt: skip


def at(name: str, rate: float, names: str = "wrong", mask: str = "none") -> str:
    """A quantity of one kind of retry data."""
    return f"{name}@mask={mask}/names={names}/rate={rate}"


EXPERIMENT = Experiment(
    name="p22_retry",
    claim="Training on wrong starts that are taken back makes more solutions right, and they stay the shortest.",
    source="arXiv:2408.16293, Results 3 to 6, Figures 4 to 6 and 8", runs=runs, measures=("solutions",),
    law=laws(INSIDE, BEYOND, REASKED, ERROR_FREE, Contrast("gain", BEYOND, "rate", 0.5, 0.0),
             Contrast("reask_gain", REASKED, "rate", 0.5, 0.0), Contrast("weak_loss", BEYOND, "names", "weak", "wrong"),
             Contrast("mask_gain", BEYOND, "mask", "name", "none"), STARTS, STARTS.of("retries", "wrong_retries",
             outcome="wrong"), UNNEEDED, UNNEEDED.of("unneeded_parameters", "reask_unneeded", set="reask"),
             INSIDE.of("solved_untrained", "untrained"), items="problems"),
    figure=bars(BEYOND, "rate", "names", control=ERROR_FREE, control_name="without wrong starts", besides=REASKED,
                besides_name="another question (reask)", names=NAMES,
                ylabel="solved, half as many operations again (%)"),
    expect=(
        bound("gain@mask=none/names=wrong", "at least", 0.05, "Figure 4: 0.08 to 0.16 at half as many operations again",
              "5 points are ours"),
        bound("weak_loss@mask=none/rate=0.5", "at most", -0.05, "Figure 8: 0.61 instead of 0.94 at op = 23", "ours"),
        bound(at("unneeded", 0.5), "at most", 0.02, "Figure 6: at most 0.02", "as published, of larger families",
              unit="1/solution"),
        bound(at("retries", 0.2), "at most", 0.3, "Figure 5: 0.20 to 0.26", "as Section 3 says: less than 0.3",
              unit="1/solution"),
        bound(at("inside", 0.5), "at least", 0.95, "Figure 4: at least 0.994", "ours, as of training without"),
    ),
    deviations=(
        *DEVIATIONS,
        ("Tier gpu: two seeds without wrong starts and at the rate 0.5, one of the others; weak, miss and masked (the "
         "wrong parameter's name) at 0.5 alone. Equally many steps at every rate, as published, so fewer problems at "
         "higher ones.")),
    columns=COLUMNS,
)  # fmt: skip
