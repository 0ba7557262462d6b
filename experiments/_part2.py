"""What the claims of Parts 2.1 and 2.2 share: one family of problems, one model and training, so that a run serves
several claims.

The published setting (arXiv 2407.20311 and 2408.16293): GPT2 with rotary positions, 12 layers, 12 heads, 768
dimensions, of problems of up to 15 operations (iGSM-med) 100,000 steps of 512 rows of 768 tokens of GPT-2 (39 billion),
learning rate 2e-3 after 1,000 steps of warm-up, by a cosine to a hundredth, weight decay 0.05; tests on 4,096 problems
each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from physlm.lab.experiment import of_tier
from physlm.measures.igsm.solutions import measure
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig, Retry
from physlm.training.config import RunSpec, TrainConfig

# Tier gpu.  The family was to be the largest of which 0.95 of problems like those of training are solved in the steps
# below.  None is (small8: 0.87 and 0.89 by mix, p21_accuracy; small6 solved fewer of 5 operations in a pilot), so all
# claims are made of small8, and go to half as many operations again.  How op is drawn for them is decided by
# p21_accuracy, whose runs come first: as published, unless models of the uniform mix solve more of the held-out ones
# of 5 to 8 operations.  They did.
MIX: Literal["min2", "uniform"] = "uniform"
FAMILY = "small8"
# Tokens in a row: so many that half of the problems of half as many operations again are longer, as of the published
# rows (0.49 of med at 23 operations, 0.52 of hard at 32); of training problems less than one in a thousand is.
ROWS = {"tiny": 144, "small4": 192, "small6": 248, "small8": 304, "small10": 360, "med": 528, "hard": 720}


def family(name: str) -> IgsmConfig:
    """A family in rows of ``ROWS``."""
    return dataclasses.replace(FAMILIES[name], row_tokens=ROWS[name])


@dataclass(frozen=True)
class Setting:
    """One tier: the base runs, and their seeds."""

    task: IgsmConfig
    model: ModelConfig
    train: TrainConfig
    seeds: tuple[int, ...] = (1, 2)


# Tier gpu.  Of a pilot's settings of 6 x 256 (seed 11, 0.26 billion tokens), by the share of held-out problems of 5 and
# of 8 operations that were solved: full rotary positions 0.18 and 0.00, a quarter of the head 0.66 and 0.29; at the
# rates 1e-3 and 4e-3 0.51 and 0.09, 0.58 and 0.13; half of the rows in twice the steps 0.45 and 0.06; with Canon layers
# 0.69 and 0.25; 8 x 512 0.42 and 0.07, 12 x 512 0.59 and 0.26, of two to four times the arithmetic.  In 0.53 billion
# tokens 6 x 256 solved 0.86 and 0.52.
_TRAIN = TrainConfig(steps=18_000, batch_rows=108, learning_rate=2e-3, weight_decay=0.05, warmup_steps=1000,
                     final_fraction=0.01)  # fmt: skip
# For a CPU.  Of a pilot's settings (seed 101; 3 to 4 million tokens) those with full rotary positions, weights that
# begin at 0.02 or 20 items a group solved 0.2 to 0.3 of the problems; 4 items a group with random letters 0.5, and half
# of the failures were a letter taken twice: the likeliest of 52 nearly equally likely letters is always the same.  With
# letters in order, in 3,500 steps at the rate 1.2e-2, it was 0.86.  At the rate 1e-2 it is 0.80 after 3,500 steps, 0.87
# after 4,200 and 0.855 after 4,500 (seed 101), and 0.97 after 4,200 (seed 102), which take 5 to 6 minutes of two cores;
# 4,000 leave room in six minutes.
_TINY = dataclasses.replace(family("tiny"), group_items=4, letter_order="alphabetical")
_SMALL_MODEL = ModelConfig(layers=3, heads=2, width=64, mixer=(Attention(rope=0.25),), local=(Canon(),), init_std=0.08)
_SMALL = dataclasses.replace(_TRAIN, steps=4_000, batch_rows=16, learning_rate=1e-2, warmup_steps=100,
                             precision="float32")  # fmt: skip
SETTINGS = {
    "smoke": Setting(_TINY, ModelConfig(layers=1, heads=1, width=16),
                     dataclasses.replace(_SMALL, steps=4, batch_rows=4), (1,)),
    "demo": Setting(_TINY, _SMALL_MODEL, _SMALL, (1,)),
    "gpu": Setting(dataclasses.replace(family(FAMILY), op_mix=MIX),
                   ModelConfig(layers=6, heads=8, width=256, mixer=(Attention(rope=0.25),)), _TRAIN),
    "paper": Setting(family("med"), ModelConfig(layers=12, heads=12, width=768),
                     dataclasses.replace(_TRAIN, steps=100_000, batch_rows=512)),
}  # fmt: skip

DEVIATIONS = (
    (
        f"Tier gpu: problems of at most {FAMILIES[FAMILY].max_op} operations and {FAMILIES[FAMILY].max_ip} instance "
        "parameters instead of 15 and 20; 6 layers, 8 heads and 256 dimensions instead of 12, 12 and 768, a quarter "
        "of the head rotary; 0.59 billion tokens in steps of 33,000 instead of 39 billion in steps of 393,000; each op "
        "equally often in training instead of the smaller of two numbers, where this is no condition."
    ),
    (
        "Names are our own, and a name, a phrase, a letter or a number is one token: a problem of iGSM-med has 205 "
        "tokens instead of 343 of GPT-2.  A row has so many tokens that half of the problems of half as many "
        "operations again are longer, as of the published rows of 768 and 1024; the published filter leaves these out."
    ),
    (
        "Training draws op first and makes a graph of exactly that many operations; the released code draws again "
        "until one comes out.  Dependencies in a sentence are in random order; in the released code the first one "
        "tells which was forced."
    ),
    (
        "Below 5 operations, where there are 2 to 469 templates, tests are on fresh problems of all templates, above "
        "on templates that training never showed.  The checker compares formulas, where the released one accepts wrong "
        "constants.  Solutions are written greedily; 2,500 problems of each kind; published tables are the best of two "
        "seeds and two ways to generate."
    ),
    (
        "Tiers smoke and demo: at most 4 operations on at most 4 parameters in two layers of at most two items, modulo "
        "5, four names in a layer of one categorisation, letters in the order of the alphabet, all templates in "
        "training; 3 layers of 64 dimensions with Canon layers, a quarter of the head rotary, float32."
    ),
)

setting = partial(of_tier, SETTINGS)


def base_run(tier: str, seed: int, shape: tuple[int, int, int] | None = None, **task: object) -> RunSpec:
    """A model that reads problems with solutions.

    Args:
        shape: layers, heads and width, if not those of the base model.
        task: changes of the problems.
    """
    found = setting(tier)
    layers, heads, width = shape or (found.model.layers, found.model.heads, found.model.width)
    model = dataclasses.replace(found.model, layers=layers, heads=heads, width=width)
    changed = dataclasses.replace(found.task, **task)  # type: ignore[arg-type]
    return RunSpec(changed, model, dataclasses.replace(found.train, seed=seed))


def base_runs(tier: str) -> list[RunSpec]:
    """The base model from each seed."""
    return [base_run(tier, seed) for seed in setting(tier).seeds]


def probed_runs(tier: str) -> list[RunSpec]:
    """The same, without the Canon layers of tier demo: probes ask many queries beside one text, which these cannot."""
    return [dataclasses.replace(run, model=dataclasses.replace(run.model, local=())) for run in base_runs(tier)]


def continued_run(base: RunSpec, retry: Retry, rank: int = 0) -> RunSpec:
    """The base model goes on with wrong starts for as many steps: all weights, or low-rank updates.

    ``rank`` of queries and values, twice that of the embedding, as published.  The rate of all weights is half of the
    base model's, that of updates 1e-3, as published.
    """
    assert isinstance(base.task, IgsmConfig)
    train = dataclasses.replace(base.train, learning_rate=base.train.learning_rate / 2 if not rank else 1e-3,
                                lora_rank=rank, lora_embedding_rank=2 * rank)  # fmt: skip
    return RunSpec(dataclasses.replace(base.task, retry=retry), base.model, train, base)


# Places of the measure ``solutions`` (physlm.measures.igsm.solutions), for laws: of all problems, training's like,
# the largest op that was measured (half as many again), and another question about the graph.
DRAWN = {"at.set": "drawn", "at.filter": "all"}
EXACT = {"at.set": "exact", "at.filter": "all"}
REASK = {"at.set": "reask", "at.filter": "all"}


def _columns() -> Iterator[str]:
    for task in dict.fromkeys(found.task for found in SETTINGS.values()):
        drawn, *exact, reask = measure.cells(task)
        for cell in (drawn, exact[-1], reask):
            yield f"solved/set={cell.set}/op={cell.op}/filter=all"


COLUMNS = tuple(_columns())  # of the table of runs: problems like training's, the longest, other questions
