"""The primitives that know about members; everything above them folds M into the batch.

Shape letters: M members, B rows, T positions, d width, i inputs, o outputs, V vocabulary rows.
An activation is (M, B, T, d); member m sees only its own weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.errors import UserError
from physlm.models.cross_entropy import embedding


class Linear(nn.Module):
    """y = x W for each member; no bias.  Weight (M, *shape) with shape (i, o), or (G, i, o) for groups of each member;
    a buffer if it is not ``trained``."""

    weight: Tensor

    def __init__(self, members: int, shape: Sequence[int], trained: bool = True):
        super().__init__()
        weight = torch.empty(members, *shape)
        if trained:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight)


class Ternary(Linear):
    """y = x~ w~: a linear map with weights of three values and inputs of 8 bits (BitNet b1.58, arXiv 2402.17764).

        w~ = gamma clip(round(w / gamma), -1, 1)                 gamma = mean |w| of each matrix, at least 1e-5
        x~ = s clip(round(x^ / s), -128, 127)                    s = max |x^| / 127 of each token
        x^ = x / sqrt(mean x^2 + 1e-5)                           of each token, without a gain

    Gradients pass both roundings as if they were not there (straight through), so that those of w and x^ are those of
    y = x^ w at x~ and w~.  Training holds w in float32, as of every matrix, and moves it; where it computes in bfloat16
    w is rounded to it first, gamma and x~ last.

    Double norms.  BitNet has a root-mean-square norm with a gain before each such map, and none before the block's two
    branches.  Here the norms of the branches stay as they are, with their gains, and x^ has none: behind them, at the
    first map of a branch, it does no more than to undo the mean size of the gains; before the second, ``out`` and
    ``down``, it is the sub-layer norm.  So a ternary model has the weights of an ordinary one, by name and number.
    """

    def forward(self, x: Tensor) -> Tensor:
        normed = F.rms_norm(x.float(), x.shape[-1:], eps=1e-5)
        x8 = _Straight.apply(eight_bits, normed)
        return product(x8.to(self.weight.dtype), _Straight.apply(three_values, self.weight))


def converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in ``dtype``; for the result of an ``autograd.Function``.

    torch 2.11 compiles a function whose result went through a ``to`` that changes nothing so that no gradient passes.
    """
    return x if x.dtype == dtype else x.to(dtype)


def three_values(weight: Tensor) -> Tensor:
    """w~ of ``Ternary``, of each matrix (.., i, o) alone, in the dtype of w."""
    wide = weight.float()
    gamma = wide.abs().mean((-2, -1), keepdim=True).clamp_min(1e-5)
    return converted(torch.round(wide / gamma).clamp(-1, 1) * gamma, weight.dtype)


def eight_bits(x: Tensor) -> Tensor:
    """x~ of ``Ternary``, of each token (.., i) alone."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-5) / 127
    return torch.round(x / scale).clamp(-128, 127) * scale


class _Straight(torch.autograd.Function):
    """A rounding whose gradient passes as if it were not there."""

    @staticmethod
    def forward(ctx: Any, rounding: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return rounding(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x W in the dtype of W: (M, .., i) x (M, i, o), or (M, G, .., i) x (M, G, i, o) for groups of each member."""
    lead = weight.dim() - 2
    batch, tokens = math.prod(weight.shape[:lead]), math.prod(x.shape[lead:-1])
    y: Tensor = _Product.apply(x.to(weight.dtype).reshape(batch, tokens, x.shape[-1]), weight.flatten(0, -3))
    return y.view(*x.shape[:-1], -1)


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
    return x.new_empty(x.shape[0], x.shape[-1], grad.shape[-1])


def _batched(a: Tensor, b: Tensor) -> Tensor:
    """A batched matrix product; a single one goes to the plain product, which has faster kernels."""
    return (a[0] @ b[0])[None] if a.shape[0] == 1 else torch.bmm(a, b)


class Embedding(nn.Module):
    """A table E of one row a token for each member, (M, V, d): looked up, and, at the output, logits = hidden E^T."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))

    def forward(self, ids_MBT: Tensor) -> Tensor:
        found = embedding(ids_MBT, self.weight)
        return found.to(torch.promote_types(found.dtype, torch.float32))  # as wide as the stream


class Positions(nn.Module):
    """x_t + p_t with a learnt vector for each of ``rows`` positions, as in GPT-2; weight (M, P, d)."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))

    def check(self, positions: int) -> None:
        """Raises UserError where the table is too short for so many positions."""
        if positions > self.weight.shape[1]:
            raise UserError(f"model.absolute: got {positions} positions, expected at most {self.weight.shape[1]}, "
                            "the rows of the table of absolute positions")

    def forward(self, x_MBTd: Tensor) -> Tensor:
        # with one member, (T, d) and no axes of one: see module.per_member
        weight = self.weight[0] if len(self.weight) == 1 else self.weight[:, None]
        return x_MBTd + weight[..., : x_MBTd.shape[2], :].float()

    def at(self, x_MB1d: Tensor, place_1: Tensor) -> Tensor:
        """The same for one token at a position that only the device knows."""
        return x_MB1d + self.weight.index_select(1, place_1)[:, None].float()

    def aside(self, x_MBQd: Tensor, places_BQ: Tensor) -> Tensor:
        """The same for tokens each at a place of its own."""
        return x_MBQd + self.weight[:, places_BQ].float()
