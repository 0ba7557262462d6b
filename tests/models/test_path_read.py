"""What PaTH reads of prepared chunks: kernels against the way of keys that move, in float64, values and gradients.

That way is held against loops over reflections in ``test_recurrence_path``.  Without a GPU the kernels run in Triton's
interpreter (``TRITON_INTERPRET=1``), in a process of its own; it does not round to TF32.
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

from physlm.models.recurrences.chunks import running
from physlm.models.recurrences.path import Turned, _group, path_attention
from physlm.models.recurrences.path_chunks import reference_pieces

CUDA, TRITON = torch.cuda.is_available(), importlib.util.find_spec("triton") is not None
INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if CUDA and not INTERPRETER else "cpu")
VALUES = torch.float32 if INTERPRETER else torch.bfloat16
needs_kernels = pytest.mark.skipif(
    not CUDA and not (INTERPRETER and TRITON), reason="needs a CUDA device, or triton with TRITON_INTERPRET=1"
)
# rows, chunks, positions of each, width
SHAPES = [(2, 1, 16, 16), (2, 2, 16, 32), (3, 4, 32, 16), (1, 5, 64, 64)]


def problem(rows: int, chunks: int, chunk: int, width: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """The pieces of each chunk, V, and what fades at each token, (R, n, C, ..)."""
    generator = torch.Generator().manual_seed(chunks + chunk + width)
    q, k, w, v = (torch.randn(rows, chunks, chunk, width, generator=generator) for _ in range(4))
    beta = 2 * torch.rand(rows, chunks, chunk, 1, generator=generator)
    fade = -torch.rand(rows, chunks, chunk, 1, generator=generator).square()
    pieces = reference_pieces((q * width**-0.5).double(), k.double(), unit(w).double(), beta.double())
    return [x.float().to(DEVICE) for x in pieces], v.to(VALUES).to(DEVICE), fade.to(DEVICE)


def whole(fade: Tensor) -> Tensor:
    """c, (R, n, C)."""
    return fade.flatten(1).double().cumsum(1).to(fade.dtype).unflatten(1, fade.shape[1:3])


def moving_keys(pieces: list[Tensor], values: Tensor, fade: Tensor | None) -> Tensor:
    within, queries, keys, through = pieces
    total = None if fade is None else running(fade)
    if total is not None:
        within = within + (total - total.mT)
    return _group(Turned(within, queries, keys, through, total), values, 0, values.shape[1])


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    """Each by the size of what was wanted; of gradients that are 0 by 1."""
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        off = (one.double().cpu() - other.double().cpu()).norm() / max(float(other.double().norm()), 1e-2)
        assert one.shape == other.shape and off < tolerance, (place, float(off))


@needs_kernels
@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_read_what_keys_that_move_give(shape: tuple[int, ...], fades: bool) -> None:
    from physlm.models.kernels import path_attention as kernels

    pieces, values, fade = problem(*shape)
    faded = whole(fade) if fades else None
    out, total = kernels.forward(pieces[0], pieces[1], pieces[2], pieces[3], values, faded)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(out)
    back = kernels.backward(pieces[0], pieces[1], pieces[2], pieces[3], values, faded, out, total, grad)
    kept = [x.untyped_storage().data_ptr() for x in (*back, *pieces, values, out, total, grad) if x.numel()]
    assert len(set(kept)) == len(kept), "operators must not give views of one tensor"

    exact = [x.double().cpu().requires_grad_() for x in (*pieces, values, fade)]
    wanted = moving_keys(exact[:4], exact[4], exact[5] if fades else None)
    theirs = torch.autograd.grad((wanted * grad.double().cpu()).sum(), exact[: 5 + fades], allow_unused=True)
    zeros = [torch.zeros_like(x) if g is None else g for g, x in zip(theirs, exact, strict=False)]
    tolerance = 2e-5 if INTERPRETER else 1e-2
    assert_near([out], [wanted.detach()], tolerance)
    assert_near(list(back[:5]), zeros[:5], 2 * tolerance)
    if fades:  # of c: summed over all later tokens it is that of what fades at one
        since = back[5].double().cpu().flatten(1)
        assert_near([since.flip(1).cumsum(1).flip(1)], [zeros[5].flatten(1)], 2 * tolerance)
    again = kernels.backward(pieces[0], pieces[1], pieces[2], pieces[3], values, faded, out, total, grad)
    assert all(a.equal(b) for a, b in zip(back, again, strict=True)), "summed in a fixed order"


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA or INTERPRETER, reason="needs a CUDA device")
@pytest.mark.parametrize("positions", [64, 81, 300])
@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_path_with_kernels_is_path_without(compiling: bool, fades: bool, positions: int) -> None:
    """Of rows that end within a chunk, too: in bfloat16 against float64."""
    from physlm.training.step import compiled

    generator = torch.Generator().manual_seed(positions)
    q, k, w, v = (torch.randn(1, 2, 3, positions, 32, generator=generator, device="cpu").to(DEVICE) for _ in range(4))
    beta = 2 * torch.rand(1, 2, 3, positions, 1, generator=generator).to(DEVICE)
    fade = -beta.square() / 4

    def read(q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, fade: Tensor) -> Tensor:
        values = v.to(torch.bfloat16) if v.dtype == torch.float32 else v
        return path_attention(q, k, values, w, beta, fade if fades else None)

    outcomes = []
    for dtype, form in ((torch.float32, compiled(read) if compiling else read), (torch.float64, read)):
        given = [x.to(dtype).requires_grad_() for x in (q * 32**-0.5, k, v, unit(w), beta, fade)]
        out = form(*given)
        grad = torch.linspace(-1, 1, out.numel(), device=out.device).sin().reshape(out.shape).to(out)
        outcomes.append([out.detach(), *torch.autograd.grad((out * grad).sum(), given[: 5 + fades])])
    assert_near(outcomes[0], outcomes[1], 3e-2)


@pytest.mark.skipif(CUDA or INTERPRETER, reason="the kernels run directly in this process")
@pytest.mark.skipif(not TRITON, reason="triton is not installed (it is optional on a CPU)")
def test_kernels_under_the_interpreter() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-k", "kernels_read", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-5000:] + outcome.stderr[-2000:]
    assert " passed" in outcome.stdout and " skipped" not in outcome.stdout
