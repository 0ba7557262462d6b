"""What the claims of Part 1 share: one base model and one training, so that a run serves several claims.

The published setting (arXiv 2305.13673) is a GPT2-small of 12 layers, 12 heads and 768 dimensions, 100,000 steps of 96
windows of 512 tokens, learning rate 3e-4, linear to 0.  Tier gpu has 6 layers, 8 heads and 256 dimensions (4.7 million
parameters) and a quarter of the steps, or fewer where a claim says so, at three times the rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.experiment import TIERS
from physlm.models.config import ModelConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.training.config import RunSpec, TrainConfig

FIVE = ("cfg3b", "cfg3i", "cfg3h", "cfg3g", "cfg3f")
BASE = "cfg3b"

# For a CPU: 5 levels, strings of 26 to 75 tokens, 27 bits each: random_grammar((1, 2, 3, 3, 3), seed=1).
DEMO = """\
12 -> 11 10 | 11 10 10
10 -> 7 8 | 7 8 8
11 -> 8 8 | 9 8 7
7 -> 4 5 | 6 4 6
8 -> 5 4 4 | 5 6 6
9 -> 6 4 | 6 5
4 -> '1' '1' | '2' '2'
5 -> '2' '2' '1' | '2' '3' '1'
6 -> '1' '2' '1' | '1' '2' '3'
"""
SMOKE = """\
r -> a b | b a a
a -> c d | d c c
b -> d d | c d c
c -> '1' '2' | '2' '1' '1'
d -> '3' '1' | '2' '2' '3'
"""

MODELS = {
    "smoke": ModelConfig(layers=2, heads=2, width=16),
    "demo": ModelConfig(layers=4, heads=4, width=64),
    "gpu": ModelConfig(layers=6, heads=8, width=256),
    "paper": ModelConfig(layers=12, heads=12, width=768),
}
# learning rates, steps, rows a step, row tokens, snapshots
TRAINING = {
    "smoke": TrainConfig(steps=8, batch_rows=4, learning_rate=3e-3, weight_decay=0.1, warmup_steps=1, decay="linear",
                         final_fraction=0.0, precision="float32", snapshots=1),
    "demo": TrainConfig(steps=3000, batch_rows=16, learning_rate=5e-3, weight_decay=0.1, warmup_steps=100,
                        decay="linear", final_fraction=0.0, precision="float32", snapshots=3),
    "gpu": TrainConfig(steps=25_000, batch_rows=96, learning_rate=1e-3, weight_decay=0.1, warmup_steps=500,
                       decay="linear", final_fraction=0.0, snapshots=6),
    "paper": TrainConfig(steps=100_000, batch_rows=96, learning_rate=3e-4, weight_decay=0.1, warmup_steps=0,
                         decay="linear", final_fraction=0.0, snapshots=6),
}
ROW_TOKENS = {"smoke": 48, "demo": 96, "gpu": 512, "paper": 512}

DEVIATIONS = (
    (
        "Tier gpu: 6 layers, 8 heads, 256 dimensions (4.7 million parameters) instead of GPT2-small's 12, 12 and 768; "
        "25,000 steps (1.2 billion tokens) or fewer instead of 100,000; learning rate 1e-3 with 500 steps of warm-up "
        "instead of 3e-4 without. The rate was taken over from a prototype on cfg3b, and not searched."
    ),
    (
        "One separator token stands for the beginning and the end of a string. A training row is a random window of "
        "the endless text of strings, so it may begin inside of one."
    ),
    "A string that does not end within the training window of 512 tokens counts as invalid.",
    "Linear layers and norms have no biases; bfloat16 with float32 master weights.",
    "Tiers smoke and demo: small random grammars and models, in float32.",
)


def grammar_of(tier: str, name: str = BASE) -> GrammarConfig:
    """The grammar ``name`` of the large tiers; the small tiers have their own."""
    if tier not in TIERS:
        raise UserError(unknown_key("tier", tier, TIERS))
    text = {"smoke": SMOKE, "demo": DEMO}.get(tier, name)
    return GrammarConfig(text, row_tokens=ROW_TOKENS[tier])


# Columns of accuracy, at the cuts of the published grammars and of the demonstration's.
ACCURACIES = tuple(f"accuracy/cut={cut}" for cut in (0, 50, 13))


def at_last_layers(*names: str) -> tuple[str, ...]:
    """Columns of these quantities at each layer that is the last in some tier."""
    layers = dict.fromkeys(model.layers for model in MODELS.values())
    return tuple(f"{name}/layer={layer}" for layer in layers for name in names)


def run_of(tier: str, task: GrammarConfig | None = None, gpu: Mapping[str, object] | None = None, seed: int = 0,
           **model: object) -> RunSpec:
    """A run of the base training; ``gpu`` changes its settings in tier gpu alone, ``model`` those of the model."""
    task = task or grammar_of(tier)
    shape = dataclasses.replace(MODELS[tier], **model)  # type: ignore[arg-type]
    changed = dict(gpu or {}) if tier == "gpu" else {}
    return RunSpec(task, shape, dataclasses.replace(TRAINING[tier], seed=seed, **changed))  # type: ignore[arg-type]
