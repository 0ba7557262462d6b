"""Recurrences of a fixed-size memory: chunks against loops over tokens, identities, and numbers at their ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from recurrence_inputs import LEAD, LENGTHS, E, H, given, near, normal, strength, unit
from torch import Tensor

from physlm.models.parts.recurrent import CHUNKS, chunk_of
from physlm.models.recurrences.chunks import FLOOR, running_over_rows
from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.decayed import decayed, decayed_step
from physlm.models.recurrences.delta import delta, delta_step, unit_inverse
from physlm.models.recurrences.levels import read_levels
from physlm.models.recurrences.matmul import _Matmul, matmul, tf32_matmul


def decayed_loop(q: Tensor, k: Tensor, v: Tensor, fade: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S_t = diag(a_t) S_(t-1) + k_t v_t^T, o_t = S_t^T q_t, token by token."""
    found = []
    for t in range(q.shape[-2]):
        a = fade[..., t, :].exp().expand(*LEAD, H)
        state = torch.einsum("xyh,xyhe->xyhe", a, state) + torch.einsum("xyh,xye->xyhe", k[..., t, :], v[..., t, :])
        found.append(torch.einsum("xyhe,xyh->xye", state, q[..., t, :]))
    return torch.stack(found, -2), state


def delta_loop(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, fade: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S_t = a_t (I - b k k^T) S_(t-1) + b k v^T, o_t = S_t^T q_t: the matrices themselves, token by token."""
    found = []
    for t in range(q.shape[-2]):
        key, b = k[..., t, :], beta[..., t, :, None]
        turned = torch.eye(H) - b * torch.einsum("xyh,xyg->xyhg", key, key)
        state = fade[..., t, :, None].exp() * (turned @ state) + b * torch.einsum("xyh,xye->xyhe", key, v[..., t, :])
        found.append(torch.einsum("xyhe,xyh->xye", state, q[..., t, :]))
    return torch.stack(found, -2), state


@pytest.mark.parametrize("rates", [0, 1, H])
@pytest.mark.parametrize("positions", LENGTHS)
def test_decayed_chunks_are_the_loop(positions: int, rates: int) -> None:
    q, k, v, fade, state = given(positions, rates)
    wanted = decayed_loop(q, k, v, fade, state)
    for chunk in (0, 16, 32, 64):
        near(decayed(q, k, v, fade if rates else None, state, chunk), wanted)
    read = []
    for t in range(positions):
        at = slice(t, t + 1)
        one, state = decayed_step(q[..., at, :], k[..., at, :], v[..., at, :], fade[..., at, :], state)
        read.append(one)
    near((torch.cat(read, -2), state), wanted)


@pytest.mark.parametrize("rates", [0, 1])
@pytest.mark.parametrize("positions", LENGTHS)
def test_chunks_of_the_delta_rule_are_the_loop(positions: int, rates: int) -> None:
    q, k, v, fade, state = given(positions, rates)
    k, beta = unit(k), strength(positions)
    wanted = delta_loop(q, k, v, beta, fade, state)
    for chunk in (0, 16, 32, 64):
        near(delta(q, k, v, beta, fade if rates else None, state, chunk), wanted)
    read = []
    for t in range(positions):
        at = slice(t, t + 1)
        one, state = delta_step(q[..., at, :], k[..., at, :], v[..., at, :], beta[..., at, :], fade[..., at, :], state)
        read.append(one)
    near((torch.cat(read, -2), state), wanted)


@pytest.mark.parametrize("cut", [1, 15, 16, 63, 100])
def test_what_is_read_in_two_pieces_is_read_whole(cut: int) -> None:
    q, k, v, fade, state = given(150, 1)
    k, beta, channels = unit(k), strength(150), fade * unit(normal(*LEAD, 150, H)).abs()
    forms: tuple[tuple[Any, tuple[Tensor, ...]], ...] = (
        (decayed, (v, fade)), (decayed, (v, channels)), (delta, (v, beta, fade)))  # fmt: skip
    for form, rest in forms:
        whole = form(q, k, *rest, state)
        first, between = form(*(x[..., :cut, :] for x in (q, k, *rest)), state)
        second, last = form(*(x[..., cut:, :] for x in (q, k, *rest)), between)
        near((torch.cat((first, second), -2), last), whole)


def test_special_cases_of_one_recurrence_are_each_other() -> None:
    q, k, v, fade, state = given(70, 1)
    k, beta = unit(k), strength(70)
    channels = fade.expand(*LEAD, 70, H)
    near(decayed(q, k, v, channels, state), decayed(q, k, v, fade, state))  # equal channels: one rate a head
    near(decayed(q, k, v, torch.zeros_like(channels), state), decayed(q, k, v, None, state))  # a = 1: linear attention
    near(delta(q, k, v, beta, 0 * fade, state), delta(q, k, v, beta, None, state))  # a = 1: DeltaNet
    near(delta(q, k, v, 0 * beta, fade, state), decayed(q, k, 0 * v, fade, state))  # b = 0: no write
    causal = torch.einsum("xyih,xyjh->xyij", q, k).tril()
    near(decayed(q, k, v, None), (causal @ v, k.mT @ v))  # attention without a softmax


def test_no_gate_makes_what_is_before_it_invisible() -> None:
    q, k, v, fade, state = given(70, 1)
    closed = fade.clone()
    closed[..., 40, :] = -1e6
    for rest in (closed, closed.expand(*LEAD, 70, H)):
        found, _ = decayed(q, k, v, rest, state)
        wanted, _ = decayed(q[..., 40:, :], k[..., 40:, :], v[..., 40:, :], rest[..., 40:, :])
        torch.testing.assert_close(found[..., 40:, :], wanted)


def test_the_delta_rule_returns_the_last_value_written_for_a_key() -> None:
    order = torch.arange(40) * 7 % H
    k = torch.eye(H).double()[order]
    v = normal(40, E)
    found, _ = delta(k, k, v, torch.ones(40, 1).double())
    torch.testing.assert_close(found, v, atol=1e-12, rtol=0)
    summed, _ = decayed(k, k, v)
    assert not summed.allclose(v)  # the control: a sum holds all values of a key
    queries = k.roll(1, 0)
    later, _ = delta(queries, k, v, torch.ones(40, 1).double())
    for t in range(1, 40):
        torch.testing.assert_close(later[t], v[t - 1], atol=1e-12, rtol=0)


def test_with_negative_eigenvalues_it_counts_modulo_two() -> None:
    """S is turned over by each 1 of a word of bits, and so knows their parity; with b <= 1 it only fades."""
    bits = (normal(90, 1) > 0).double()
    key = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]).double().expand(90, H)
    state = torch.zeros(H, E).double()
    state[0, 0] = 1
    found, _ = delta(key, key, torch.zeros(90, E).double(), 2 * bits, None, state)
    wanted = 1 - 2 * (bits.cumsum(0)[:, 0] % 2)
    torch.testing.assert_close(found[:, 0], wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 8, 16, 64, 128])
def test_inverse_of_a_unit_triangle(size: int) -> None:
    lower = normal(2, 3, size, size).tril(-1) / size**0.5
    found = unit_inverse(lower)
    torch.testing.assert_close(found, torch.linalg.inv(torch.eye(size) + lower), atol=1e-11, rtol=1e-11)
    if size <= 16:
        assert torch.autograd.gradcheck(lambda x: unit_inverse(x.tril(-1)), [lower.requires_grad_()])


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_one_key_repeated_is_no_trouble_in_float32(beta: float) -> None:
    """The powers of the triangle reach 1e27 here, its inverse does not leave [-2, 2]."""
    lower = (beta * torch.ones(64, 64)).tril(-1)
    exact = torch.linalg.inv(torch.eye(64).double() + lower.double())
    assert exact.abs().max() <= 2.0 and torch.linalg.matrix_power(lower.double(), 32).max() > 1e17
    torch.testing.assert_close(unit_inverse(lower), exact.float(), atol=1e-5, rtol=0)


Form = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
FORMS: dict[str, Form] = {
    "head": lambda q, k, v, fade, beta: decayed(q, k, v, fade),
    "channels": lambda q, k, v, fade, beta: decayed(q, k, v, fade * torch.linspace(0.5, 1, H)),
    "delta": lambda q, k, v, fade, beta: delta(q, unit(k), v, beta, fade),
}


@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_those_of_the_loop(name: str) -> None:
    q, k, v, fade, _ = given(20, 1)
    beta, start = strength(20), torch.zeros(*LEAD, H, E).double()
    inputs = [x[..., :, :].clone().requires_grad_() for x in (q, k, v, fade, beta)]
    loops: dict[str, Form] = {
        "head": lambda q, k, v, fade, beta: decayed_loop(q, k, v, fade, start),
        "channels": lambda q, k, v, fade, beta: decayed_loop(q, k, v, fade * torch.linspace(0.5, 1, H), start),
        "delta": lambda q, k, v, fade, beta: delta_loop(q, unit(k), v, beta, fade, start),
    }
    ours, theirs = FORMS[name](*inputs), loops[name](*inputs)
    weight = normal(*ours[0].shape, seed=9)
    for a, b in zip(*(torch.autograd.grad((x[0] * weight).sum() + x[1].sum(), inputs, allow_unused=True)
                      for x in (ours, theirs)), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("gates", list(itertools.product((0.0, -1e-6, -30.0, -1e8), repeat=2)))
def test_gates_at_their_ends_are_finite_in_float32(name: str, gates: tuple[float, float]) -> None:
    """Half of the tokens with one gate, half with the other: forward, backward, and near the same in float64."""
    q, k, v, fade, _ = given(150, 1)
    first, second = (torch.tensor(gate).double() for gate in gates)
    fade = torch.where(normal(*LEAD, 150, 1, seed=8) > 0, first, second)
    exact = FORMS[name](q, k, v, fade, strength(150))
    inputs = [x.float().requires_grad_() for x in (q, k, v, fade, strength(150))]
    found = FORMS[name](*inputs)
    near((found[0].double(), found[1].double()), exact, 2e-4)
    for gradient in torch.autograd.grad(found[0].square().sum() + found[1].sum(), inputs, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def test_a_long_constant_row_stays_where_it_is() -> None:
    q, k, v = torch.ones(1, 2000, H), torch.ones(1, 2000, H) / H**0.5, torch.ones(1, 2000, E)
    held, state = delta(q, k, v, torch.full((1, 2000, 1), 0.5))
    torch.testing.assert_close(held[:, 100:], torch.full((1, 1900, E), H**0.5), atol=1e-4, rtol=0)
    fading, _ = decayed(q, k, v, torch.full((1, 2000, 1), -0.1))
    torch.testing.assert_close(fading[:, 500:], (H**0.5 / -torch.tensor(-0.1).expm1()).expand(1, 1500, E))
    assert state.isfinite().all()


def test_chunks_are_as_long_as_rows_up_to_the_size_of_their_core() -> None:
    for core, most in CHUNKS.items():
        wanted = [min(most, size) for size in (16, 16, 32, 64, 64, 128, 512)]
        assert [chunk_of(positions, core) for positions in (1, 16, 17, 33, 64, 65, 512)] == wanted
    assert torch.tensor(FLOOR).exp() < 1e-21


@pytest.mark.parametrize("positions", [*LENGTHS, 5000])
def test_running_sums_are_those_of_cumsum(positions: int) -> None:
    x = normal(2, positions, 3)
    torch.testing.assert_close(running_over_rows(x), x.cumsum(-2), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", ["decayed", "delta"])
def test_of_a_model_in_bfloat16_the_recurrence_stays_in_float32(kind: str) -> None:
    """On a CPU to the last bit; on a GPU its products are rounded to TF32."""
    q, k, v, fade, _ = (x.float() for x in given(150, 1))
    k, beta, core = unit(k), strength(150).float(), CORES[kind]
    rest, share = (beta, fade) if kind == "delta" else (fade,), normal(*LEAD, 150, 9, seed=8).square().float()
    exact, rounded = (core.rows(q, k, v, *rest, rounded=dtype) for dtype in (None, torch.bfloat16))
    levels = [read_levels(core.chunks(q, k, v, *rest), share, 150, 8, dtype) for dtype in (None, torch.bfloat16)]
    for (wanted, memory), (found, left) in ((exact, rounded), levels):
        assert memory is not None and left is not None and left.equal(memory) and memory.dtype == torch.float32
        assert found.dtype == torch.float32 and found.equal(wanted)


def test_products_on_tensor_cores_leave_the_switch_as_it_was_and_nothing_else_uses_them() -> None:
    """On a CPU there are none: the product itself; with a gradient like that of any product."""
    a, b = (normal(3, 4, 4, seed=seed).requires_grad_() for seed in (1, 2))
    before = torch.backends.cuda.matmul.allow_tf32
    assert tf32_matmul(a, b).equal(a @ b) and torch.backends.cuda.matmul.allow_tf32 == before
    torch.library.opcheck(tf32_matmul, (a.detach(), b.detach()))
    assert torch.autograd.gradcheck(_Matmul.apply, (a, b))
    for rounded in (None, torch.float32, torch.bfloat16):
        assert matmul(a[None], b[None], rounded).equal(a[None] @ b[None])
