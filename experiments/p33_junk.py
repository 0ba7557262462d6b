"""Part 3.3: junk beside useful people: ``physlm run p33_junk --tier demo``."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd
from _part33 import DECAY, DEVIATIONS, NOTHING_UNTRAINED, RATIO, a_step

from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Best, Most, Ratio, Shares, laws
from physlm.laws.verdict import published
from physlm.models.config import ModelConfig
from physlm.tasks.biography.junk_config import JunkConfig
from physlm.training.config import RunSpec, TrainConfig

FRESH = 100_000_000  # N'
CONDITIONS: dict[str, dict[str, Any]] = {  # changes of the task beside N'
    "none": {"share": 0.0}, "fresh": {}, "repeated": {}, "tenth": {}, "domain": {"domain": True},
    "half": {"share": 0.5}, "half+domain": {"share": 0.5, "domain": True},
}  # fmt: skip
BASE = 100  # exposures without junk, which everything is compared with


@dataclasses.dataclass(frozen=True)
class Setting:
    """One tier.

    Attributes:
        task: the useful people; ``junk`` is that of fresh junk.
        repeated: N' of repeated junk, few beside the useful people, so that knowing them by heart takes little room.
        shapes: layers, heads and width.
        people_a_step: at 100 and at 1000 exposures, junk among them.
        exposures: of the useful people, by condition.
    """

    task: JunkConfig
    repeated: int
    shapes: tuple[tuple[int, int, int], ...]
    rates: tuple[float, ...]
    people_a_step: tuple[int, int]
    exposures: dict[str, tuple[int, ...]]
    train: TrainConfig


ALL = {"none": (BASE,), "fresh": (100, 300, 600, 1000), "repeated": (100, 300), "tenth": (100,), "domain": (100, 300),
       "half": (100,), "half+domain": (100,)}  # fmt: skip
_TRAIN, _SMALL = TrainConfig(warmup_steps=1000), TrainConfig(warmup_steps=50, precision="float32")
SETTINGS = {
    "smoke": Setting(JunkConfig(24, junk=1_500, entries_per_row=1, row_tokens=61, pool_size=4), 1, ((1, 1, 8),),
                     (4e-3,), (8, 8), {name: (4,) for name in CONDITIONS}, _SMALL),
    "demo": Setting(JunkConfig(40, junk=500_000, entries_per_row=1, row_tokens=61, pool_size=8), 1, ((1, 4, 32),),
                    (2e-2,), (4, 4), {name: (BASE,) for name in CONDITIONS if name != "tenth"}, _SMALL),
    # one biography a row, with room for <domain>; 9,300 steps of 100 exposures without junk, 74,000 with it
    "gpu": Setting(JunkConfig(10_000, junk=FRESH, entries_per_row=1, row_tokens=61), 100,
                   ((2, 3, 48), (2, 4, 64)), (4e-3, 8e-3), (108, 480), ALL, _TRAIN),
    "paper": Setting(JunkConfig(100_000, junk=FRESH), 1_000, ((2, 2, 128), (4, 2, 128), (8, 2, 128)),
                     (3e-4, 5e-4, 1e-3), (24 * 9, 192 * 9), ALL, _TRAIN),
}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Conditions x exposures x sizes x rates."""
    found = of_tier(SETTINGS, tier)
    return [spec for name, exposures in found.exposures.items() for times in exposures
            for spec in condition_runs(found, name, times)]  # fmt: skip


