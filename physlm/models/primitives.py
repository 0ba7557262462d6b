"""The four primitives that know about members; everything above them folds M into the batch.

Shape letters: M members, B rows, T positions, d width, i inputs, o outputs, V vocabulary rows.
An activation is (M, B, T, d); member m sees only its own weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.models.cross_entropy import embedding


class Linear(nn.Module):
    """y = x W for each member; no bias.  Weight (M, i, o)."""

    def __init__(self, members: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))

    def forward(self, x_MBTi: Tensor) -> Tensor:
        members, rows, positions, inputs = x_MBTi.shape
        x = x_MBTi.to(self.weight.dtype).reshape(members, rows * positions, inputs)
        y: Tensor = _Product.apply(x, self.weight)
        return y.view(members, rows, positions, -1)


def token_splits(members: int, inputs: int, outputs: int, tokens: int) -> int:
    """Parts that the tokens are cut into for a weight's gradient, a power of two that divides ``tokens``.

    x^T dy has few output tiles and a very long inner axis when the width is small: on its own it would use a handful of
    the GPU's 132 processors.  Cut into parts it fills them; the parts are summed in a fixed order.
    """
    tiles = members * math.ceil(inputs / 64) * math.ceil(outputs / 64)
    splits = 1
    while tiles * splits * 2 <= 132 and tokens % (splits * 2) == 0:
        splits *= 2
    return splits


class _Product(torch.autograd.Function):
    """(M, N, i) x (M, i, o) -> (M, N, o), with the weight's gradient summed over parts of the tokens."""

    @staticmethod
    def forward(ctx: Any, x_MNi: Tensor, weight_Mio: Tensor) -> Tensor:
        ctx.save_for_backward(x_MNi, weight_Mio)
        return _batched(x_MNi, weight_Mio)

    @staticmethod
    def backward(ctx: Any, grad_MNo: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad  # a frozen weight needs none
        return (_batched(grad_MNo, weight.mT) if for_x else None,
                _weight_gradient(x, grad_MNo) if for_weight else None)


@torch.library.custom_op("physlm::weight_gradient", mutates_args=(), schema="(Tensor x, Tensor grad) -> Tensor")
def _weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """x^T grad for each member, (M, i, o); opaque to the compiler, which would write x out transposed first."""
    members, tokens, inputs = x.shape
    return split_product(x, grad, token_splits(members, inputs, grad.shape[-1], tokens) if x.is_cuda else 1)


def split_product(x: Tensor, grad: Tensor, splits: int) -> Tensor:
    """x^T grad for each member, (M, i, o), as the sum over ``splits`` equal parts of the tokens."""
    members = len(x)
    x_parts = x.reshape(members * splits, -1, x.shape[-1])
    partial = _batched(x_parts.mT, grad.reshape(members * splits, -1, grad.shape[-1]))
    return partial.unflatten(0, (members, splits)).sum(1) if splits > 1 else partial


@torch.library.register_fake("physlm::weight_gradient")
def _(x: Tensor, grad: Tensor) -> Tensor:
    return x.new_empty(len(x), x.shape[-1], grad.shape[-1])


def _batched(a: Tensor, b: Tensor) -> Tensor:
    """A batched matrix product; a single one goes to the plain product, which has faster kernels."""
    return (a[0] @ b[0])[None] if len(a) == 1 else torch.bmm(a, b)


class Embedding(nn.Module):
    """A table of one row a token for each member, (M, V, d); tied to the output: logits = hidden E^T."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))

    def forward(self, ids_MBT: Tensor) -> Tensor:
        return embedding(ids_MBT, self.weight).float()


class Norm(nn.Module):
    """Layer norm (zero mean, unit variance) or RMS norm (unit mean square) in float32, then a gain; no bias.

    layernorm: y = g (x - mean x) / sqrt(var x + 1e-5);  rmsnorm: y = g x / sqrt(mean x^2 + 1e-5).
    The gain (M, d) stays in float32; the result has the dtype ``out``.
    """

    def __init__(self, members: int, width: int, kind: str):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(members, width))

    def forward(self, x_MBTd: Tensor, out: torch.dtype) -> Tensor:
        normalise = F.layer_norm if self.kind == "layernorm" else F.rms_norm
        x = normalise(x_MBTd.float(), (x_MBTd.shape[-1],), eps=1e-5)
        # with one member a gain of shape (1, 1, 1, d) breaks the compiled backward of torch 2.11: use (d,)
        gain = self.weight[0] if len(self.weight) == 1 else self.weight[:, None, None]
        return (x * gain).to(out)
