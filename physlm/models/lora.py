"""Low-rank updates (LoRA, arXiv 2106.09685) of a decoder's query, value and embedding matrices.

    W = W_0 + (alpha / r) A B        for each member and matrix; A (inputs, r), B (r, outputs); y = x W

W_0 is frozen, and so is the rest of the model; A begins at zero, so that W = W_0, and B as a Gaussian.  The model
always holds the merged W, rounded to its own dtype, and so computes at its usual speed.  Nothing is lost by it: the
gradient of the merged W gives those of the factors,

    dA = (alpha / r) dW B^T,    dB = (alpha / r) A^T dW

and the sum is taken in float32 before it is rounded.  Rows of a tied embedding are moved at both its ends; the
output of a model that is not tied stays as it is, and so do the k columns of the fused q, k, v matrix.  The settings (B
Gaussian and A zero, r for q and v and another r for the embedding) are those of arXiv 2309.14402; deviations of B are
those of the reference implementation of LoRA, 1 / sqrt(3 d) in attention and 1 at the embedding.

Which columns of which matrices are moved, parts say themselves (``Weight.low_rank``); those of one shape are one stack.

Shape letters: M members, K = blocks of columns of one shape (2 x layers: query and value of each block in turn),
V vocabulary rows, d width, i inputs, o outputs, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.models.decoder import Decoder


class LowRank(nn.Module):
    """The factors of every member, all in float32; takes over the weights of ``model``, which it freezes.

    Args:
        model: its present weights are the W_0 of each member.
        rank: of the updates of each query and value matrix; 0 leaves them out.
        embedding_rank: of the update of the embedding; 0 leaves it out.
        alpha: scale of the updates.
        seeds: one seed a member.  A member's first factors depend on its seed alone.
        half: let the model compute in bfloat16, but for the gains of norms.

    Attributes:
        weights: the model's parameters that are moved: ``gradients`` takes the gradients of these.
    """

    def __init__(
        self, model: Decoder, rank: int, embedding_rank: int, alpha: float, seeds: Sequence[int], half: bool = False
    ):
        super().__init__()
        assert rank > 0 or embedding_rank > 0
        self._base = {name: p.detach().clone().float() for name, p in model.named_parameters()}
        self._scale, self._embedding_scale = alpha / max(rank, 1), alpha / max(embedding_rank, 1)
        self._matrices = _moved_matrices(model) if rank else {}
        # in containers, as parameters of the model are none of this module
        self._tables = [model.embedding.weight] if embedding_rank else []
        self.weights = [*self._matrices.values(), *self._tables]
        for name, p in model.named_parameters():
            p.requires_grad_(any(p is weight for weight in self.weights))
            if half and not model.weights[name].role.float32:
                p.data = p.data.bfloat16()
        members, rows, width = model.embedding.weight.shape
        device = model.embedding.weight.device
        self.attention_a: Tensor  # and _b; of columns of a second shape, attention_IxO_a
        self.attention_b: Tensor
        self._stacks: list[_Stack] = []
        for shape, columns in _by_shape(model, self._matrices).items():
            name = "attention" if not self._stacks else f"attention_{shape[0]}x{shape[1]}"
            stack = _Stack(name, columns, torch.stack([_columns(self._base[c.matrix], c) for c in columns], 1))
            self._stacks.append(stack)
            count, (inputs, outputs) = len(columns), shape
            a = torch.zeros(members, count, inputs, rank, device=device)
            b = _gaussian((count, rank, outputs), seeds, name).to(device) / math.sqrt(3 * width)
            self.register_parameter(f"{name}_a", nn.Parameter(a))
            self.register_parameter(f"{name}_b", nn.Parameter(b))
        if embedding_rank:
            self.embedding_a = nn.Parameter(torch.zeros(members, rows, embedding_rank, device=device))
            self.embedding_b = nn.Parameter(_gaussian((embedding_rank, width), seeds, "embedding").to(device))

    @torch.no_grad()
    def gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """From the gradients of ``weights`` to those of ``parameters()``, in their orders, float32."""
        found = []
        given = dict(zip(self._matrices, gradients, strict=False))
        for stack in self._stacks:
            dw_MKio = torch.stack([_columns(given[c.matrix], c) for c in stack.columns], 1).float()
            found += _factor_gradients(dw_MKio, *self._factors(stack), self._scale)
        if self._tables:
            dw_MVd = gradients[-1].float()
            found += _factor_gradients(dw_MVd, self.embedding_a, self.embedding_b, self._embedding_scale)
        return found

    @torch.no_grad()
    def merge(self) -> None:
        """Write W_0 + (alpha / r) A B into the model, after the factors were changed."""
        self._write(self._matrices)
        for table in self._tables:
            table.copy_(self._moved_embedding())

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """All weights of the model in float32, by name: those that are moved, and the frozen ones."""
        weights = dict(self._base)
        if self._matrices:
            weights |= {name: self._base[name].clone() for name in self._matrices}
            self._write(weights)
        if self._tables:
            weights["embedding.weight"] = self._moved_embedding()
        return weights

    def _write(self, matrices: Mapping[str, Tensor]) -> None:
        """Write the moved columns into the whole matrices."""
        for stack in self._stacks:
            moved_MKio = _moved(stack.base, *self._factors(stack), self._scale)
            targets = [_columns(matrices[c.matrix], c) for c in stack.columns]
            torch._foreach_copy_(targets, list(moved_MKio.unbind(1)))

    def _factors(self, stack: _Stack) -> tuple[Tensor, Tensor]:
        return self.get_parameter(f"{stack.name}_a"), self.get_parameter(f"{stack.name}_b")

    def _moved_embedding(self) -> Tensor:
        """(M, V, d)."""
        return _moved(self._base["embedding.weight"], self.embedding_a, self.embedding_b, self._embedding_scale)


class _Columns(NamedTuple):
    """One of ``blocks`` equal blocks of a matrix's columns."""

    matrix: str
    block: int
    blocks: int


class _Stack(NamedTuple):
    """Columns of one shape, and the W_0 of all of them, (M, K, i, o)."""

    name: str
    columns: list[_Columns]
    base: Tensor


def _moved_matrices(model: Decoder) -> dict[str, nn.Parameter]:
    """The matrices some of whose columns low-rank updates may move, by name, in the order of the blocks."""
    found = {name: model.get_parameter(name) for name, weight in model.weights.items() if weight.low_rank}
    assert found, "no matrix to move"  # refused by RunSpec
    return found


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


def _factor_gradients(dw: Tensor, a: Tensor, b: Tensor, scale: float) -> list[Tensor]:
    return [dw @ b.mT * scale, a.mT @ dw * scale]


def _gaussian(shape: tuple[int, ...], seeds: Sequence[int], name: str) -> Tensor:
    """N(0, 1), (M, *shape), each member from its own seed."""
    count = math.prod(shape)
    return torch.stack([rng.normal(rng.key("lora", seed, name), count).float().view(shape) for seed in seeds])
