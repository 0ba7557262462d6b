"""Attention within short rows: kernels against the formula in float64, values and gradients, and what takes them.

Without a GPU the kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), in a process of its own.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from interpreted import (
    CUDA,
    DEVICE,
    INTERPRETER,
    assert_passes_interpreted,
    needs_kernels,
    starts_interpreter,
)
from torch import Tensor

from physlm.models import short_attention
from physlm.models.parts import attend
from physlm.models.short_attention import KERNEL_DTYPES, WIDTHS, by_token, is_short

# what is accumulated in float32 costs nothing beside weights and gradients of scores that are rounded to 16 bits
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = [torch.float32, torch.float16] if INTERPRETER else list(KERNEL_DTYPES)
# rows, heads, positions, width of a head: one token, less than a product has, whole, one more and one fewer than whole
SHAPES = [(1, 1, 1, 16), (2, 3, 7, 16), (3, 2, 16, 32), (2, 4, 60, 16), (1, 2, 64, 64), (2, 1, 65, 16), (1, 1, 128, 32)]


def problem(shape: tuple[int, ...], dtype: torch.dtype, size: float = 1.0) -> list[Tensor]:
    """q, k, v and a gradient as a model has them: q, k and v in one tensor of tokens."""
    rows, heads, positions, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    qkv = torch.randn(rows, positions, 3, heads, width, generator=generator)
    qkv[:, :, :2] *= size
    grad = torch.randn(rows, positions, heads, width, generator=generator)
    return [*qkv.to(dtype).to(DEVICE).permute(2, 0, 3, 1, 4), grad.to(dtype).to(DEVICE).transpose(1, 2)]


def formula(q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> list[Tensor]:
    """o and the gradients in float64, written out."""
    q, k, v, grad = (x.double().cpu() for x in (q, k, v, grad))
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(torch.ones(q.shape[2], q.shape[2]).triu(1).bool(), -torch.inf)
    out = scores.softmax(-1) @ v
    return [out.detach(), *torch.autograd.grad((out * grad).sum(), (q, k, v))]


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        off = (one.double().cpu() - other).norm() / other.norm().clamp_min(1e-2)
        assert one.shape == other.shape and off < tolerance, (place, float(off))


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_are_the_formula(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    from physlm.models.kernels import short_attention as kernels

    q, k, v, grad = problem(shape, dtype)
    found = [kernels.forward(q, k, v), *kernels.backward(q, k, v, grad)]
    assert_near(found, formula(q, k, v, grad), TOLERANCE[dtype])
    assert all(x.stride() == by_token(q).stride() for x in found)
    again = [kernels.forward(q, k, v), *kernels.backward(q, k, v, grad)]
    assert all(one.equal(other) for one, other in zip(found, again, strict=True))


@needs_kernels
def test_kernels_read_any_strides() -> None:
    from physlm.models.kernels import short_attention as kernels

    given = problem((2, 3, 20, 16), DTYPES[0])
    beside = [x.contiguous() for x in given]
    across = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in given]
    for other in (beside, across):
        assert kernels.forward(*given[:3]).equal(kernels.forward(*other[:3]))
        for one, same in zip(kernels.backward(*given), kernels.backward(*other), strict=True):
            assert one.equal(same)


@needs_kernels
def test_kernels_stay_finite_where_one_key_takes_all() -> None:
    from physlm.models.kernels import short_attention as kernels

    q, k, v, grad = problem((2, 2, 33, 16), DTYPES[0], size=200.0)
    found = [kernels.forward(q, k, v), *kernels.backward(q, k, v, grad)]
    assert all(bool(x.isfinite().all()) for x in found)
    assert_near(found[:1], formula(q, k, v, grad)[:1], 1e-2)


@needs_kernels
def test_kernels_see_no_later_token() -> None:
    from physlm.models.kernels import short_attention as kernels

    q, k, v, grad = problem((2, 2, 40, 16), DTYPES[0])
    before = kernels.forward(q, k, v)[:, :, :25]
    for x in (q, k, v):
        x[:, :, 25:] = 1e3
    assert kernels.forward(q, k, v)[:, :, :25].equal(before)
    grad[:, :, 25:] = 0
    assert all(bool((x[:, :, 25:] == 0).all()) for x in kernels.backward(q, k, v, grad))


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA or INTERPRETER, reason="needs a CUDA device")
@pytest.mark.parametrize("compiling", [False, True])
def test_attention_of_short_rows_is_that_of_torch(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No farther from float64 than twice torch's own, in the graph of a model too."""
    from physlm.training.step import compiled

    q, k, v, grad = problem((6, 4, 60, 16), torch.bfloat16)
    wanted, errors = formula(q, k, v, grad), []
    for longest in (64, 0):
        monkeypatch.setattr(short_attention, "LONGEST", longest)

        def read(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend.attend(q * 1.0, k * 1.0, v).transpose(1, 2).flatten(2)

        given = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        out = (compiled(read) if compiling else read)(*given)
        back = torch.autograd.grad(out, given, grad.transpose(1, 2).flatten(2))
        found = [out.unflatten(2, (4, -1)).transpose(1, 2), *back]
        errors.append([float((x.double().cpu() - y).norm() / y.norm()) for x, y in zip(found, wanted, strict=True)])
    assert all(ours < 2 * theirs + 1e-3 for ours, theirs in zip(*errors, strict=True)), errors


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA or INTERPRETER, reason="needs a CUDA device")
def test_what_kernels_do_not_know_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_attention, "LONGEST", 64)
    q, k, v, _ = problem((2, 4, 60, 16), torch.bfloat16)
    assert is_short(q, k, v) and not is_short(q.float(), k.float(), v.float())
    assert not is_short(q[:, :, :1], k, v), "one query of kept keys"
    for shape in ((1, 1, 65, 16), (1, 1, 9, 8)):
        assert not is_short(*problem(shape, torch.bfloat16)[:3])


def test_a_cpu_takes_attention_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_attention, "LONGEST", 64)
    q, k, v, _ = (x.cpu() for x in problem((2, 4, 60, 16), torch.bfloat16))
    assert not is_short(q, k, v)
    assert attend.attend(q, k, v).equal(F.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert all(size & (size - 1) == 0 for size in WIDTHS)


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernels and not interpreter and not know")
