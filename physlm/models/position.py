"""Rotary position embeddings, the relative position scheme of every model since Part 2 (arXiv 2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns dimension pairs (j, j + r/2) of a head by the angle t base^(-2j/r), for the first r dimensions.

    A query-key product then depends on the distance of the two positions only.  Pairs are split in halves as in
    GPT-NeoX.  r = ``dims``; the other dimensions pass unchanged.
    """

    def __init__(self, dims: int, base: float):
        super().__init__()
        self.dims = dims
        self.register_buffer("frequency", base ** (-torch.arange(0, dims, 2).double() / dims), persistent=False)
        self.frequency: Tensor
        self._angles: tuple[Tensor, Tensor] | None = None

    def angles(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin of every position and frequency, (T, r/2) float32; kept until another T is asked for."""
        kept = self._angles
        if kept is None or len(kept[0]) != positions or kept[0].device != self.frequency.device:
            angle = torch.arange(positions, device=self.frequency.device)[:, None] * self.frequency
            kept = self._angles = angle.cos().float(), angle.sin().float()
        return kept

    def forward(self, x_BHTk: Tensor, cos_Tr: Tensor, sin_Tr: Tensor) -> Tensor:
        turned, rest = x_BHTk[..., : self.dims].float(), x_BHTk[..., self.dims :]
        a, b = turned.chunk(2, -1)
        turned = torch.cat((a * cos_Tr - b * sin_Tr, b * cos_Tr + a * sin_Tr), -1).to(x_BHTk.dtype)
        return torch.cat((turned, rest), -1) if rest.shape[-1] else turned
