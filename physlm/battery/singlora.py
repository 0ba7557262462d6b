"""SingLoRA (arXiv 2507.05566) in the linear maps of a model of transformers, for which peft has no adapter.

    W = W_0 + (alpha / r) u(t) A A^T,   A (max(inputs, outputs), r), cut to the shape of W

W_0 and all else is frozen.  A is drawn with the deviation 1 / sqrt(3 rows), and u rises from 0 to 1 over the first
tenth of the steps, so that the model begins as it is; see ``physlm.models.low_rank_kinds``.  The output is left alone,
as by peft.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class SingLoRA(nn.Module):
    """The moved weight of one map, whose shape is (outputs, inputs), or, in GPT-2, (inputs, outputs)."""

    def __init__(self, shape: torch.Size, rank: int, alpha: float, like: Tensor):
        super().__init__()
        rows = max(shape)
        self.a = nn.Parameter(torch.randn(rows, rank, device=like.device, dtype=like.dtype) / math.sqrt(3 * rows))
        self.scale, self.ramp = alpha / rank, 0.0

    def forward(self, weight: Tensor) -> Tensor:
        """W_0 and the update."""
        first, second = weight.shape
        return weight + (self.scale * self.ramp) * (self.a[:first] @ self.a[:second].mT)


def attach(model: Any, rank: int, alpha: float) -> list[SingLoRA]:
    """Freeze ``model`` and let the updates of all its linear maps but the output be trained.

    The updates of one model and one ``torch.manual_seed`` are the same.
    """
    from transformers.pytorch_utils import Conv1D

    model.requires_grad_(False)
    maps = [part for part in model.modules()
            if isinstance(part, (nn.Linear, Conv1D)) and part is not model.get_output_embeddings()]
    updates = []
    for part in maps:
        updates.append(SingLoRA(part.weight.shape, rank, alpha, part.weight))
        parametrize.register_parametrization(part, "weight", updates[-1])
    return updates


def merge(model: Any) -> Any:
    """The same model with the updates in its weights and no sign of them."""
    for part in list(model.modules()):
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
    return model.requires_grad_(True)


def raise_ramp(updates: list[SingLoRA], step: int, steps: int) -> None:
    """u = min(step / T, 1) for the step after ``step`` are done, T a tenth of all."""
    for update in updates:
        update.ramp = min(step / max(1, steps // 10), 1.0)
