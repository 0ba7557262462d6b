"""The filter over the last tokens against loops and float64 autograd; the kernels on whatever device they can run.

Without a GPU the kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), in a process of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from interpreted import DEVICE, KERNEL_DTYPES, assert_passes_interpreted, needs_kernels, starts_interpreter
from torch import Tensor

from physlm.models import local_filter
from physlm.models.local_filter import GATES, activate, local_filter_step, reference_filter

Step = Callable[[Tensor, Tensor, Tensor, bool, str], Tensor]
# members, rows, positions, channels of y: rows shorter than the filter, several stretches, odd numbers of channels
SHAPES = [(1, 2, 9, 16), (2, 3, 2, 5), (2, 1, 130, 20), (1, 3, 64, 300)]
CASES = list(itertools.product(SHAPES, (True, False), ("", "gelu", "relu2", *GATES)))
cases = pytest.mark.parametrize(("shape", "residual", "then"), CASES)


def problem(
    shape: tuple[int, ...], then: str, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """x, the filter, and the gradient of y, whose shape is given."""
    generator = torch.Generator().manual_seed(sum(shape))
    channels = shape[-1] * (2 if then in GATES else 1)
    x, grad = (torch.randn(*shape[:-1], size, generator=generator).to(dtype).to(device)
               for size in (channels, shape[-1]))  # fmt: skip
    return x, torch.randn(shape[0], 4, channels, generator=generator).to(device), grad


def oracle(x: Tensor, filter_MSC: Tensor, grad: Tensor, residual: bool, then: str) -> tuple[Tensor, ...]:
    """y, d / d x and d / d filter in float64, each position from the formula."""
    x, filter_MSC = (tensor.double().cpu().requires_grad_() for tensor in (x, filter_MSC))
    columns = []
    for t in range(x.shape[2]):
        total = x[:, :, t] if residual else 0.0 * x[:, :, t]
        for s in range(min(4, t + 1)):
            total = total + filter_MSC[:, s, None] * x[:, :, t - s]
        columns.append(activate(total, then))
    y = torch.stack(columns, 2)
    return y.detach(), *torch.autograd.grad(y, (x, filter_MSC), grad.double().cpu())


def assert_near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert float((ours.double().cpu() - theirs).norm() / theirs.norm().clamp_min(1e-9)) < tolerance


@cases
def test_the_operator_is_the_formula(shape: tuple[int, ...], residual: bool, then: str) -> None:
    x, filter_MSC, grad = problem(shape, then, torch.float32, torch.device("cpu"))
    inputs = x.requires_grad_(), filter_MSC.requires_grad_()
    y = local_filter.local_filter(*inputs, residual, then)
    found = (y.detach(), *torch.autograd.grad(y, inputs, grad))
    assert_near(found, oracle(x.detach(), filter_MSC.detach(), grad, residual, then), 1e-5)


def test_the_operators_declare_what_they_do() -> None:
    """Schemas, shapes without data, what changes in place, and gradients under tracing, by torch's own checker."""
    for then in ("gelu", "swiglu"):
        x, filter_MSC, grad = problem(SHAPES[0], then, torch.float32, torch.device("cpu"))
        torch.library.opcheck(local_filter.local_filter, (x.clone().requires_grad_(),
                                                          filter_MSC.clone().requires_grad_(), True, then))  # fmt: skip
        torch.library.opcheck(local_filter._backward, (x, filter_MSC, grad, True, then))
        torch.library.opcheck(local_filter_step, (x[:, :, 3:4], x[:, :, :3].clone(), filter_MSC, True, then))


def test_what_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'tanh', expected 'gelu', 'relu2', 'swiglu', 'relu2glu' or ''"):
        activate(torch.zeros(1), "tanh")
    with pytest.raises(ValueError, match="got 5 channels, expected an even number for 'swiglu'"):
        local_filter.local_filter(torch.zeros(1, 1, 1, 5), torch.zeros(1, 4, 5), True, "swiglu")


def test_what_follows_is_its_formula() -> None:
    """One number at a time; the first half of the channels is the gate of the second."""
    z = [-2.0, -0.5, 0.0, 0.7, 1.5, 3.0]
    sigmoid = [1 / (1 + math.exp(-a)) for a in z]
    gelu = [a * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))) / 2 for a in z]
    expected = {"": z, "gelu": gelu, "relu2": [max(0.0, a) ** 2 for a in z],
                "swiglu": [z[c] * sigmoid[c] * z[3 + c] for c in range(3)],
                "relu2glu": [max(0.0, z[c]) ** 2 * z[3 + c] for c in range(3)]}  # fmt: skip
    for then, numbers in expected.items():
        found = activate(torch.tensor(z, dtype=torch.float64), then)
        torch.testing.assert_close(found, torch.tensor(numbers, dtype=torch.float64))


def stepped(step: Step, x: Tensor, filter_MSC: Tensor, residual: bool, then: str) -> Tensor:
    """y of rows that are read token by token."""
    last = x.new_zeros(*x.shape[:2], 3, x.shape[-1])
    columns = []
    for t in range(x.shape[2]):
        columns.append(step(x[:, :, t : t + 1], last, filter_MSC, residual, then))
        expected = torch.cat((torch.zeros_like(last), x[:, :, : t + 1]), 2)[:, :, -3:]
        assert last.equal(expected), "the state is the last three inputs"
    return torch.cat(columns, 2)


@cases
def test_tokens_one_by_one_are_the_formula(shape: tuple[int, ...], residual: bool, then: str) -> None:
    x, filter_MSC, grad = problem((*shape[:2], min(shape[2], 9), shape[3]), then, torch.float32, torch.device("cpu"))
    y = stepped(local_filter_step, x, filter_MSC, residual, then)
    assert_near((y,), oracle(x, filter_MSC, grad, residual, then)[:1], 1e-5)


@needs_kernels
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@cases
def test_kernels_are_the_formula(shape: tuple[int, ...], residual: bool, then: str, dtype: torch.dtype) -> None:
    from physlm.models.kernels import local_filter as kernels

    x, filter_MSC, grad = problem(shape, then, dtype, DEVICE)
    y = kernels.forward(x, filter_MSC, residual, then)
    found = (y, *kernels.backward(x, filter_MSC, grad, residual, then))
    assert y.dtype == found[1].dtype == dtype and found[2].dtype == torch.float32
    assert_near(found, oracle(x, filter_MSC, grad, residual, then), 1e-5 if dtype == torch.float32 else 5e-3)
    again = kernels.backward(x, filter_MSC, grad, residual, then)
    assert all(a.equal(b) for a, b in zip(found[1:], again, strict=True)), "summed in a fixed order"
    if dtype == torch.float32:
        torch.testing.assert_close(y, reference_filter(x, filter_MSC, residual, then), rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("then", ["", "gelu", "relu2", *GATES])
@pytest.mark.parametrize("shape", [(2, 5, 6, 5), (1, 2, 5, 300)])
def test_kernels_of_one_token_more_are_the_formula(shape: tuple[int, ...], then: str, dtype: torch.dtype) -> None:
    from physlm.models.kernels import local_filter as kernels

    for residual in (True, False):
        x, filter_MSC, grad = problem(shape, then, dtype, DEVICE)
        y = stepped(kernels.step, x, filter_MSC, residual, then)
        assert y.dtype == dtype
        expected = oracle(x, filter_MSC, grad, residual, then)[:1]
        assert_near((y,), expected, 1e-5 if dtype == torch.float32 else 5e-3)


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernels and not interpreter")
