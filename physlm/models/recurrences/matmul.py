"""Products of float32 matrices on the tensor cores of a GPU, for models that compute in bfloat16.

Inputs are rounded to TF32, whose 10 bits are 8 times finer than those of bfloat16; sums and results are float32.  What
is computed in float32 throughout, or on a CPU, is multiplied as it stands.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def matmul(a: Tensor, b: Tensor, rounded: torch.dtype | None) -> Tensor:
    """A B, (.., i, j) x (.., j, k) with the same leading axes; float32 matrices of a model that computes in ``rounded``
    = bfloat16 by way of TF32."""
    if rounded != torch.bfloat16 or a.dtype != torch.float32 or not a.is_cuda:
        return a @ b
    found: Tensor = _Matmul.apply(a.flatten(0, -3), b.flatten(0, -3))
    return found.unflatten(0, a.shape[:-2])


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return tf32_matmul(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return tf32_matmul(grad, b.mT), tf32_matmul(a.mT, grad)


@torch.library.custom_op("physlm::tf32_matmul", mutates_args=(), schema="(Tensor a, Tensor b) -> Tensor")
def tf32_matmul(a: Tensor, b: Tensor) -> Tensor:
    """A B for each of (N, i, j) and (N, j, k); opaque to the compiler, which knows one precision for all products."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return torch.bmm(a, b)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@torch.library.register_fake("physlm::tf32_matmul")
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])
