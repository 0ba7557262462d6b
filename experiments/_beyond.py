"""What the claims beyond the series share: mixers by name, columns of their tables, and the recall that several ask.

A mixer is called by what ``model.mixer`` says of it, so that tables need no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from physlm.laws.forms import Best, Shares
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.norms import RMSNorm
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH
from physlm.tasks.mixture import MixtureConfig
from physlm.tasks.playground.mqar import MqarConfig
from physlm.training.config import RunSpec, TrainConfig

MIXERS: dict[str, Mixer] = {
    "rope": Attention(), "nope": Attention(0.0), "fox": FoX(), "fox_pro": FoX(pro=True), "path": PaTH(),
    "path_fox": PaTH(forget=True), "linear": LinearAttention(), "gla": GLA(), "mamba2": Mamba2(),
    "deltanet": DeltaNet(), "deltanet_negative": DeltaNet(negative=True),
    "deltaproduct": DeltaNet(negative=True, steps=2), "gdn": GatedDeltaNet(),
    "gdn_negative": GatedDeltaNet(negative=True),
}  # fmt: skip
NAMES: dict[Any, str] = {
    "rope": "RoPE", "nope": "no positions", "fox": "FoX", "fox_pro": "FoX (Pro)", "path": "PaTH",
    "path_fox": "PaTH-FoX", "linear": "linear", "gla": "GLA", "mamba2": "Mamba2", "deltanet": "DeltaNet",
    "deltanet_negative": "DeltaNet, to -1", "deltaproduct": "DeltaProduct", "gdn": "Gated DeltaNet",
    "gdn_negative": "Gated DeltaNet, to -1", "alibi": "ALiBi",
}  # fmt: skip


def pattern_label(mixers: Iterable[Mixer]) -> str:
    """What the column ``model.mixer`` says of a pattern."""
    return ",".join(mixer.label for mixer in mixers)


def with_mixer(table: pd.DataFrame, labels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """With a column ``mixer``: the names of these patterns, or of ``MIXERS``; what has no name is called as it is."""
    known = labels or {mixer.label: name for name, mixer in MIXERS.items()}
    return table.assign(mixer=[known.get(str(label), str(label)) for label in table["model.mixer"]])


# ---- Recall of pairs (MQAR)

REASSIGNED = "reassigned"  # the column ``task`` of runs whose keys get new values on their way


@dataclass(frozen=True)
class Recall:
    """Recall at one tier: rows of several numbers of pairs, models of mixers alone, each rate with each seed.

    As published (arXiv 2312.04927) the model has no MLP and no positions; before each mixer stands a convolution of
    four tokens (Canon A), where the published one has a layer of convolution before one mixer.

    Attributes:
        pairs: a fifth of the rows each.
        words: of the vocabulary; 8192 are published.
    """

    pairs: tuple[int, ...]
    words: int
    row_tokens: int
    train: TrainConfig
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    layers: int = 2
    heads: int = 2

    def task(self, reassigned: bool = False) -> MixtureConfig:
        """Rows with each number of pairs; with new values of keys the last one counts."""
        return MixtureConfig(tuple(MqarConfig(pairs, self.words, reassigned=int(reassigned), row_tokens=self.row_tokens)
                                   for pairs in self.pairs), row_tokens=self.row_tokens)  # fmt: skip

    def runs(self, mixers: Iterable[tuple[Mixer, ...]], widths: Sequence[int], reassigned: Sequence[bool] = (False,)
             ) -> list[RunSpec]:  # fmt: skip
        """Each pattern at each width."""
        models = [ModelConfig(self.layers, self.heads, width, mixer, (NoMLP(),), RMSNorm(), (Canon("A"),),
                              init_std=max(0.02, 0.1 * (16 / width))) for width in widths for mixer in mixers]
        trains = [replace(self.train, learning_rate=rate, seed=seed) for rate in self.rates for seed in self.seeds]
        return [RunSpec(self.task(way), model, train) for way in reassigned for model in models for train in trains]


# A quarter of the published examples: 180,000 rows 32 times are 5.8 million, 5,600 steps of 256 rows are 1.4 million,
# all of them new.
_TRAIN = TrainConfig(steps=5_600, batch_rows=256, weight_decay=0.1, warmup_steps=300)
_SMALL = replace(_TRAIN, steps=1_200, batch_rows=32, warmup_steps=100, precision="float32")
RECALL = {
    "smoke": Recall((2, 4), 32, 32, replace(_SMALL, steps=4, batch_rows=4), (1e-2,), (1,), 1, 1),
    "demo": Recall((2, 4, 8), 64, 64, _SMALL, (1e-2,), (1,)),
    "gpu": Recall((4, 8, 16, 32, 64), 2048, 256, _TRAIN, (1e-3, 3e-3, 1e-2), (1, 2, 3)),
    "paper": Recall((4, 8, 16, 32, 64), 8192, 256, replace(_TRAIN, steps=22_500), (1e-3, 3e-3, 1e-2), (1, 2, 3)),
}  # fmt: skip


def recall_deviations(layers: int = RECALL["gpu"].layers) -> tuple[str, ...]:
    """What recall in models of so many layers does not share with the published one."""
    return ((
        "Tier gpu: a vocabulary of 2,048 where 8,192 are published, a quarter of the published examples (1.4 million "
        "rows, all new, of 5.8 million views of 180,000), rows of 256 tokens of 4 to 64 pairs, as many of each, where "
        "the published ones grow with the pairs."
    ), (
        f"{layers} layers, in each a mixer behind a convolution of four tokens, where the published model has a layer "
        "of convolution and one mixer; the value stands after the key that asks, where a random word is published."
    ), (
        "The best of the rates 1e-3, 3e-3 and 1e-2, each from the same three seeds, chosen on the numbers that are "
        "judged."
    ))  # fmt: skip


def recalled(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``task``, mqar or reassigned, and ``kind``, pairs16, in the place of ``at.kind`` of a mixture."""
    if "at.kind" not in table:  # nobody was asked
        table = table.assign(**{"at.kind": ""})
    kinds = table["at.kind"].astype(str).str.rpartition("_")[2]
    again = table.get("task.tasks", pd.Series("", table.index)).astype(str).str.contains('"reassigned": 1')
    return table.assign(**{"at.kind": kinds, "task": [REASSIGNED if way else "mqar" for way in again]})


def recall(by: Mapping[str, str], where: Mapping[str, object] | None = None, called: str = "recall") -> Best:
    """The share of asked values, the mean over numbers of pairs, at the best rate."""
    return Best(called, Shares("answer", by, {"at.half": "test", **(where or {})}, "at.kind", "answered"),
                over="train.learning_rate")
