"""What PaTH reads of prepared chunks: kernels against the way of keys that move, in float64, values and gradients.

That way is held against loops over reflections in ``test_recurrence_path``.  The kernels may lose twice the digits that
it loses where its products are of TF32, or of bfloat16 with values.
"""

from __future__ import annotations

import pytest
import torch
from interpreted import CUDA, DEVICE, INTERPRETER, assert_passes_interpreted, needs_kernels, starts_interpreter
from recurrence_inputs import unit
from tf32 import assert_as_near, digits_of_kernels, off
from torch import Tensor

from physlm.models.recurrences import path
from physlm.models.recurrences.chunks import running
from physlm.models.recurrences.path import Turned, _group, path_attention
from physlm.models.recurrences.path_chunks import reference_pieces

VALUES = [torch.float32, torch.float16] if INTERPRETER else [torch.bfloat16]
# rows, chunks, positions of each, width
SHAPES = [(2, 1, 16, 16), (2, 2, 16, 32), (3, 4, 32, 16), (1, 5, 64, 64)]


def problem(rows: int, chunks: int, chunk: int, width: int, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor]:
    """The pieces of each chunk, V, and what fades at each token, (R, n, C, ..)."""
    generator = torch.Generator().manual_seed(chunks + chunk + width)
    q, k, w, v = (torch.randn(rows, chunks, chunk, width, generator=generator) for _ in range(4))
    beta = 2 * torch.rand(rows, chunks, chunk, 1, generator=generator)
    fade = -torch.rand(rows, chunks, chunk, 1, generator=generator).square()
    pieces = reference_pieces((q * width**-0.5).double(), k.double(), unit(w).double(), beta.double())
    return [x.float().to(DEVICE) for x in pieces], v.to(dtype).to(DEVICE), fade.to(DEVICE)


def whole(fade: Tensor) -> Tensor:
    """c, (R, n, C)."""
    return fade.flatten(1).double().cumsum(1).to(fade.dtype).unflatten(1, fade.shape[1:3])


def moving_keys(pieces: list[Tensor], values: Tensor, fade: Tensor | None) -> Tensor:
    within, queries, keys, through = pieces
    total = None if fade is None else running(fade)
    if total is not None:
        within = within + (total - total.mT)
    return _group(Turned(within, queries, keys, through, total), values, 0, values.shape[1])


def read_by_moving_keys(given: list[Tensor], fades: bool, grad: Tensor) -> list[Tensor]:
    """What is read, and the gradients of what is given, in the dtypes that that has."""
    leaves = [x.detach().cpu().requires_grad_() for x in given]
    out = moving_keys(leaves[:4], leaves[4], leaves[5] if fades else None)
    found = torch.autograd.grad((out * grad.to(out).cpu()).sum(), leaves[: 5 + fades], allow_unused=True)
    return [out.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=False))]


@needs_kernels
@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_read_what_keys_that_move_give(
    shape: tuple[int, int, int, int], dtype: torch.dtype, fades: bool
) -> None:
    from physlm.models.kernels import path_attention as kernels

    pieces, values, fade = problem(*shape, dtype)
    faded = whole(fade) if fades else None
    out, total = kernels.forward(pieces[0], pieces[1], pieces[2], pieces[3], values, faded)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(out)
    back = kernels.backward(pieces[0], pieces[1], pieces[2], pieces[3], values, faded, out, total, grad)
    kept = [x.untyped_storage().data_ptr() for x in (*back, *pieces, values, out, total, grad) if x.numel()]
    assert len(set(kept)) == len(kept), "operators must not give views of one tensor"

    given = [*pieces, values, fade]
    wanted = read_by_moving_keys([x.double() for x in given], fades, grad)
    with digits_of_kernels(path):
        rounded = read_by_moving_keys(given, fades, grad)
    found = [out, *back[:5]]
    if fades:  # of c: summed over all later tokens it is that of what fades at one
        found.append(back[5].double().flatten(1).flip(1).cumsum(1).flip(1).view(fade.shape))
    assert_as_near(found, rounded, wanted)
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
    assert all(off(one, other) < 3e-2 for one, other in zip(*outcomes, strict=True))


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernels_read")
