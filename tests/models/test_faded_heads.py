"""Heads whose scores fade: against loops over tokens in float64, and kernels against the obvious implementation.

Without a GPU the kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from interpreted import (
    CUDA,
    DEVICE,
    INTERPRETER,
    KERNEL_DTYPES,
    assert_passes_interpreted,
    needs_kernels,
    starts_interpreter,
)
from torch import Tensor

from physlm.models.faded_heads import Shift, gated_heads, read_heads, reference_gated, reference_heads
from physlm.models.parts.fox import COLUMNS
from physlm.models.parts.recurrent import NORM_EPS

# members, rows, heads, positions, width of a head: one token, several programs a row, a width of no power of two
SHAPES = [(1, 1, 1, 1, 4), (1, 2, 3, 9, 16), (2, 3, 2, 70, 12), (3, 1, 4, 64, 8)]
cases = pytest.mark.parametrize("shape", SHAPES)
both = pytest.mark.parametrize("shifted", [False, True])
dtypes = pytest.mark.parametrize("dtype", KERNEL_DTYPES)


def problem(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Shift]:
    """qkv, what has faded, and a shift."""
    members, rows, heads, positions, width = shape
    generator = torch.Generator().manual_seed(sum(shape))

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    exact = torch.promote_types(dtype, torch.float32)
    qkv = drawn(members, rows, positions, 3 * heads * width).to(dtype)
    faded = drawn(members, rows, heads, positions, 1).abs().cumsum(-2).neg().to(exact)
    share = drawn(members, rows, positions, 2 * heads).sigmoid().to(exact)
    gains = (1 + drawn(members, heads * width)).to(dtype), (1 + drawn(members, heads * width)).to(dtype)
    return qkv.to(device), faded.to(device), Shift(*(x.to(device) for x in (share, *gains)))


def leaves(tensors: tuple[Tensor, ...], dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Copies that ask for a gradient, in float64 on the CPU where a dtype is given."""
    return tuple((x if dtype is None else x.cpu().to(dtype)).detach().clone().requires_grad_() for x in tensors)


