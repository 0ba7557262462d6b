"""One block of the decoder: x + attention(norm x), then x + mlp(norm x).

Shape letters: M members, B rows, T positions, Q tokens beside them, d width, H heads, k = d / H, f = mlp_ratio * d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.models.attention import Attention, Memory, Shared, View, mixer
from physlm.models.config import ModelConfig
from physlm.models.primitives import Linear, Norm


class MLP(nn.Module):
    """gelu(x W_up) W_down with the tanh form of GELU, as in GPT-2."""

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.up = Linear(members, config.width, config.mlp_ratio * config.width)
        self.down = Linear(members, config.mlp_ratio * config.width, config.width)

    def forward(self, x_MBTd: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x_MBTd), approximate="tanh"))


class Block(nn.Module):
    """The residual stream is float32; each branch computes in the dtype of its weights."""

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.attention_norm = Norm(members, config.width, config.norm)
        self.attention = mixer(config, members)
        self.mlp_norm = Norm(members, config.width, config.norm) if config.mlp_ratio else None
        self.mlp = MLP(config, members) if config.mlp_ratio else None

    def forward(self, x_MBTd: Tensor, shared: Shared = (), memory: Memory | None = None) -> Tensor:
        dtype = self.attention.out.weight.dtype
        x = x_MBTd + self.attention(self.attention_norm(x_MBTd, dtype), shared, memory)
        return self._after(x, dtype)

    def step(self, x_MB1d: Tensor, shared: Shared, memory: Memory, place_1: Tensor) -> Tensor:
        """One token more, at a position that only the device knows."""
        dtype = self.attention.out.weight.dtype
        x = x_MB1d + self.attention.step(self.attention_norm(x_MB1d, dtype), shared, memory, place_1)
        return self._after(x, dtype)

    def aside(self, x_MBQd: Tensor, view: View, memory: Memory) -> Tensor:
        """Tokens beside the rows in memory, each at a place of its own."""
        assert isinstance(self.attention, Attention)
        dtype = self.attention.out.weight.dtype
        x = x_MBQd + self.attention.aside(self.attention_norm(x_MBQd, dtype), view, memory)
        return self._after(x, dtype)

    def attention_weights(self, x_MBTd: Tensor, shared: Shared = ()) -> Tensor:
        """The softmax weights of this block, (M, B, H, T, T) float32."""
        return self.attention.weights(self.attention_norm(x_MBTd, self.attention.out.weight.dtype), shared)

    def _after(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        if self.mlp is None or self.mlp_norm is None:
            return x
        return x + self.mlp(self.mlp_norm(x, dtype))
