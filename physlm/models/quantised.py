"""The arithmetic of quantisation: weights on a grid, by rounding to nearest or by GPTQ, and a model with such weights.

Weights are kept fake-quantised: float32 numbers that lie on their grids exactly (an index of at most 8 bits times a
bfloat16 scale needs 16 bits), so that everything that reads a model reads this one.  It is to be read in float32:
``in_bfloat16`` would round them once more.

Shape letters: M members, O outputs, I inputs of a matrix, B rows, T positions.  ``...`` are any leading axes, each of
whose matrices is quantised alone.  Matrices are (.., O, I) here, rows of outputs, as the papers have them; a model
holds them as (M, I, O).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physlm.errors import NotFiniteError
from physlm.models.decoder import Decoder
from physlm.models.listing import TOKEN_TABLES
from physlm.models.primitives import Linear
from physlm.models.quantisation import CAST, Quantisation

DAMPING = 0.01  # of the Hessian's mean diagonal, added to it (arXiv 2210.17323, section 3.3)
BLOCK = 128  # columns after which the errors of all of them are passed on to those behind, at once (the same section)
WEIGHT = ".weight"


class Grid(NamedTuple):
    """Levels scale (q - zero), q = 0 .. 2^bits - 1, of each row; (.., O, 1) both.  See ``Quantisation``."""

    scale: Tensor
    zero: Tensor
    bits: int

    @classmethod
    def of(cls, weights: Tensor, setting: Quantisation) -> Grid:
        """The grid that covers the rows of these weights (.., O, I); of zeros alone, one of scale 1."""
        highest = 2**setting.bits - 1
        if setting.grid == "symmetric":
            scale = _up_to_bfloat16(2 * weights.abs().amax(-1, keepdim=True) / highest)
            return cls(scale, torch.full_like(scale, 2 ** (setting.bits - 1)), setting.bits)
        low = weights.amin(-1, keepdim=True).clamp(max=0)
        scale = _up_to_bfloat16((weights.amax(-1, keepdim=True).clamp(min=0) - low) / highest)
        return cls(scale, torch.round(-low / scale), setting.bits)

    def nearest(self, weights: Tensor) -> Tensor:
        """The nearest level to each weight."""
        index = torch.clamp(torch.round(weights / self.scale) + self.zero, 0, 2**self.bits - 1)
        return self.scale * (index - self.zero)


def to_nearest(weights: Tensor, setting: Quantisation) -> Tensor:
    """Every weight of (.., O, I) at the nearest level of the grid of its row, or group."""
    groups = weights.double().split(setting.group or weights.shape[-1], -1)
    return torch.cat([Grid.of(group, setting).nearest(group) for group in groups], -1).to(weights.dtype)


def gptq(weights: Tensor, moments: Tensor, setting: Quantisation, block: int = BLOCK) -> Tensor:
    """Weights on their grids by GPTQ (arXiv 2210.17323), which lets those still to come make up for each error.

    The squared error of the output, tr (W - Q) H (W - Q)^T with H = X X^T, is made small column by column.  With the
    upper Cholesky factor U of H^-1, U^T U = H^-1, column c is rounded to nearest and then

        W[:, c+1:] -= (W[:, c] - Q[:, c]) / U[c, c]  U[c, c+1:]

    H is damped by ``DAMPING`` of its mean diagonal.  The grid of a row is fixed before it is changed, that of a group
    when its first column is reached.  Two deviations from the released code, where inputs are always 0 in X: it sets
    their weights to 0, which may be needed elsewhere, and here they are rounded to nearest; and it counts them with a
    diagonal of 1 in the mean, whatever the scale of X.

    Args:
        weights: (.., O, I).
        moments: H, (.., I, I), to any factor.
        block: columns in which the sum above is taken before those behind are changed; it alters no more than the
            order of summation.

    Raises:
        NotFiniteError: H is not finite.
    """
    if not moments.isfinite().all():
        raise NotFiniteError("got inputs of a matrix that are not finite")
    if setting.order == "activation":
        order = moments.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True, stable=True)
        at_I, at_OI = order[..., None], order[..., None, :].expand(weights.shape)
        moments = moments.take_along_dim(at_I, -2).take_along_dim(at_I.mT, -1)
        return torch.empty_like(weights).scatter_(-1, at_OI, _gptq(weights.gather(-1, at_OI), moments, setting, block))
    return _gptq(weights, moments, setting, block)


def _gptq(weights: Tensor, moments: Tensor, setting: Quantisation, block: int) -> Tensor:
    factor = _inverse_factor(moments.double())
    w = weights.double().clone()
    inputs = w.shape[-1]
    size = setting.group or inputs
    for group in range(0, inputs, size):
        behind_group = min(group + size, inputs)
        grid = Grid.of(w[..., group:behind_group], setting)
        for start in range(group, behind_group, block):
            end = min(start + block, behind_group)
            errors = torch.zeros_like(w[..., start:end])
            for c in range(start, end):
                level = grid.nearest(w[..., c : c + 1])
                error = (w[..., c : c + 1] - level) / factor[..., c : c + 1, c : c + 1]
                w[..., c + 1 : end] -= error * factor[..., c : c + 1, c + 1 : end]
                w[..., c : c + 1] = level
                errors[..., c - start : c - start + 1] = error
            w[..., end:] -= errors @ factor[..., start:end, end:]
    return w.to(weights.dtype)


def _inverse_factor(moments: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the damped Hessian."""
    damped = moments.clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)
    alive = diagonal > 0
    mean = diagonal.sum(-1, keepdim=True) / alive.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(mean > 0, mean, 1.0)
    diagonal += torch.where(alive, DAMPING * mean, mean)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


