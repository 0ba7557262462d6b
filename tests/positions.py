"""The ways of knowing positions of arXiv 2305.13673 under one name each, for tests that go through all of them."""

from __future__ import annotations

from typing import Any

from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.positional import PositionOnly, Uniform
from physlm.models.parts.relative import Relative


def way(position: str, reach: int = 512) -> dict[str, Any]:
    """Settings of a model; ``reach``: rows of its tables of positions, or of distances on one side."""
    ways: dict[str, dict[str, Any]] = {
        "rope": {}, "none": {"mixer": (Attention(rope=0.0),)},
        "absolute": {"mixer": (Attention(rope=0.0),), "absolute": reach},
        "relative": {"mixer": (Relative(reach),)}, "position_only": {"mixer": (PositionOnly(reach),)},
        "uniform": {"mixer": (Uniform(),)},
    }  # fmt: skip
    return ways[position]


def position_of(config: ModelConfig) -> str:
    """The name of a model's way."""
    name: str = config.facts()["position"]
    return name


def reach_of(config: ModelConfig) -> int:
    """Of a model with tables."""
    mixer = config.mixer[0]
    return mixer.reach if isinstance(mixer, (Relative, PositionOnly)) else config.absolute
