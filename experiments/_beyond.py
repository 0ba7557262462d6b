"""What the claims beyond the series share: mixers by name, columns of their tables, one small model to hold them.

A mixer is called by what ``model.mixer`` says of it, so that tables need no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from physlm.models.parts.attention import Attention
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH

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