def condition_runs(found: Setting, name: str, exposures: int) -> Iterator[RunSpec]:
    """One condition after so many exposures of the useful people, at all sizes and rates."""
    others = {"repeated": found.repeated, "tenth": found.task.people // 10}.get(name, found.task.junk)
    task = dataclasses.replace(found.task, junk=others, **CONDITIONS[name])
    rows = max(1, round(a_step(exposures, *found.people_a_step) / task.entries_per_row))
    for layers, heads, width in found.shapes:
        for rate in found.rates:
            train = dataclasses.replace(found.train, exposures=exposures, batch_rows=rows, learning_rate=rate,
                                        weight_decay=DECAY[100])  # fmt: skip
            yield RunSpec(task, ModelConfig(layers=layers, heads=heads, width=width), train)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """With the name of each run's condition."""
    settings = zip(table["task.share"].astype(float), table["task.domain"].astype(str) == "True",
                   table["task.junk"].astype(int) / table["task.people"].astype(int), strict=True)  # fmt: skip
    return table.assign(condition=[condition(*row) for row in settings])


def condition(share: float, domain: bool, others: float) -> str:
    """The name of a condition; ``others`` is N' / N."""
    if not share:
        return "none"
    if share == CONDITIONS["half"]["share"]:
        return "half+domain" if domain else "half"
    return "domain" if domain else "fresh" if others > 1 else "repeated" if others < 1 / 20 else "tenth"


BY = {"condition": "condition", "exposures": "train.exposures", "width": "model.width"}
RATE = "train.learning_rate"
BEST = Best("capacity", Shares("bits_per_param", BY, called="by_rate", unit=RATIO, share=False), RATE)
PEAK = Most("peak", BEST, over=("width",), share=False)
ALONE = Most("alone", Best("alone_by_width", Shares("bits_per_param", {"width": "model.width"}, {"condition": "none"},
                                                    called="alone_by_rate", unit=RATIO, share=False), RATE),
             share=False)  # fmt: skip
KEPT = Ratio("kept", PEAK, ALONE)
UNTRAINED = Most("untrained", Shares("bits_untrained", BY, called="untrained_by_run", unit="bits", share=False,
                                     pooled=(RATE,)), share=False)  # fmt: skip
LEFT: dict[Any, float] = {
    ("fresh", 100): 1 / 20, ("fresh", 300): 1 / 3, ("fresh", 600): 1 / 1.5, ("fresh", 1000): 1 / 1.3,
    ("repeated", 100): 1.0, ("repeated", 300): 1.0, ("domain", 100): 0.5, ("domain", 300): 1.0,
    ("half+domain", 100): 0.8,
}  # fmt: skip
DRAW = bars(KEPT, "exposures", "condition", published=LEFT, names={
    "none": "no junk", "repeated": "few people", "tenth": "N/10 people", "domain": "fresh, <domain>",
    "half": "half fresh", "half+domain": "half, <domain>"},
    ylabel="capacity kept (%)", title="Exposures of the useful people",
    caption="Bits about N useful people at the best size and rate, over those of 100 exposures without junk. 7/8 of "
            "the rows, or half, are junk: of people who are never seen again (fresh), of few people or N/10; <domain> "
            "stands before useful texts.")  # fmt: skip


def left(condition: str, exposures: int) -> str:
    """The name of a quantity."""
    return f"kept@condition={condition}/exposures={exposures}"


EXPERIMENT = Experiment(
    name="p33_junk",
    claim=(
        "Seven parts of junk to one of useful people, each junk text about somebody new, cost most of what a GPT "
        "would hold of the useful people after as many exposures; junk about the same few people costs nothing, and a "
        "word before each useful text takes most of the cost away."
    ),
    source="arXiv:2404.05405, Results 10 to 12, Figure 8", runs=runs, measures=("capacity",),
    law=laws(KEPT, PEAK, BEST, UNTRAINED, items="people", prepare=named),
    figure=lambda table, law: DRAW(named(table), law),
    expect=(
        published(left("fresh", 100), 1 / 20, "Result 10: 20 times worse", slack=0.05,
                  reason="a ratio of two peaks in a figure, of which the smaller is near 0",
                  label="bits kept beside fresh junk, 100 exposures"),
        published(left("fresh", 300), 1 / 3, "Result 10: 3 times worse", slack=0.1, reason="2.3 to 4.3 times",
                  label="bits kept beside fresh junk, 300 exposures"),
        published(left("fresh", 600), 1 / 1.5, "Result 10: 1.5 times worse", slack=0.1, reason="1.3 to 1.8 times",
                  label="bits kept beside fresh junk, 600 exposures"),
        published(left("fresh", 1000), 1 / 1.3, "Result 10: 1.3 times worse", slack=0.1, reason="1.15 to 1.5 times",
                  label="bits kept beside fresh junk, 1000 exposures"),
        published(left("repeated", 100), 1.0, "Result 11: harmless", slack=0.1, reason="no number; a tenth is ours",
                  label="bits kept beside junk about the same few people"),
        published(left("domain", 100), 0.5, "Result 12: 2 times worse", slack=0.1, reason="1.7 to 2.5 times",
                  label="bits kept with a word before useful texts, 100 exposures"),
        published(left("domain", 300), 1.0, "Result 12: parity", slack=0.15, reason="no number; ours",
                  label="bits kept with a word before useful texts, 300 exposures"),
        published(left("half+domain", 100), 0.8, "a secondary digest: half junk, 80 % kept with tokens", slack=0.1,
                  reason="not in the paper's own text that is at hand", label="bits kept with such a word, half junk"),
        NOTHING_UNTRAINED,
    ),
    deviations=(
        *DEVIATIONS[1:],
        (
            "Tier gpu: N = 10,000 useful people instead of 50,000 to 1,000,000; two sizes, two layers of 48 or 64 "
            "dimensions with heads of 16; one biography a row of 61 tokens; the best of two rates. People in a step, "
            "junk among them, are as many as without junk, as published (108 at 100 exposures, 480 at 1000, a power "
            "law between); weight decay 0.01."
        ),
        (
            "Fresh junk is read in the order of a permutation of N' = 100 million people, so that none is seen twice; "
            "half junk in rows of its own, as 7/8 are. <domain> is in all vocabularies, used or not. "
            "Repeated junk is of N' = N / 100 people, as 1,000 are of the published 100,000: those 1,000 beside 10,000 "
            "(tenth, not judged) hold 65,000 bits of their own, a fifth of what such a model can after 100 exposures."
        ),
        "Tier demo: N = 40 useful people, N' = 500,000, pools of 8 values, a model of one layer and 32 dimensions.",
    ),
    columns=("bits_per_param", "bits_value", "bits_max"),
)
