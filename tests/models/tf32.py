"""What products of TF32 cost in digits: formulas of recurrences, with the inputs of their products cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from interpreted import INTERPRETER
from torch import Tensor


def cut_off(x: Tensor) -> Tensor:
    """x with the 10 bits behind the point that TF32 has, in float64; tensor cores do not round."""
    bits = x.float().contiguous().view(torch.int32)
    return (bits & -0x2000).view(torch.float32).double()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return (cut_off(a) @ cut_off(b)).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (a, b), grad = ctx.saved_tensors, cut_off(grads[0])
        return (grad @ cut_off(b).mT).to(a.dtype), (cut_off(a).mT @ grad).to(b.dtype)


@contextlib.contextmanager
def digits_of_kernels(module: ModuleType) -> Iterator[None]:
    """What this module multiplies by ``recurrences.matmul``, back and forth, is of TF32; but not where Triton's
    interpreter runs the kernels, which keeps all digits."""
    by_tf32 = mock.patch.object(module, "matmul", lambda a, b, rounded: _Product.apply(a, b))
    with contextlib.nullcontext() if INTERPRETER else by_tf32:
        yield


def off(found: Tensor, wanted: Tensor) -> float:
    """By the size of what was wanted; of what is 0 by a hundredth."""
    return float((found.double().cpu() - wanted.double().cpu()).norm() / max(float(wanted.double().norm()), 1e-2))


def assert_as_near(found: list[Tensor], rounded: list[Tensor], wanted: list[Tensor], float32: float = 2e-5) -> None:
    """Found is at most twice as far from what was wanted as what is only ``rounded``, and ``float32`` for all else."""
    assert len(found) == len(rounded) == len(wanted)
    for place, (one, other, right) in enumerate(zip(found, rounded, wanted, strict=True)):
        most = 2 * off(other, right) + float32
        assert one.shape == right.shape and off(one, right) < most, (place, off(one, right), most)
