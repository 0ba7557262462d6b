"""One block of the decoder: x + attention(norm x), then x + mlp(norm x).

Shape letters: M members, B rows, T positions, d width, H heads, k = d / H, f = mlp_ratio * d.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from physlm.models.config import ModelConfig
from physlm.models.position import Rotary
from physlm.models.primitives import Linear, Norm


class Attention(nn.Module):
    """Causal softmax attention, softmax(q k^T / sqrt(k)) v, with the position scheme of the config."""

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(members, config.width, 3 * config.width)
        self.out = Linear(members, config.width, config.width)
        self.rotary = Rotary(config.rope_dims, config.rope_base) if config.position == "rope" else None

    def forward(self, x_MBTd: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        members, rows, positions, width = x_MBTd.shape
        qkv = self.qkv(x_MBTd).view(members * rows, positions, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (M B, H, T, k)
        if self.rotary is not None:
            assert angles is not None
            q, k = self.rotary(q, *angles), self.rotary(k, *angles)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(members, rows, positions, width))


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
        self.attention = Attention(config, members)
        self.mlp_norm = Norm(members, config.width, config.norm) if config.mlp_ratio else None
        self.mlp = MLP(config, members) if config.mlp_ratio else None

    def forward(self, x_MBTd: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        dtype = self.attention.qkv.weight.dtype
        x = x_MBTd + self.attention(self.attention_norm(x_MBTd, dtype), angles)
        if self.mlp is None or self.mlp_norm is None:
            return x
        return x + self.mlp(self.mlp_norm(x, dtype))