class Read(NamedTuple):
    """Texts to calibrate on: ids (B, T), and which positions are none of padding."""

    ids_BT: Tensor
    counts_BT: Tensor


@torch.no_grad()
def quantised(model: Decoder, setting: Quantisation, texts: Sequence[Read] = ()) -> Decoder:
    """A copy of the model whose weights are stored as ``physlm.models.quantisation`` says; each member alone.

    By GPTQ, matrices are quantised one after another in the order in which they are read, each with the inputs that
    it gets from those before, which are quantised already (arXiv 2210.17323, section 4, within blocks as AutoGPTQ's
    ``true_sequential``).  The embedding is rounded to nearest by both methods, before all others: as a table that is
    looked up its inputs are one-hot, their Hessian is diagonal, and GPTQ is round-to-nearest.  So is the output of a
    model that is not tied.

    Args:
        texts: batches to calibrate on; GPTQ alone reads them.

    Raises:
        NotFiniteError: an activation is not finite.
    """
    found = model.in_bfloat16().float()
    touched = [name for name, weight in found.weights.items() if setting.touches(name, weight)]
    for name in touched:  # rounded once, from what training held
        found.get_parameter(name).copy_(model.get_parameter(name))
    for name in (name for name in TOKEN_TABLES if name in touched):
        table = found.get_parameter(name)
        table.copy_(to_nearest(table, setting))
        touched.remove(name)
    if setting.bits == CAST or setting.method == "nearest":
        for name in touched:
            matrix = found.get_parameter(name)
            matrix.copy_(to_nearest(matrix.mT, setting).mT)
        return found
    order = [name for name in _order_of_reading(found, texts[0]) if name in touched]
    assert len(order) == len(touched), "a model calls all its matrices"
    for name in order:
        matrix = found.get_parameter(name)
        matrix.copy_(gptq(matrix.mT, second_moments(found, name, texts), setting).mT)
    return found


@torch.no_grad()
def second_moments(model: Decoder, name: str, texts: Sequence[Read]) -> Tensor:
    """X X^T of a matrix of the model over all that is read, (M, I, I) float64; padding counts nothing."""
    total = torch.zeros((), dtype=torch.float64, device=model.embedding.weight.device)
    counts_BT: Tensor | None = None

    def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal total
        x_MBTi = inputs[0].double()
        if counts_BT is not None:
            streams = x_MBTi.shape[1] // len(counts_BT)  # that read each row beside each other
            x_MBTi = x_MBTi * counts_BT.repeat_interleave(streams, 0)[..., None]
        x_MNi = x_MBTi.flatten(1, 2)
        total = total + x_MNi.mT @ x_MNi

    hook = model.get_submodule(name.removesuffix(WEIGHT)).register_forward_pre_hook(look)
    try:
        for read in texts:
            # what is applied to a table gets its rows, not tokens
            counts_BT = read.counts_BT if model.weights[name].role.multiplied else None
            model.hidden(read.ids_BT.expand(model.members, -1, -1))
    finally:
        hook.remove()
    return total


def _order_of_reading(model: Decoder, read: Read) -> list[str]:
    """Names of the matrices in the order in which the model calls them."""
    order: list[str] = []
    hooks = [module.register_forward_pre_hook(lambda *_, name=name: order.append(name + WEIGHT))
             for name, module in model.named_modules() if isinstance(module, Linear)]
    try:
        model.hidden(read.ids_BT[:1].expand(model.members, -1, -1))
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(order))


def _up_to_bfloat16(scale: Tensor) -> Tensor:
    """Positive numbers rounded up to bfloat16, in their own dtype; 0 becomes 1."""
    bits = scale.float().view(torch.int32)
    up = ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32)
    return torch.where(up > 0, up, 1.0).to(scale.dtype)
