"""What the claims of Part 3.3 beside the capacity law share: one data set, one training, so that a run serves several.

The published setting (arXiv 2404.05405, section 5.2 and appendix): GPT2-l-h of 64-wide heads reads bioS(N), N from
10,000 to 10 million, each person 1000 or 100 times, AdamW, 1,000 steps of warm-up, a cosine to a tenth.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import pandas as pd

from physlm.lab.experiment import of_tier
from physlm.laws.verdict import own_test
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.training.config import RunSpec, TrainConfig

DECAY = {1000: 0.02, 100: 0.01}  # published weight decay by exposures, of N up to 200,000


@dataclass(frozen=True)
class Setting:
    """One tier.

    Attributes:
        task: the people and how their biographies are written.
        shapes: (layers, heads, width), from the one whose data surely do not fit to the one around the knee.
        rates: learning rates, of which the best is reported.
        exposures: what stands for 1000 and for 100 exposures.
        people_a_step: at each of these, as a share of all people.
        train: everything else.
    """

    task: BioSConfig
    shapes: tuple[tuple[int, int, int], ...]
    rates: tuple[float, ...]
    exposures: dict[int, int]
    people_a_step: dict[int, float]
    train: TrainConfig


_TRAIN = TrainConfig(warmup_steps=1000)
SETTINGS = {
    "smoke": Setting(BioSConfig(24, entries_per_row=1, row_tokens=60, pool_size=4), ((1, 1, 8), (1, 1, 16)), (4e-3,),
                     {1000: 4, 100: 2}, {1000: 1 / 4, 100: 1 / 4},
                     TrainConfig(warmup_steps=2, precision="float32")),
    "demo": Setting(BioSConfig(100, entries_per_row=1, row_tokens=60, pool_size=8), ((1, 4, 16),), (2e-2,),
                    {1000: 200, 100: 40}, {1000: 1 / 10, 100: 1 / 25},
                    TrainConfig(warmup_steps=50, precision="float32")),
    # One biography a row of 60 tokens, 16-wide heads, about 20,000 steps of 1000 exposures and 9,300 of 100: a quarter
    # of those that p33_capacity takes, since here conditions are held against each other.
    "gpu": Setting(BioSConfig(20_000, entries_per_row=1, row_tokens=60), ((2, 4, 64), (2, 6, 96)), (4e-3, 8e-3),
                   {1000: 1000, 100: 100}, {1000: 960 / 20_000, 100: 216 / 20_000}, _TRAIN),
    "paper": Setting(BioSConfig(100_000), ((4, 2, 128), (8, 2, 128)), (1e-3,), {1000: 1000, 100: 100},
                     {1000: 192 * 9 / 100_000, 100: 24 * 9 / 100_000}, _TRAIN),
}  # fmt: skip



def deviations(row_tokens: int = 60, rates: str = "the best of two learning rates") -> tuple[str, ...]:
    """What is not as published in all of these claims."""
    return (
        (
            "Tier gpu: N = 20,000 where nothing else is said, models of two layers and 64 or 96 dimensions with heads "
            f"of 16; one biography a row of {row_tokens} tokens, where the paper packs windows of 512; {rates}."
        ),
        (
            "A word-level vocabulary, name pools, value pools and templates of our own; linear layers and norms "
            "without biases; bfloat16 with float32 master weights."
        ),
        "Tiers smoke and demo: few people, pools cut to few values, small models, in float32.",
    )


DEVIATIONS = deviations()

setting = partial(of_tier, SETTINGS)


def base_run(tier: str, shape: tuple[int, int, int], exposures: int, rate: float, seed: int = 0,
             model: ModelConfig | None = None, **task: object) -> RunSpec:  # fmt: skip
    """A model that reads everybody's biographies so many times.

    Args:
        shape: layers, heads and width.
        exposures: 1000 or 100, or another number, whose steps are as large as those of the nearer of the two.
        model: parts of the model, whose shape is replaced; by default those of GPT-2 with rotary positions.
        task: changes of the data.
    """
    found = setting(tier)
    layers, heads, width = shape
    read = dataclasses.replace(found.task, **task)  # type: ignore[arg-type]
    near = 1000 if exposures > 316 else 100
    rows = max(1, round(found.people_a_step[near] * read.people / read.entries_per_row))
    times = found.exposures.get(exposures) or max(1, round(exposures * found.exposures[near] / near))
    train = dataclasses.replace(found.train, exposures=times, batch_rows=rows, learning_rate=rate, seed=seed,
                                weight_decay=DECAY[near])  # fmt: skip
    shaped = dataclasses.replace(model or ModelConfig(), layers=layers, heads=heads, width=width)
    return RunSpec(read, shaped, train)


# Parts of capacity count from 0 up, so that this fails where there are bits above 0: a ceiling (N0, S, T^L / D) is too
# high, tokens of a text are left out, or nats are taken for bits.
NOTHING_UNTRAINED = own_test("untrained", "at most", 0.0, "random weights hold nothing", unit="bits",
                             label="bits of an untrained model")  # fmt: skip

# ---- For claims that have a data set of their own on small machines

RATIO = "bits/parameter"
PART = "at.part"

# One attribute of 16 chunks out of 128 and one word that tells a person from the others: 40 tokens hold 112 bits, as in
# the tiers smoke and demo of p33_capacity.
SMALL_TASK = BioDConfig(48, attributes=1, chunks=16, diversity=128, chunk_tokens=1, alphabet=128,
                        name_pools=(1, 1, 48), entries_per_row=1, row_tokens=40)  # fmt: skip


def a_step(exposures: int, at_100: float, at_1000: float) -> int:
    """People in a step: the power law through those of 100 and of 1000 exposures."""
    return max(1, round(at_100 * (at_1000 / at_100) ** math.log10(exposures / 100)))


def small_run(width: int, exposures: int, rows: int, rate: float, **task: object) -> RunSpec:
    """A one-layer model with heads of 2 dimensions and large initial weights, as in tier demo of p33_capacity."""
    model = ModelConfig(layers=1, heads=width // 2, width=width, init_std=0.1)
    train = TrainConfig(exposures=exposures, batch_rows=rows, learning_rate=rate, weight_decay=DECAY[1000],
                        warmup_steps=100, precision="float32")  # fmt: skip
    return RunSpec(dataclasses.replace(SMALL_TASK, **task), model, train)  # type: ignore[arg-type]


def with_parts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with more rows: everything in bits for each parameter, and all that there is to know.

    ``part_per_param`` at ``part`` = name, value, diversity (no less than 0, as they are counted) and total;
    ``limit``, R^max = bits_max / P.
    """
    found = [table]
    for quantity, name, part in (("bits_name", "part_per_param", "name"), ("bits_value", "part_per_param", "value"),
                                 ("bits_diversity", "part_per_param", "diversity"), ("bits", "part_per_param", "total"),
                                 ("bits_max", "limit", "")):
        rows = table[table["quantity"] == quantity]
        numbers = {end: rows[end].astype(float).clip(lower=0.0) / rows["params_used"].astype(float)
                   for end in ("value", "lo", "hi")}
        found.append(rows.assign(quantity=name, unit=RATIO, **numbers, **{PART: part}))
    return pd.concat(found, ignore_index=True).fillna({PART: ""})
