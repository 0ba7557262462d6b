"""Learning rate over steps: linear warm-up, perhaps a stable phase, then a decay to a fraction of the peak."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physlm.training.config import Decay, TrainConfig


def schedule(config: TrainConfig, steps: int) -> Tensor:
    """Learning rate as a fraction of its peak for each of ``steps`` steps, (steps,) float32.

    With w = min(warmup_steps, steps // 10), step t = 0, 1, ... has (t + 1) / w while t < w, 1 while t < s, with
    s = max(w, round(``stable`` steps)), and then f + (1 - f) d(u), with u = (t - s) / (steps - s), f =
    ``final_fraction`` and d as ``decay`` says:

        cosine   (1 + cos(pi u)) / 2
        linear   1 - u
        sqrt     1 - sqrt(u)       (arXiv 2405.18392)
    """
    warmup = min(config.warmup_steps, steps // 10)
    begin = max(warmup, round(config.stable * steps))
    t = torch.arange(steps, dtype=torch.float64)
    rising = (t + 1) / max(warmup, 1)
    left = decayed(config.decay, ((t - begin) / max(steps - begin, 1)).clamp(0, 1))
    return torch.where(t < warmup, rising, config.final_fraction + (1 - config.final_fraction) * left).float()


def decayed(shape: Decay, u: Tensor) -> Tensor:
    """d(u) of ``schedule``: from 1 at u = 0 to 0 at u = 1."""
    if shape == "cosine":
        return (1 + torch.cos(math.pi * u)) / 2
    return 1 - (u.sqrt() if shape == "sqrt" else u)


def ramp_steps(config: TrainConfig, steps: int) -> int:
    """Steps over which u of SingLoRA rises from 0 to 1: ``lora_ramp``, of which at most a tenth of all are used."""
    return max(1, min(config.lora_ramp, steps // 10))


def adam_coefficients(config: TrainConfig, steps: int) -> Tensor:
    """What AdamW needs at each step, (steps, 3) float32: schedule, 1 / (1 - b1^(t+1)), 1 / sqrt(1 - b2^(t+1)).

    A table on the device, so that a step reads its row by its own counter and the host never has to send a number.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    first, second = config.betas
    columns = (schedule(config, steps).double(), 1 / (1 - first**t), (1 - second**t).rsqrt())
    return torch.stack(columns, -1).float()
