"""Muon: momentum whose matrices are orthogonalised, each member's alone; all else by AdamW.

    m = b m + (1 - b) g;   u = b m + (1 - b) g          of each matrix (i, o); b is the first of ``betas``
    w = w - lr (decay w + 0.2 sqrt(max(i, o)) O(u))

O(u) is near U V^T of u = U S V^T: five steps x <- a x + (b A + c A A) x, A = x x^T, from u / ||u||, which bring
singular values from about 0.003 of the norm up to between 0.7 and 1.2 and leave smaller ones below.  With that factor
the entries of a step are as large as AdamW's, so that learning rates and decays are shared (Moonlight, arXiv
2502.16982; the iteration is that of Keller Jordan's Muon).

Matrices that tokens are multiplied with, of more than four rows and columns, are moved so; of fused ones (q, k and v,
the two of a gated MLP) each is one (``Weight.parts``), and of experts each.  Embeddings, gains, tables, routers,
matrices of gates and narrow matrices are AdamW's.  Two gates are Muon's, as they are hidden layers too: that of a gated
MLP and z of Mamba-2.

Shape letters: M members, S matrices of one shape, i inputs, o outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from physlm.models.decoder import Decoder
from physlm.models.parts.weight import Weight
from physlm.training.config import TrainConfig
from physlm.training.optimiser import AdamW, Wrap

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST_SIDE = 5  # of a matrix that is orthogonalised
SIZE = 0.2  # of the entries of a step of AdamW, about


class _Block(NamedTuple):
    """Columns of a matrix of all members, in the buffers of the optimiser: views (M, .., i, o)."""

    master: Tensor
    first: Tensor
    gradient: Tensor
    working: Tensor | None


def orthogonalised(u: Tensor) -> Tensor:
    """O of each matrix (.., i, o) in float32, see the top of this page."""
    x = u.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def matrices(weight: Weight) -> tuple[slice, ...]:
    """The columns of each matrix in a weight that Muon moves, as against AdamW."""
    role = weight.role
    if not (weight.trained and role.matrix and role.multiplied) or role.gate or weight.shape[-2] < LEAST_SIDE:
        return ()
    ends = accumulate(weight.fused)
    return tuple(slice(end - width, end) for end, width in zip(ends, weight.fused, strict=True) if width >= LEAST_SIDE)


class Muon:
    """The optimiser of one population, with the interface of ``AdamW``, in whose buffers it works.

    There the matrices have a learning rate of 0 and momentum as all weights have it; then they are moved here.  Their
    second moments are kept and not used.
    """

    def __init__(self, model: Decoder, configs: Sequence[TrainConfig], steps: int, wrap: Wrap = lambda update: update,
                 float32_gradient: bool = False):  # fmt: skip
        self._adamw = AdamW(model, configs, steps, wrap, float32_gradient=float32_gradient)
        adamw = self._adamw
        self._rate_M, self._decay_M = adamw.rate_G[::2], adamw.decay_G[1::2]
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._blocks: dict[tuple[int, ...], list[_Block]] = {}
        for name, gradient in zip(names, adamw.gradient_views, strict=True):
            offset = gradient.storage_offset()
            here = slice(offset, offset + gradient.numel())
            whole = _Block(*(None if flat is None else flat[here].view_as(gradient)  # type: ignore[arg-type]
                             for flat in (adamw.master, adamw.first, adamw.gradient, adamw.working)))
            for columns in matrices(model.weights[name]):
                block = _Block(*(None if each is None else each[..., columns] for each in whole))  # type: ignore[arg-type]
                self._blocks.setdefault(tuple(block.master.shape), []).append(block)
        adamw.faster([block.master for blocks in self._blocks.values() for block in blocks], 0.0)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Whose gradients are asked for."""
        return self._adamw.parameters

    @property
    def master_views(self) -> dict[str, Tensor]:
        """All weights of the model in float32."""
        return self._adamw.master_views

    @property
    def gradient(self) -> Tensor:
        """See ``AdamW.take``."""
        return self._adamw.gradient

    def take(self, gradients: Sequence[Tensor]) -> None:
        """Have ``gradient`` hold these."""
        self._adamw.take(gradients)

    @torch.no_grad()
    def update(self, step: Tensor) -> None:
        """One update; see ``AdamW.update``."""
        adamw = self._adamw
        adamw.update(step)
        beta, scale = adamw.config.betas[0], adamw.coefficients.index_select(0, step.view(1))[0, 0]
        for shape, blocks in self._blocks.items():
            axes = (-1, *(1 for _ in shape[1:]))
            rate, decay = scale * self._rate_M.view(axes), self._decay_M.view(axes)
            ahead = torch.stack([torch.lerp(block.gradient.float(), block.first, beta) for block in blocks], -3)
            factor = SIZE * math.sqrt(max(shape[-2:]))
            for block, direction in zip(blocks, orthogonalised(ahead).unbind(-3), strict=True):
                block.master.copy_(block.master - rate * (decay * block.master + factor * direction))
                if block.working is not None:
                    block.working.copy_(block.master)

    def gradient_norms(self) -> Tensor:
        """See ``AdamW.gradient_norms``."""
        return self._adamw.gradient_norms()

    def tensors(self) -> dict[str, Tensor]:
        """The state of the optimiser, which is the state of the weights too."""
        return self._adamw.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self._adamw.load(tensors)
