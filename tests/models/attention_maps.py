"""Attention weights of one layer, for tests of scores."""

from __future__ import annotations

import torch
from part_models import randomised, with_part
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention

CPU = torch.device("cpu")
FOUR = ModelConfig(layers=1, heads=4, width=32)


def weights_of(part: Attention, positions: int = 12, model: ModelConfig = FOUR) -> Tensor:
    """Attention of its one block for random tokens, (H, T, T)."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 11, (1, 1, positions), generator=generator)
    found: Tensor = randomised(with_part("mixer", part, model), 1)(ids, taps=("block.0.attention",)).taps[
        "block.0.attention"][0, 0].detach()  # fmt: skip
    return found
