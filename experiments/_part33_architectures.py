"""The architectures of Part 3.3 by name, for the claims that compare them with GPT-2.

Published (arXiv 2404.05405, section 7 and appendix): GPT-2 with rotary positions, tied; LLaMA and Mistral with RMSNorm,
gated MLPs and an output of their own; GPT-2 with a quarter of the MLP (d -> d -> d) and without any; mixtures of 32
experts d -> d -> d, of which a token uses one.
"""

from __future__ import annotations

import dataclasses

import pandas as pd
from _part33 import DECAY, SETTINGS, base_run, setting

from physlm.laws.forms import Best, Form, Most, Shares
from physlm.models.config import ModelConfig
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.norms import RMSNorm
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

_LLAMA, _MISTRAL = (ModelConfig(mlp=(Gated(ratio),), norm=RMSNorm()) for ratio in (8 / 3, 3.5))
_RMS = ModelConfig(norm=RMSNorm())
ARCHITECTURES = {
    "gpt2": ModelConfig(), "gpt2-untied": ModelConfig(tied=False),
    "llama": ModelConfig(mlp=_LLAMA.mlp, norm=RMSNorm(), tied=False), "llama-tied": _LLAMA,
    "mistral": ModelConfig(mlp=_MISTRAL.mlp, norm=RMSNorm(), tied=False), "mistral-tied": _MISTRAL,
    "quarter-mlp": ModelConfig(mlp=(Plain(ratio=1),)), "no-mlp": ModelConfig(mlp=(NoMLP(),)),
    "llama-plain": ModelConfig(norm=RMSNorm(), tied=False), "llama-tied-plain": _RMS,
    "moe": ModelConfig(mlp=(MoE(),)), "moe-bias": ModelConfig(mlp=(MoE(alpha=0.0, bias_rate=1e-3),)),
    "moe-none": ModelConfig(mlp=(MoE(alpha=0.0),)), "moe-shared": ModelConfig(mlp=(MoE(shared=True),)),
}  # fmt: skip
NAMES = {
    "gpt2": "GPT-2", "gpt2-untied": "GPT-2, untied", "llama": "LLaMA", "llama-tied": "LLaMA, tied",
    "mistral": "Mistral", "mistral-tied": "Mistral, tied", "quarter-mlp": "GPT-2, quarter MLP",
    "no-mlp": "GPT-2, no MLP", "llama-plain": "LLaMA, plain MLP", "llama-tied-plain": "LLaMA, tied, plain MLP",
    "moe": "32 experts", "moe-bias": "32 experts, bias", "moe-none": "32 experts, unbalanced",
    "moe-shared": "32 experts and a shared one",
}  # fmt: skip
# Bits a parameter by Results 6 and 9, of 2 and 1 bits in GPT-2: 1.3 times fewer, 1.5 times fewer, and so on.
PUBLISHED = {
    1000: {"moe": 2 / 1.3},
    100: {"moe": 1 / 1.5, "no-mlp": 1 / 1.5, "llama": 1 / 1.3, "llama-tied": 1 / 1.3, "mistral": 1 / 1.3,
          "mistral-tied": 1 / 1.3},
}  # fmt: skip
# Tier demo has the small bioD of p33_capacity, whose facts are more than models of a few thousand parameters can hold:
# R^max is 3.4 and 2.4 for GPT-2 of these widths.
DEMO_TASK = BioDConfig(people=48, attributes=1, chunks=16, diversity=128, chunk_tokens=1, alphabet=128,
                       name_pools=(1, 1, 48), entries_per_row=1, row_tokens=40)  # fmt: skip
