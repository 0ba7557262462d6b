"""Low-rank updates (LoRA, arXiv 2106.09685, and its relatives) of a decoder's query, value and embedding matrices.

    W = W_0 + (alpha / r) A B        for each member and matrix; A (inputs, r), B (r, outputs); y = x W

W_0 is frozen, and so is the rest of the model; A begins at zero, so that W = W_0, and B as a Gaussian.  The model
always holds the merged W, rounded to its own dtype, and so computes at its usual speed.  Nothing is lost by it: the
gradient of the merged W gives those of the factors,

    dA = (alpha / r) dW B^T,    dB = (alpha / r) A^T dW

and the sum is taken in float32 before it is rounded.  Rows of a tied embedding are moved at both its ends; the
output of a model that is not tied stays as it is, and so do the k columns of the fused q, k, v matrix.  The settings (B
Gaussian and A zero, r for q and v and another r for the embedding) are those of arXiv 2309.14402; deviations of B are
those of the reference implementation of LoRA, 1 / sqrt(3 d) in attention and 1 at the embedding.
What A and B are made of in VeRA and SingLoRA says ``physlm.models.low_rank_kinds``.

Which columns of which matrices are moved, parts say themselves (``Weight.low_rank``); those of one shape are one stack,
and the embedding is one of its own.

Shape letters: M members, K = blocks of columns of one shape (2 x layers: query and value of each block in turn),
V vocabulary rows, d width, i inputs, o outputs, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physlm.models.decoder import Decoder
from physlm.models.low_rank_kinds import LoRA, Make, Place, Update


class LowRank(nn.Module):
    """The updates of every member, all in float32; takes over the weights of ``model``, which it freezes.

    Args:
        model: its present weights are the W_0 of each member.
        rank: of the updates of each query and value matrix; 0 leaves them out.
        embedding_rank: of the update of the embedding; 0 leaves it out.
        alpha: scale of the updates.
        seeds: one seed a member.  A member's first factors depend on its seed alone.
        half: let the model compute in bfloat16, but for the gains of norms.
        make: makes an update: ``LoRA`` or one of its relatives.

    Attributes:
        weights: the model's parameters that are moved: ``gradients`` takes the gradients of these.
        ramp: the u of SingLoRA, a number on the device; 0 until somebody raises it.
    """

    def __init__(
        self, model: Decoder, rank: int, embedding_rank: int, alpha: float, seeds: Sequence[int], half: bool = False,
        make: Make = LoRA,
    ):  # fmt: skip
        super().__init__()
        assert rank > 0 or embedding_rank > 0
        self._base = {name: p.detach().clone().float() for name, p in model.named_parameters()}
        self.ramp = torch.zeros((), device=model.embedding.weight.device)
        moved = {name: model.get_parameter(name) for name, weight in model.weights.items() if weight.low_rank and rank}
        assert moved or not rank, "no matrix to move"  # refused by RunSpec
        if embedding_rank:
            moved[TABLE] = model.embedding.weight
        # in a list and a dictionary, as parameters of the model are none of this module
        self._moved, self.weights = moved, list(moved.values())
        for name, p in model.named_parameters():
            p.requires_grad_(name in moved)
            if half and not model.weights[name].role.float32:
                p.data = p.data.bfloat16()
        self._stacks: list[_Stack] = []
        for place, columns in _places(model, moved, rank, embedding_rank):
            update = make(place, seeds, self.ramp)
            self.add_module(place.name, update)
            base = torch.stack([_columns(self._base[c.matrix], c) for c in columns], 1)
            self._stacks.append(_Stack(columns, base, update, alpha / place.rank if update.scaled else 1.0))

    @torch.no_grad()
    def gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """From the gradients of ``weights`` to those of ``parameters()``, in their orders, float32."""
        found = []
        given = dict(zip(self._moved, gradients, strict=True))
        for stack in self._stacks:
            dw_MKio = torch.stack([_columns(given[c.matrix], c) for c in stack.columns], 1).float()
            a, b = stack.update.factors()
            found += stack.update.back(dw_MKio @ b.mT * stack.scale, a.mT @ dw_MKio * stack.scale)
        return found

    @torch.no_grad()
    def merge(self) -> None:
        """Write W_0 and the update into the model, after the factors were changed."""
        self._write(self._moved)

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """All weights of the model in float32, by name: those that are moved, and the frozen ones."""
        weights = self._base | {name: self._base[name].clone() for name in self._moved}
        self._write(weights)
        return weights

    def _write(self, matrices: Mapping[str, Tensor]) -> None:
        """Write the moved columns into the whole matrices."""
        for stack in self._stacks:
            moved_MKio = _moved(stack.base, *stack.update.factors(), stack.scale)
            targets = [_columns(matrices[c.matrix], c) for c in stack.columns]
            torch._foreach_copy_(targets, list(moved_MKio.unbind(1)))


TABLE = "embedding.weight"


class _Columns(NamedTuple):
    """One of ``blocks`` equal blocks of a matrix's columns."""

    matrix: str
    block: int
    blocks: int


class _Stack(NamedTuple):
    """Columns of one shape, the W_0 of all of them, (M, K, i, o), and their update."""

    columns: list[_Columns]
    base: Tensor
    update: Update
    scale: float


def _places(model: Decoder, moved: Iterable[str], rank: int, embedding_rank: int
            ) -> Iterable[tuple[Place, list[_Columns]]]:  # fmt: skip
    """What is moved, by shape, and its columns: the layers', in the order of the blocks, then the embedding."""
    width = model.config.width
    found = _by_shape(model, [name for name in moved if name != TABLE])
    for number, (shape, columns) in enumerate(found.items()):
        name = f"attention_{shape[0]}x{shape[1]}" if number else "attention"
        most = (max(inputs for inputs, _ in found), max(outputs for _, outputs in found))
        yield Place(name, len(columns), *shape, rank, "attention", most, math.sqrt(3 * width)), columns
    if embedding_rank:
        shape = (model.vocabulary, width)
        yield Place("embedding", 1, *shape, embedding_rank, "embedding", shape, 1.0), [_Columns(TABLE, 0, 1)]


def _by_shape(model: Decoder, names: Iterable[str]) -> dict[tuple[int, int], list[_Columns]]:
    """The columns that are moved, in the order of the blocks, by the shape (i, o) of one member's."""
    found: dict[tuple[int, int], list[_Columns]] = {}
    for name in names:
        weight = model.weights[name]
        shape = (weight.shape[0], weight.shape[1] // weight.blocks)
        found.setdefault(shape, []).extend(_Columns(name, block, weight.blocks) for block in weight.low_rank)
    return found


def _columns(matrix_Mio: Tensor, which: _Columns) -> Tensor:
    """A view of these columns."""
    return matrix_Mio.chunk(which.blocks, -1)[which.block]


def _moved(base: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """base + scale a b, over any leading axes."""
    flat = torch.baddbmm(base.flatten(0, -3), a.flatten(0, -3), b.flatten(0, -3), alpha=scale)
    return flat.view(base.shape)
