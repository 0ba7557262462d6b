"""What tests give to recurrences: seeded numbers in float64, of a few lengths of row."""

from __future__ import annotations

import torch
from torch import Tensor

LEAD, H, E = (2, 3), 5, 4  # leading axes, width of a key, width of a value
LENGTHS = (1, 2, 3, 16, 17, 64, 150)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def given(positions: int, rates: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """q, k, v, log decays (none of 0 rates) and S before the row."""
    q, k = normal(*LEAD, positions, H, seed=1), normal(*LEAD, positions, H, seed=2)
    fade = -3 * normal(*LEAD, positions, max(1, rates), seed=4).square() * (rates > 0)
    return q, k, normal(*LEAD, positions, E, seed=3), fade, normal(*LEAD, H, E, seed=5)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def strength(positions: int) -> Tensor:
    return 2 * torch.sigmoid(normal(*LEAD, positions, 1, seed=6))


def near(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], tolerance: float = 1e-10) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