DEMO_SHAPES = ((1, 3, 6), (1, 4, 8))
DEMO_ROWS = {1000: 16, 100: 4}
DEMO_RATE = 4e-2
PAPER_RATES = {1000: (5e-4, 1e-3, 2e-3), 100: (3e-4, 5e-4, 1e-3)}  # published of LLaMA and Mistral, and by us of all
TOLD_BY = ("mlp", "norm", "tied")
PER_PARAMETER = "bits/parameter"
BIOGRAPHIES = ("bioS", "bioD")  # kinds of the task whose bits are measured; bioD at the small tiers
DEVIATIONS = (
    (
        "LLaMA and Mistral without their tokenizers, Mistral without grouped queries (4 groups there); linear maps and "
        "norms without biases."
    ),
    (
        "One seed a setting. What is compared is the best of two sizes and two learning rates of each architecture, "
        "since an output of its own makes a model much larger: 471,000 instead of 285,000 parameters at a width of 64."
    ),
    (
        "Models of 0.2 to 0.8 million parameters, where the paper has 1 million to 0.5 billion: rows of tokens are "
        "about half of them or more, so that MLPs are 14 to 35 percent of a model."
    ),
    (
        "Tier demo: bioD of 48 people, one layer of 6 and 8 dimensions, one rate. Tier paper: the three rates that are "
        "published of LLaMA and Mistral, for all architectures."
    ),
)


def shapes(tier: str) -> tuple[tuple[int, int, int], ...]:
    """Layers, heads and width of the models of GPT-2's parts."""
    return DEMO_SHAPES if tier == "demo" else setting(tier).shapes


def rates(tier: str, exposures: int) -> tuple[float, ...]:
    """The learning rates of these models, for 1000 or 100 exposures."""
    return {"demo": (DEMO_RATE,), "paper": PAPER_RATES[exposures]}.get(tier) or setting(tier).rates


def run_of(tier: str, shape: tuple[int, int, int], exposures: int, rate: float, seed: int = 0,
           model: ModelConfig | None = None) -> RunSpec:  # fmt: skip
    """``base_run``, and at tier demo a run on a data set that these models do not fit."""
    if tier != "demo":
        return base_run(tier, shape, exposures, rate, seed, model)
    near = 1000 if exposures > 316 else 100
    layers, heads, width = shape
    shaped = dataclasses.replace(model or ModelConfig(), layers=layers, heads=heads, width=width, init_std=0.1)
    train = TrainConfig(exposures=exposures, batch_rows=DEMO_ROWS[near], learning_rate=rate, weight_decay=DECAY[near],
                        warmup_steps=100, precision="float32", seed=seed)  # fmt: skip
    return RunSpec(DEMO_TASK, shaped, train)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns ``architecture``, ``size`` (2x64) and ``exposures``, by the names of the published ones.

    And with rows ``bits_per_active_param``: bits for each parameter that a token uses.
    """
    names = {tuple(str(model.facts()[key]) for key in TOLD_BY): name for name, model in ARCHITECTURES.items()}
    told = zip(*(table[f"model.{key}"].astype(str) for key in TOLD_BY), strict=True)
    times = {count: str(name) for setting in SETTINGS.values() for name, count in setting.exposures.items()}
    found = table.assign(
        architecture=[names.get(one, "/".join(one)) for one in told],
        size=[f"{layers}x{width}" for layers, width in zip(table["model.layers"], table["model.width"], strict=True)],
        exposures=[times.get(int(count), str(count)) for count in table["train.exposures"]])
    return with_active(found)


def with_active(table: pd.DataFrame) -> pd.DataFrame:
    """With rows ``bits_per_active_param``: ``bits_per_param`` times all parameters over those that a token uses."""
    active = table[table["quantity"] == "bits_per_param"].copy()
    for name in ("value", "lo", "hi"):
        active[name] = active[name].astype(float) * active["params_used"] / active["params_active"]
    return pd.concat([table, active.assign(quantity="bits_per_active_param")], ignore_index=True)


def best(*by: str, architecture: str | tuple[str, ...] = (), quantity: str = "bits_per_param") -> Best:
    """Bits a parameter at the best learning rate, by ``size`` and these columns; of all architectures or of some."""
    where = {"architecture": architecture} if architecture else {}
    bits = Shares(quantity, (*by, "size"), where, called="bits", unit=PER_PARAMETER, share=False)
    return Best("best", bits, over="train.learning_rate")


def peak(*by: str, architecture: str | tuple[str, ...] = (), quantity: str = "bits_per_param", called: str = "peak"
         ) -> Form:
    """The best of the sizes, by these columns."""
    return Most(called, best(*by, architecture=architecture, quantity=quantity), over=("size",), share=False)
