"""Ways of knowing positions under one name each, for tests that go through all of them: those of arXiv 2305.13673, and
what attention can do else."""

from __future__ import annotations

from typing import Any

from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH
from physlm.models.parts.positional import PositionOnly, Uniform
from physlm.models.parts.relative import Relative
from physlm.models.patterns import irope

# mixers beyond softmax over contents and distances, with settings that change what they compute
BEYOND: dict[str, Mixer] = {
    **{kind: Mixer.of_kind(kind)() for kind in ("mla", "fox", "path", "linear", "gla", "mamba2", "deltanet",
                                                "gated_deltanet")},
    "fox_pro": FoX(pro=True), "path_fox": PaTH(forget=True), "gla_scalar": GLA(gate="scalar", conv=True),
    "mamba2_levels": Mamba2(size=16, levels=7), "gated_levels": GatedDeltaNet(levels=7),
    "delta_product": DeltaNet(negative=True, steps=2), "gated_product": GatedDeltaNet(negative=True, steps=2),
    "delta_no_silu": DeltaNet(silu=False),
}


def way(position: str, reach: int = 512) -> dict[str, Any]:
    """Settings of a model; ``reach``: rows of its tables of positions, or of distances on one side."""
    ways: dict[str, dict[str, Any]] = {
        "rope": {}, "none": {"mixer": (Attention(rope=0.0),)},
        "absolute": {"mixer": (Attention(rope=0.0),), "absolute": reach},
        "relative": {"mixer": (Relative(reach),)}, "position_only": {"mixer": (PositionOnly(reach),)},
        "uniform": {"mixer": (Uniform(),)}, "half_rope": {"mixer": (Attention(rope=0.5, rope_heads=0.5),)},
        **{bias: {"mixer": (Attention(rope=0.0, bias=bias),)} for bias in ("alibi", "hard_alibi", "t5")},
        "window": {"mixer": (Attention(window=9),)}, "irope": {"mixer": irope(8, 2)},
        "scalable": {"mixer": (Attention(log_n=True, learnt_scale="head", scale=0.3),)},
        "temperature": {"mixer": (Attention(rope=0.0, learnt_scale="one", floor=8),)},
        "gqa": {"mixer": (Attention(group=2),)},
    }  # fmt: skip
    if position in BEYOND:
        return {"mixer": (BEYOND[position],)}
    return ways[position]


def position_of(config: ModelConfig) -> str:
    """The name of a model's way."""
    name: str = config.facts()["position"]
    return name


def reach_of(config: ModelConfig) -> int:
    """Of a model with tables."""
    mixer = config.mixer[0]
    return mixer.reach if isinstance(mixer, (Relative, PositionOnly)) else config.absolute
