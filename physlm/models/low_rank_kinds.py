"""What a low-rank update is made of: two factors (LoRA), two vectors (VeRA), or one matrix (SingLoRA).

Each makes up the factors of W = W_0 + scale a b, with a (inputs, r) and b (r, outputs), of y = x W:

    kind       a                 b                 trained, a matrix        scale       source
    lora       A                 B                 r (inputs + outputs)     alpha / r   arXiv 2106.09685
    vera       A diag(d)         B diag(b)         r + outputs              1           arXiv 2310.11454
    singlora   u A[:inputs]      A[:outputs]^T     r max(inputs, outputs)   alpha / r   arXiv 2507.05566

All begin with W = W_0: LoRA with A = 0, VeRA with b = 0, SingLoRA with u = 0.

VeRA's A and B are random, frozen, and shared by all matrices that are moved, of which the smaller ones read the first
rows of A and the first columns of B; d begins at one value.  A and B are uniform with the deviations sqrt(2 / inputs)
and sqrt(2 / r) (He et al., arXiv 1502.01852), inputs those of the largest.  A member's A and B follow from its seed.

SingLoRA's u rises from 0 to 1 over the first steps.  Its A has a row for each input or output, of which there are more,
and is drawn with the deviation 1 / sqrt(3 rows), that of LoRA's reference implementation.  An update of a square
matrix is symmetric.

Shape letters: M members, K matrices of one shape, i inputs, o outputs, r rank, n = max(i, o).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from physlm import rng


@dataclass(frozen=True)
class Place:
    """What is moved: ``count`` matrices of one shape.

    Attributes:
        name: of this shape; names the random streams of factors of its own.
        shared: of all shapes that have random matrices in common.
        most: the largest number of inputs, and of outputs, among these.
        divisor: LoRA's B begins as a standard Gaussian over this.
    """

    name: str
    count: int
    inputs: int
    outputs: int
    rank: int
    shared: str
    most: tuple[int, int]
    divisor: float


class Update(nn.Module):
    """The update of the matrices of one place, for each member; its parameters are what is trained.

    Attributes:
        scaled: whether a b is scaled by alpha / r.
        rises: whether a is multiplied by ``ramp``.
    """

    scaled: ClassVar[bool] = True
    rises: ClassVar[bool] = False

    def factors(self) -> tuple[Tensor, Tensor]:
        """a (M, K, i, r) and b (M, K, r, o)."""
        raise NotImplementedError(f"{type(self).__name__}.factors")

    def back(self, da_MKir: Tensor, db_MKro: Tensor) -> list[Tensor]:
        """The gradients of the parameters, in their order, from those of a and b."""
        raise NotImplementedError(f"{type(self).__name__}.back")


class LoRA(Update):
    """a = A, which begins at zero, and b = B, which begins as a Gaussian."""

    def __init__(self, place: Place, seeds: Sequence[int], ramp: Tensor):
        super().__init__()
        shape = (place.count, place.rank, place.outputs)
        a_MKir = torch.zeros(len(seeds), place.count, place.inputs, place.rank, device=ramp.device)
        self.a = nn.Parameter(a_MKir)
        self.b = nn.Parameter(_gaussian(shape, "lora", seeds, place.name).to(ramp.device) / place.divisor)

    def factors(self) -> tuple[Tensor, Tensor]:
        """See ``Update``."""
        return self.a, self.b

    def back(self, da_MKir: Tensor, db_MKro: Tensor) -> list[Tensor]:
        """See ``Update``."""
        return [da_MKir, db_MKro]


class VeRA(Update):
    """a = A diag(d) and b = B diag(b) with random A and B; ``initial`` is the first value of d."""

    scaled = False
    random_a: Tensor  # (M, 1, i, r)
    random_b: Tensor  # (M, 1, r, o)

    def __init__(self, place: Place, seeds: Sequence[int], ramp: Tensor, initial: float):
        super().__init__()
        members, device, (inputs, outputs) = len(seeds), ramp.device, place.most
        self.d = nn.Parameter(torch.full((members, place.count, place.rank), initial, device=device))
        self.b = nn.Parameter(torch.zeros(members, place.count, place.outputs, device=device))
        a_Mir = _uniform((inputs, place.rank), math.sqrt(2 / inputs), seeds, place.shared, "a")[:, : place.inputs]
        # drawn by columns, so that a narrower matrix reads the same ones
        b_Mor = _uniform((outputs, place.rank), math.sqrt(2 / place.rank), seeds, place.shared, "b")[:, : place.outputs]
        self.register_buffer("random_a", a_Mir[:, None].contiguous().to(device), persistent=False)
        self.register_buffer("random_b", b_Mor.mT[:, None].contiguous().to(device), persistent=False)

    def factors(self) -> tuple[Tensor, Tensor]:
        """See ``Update``."""
        return self.random_a * self.d[:, :, None], self.random_b * self.b[:, :, None]

    def back(self, da_MKir: Tensor, db_MKro: Tensor) -> list[Tensor]:
        """See ``Update``."""
        return [(self.random_a * da_MKir).sum(-2), (self.random_b * db_MKro).sum(-2)]


class SingLoRA(Update):
    """a = u A[:i] and b = A[:o]^T with one matrix A; u is ``ramp``, a number on the device that others raise."""

    rises = True

    def __init__(self, place: Place, seeds: Sequence[int], ramp: Tensor):
        super().__init__()
        self._inputs, self._outputs, self._ramp = place.inputs, place.outputs, ramp
        rows = max(place.inputs, place.outputs)
        a_MKnr = _gaussian((place.count, rows, place.rank), "singlora", seeds, place.name) / math.sqrt(3 * rows)
        self.a = nn.Parameter(a_MKnr.to(ramp.device))

    def factors(self) -> tuple[Tensor, Tensor]:
        """See ``Update``."""
        return self._ramp * self.a[:, :, : self._inputs], self.a[:, :, : self._outputs].mT

    def back(self, da_MKir: Tensor, db_MKro: Tensor) -> list[Tensor]:
        """See ``Update``."""
        gradient = torch.zeros_like(self.a)
        gradient[:, :, : self._inputs] += self._ramp * da_MKir
        gradient[:, :, : self._outputs] += db_MKro.mT
        return [gradient]


Make = Callable[[Place, Sequence[int], Tensor], Update]


def maker(kind: str, initial: float) -> Make:
    """What makes the updates of a kind; ``initial`` is the first value of VeRA's d."""
    makers: dict[str, Make] = {"lora": LoRA, "vera": partial(VeRA, initial=initial), "singlora": SingLoRA}
    return makers[kind]


def _gaussian(shape: tuple[int, ...], stream: str, seeds: Sequence[int], name: str) -> Tensor:
    """N(0, 1), (M, *shape), each member from its own seed."""
    count = math.prod(shape)
    return torch.stack([rng.normal(rng.key(stream, seed, name), count).float().view(shape) for seed in seeds])


def _uniform(shape: tuple[int, ...], deviation: float, seeds: Sequence[int], name: str, which: str) -> Tensor:
    """Uniform around zero with this deviation, (M, *shape), each member from its own seed."""
    counter, bound = torch.arange(math.prod(shape)), math.sqrt(3.0) * deviation
    drawn = [2 * rng.uniform(rng.key("vera", seed, name, which), counter) - 1 for seed in seeds]
    return torch.stack([(bound * one).float().view(shape) for one in drawn])
