"""What PaTH needs of a chunk: kernels against the obvious implementation in float64, values and gradients.

The obvious implementation is held against loops over reflections in ``test_recurrence_path``.  Without a GPU the
kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), in a process of its own; it does not round to TF32.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from recurrence_inputs import unit
from torch import Tensor

from physlm.models.recurrences.path import path_attention
from physlm.models.recurrences.path_chunks import CHUNKS, WIDTHS, chunk_pieces, reference_pieces

CUDA, TRITON = torch.cuda.is_available(), importlib.util.find_spec("triton") is not None
INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if CUDA and not INTERPRETER else "cpu")
needs_kernels = pytest.mark.skipif(
    not CUDA and not (INTERPRETER and TRITON), reason="needs a CUDA device, or triton with TRITON_INTERPRET=1"
)
SIZES = [(16, 16), (16, 64), (64, 16), (32, 32), (64, 64)]  # C and h


def problem(chunk: int, width: int, count: int = 3) -> list[Tensor]:
    """Q / sqrt(h), K, W and b, of strengths from 0 to 2."""
    generator = torch.Generator().manual_seed(chunk + width)
    q, k, w = (torch.randn(count, chunk, width, generator=generator) for _ in range(3))
    beta = 2 * torch.rand(count, chunk, 1, generator=generator)
    beta[0, ::3], beta[0, 1::3] = 0.0, 2.0
    return [x.to(DEVICE) for x in (q * width**-0.5, k, unit(w), beta)]


def gradients_of(shapes: list[torch.Size]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator).to(DEVICE) for shape in shapes]


def expected(given: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """In float64: the pieces, their scores with 0 for later keys, and the gradients of what is given."""
    q, k, w, beta = exact = [x.double().cpu().requires_grad_() for x in given]
    pieces = reference_pieces(q, k, w, beta)
    seen = [pieces[0].tril(), *pieces[1:]]
    total = sum(((x.masked_fill(x.isinf(), 0.0) * g.cpu()).sum() for x, g in zip(pieces, grads, strict=True)),
                start=torch.zeros(()))  # fmt: skip
    return [x.detach() for x in seen], list(torch.autograd.grad(total, exact))


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    """Each by the size of what was wanted."""
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        off = (one.double().cpu() - other).norm() / other.norm()
        assert one.shape == other.shape and off < tolerance, (place, float(off))


@needs_kernels
@pytest.mark.parametrize(("chunk", "width"), SIZES)
def test_kernels_are_the_obvious_implementation(chunk: int, width: int) -> None:
    from physlm.models.kernels import path_chunks as kernels

    q, k, w, beta = problem(chunk, width)
    *pieces, inverse = kernels.forward(q, k, w, beta)
    grads = gradients_of([x.shape for x in pieces])
    back = kernels.backward(q, k, w, beta, inverse, *grads)
    wanted, theirs = expected([q, k, w, beta], grads)
    tolerance = 1e-5 if INTERPRETER else 2e-3  # of TF32, which rounds to 5e-4
    assert bool(pieces[0].isinf().eq(torch.ones(chunk, chunk, device=DEVICE).triu(1).bool()).all())
    assert_near([pieces[0].tril(), *pieces[1:]], wanted, tolerance)
    assert_near(list(back), theirs, 2 * tolerance)
    fine = torch.eye(chunk).double() + ((beta * w).double() @ w.double().mT).cpu().tril(-1)
    assert_near([inverse], [fine.inverse()], 1e-5)
    again = kernels.backward(q, k, w, beta, inverse, *grads)
    assert all(a.equal(b) for a, b in zip(back, again, strict=True))


@needs_kernels
def test_one_direction_repeated_is_no_trouble_for_kernels() -> None:
    """Where all keys are one, powers of A would grow beyond float32; blocks that are put together do not."""
    from physlm.models.kernels import path_chunks as kernels

    q, k, w, beta = problem(64, 64)
    w, beta = w[:, :1].expand_as(w).contiguous(), torch.full_like(beta, 2.0)
    *pieces, inverse = kernels.forward(q, k, w, beta)
    wanted = reference_pieces(q.double(), k.double(), w.double(), beta.double())
    assert_near([pieces[0].tril(), *pieces[1:]], [x.cpu() for x in (wanted[0].tril(), *wanted[1:])],
                1e-4 if INTERPRETER else 1e-2)  # fmt: skip
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
    assert_near(outcomes[0], [x.cpu() for x in outcomes[1]], 2e-2)


def test_a_cpu_takes_the_obvious_implementation() -> None:
    q, k, w, beta = (x.cpu() for x in problem(32, 16))
    for one, other in zip(chunk_pieces(q, k, w, beta, torch.bfloat16), reference_pieces(q, k, w, beta), strict=True):
        assert one.equal(other)
    assert all(size & (size - 1) == 0 for size in (*CHUNKS, *WIDTHS))


@pytest.mark.skipif(CUDA or INTERPRETER, reason="the kernels run directly in this process")
@pytest.mark.skipif(not TRITON, reason="triton is not installed (it is optional on a CPU)")
def test_kernels_under_the_interpreter() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-k", "kernels and not interpreter and not with", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-5000:] + outcome.stderr[-2000:]
    assert " passed" in outcome.stdout and " skipped" not in outcome.stdout
