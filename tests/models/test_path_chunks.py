"""What PaTH needs of a chunk: kernels against the obvious implementation in float64, values and gradients.

The obvious implementation is held against loops over reflections in ``test_recurrence_path``.  The kernels may lose
twice the digits that it loses where its products are of TF32.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from interpreted import CUDA, DEVICE, INTERPRETER, assert_passes_interpreted, needs_kernels, starts_interpreter
from recurrence_inputs import unit
from tf32 import assert_as_near, digits_of_kernels, off
from torch import Tensor

from physlm.models.recurrences import path_chunks
from physlm.models.recurrences.path import path_attention
from physlm.models.recurrences.path_chunks import CHUNKS, WIDTHS, chunk_pieces, reference_pieces

SIZES = [(16, 16), (16, 64), (64, 16), (32, 32), (64, 64)]  # C and h


def problem(chunk: int, width: int, count: int = 3) -> list[Tensor]:
    """Q / sqrt(h), K, W and b, of strengths from 0 to 2."""
    generator = torch.Generator().manual_seed(chunk + width)
    q, k, w = (torch.randn(count, chunk, width, generator=generator) for _ in range(3))
    beta = 2 * torch.rand(count, chunk, 1, generator=generator)
    beta[0, ::3], beta[0, 1::3] = 0.0, 2.0
    return [x.to(DEVICE) for x in (q * width**-0.5, k, unit(w), beta)]


def gradients_of(shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(*shape, generator=generator).to(DEVICE) for shape in shapes]


def expected(given: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """In float64: the pieces, their scores with 0 for later keys, and the gradients of what is given."""
    q, k, w, beta = exact = [x.double().cpu().requires_grad_() for x in given]
    pieces = reference_pieces(q, k, w, beta)
    seen = [pieces[0].tril(), *pieces[1:]]
    total = sum(((x.masked_fill(x.isinf(), 0.0) * g.cpu()).sum() for x, g in zip(pieces, grads, strict=True)),
                start=torch.zeros(()))  # fmt: skip
    return [x.detach() for x in seen], list(torch.autograd.grad(total, exact))


@needs_kernels
@pytest.mark.parametrize(("chunk", "width"), SIZES)
def test_kernels_are_the_obvious_implementation(chunk: int, width: int) -> None:
    from physlm.models.kernels import path_chunks as kernels

    given = q, k, w, beta = problem(chunk, width)
    *pieces, inverse = kernels.forward(q, k, w, beta)
    grads = gradients_of([x.shape for x in pieces])
    back = kernels.backward(q, k, w, beta, inverse, *grads)
    wanted, theirs = expected(given, grads)
    with digits_of_kernels(path_chunks):
        rounded, rounded_back = expected(given, grads)
    assert bool(pieces[0].isinf().eq(torch.ones(chunk, chunk, device=DEVICE).triu(1).bool()).all())
    assert_as_near([pieces[0].tril(), *pieces[1:]], rounded, wanted)
    assert_as_near(list(back), rounded_back, theirs)
    fine = torch.eye(chunk).double() + ((beta * w).double() @ w.double().mT).cpu().tril(-1)
    assert off(inverse, fine.inverse()) < 1e-5
    again = kernels.backward(q, k, w, beta, inverse, *grads)
    assert all(a.equal(b) for a, b in zip(back, again, strict=True))


@needs_kernels
def test_one_direction_repeated_is_no_trouble_for_kernels() -> None:
    """Where all keys are one, powers of A would grow beyond float32; blocks that are put together do not."""
    from physlm.models.kernels import path_chunks as kernels

    q, k, w, beta = problem(64, 64)
    w, beta = w[:, :1].expand_as(w).contiguous(), torch.full_like(beta, 2.0)
    given, grads = [q, k, w, beta], gradients_of([(3, 64, 64)] * 4)
    *pieces, inverse = kernels.forward(q, k, w, beta)
    wanted, _ = expected(given, grads)
    with digits_of_kernels(path_chunks):
        rounded, _ = expected(given, grads)
    assert_as_near([pieces[0].tril(), *pieces[1:]], rounded, wanted, 1e-4)
    assert bool(inverse.isfinite().all())


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA or INTERPRETER, reason="needs a CUDA device")
@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_path_with_kernels_is_path_without(compiling: bool, fades: bool) -> None:
    """Of rows that end within a chunk; both in bfloat16, against float64."""
    from physlm.training.step import compiled

    q, k, w, beta = (x.unflatten(0, (2, 3)).flatten(2, 2) for x in problem(32, 64, 6))
    q, k, w, beta = (torch.cat((x, x.flip(-2), x[..., :17, :]), -2) for x in (q, k, w, beta))
    v, fade = k.flip(-1), -(beta.square()) if fades else None

    def read(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, v: Tensor) -> Tensor:
        return path_attention(q, k, v.to(torch.bfloat16) if v.dtype == torch.float32 else v, w, beta,
                              None if fade is None else fade.to(q.dtype), 32)  # fmt: skip

    run, outcomes = compiled(read) if compiling else read, []
    for dtype, form in ((torch.float32, run), (torch.float64, read)):
        given = [x.to(dtype).requires_grad_() for x in (q, k, w, beta, v)]
        out = form(*given)
        grad = torch.linspace(-1, 1, out.numel(), device=out.device).sin().reshape(out.shape).to(out)
        outcomes.append([out.detach(), *torch.autograd.grad((out * grad).sum(), given)])
    assert all(off(one, other) < 2e-2 for one, other in zip(*outcomes, strict=True))


def test_a_cpu_takes_the_obvious_implementation() -> None:
    q, k, w, beta = (x.cpu() for x in problem(32, 16))
    for one, other in zip(chunk_pieces(q, k, w, beta, torch.bfloat16), reference_pieces(q, k, w, beta), strict=True):
        assert one.equal(other)
    assert all(size & (size - 1) == 0 for size in (*CHUNKS, *WIDTHS))


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernels and not interpreter and not with")