def with_gradients(run: Callable[..., Any], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What comes out, and the gradients of a fixed sum of it.  That of a column is that of the first of them."""
    out = run(*given)
    out = out if isinstance(out, tuple) else (out,)
    total = given[0].new_zeros(())
    for k, y in enumerate(out):
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).mul(k + 1)
        total = total + (y * weights.to(y)).sum()
    return *(y.detach() for y in out), *torch.autograd.grad(total, given)


def assert_near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    """Each by the size of what was expected."""
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        off = (one.double().cpu() - other.double().cpu()).norm() / other.double().norm().clamp_min(1e-30)
        assert one.shape == other.shape and off < tolerance, (place, float(off))


@cases
@both
def test_heads_are_the_formulas_token_by_token(shape: tuple[int, ...], shifted: bool) -> None:
    members, rows, heads, positions, width = shape
    qkv, faded, shift = problem(shape, torch.float64, torch.device("cpu"))
    q, k, v = read_heads(qkv, faded, heads, shift if shifted else None)
    parts = qkv.unflatten(-1, (3, heads, width))

    def normed(x: Tensor, gain: Tensor) -> Tensor:
        return gain * x / (x.square().mean() + NORM_EPS).sqrt()

    for m, b, t, h in torch.cartesian_prod(*(torch.arange(n) for n in (members, rows, positions, heads))).tolist():
        own = list(parts[m, b, t, :, h])
        if shifted:
            for place, share in ((1, shift.share[m, b, t, h]), (2, shift.share[m, b, t, heads + h])):
                before = parts[m, b, t - 1, place, h] if t else torch.zeros(width).double()
                own[place] = (1 - share) * own[place] + share * before
            channels = slice(h * width, (h + 1) * width)
            own[0] = normed(own[0], shift.q_gain[m, channels])
            own[1] = normed(own[1], shift.k_gain[m, channels])
        c, further = faded[m, b, h, t], torch.zeros(COLUMNS - 1).double()
        torch.testing.assert_close(q[m, b, h, t], torch.cat((own[0] / width**0.5, torch.ones(COLUMNS).double())))
        torch.testing.assert_close(k[m, b, h, t], torch.cat((own[1], -c, further)))
        torch.testing.assert_close(v[m, b, h, t], torch.cat((own[2], torch.zeros(COLUMNS).double())))


@cases
def test_a_row_is_its_beginning_and_what_follows_it(shape: tuple[int, ...]) -> None:
    heads, positions = shape[2], shape[3]
    qkv, faded, shift = problem(shape, torch.float64, torch.device("cpu"))
    cut = positions // 2
    before = qkv[:, :, cut - 1 : cut, qkv.shape[-1] // 3 :] if cut else None
    share = shift.share[:, :, cut:]
    late = read_heads(qkv[:, :, cut:], faded[..., cut:, :], heads, shift._replace(share=share), before)
    for whole, part in zip(read_heads(qkv, faded, heads, shift), late, strict=True):
        assert whole[..., cut:, :].equal(part)


@cases
def test_the_heads_end_is_the_formula(shape: tuple[int, ...]) -> None:
    o, gate, gain = end_problem(shape, torch.float64, torch.device("cpu"))
    x = o[..., :-COLUMNS].transpose(2, 3)
    expected = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
    expected = expected.flatten(-2) * gain[:, None, None] / (1 + (-gate).exp())
    torch.testing.assert_close(gated_heads(o, gate, gain), expected)
    o[..., -COLUMNS:] = torch.inf
    torch.testing.assert_close(gated_heads(o, gate, gain), expected)


def end_problem(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    members, rows, heads, positions, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    o = torch.randn(members, rows, heads, positions, width + COLUMNS, generator=generator)
    gate = torch.randn(members, rows, positions, heads * width, generator=generator)
    gain = 1 + torch.randn(members, heads * width, generator=generator)
    return o.to(dtype).to(device), gate.to(dtype).to(device), gain.to(dtype).to(device)


@needs_kernels
@dtypes
@cases
@both
def test_kernels_of_heads_are_the_obvious_implementation(
    shape: tuple[int, ...], shifted: bool, dtype: torch.dtype
) -> None:
    from physlm.models.kernels import faded_heads as kernels

    qkv, faded, shift = problem(shape, dtype, DEVICE)
    heads, given = shape[2], (qkv, faded, *shift) if shifted else (qkv, faded)

    def obvious(qkv: Tensor, faded: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        return reference_heads(qkv, faded, heads, Shift(*others) if others else None)

    expected = with_gradients(obvious, leaves(given, torch.float64))
    found = kernels.forward(qkv, faded, heads, shift if shifted else None)
    grads = [torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).mul(k + 1).to(y)
             for k, y in enumerate(found)]  # fmt: skip
    back = kernels.backward(qkv, heads, shift if shifted else None, *grads)
    for outputs in (found, back):  # operators must not give views of one tensor, nor of what they were given
        kept = [x.untyped_storage().data_ptr() for x in (*outputs, *given, *grads) if x.numel()]
        assert len(set(kept)) == len(kept)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-2
    keys = found[1].double()
    assert all(y.dtype == dtype for y in found)
    digits = 1e-6 if dtype == torch.float32 else 1e-5
    torch.testing.assert_close(-keys[..., -COLUMNS:].sum(-1, keepdim=True).cpu(), faded.double().cpu(), atol=digits,
                               rtol=digits)  # fmt: skip
    whole = tuple(torch.cat((y[..., :-COLUMNS], y[..., -COLUMNS:].sum(-1, keepdim=True)), -1) for y in found)
    wanted = tuple(torch.cat((y[..., :-COLUMNS], y[..., -COLUMNS:].sum(-1, keepdim=True)), -1) for y in expected[:3])
    assert_near(whole, wanted, tolerance)
    assert_near(back[: len(given)], expected[3:], 2 * tolerance)
    again = kernels.backward(qkv, heads, shift if shifted else None, *grads)
    assert all(a.equal(b) for a, b in zip(back, again, strict=True)), "summed in a fixed order"


@needs_kernels
@dtypes
@cases
def test_kernels_of_the_heads_end_are_the_obvious_implementation(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    from physlm.models.kernels import faded_heads as kernels

    o, gate, gain = end_problem(shape, dtype, DEVICE)
    expected = with_gradients(reference_gated, leaves((o, gate, gain), torch.float64))
    for laid in (o, o.transpose(2, 3).contiguous().transpose(2, 3)):
        y = kernels.gated(laid, gate, gain)
        grad = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y)
        back = kernels.gated_backward(laid, gate, gain, grad)
        kept = [x.untyped_storage().data_ptr() for x in (*back, laid, gate, gain, grad)]
        assert len(set(kept)) == len(kept)
        assert y.dtype == dtype and not back[0][..., -COLUMNS:].any()
        assert_near((y, *back), expected, 4e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA or INTERPRETER, reason="needs a CUDA device")
@pytest.mark.parametrize("compiling", [False, True])
def test_operators_of_a_gpu_pass_values_and_gradients(compiling: bool) -> None:
    from physlm.training.step import compiled

    def both_ends(qkv: Tensor, faded: Tensor, share: Tensor, q_gain: Tensor, k_gain: Tensor, gate: Tensor) -> Tensor:
        q, k, v = read_heads(qkv, faded, 2, Shift(share.sigmoid(), q_gain, k_gain))
        return gated_heads(q + 2 * k + 3 * v, gate, q_gain)

    qkv, faded, shift = problem((2, 3, 2, 70, 12), torch.float32, DEVICE)
    given = (qkv, faded, *shift, end_problem((2, 3, 2, 70, 12), torch.float32, DEVICE)[1])
    expected = with_gradients(both_ends, leaves(given, torch.float64))
    assert_near(with_gradients(compiled(both_ends) if compiling else both_ends, leaves(given)), expected, 1e-5)


def test_a_cpu_takes_the_obvious_implementation() -> None:
    qkv, faded, shift = problem((1, 2, 3, 9, 16), torch.float32, torch.device("cpu"))
    for one, other in zip(read_heads(qkv, faded, 3, shift), reference_heads(qkv, faded, 3, shift), strict=True):
        assert one.equal(other)


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernels and not interpreter")
