"""Learning rate over steps: linear warm-up, then a cosine or a line to a fraction of the peak."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physlm.training.config import TrainConfig


def schedule(config: TrainConfig, steps: int) -> Tensor:
    """Learning rate as a fraction of its peak for each of ``steps`` steps, (steps,) float32.

    With w = min(warmup_steps, steps // 10), step t = 0, 1, ... has (t + 1) / w while t < w, and then
    f + (1 - f) (1 + cos(pi u)) / 2 or f + (1 - f) (1 - u), with u = (t - w) / (steps - w) and f = ``final_fraction``.
    """
    warmup = min(config.warmup_steps, steps // 10)
    t = torch.arange(steps, dtype=torch.float64)
    rising = (t + 1) / max(warmup, 1)
    progress = ((t - warmup) / max(steps - warmup, 1)).clamp(0, 1)
    left = (1 + torch.cos(math.pi * progress)) / 2 if config.decay == "cosine" else 1 - progress
    return torch.where(t < warmup, rising, config.final_fraction + (1 - config.final_fraction) * left).float()


def adam_coefficients(config: TrainConfig, steps: int) -> Tensor:
    """What AdamW needs at each step, (steps, 3) float32: schedule, 1 / (1 - b1^(t+1)), 1 / sqrt(1 - b2^(t+1)).

    A table on the device, so that a step reads its row by its own counter and the host never has to send a number.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    first, second = config.betas
    columns = (schedule(config, steps).double(), 1 / (1 - first**t), (1 - second**t).rsqrt())
    return torch.stack(columns, -1).float()
