"""Attention: three mixers behind one interface, chosen by ``config.position`` in ``mixer``.

``forward`` reads whole rows and, given a memory, keeps their keys and values in it; ``step`` reads one token more with
a memory; ``aside`` (softmax attention over contents alone has it) reads tokens that stand beside a row in memory;
``weights`` writes the softmax weights out, (M, B, H, T, T), for looking at.  ``shared`` is what a scheme has once for
all blocks: cosines and sines (rope), the table of distances (relative), windows (uniform), or nothing.

Shape letters: M members, B rows, T positions, Q tokens beside them, L positions of a memory, d width, H heads,
k = d / H, W distances in use.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.models.config import ModelConfig
from physlm.models.position import Rotary, clipped, clipped_row, skew
from physlm.models.primitives import Linear

Shared = tuple[Tensor, ...]


class Memory(NamedTuple):
    """Keys and values of one block for up to L positions, (M, B, H, L, k); no keys where attention has none."""

    keys: Tensor | None
    values: Tensor

    def keep(self, keys: Tensor | None, values: Tensor) -> None:
        """Store those of the first positions, (M, B, H, T, k)."""
        for memory, new in ((self.keys, keys), (self.values, values)):
            if memory is not None and new is not None:
                memory[..., : new.shape[-2], :] = new

    def upto(self, positions: int) -> Memory:
        """The first positions, in the same storage."""
        return Memory(None if self.keys is None else self.keys[..., :positions, :], self.values[..., :positions, :])

    def add(self, place_1: Tensor, keys: Tensor | None, values: Tensor) -> None:
        """Store those of one position that only the device knows, (M, B, H, 1, k)."""
        for memory, new in ((self.keys, keys), (self.values, values)):
            if memory is not None and new is not None:
                memory.index_copy_(3, place_1, new)


class View(NamedTuple):
    """What Q tokens beside the rows of a memory have once for all blocks.

    Attributes:
        shared: that of their places, each (M B, 1, Q, ..).
        seen: which positions of the memory, and then which of each other, they see, (M B, 1, Q, L + Q).
    """

    shared: Shared
    seen: Tensor

    @classmethod
    def of(cls, members: int, places_BQ: Tensor, shared: Shared, positions: int) -> View:
        """Each sees what stands before its place, and of the others itself alone."""
        rows, tokens = places_BQ.shape
        here = tuple(x[places_BQ][:, None].repeat(members, 1, 1, 1) for x in shared)
        before_BQL = torch.arange(positions, device=places_BQ.device) < places_BQ[..., None]
        itself = torch.eye(tokens, dtype=torch.bool, device=places_BQ.device).expand(rows, -1, -1)
        return cls(here, torch.cat((before_BQL, itself), -1)[:, None].repeat(members, 1, 1, 1))


class Attention(nn.Module):
    """Softmax attention, softmax(q k^T / sqrt(k)) v; causal unless the config says otherwise; rotary or not."""

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        self.qkv = Linear(members, config.width, 3 * config.width)
        self.out = Linear(members, config.width, config.width)
        self.rotary = Rotary(config.rope_dims, config.rope_base) if config.position == "rope" else None

    def forward(self, x_MBTd: Tensor, shared: Shared = (), memory: Memory | None = None) -> Tensor:
        members, rows, positions, width = x_MBTd.shape
        q, k, v = self._project(x_MBTd, shared)
        if memory is not None:
            memory.keep(*(x.unflatten(0, (members, rows)) for x in (k, v)))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(members, rows, positions, width))

    def step(self, x_MB1d: Tensor, shared: Shared, memory: Memory, place_1: Tensor) -> Tensor:
        here = tuple(x.index_select(0, place_1) for x in shared)
        q, k, v = self._project(x_MB1d, here)
        memory.add(place_1, *(x.unflatten(0, x_MB1d.shape[:2]) for x in (k, v)))
        assert memory.keys is not None
        seen = _seen(memory, place_1)
        mixed = F.scaled_dot_product_attention(q, memory.keys.flatten(0, 1), memory.values.flatten(0, 1), seen[None])
        return self.out(mixed.transpose(1, 2).reshape(x_MB1d.shape))

    def aside(self, x_MBQd: Tensor, view: View, memory: Memory) -> Tensor:
        """Each token sees what the memory holds before its place, and itself in the place of what stands there."""
        q, k, v = self._project(x_MBQd, view.shared)
        assert memory.keys is not None
        keys, values = (torch.cat((kept.flatten(0, 1), own), 2) for kept, own in ((memory.keys, k), (memory.values, v)))
        mixed = F.scaled_dot_product_attention(q, keys, values, view.seen)
        return self.out(mixed.transpose(1, 2).reshape(x_MBQd.shape))

    def weights(self, x_MBTd: Tensor, shared: Shared = ()) -> Tensor:
        q, k, _ = self._project(x_MBTd, shared)
        scores = (q @ k.mT).float() / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(_future(scores), -torch.inf)
        return scores.softmax(-1).unflatten(0, x_MBTd.shape[:2])

    def _project(self, x_MBTd: Tensor, shared: Shared) -> tuple[Tensor, Tensor, Tensor]:
        members, rows, positions, _ = x_MBTd.shape
        qkv = self.qkv(x_MBTd).view(members * rows, positions, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (M B, H, T, k)
        if self.rotary is not None:
            q, k = self.rotary(q, *shared), self.rotary(k, *shared)
        return q, k, v


class RelativeAttention(nn.Module):
    """GPT_rel: content to content, content to position and position to content, as in DeBERTa (arXiv 2006.03654).

    a_ij = (q_i . k_j + q_i . K_ij + k_j . Q_ij) / sqrt(3 k),  K_ij = (P W_K)[i - j],  Q_ij = (P W_Q)[i - j]

    P is the table of distances shared by all blocks; each block has its own W_K and W_Q, both in ``distance``.
    DeBERTa reads Q at j - i; with one row for each distance and a W_Q of its own that is a matter of naming.

    Of the tensors of T x T a head, only the weights are kept for the backward pass.
    """

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        self.qkv = Linear(members, config.width, 3 * config.width)
        self.distance = Linear(members, config.width, 2 * config.width)
        self.out = Linear(members, config.width, config.width)

    def forward(self, x_MBTd: Tensor, shared: Shared, memory: Memory | None = None) -> Tensor:
        q, k, v = self._project(x_MBTd)
        if memory is not None:
            memory.keep(k, v)
        mixed = self._mix(q, k, shared[0]) @ v
        return self.out(mixed.transpose(2, 3).reshape(x_MBTd.shape))

    def step(self, x_MB1d: Tensor, shared: Shared, memory: Memory, place_1: Tensor) -> Tensor:
        q, k, v = self._project(x_MB1d)
        memory.add(place_1, k, v)
        assert memory.keys is not None
        which = clipped_row(shared[0].shape[1], place_1, memory.keys.shape[3])
        keys, queries = (x.index_select(2, which) for x in self._distances(shared[0]))  # (M, H, L, k)
        content = q @ memory.keys.mT
        to_position = _over_rows(q, keys)
        from_position = (memory.keys * queries[:, None]).sum(-1, dtype=torch.float32)[..., None, :]
        scores = (content.float() + to_position.float() + from_position) / math.sqrt(3 * q.shape[-1])
        scores = scores.masked_fill(~_seen(memory, place_1), -torch.inf)
        mixed = scores.softmax(-1).to(v.dtype) @ memory.values
        return self.out(mixed.transpose(2, 3).reshape(x_MB1d.shape))

    def weights(self, x_MBTd: Tensor, shared: Shared) -> Tensor:
        q, k, _ = self._project(x_MBTd)
        return self._mix(q, k, shared[0]).float()

    def _project(self, x_MBTd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x_MBTd).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        return q, k, v  # each (M, B, H, T, k)

    def _distances(self, rows_MWd: Tensor) -> tuple[Tensor, Tensor]:
        """W_K and W_Q applied to rows of P: keys and queries, (M, H, W, k)."""
        both = self.distance(rows_MWd[:, None])[:, 0].unflatten(-1, (2, self.heads, -1))
        keys, queries = both.permute(2, 0, 3, 1, 4)
        return keys, queries

    def _mix(self, q_MBHTk: Tensor, k_MBHTk: Tensor, table_MPd: Tensor) -> Tensor:
        """Softmax weights (M, B, H, T, T) in the dtype of q."""
        positions, width = q_MBHTk.shape[-2:]
        keys, queries = self._distances(clipped(table_MPd, positions, self.causal))
        # column c of q . K^T is distance T - 1 - c, so that j = i - distance moves right with c
        to_position = skew(_over_rows(q_MBHTk, keys.flip(2)), positions - 1)
        # column c of k . Q^T is distance c, or c - T where the future is seen; here the rows are the keys j
        from_position = skew(_over_rows(k_MBHTk, queries), 0 if self.causal else positions).mT
        content = q_MBHTk @ k_MBHTk.mT
        weights: Tensor = _Softmax.apply(content, to_position, from_position, 1 / math.sqrt(3 * width), self.causal)
        return weights


class PositionalAttention(nn.Module):
    """Weights that depend on positions alone, out = A v; there are no queries and keys.

    ``position_only`` (GPT_pos): A_ij = softmax_j b_h[i - j], learnt; ``logits`` (M, P, H).
    ``uniform`` (GPT_uni): A is fixed, see ``windows``.  Source: arXiv 2305.13673.
    """

    def __init__(self, config: ModelConfig, members: int):
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        learnt = config.position == "position_only"
        self.value = Linear(members, config.width, config.width)
        self.out = Linear(members, config.width, config.width)
        self.logits = nn.Parameter(torch.empty(members, config.distances, config.heads)) if learnt else None

    def forward(self, x_MBTd: Tensor, shared: Shared = (), memory: Memory | None = None) -> Tensor:
        members, rows, positions, width = x_MBTd.shape
        v = self.value(x_MBTd).unflatten(-1, (self.heads, -1))
        if memory is not None:
            memory.keep(None, v.transpose(2, 3))
        # one product a head over all rows: (H, T, T) x (H, T, B k)
        v = v.permute(0, 3, 2, 1, 4).reshape(members, self.heads, positions, -1)
        mixed = self._weights(members, positions, shared).to(v.dtype) @ v
        mixed = mixed.view(members, self.heads, positions, rows, -1).permute(0, 3, 2, 1, 4)
        return self.out(mixed.reshape(members, rows, positions, width))

    def step(self, x_MB1d: Tensor, shared: Shared, memory: Memory, place_1: Tensor) -> Tensor:
        v = self.value(x_MB1d).unflatten(-1, (self.heads, -1)).transpose(2, 3)
        memory.add(place_1, None, v)
        if self.logits is None:
            weights = shared[0].index_select(1, place_1)[None, ..., : memory.values.shape[3]]  # (1, H, 1, L)
        else:
            which = clipped_row(self.logits.shape[1], place_1, memory.values.shape[3])
            scores = self.logits.index_select(1, which).mT[:, :, None].float()
            weights = scores.masked_fill(~_seen(memory, place_1), -torch.inf).softmax(-1)
        mixed = weights[:, None].to(v.dtype) @ memory.values
        return self.out(mixed.transpose(2, 3).reshape(x_MB1d.shape))

    def weights(self, x_MBTd: Tensor, shared: Shared = ()) -> Tensor:
        members, rows, positions, _ = x_MBTd.shape
        return self._weights(members, positions, shared)[:, None].expand(-1, rows, -1, -1, -1)

    def _weights(self, members: int, positions: int, shared: Shared) -> Tensor:
        """(M, H, T, T) float32."""
        if self.logits is None:
            return shared[0].expand(members, -1, -1, -1)
        b_MHW = clipped(self.logits, positions, self.causal).flip(1).mT.float()
        scores = skew(b_MHW[:, :, None].expand(-1, -1, positions, -1), positions - 1)
        if self.causal:
            scores = scores.masked_fill(_future(scores), -torch.inf)
        return scores.softmax(-1)


def mixer(config: ModelConfig, members: int) -> Attention | RelativeAttention | PositionalAttention:
    """The attention of ``config.position``."""
    if config.position == "relative":
        return RelativeAttention(config, members)
    if config.position in ("position_only", "uniform"):
        return PositionalAttention(config, members)
    return Attention(config, members)


class _Softmax(torch.autograd.Function):
    """softmax((a + b + c) scale) over keys, in float32; only the rounded weights are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, scale: float, causal: bool) -> Tensor:
        wide = torch.promote_types(a.dtype, torch.float32)
        scores = (a.to(wide) + b.to(wide) + c.to(wide)) * scale
        if causal:
            scores = scores.masked_fill(_future(scores), -torch.inf)
        weights = scores.softmax(-1).to(a.dtype)
        ctx.save_for_backward(weights)
        ctx.scale = scale
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        wide = torch.promote_types(weights.dtype, torch.float32)
        p, g = weights.to(wide), grad.to(wide)
        scores = (p * (g - (p * g).sum(-1, keepdim=True)) * ctx.scale).to(weights.dtype)
        return scores, scores, scores, None, None


def _over_rows(x_MBHTk: Tensor, table_MHWk: Tensor) -> Tensor:
    """x . table^T as one product a head over all rows of a member, (M, B, H, T, W)."""
    members, rows, heads, positions, _ = x_MBHTk.shape
    flat = x_MBHTk.transpose(1, 2).reshape(members, heads, rows * positions, -1)
    return (flat @ table_MHWk.mT).view(members, heads, rows, positions, -1).transpose(1, 2)


def _future(scores: Tensor) -> Tensor:
    """True where the key comes after the query, (T, T)."""
    place = torch.arange(scores.shape[-1], device=scores.device)
    return place > place[:, None]


def _seen(memory: Memory, place_1: Tensor) -> Tensor:
    """True for the positions of the memory up to ``place``, (L,)."""
    return torch.arange(memory.values.shape[3], device=place_1.device) <= place_1
