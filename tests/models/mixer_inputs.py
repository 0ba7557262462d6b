"""A mixer alone in float64: its weights, what it reads, and its empty state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.module import Weights
from physlm.models.parts.canon import Canon
from physlm.models.parts.part import Mixer, Next, Whole

MODEL = ModelConfig(layers=1, heads=2, width=16)
CANON = Canon()


def weights_of(mixer: Mixer, members: int = 2, canon: bool = False, model: ModelConfig = MODEL) -> Weights:
    """In float64, large enough that each part of the formula matters."""
    local = Weights(CANON, model, members, CANON.weights_at(mixer.local_width(model))) if canon else None
    w = Weights(mixer, model, members, mixer.weights(model), local).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in w.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return w


def inputs(positions: int, members: int = 2) -> Tensor:
    return torch.randn(members, 3, positions, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def whole_rows(mixer: Mixer, positions: int) -> Whole:
    return Whole(mixer.shared(mixer.tables(MODEL, positions, torch.device("cpu")), (), positions))


def token(mixer: Mixer, place: int) -> Next:
    return Next(torch.tensor([place]), whole_rows(mixer, 96).shared)


def empty(w: Weights, positions: int) -> dict[str, Any]:
    assert isinstance(w.part, Mixer)
    kept = w.part.state(MODEL, positions, False)
    state: dict[str, Any] = {one.name: torch.zeros(2, 3, *one.shape).double() for one in kept}
    if w.local is not None:
        state["local"] = {one.name: torch.zeros(2, 3, *one.shape).double()
                          for one in CANON.state_at(w.part.local_width(MODEL), positions, False)}
    return state
