"""Recurrences of a fixed-size memory: chunks against loops over tokens, identities, and numbers at their ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.models.parts.recurrent import CHUNKS, chunk_of
from physlm.models.recurrences.chunks import FLOOR, running_over_rows
from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.decayed import decayed, decayed_step
from physlm.models.recurrences.delta import delta, delta_step, unit_inverse
from physlm.models.recurrences.levels import level_of, levels_step, read_levels
from physlm.models.recurrences.matmul import _Matmul, matmul, tf32_matmul
from physlm.models.recurrences.path import path_attention, path_keys, path_scores, path_step

LEAD, H, E = (2, 3), 5, 4  # leading axes, width of a key, width of a value
LENGTHS = (1, 2, 3, 16, 17, 64, 150)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def given(positions: int, rates: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """q, k, v, log decays (none of 0 rates) and S before the row."""
    q, k = normal(*LEAD, positions, H, seed=1), normal(*LEAD, positions, H, seed=2)
    fade = -3 * normal(*LEAD, positions, max(1, rates), seed=4).square() * (rates > 0)
    return q, k, normal(*LEAD, positions, E, seed=3), fade, normal(*LEAD, H, E, seed=5)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def strength(positions: int) -> Tensor:
    return 2 * torch.sigmoid(normal(*LEAD, positions, 1, seed=6))


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


def near(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], tolerance: float = 1e-10) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


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


# ---- Memories of several scales


def fenwick_loop(
    kind: str, q: Tensor, k: Tensor, v: Tensor, fade: Tensor, beta: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """The obvious form: a T x T matrix of what each query reads of each value, times g of the level of each pair, by
    looking at the buckets of each place one after the other; and S of each level 1 .. L - 1 after the row."""
    positions, levels = q.shape[-2], share.shape[-1]
    erased = beta if kind == "delta" else 0 * beta
    turns = [torch.eye(H) - erased[..., t, :, None] * torch.einsum("xyh,xyg->xyhg", k[..., t, :], k[..., t, :])
             for t in range(positions)]
    strength = beta if kind == "delta" else torch.ones_like(beta)
    found, last = torch.zeros_like(v), torch.zeros(*LEAD, levels - 1, H, E).double()
    for i in range(positions + 1):
        level, start = {i: 0}, i
        for bit in range(i.bit_length()):  # the nearest bucket is that of the lowest bit
            if i >> bit & 1:
                level |= dict.fromkeys(range(start - 2**bit, start), min(bit + 1, levels - 1))
                start -= 2**bit
        assert start == 0 and len(level) == i + 1
        onward = torch.eye(H).double().expand(*LEAD, H, H)
        if i == positions:
            level.pop(i)
        for j in sorted(level, reverse=True):
            write = torch.einsum("xyhg,xyg,xye->xyhe", onward, k[..., j, :], strength[..., j, :] * v[..., j, :])
            if i == positions:
                last[:, :, level[j] - 1] += write
            else:
                found[..., i, :] += share[..., i, level[j], None] * torch.einsum("xyhe,xyh->xye", write, q[..., i, :])
            onward = onward @ turns[j] * fade[..., j, :, None].exp()
    return found, last


@pytest.mark.parametrize("kind", ["decayed", "delta"])
@pytest.mark.parametrize("levels", [2, 4, 9])
@pytest.mark.parametrize("positions", [1, 2, 3, 16, 48, 64, 150])
def test_chunks_of_levels_are_the_table_of_pairs_and_the_steps(kind: str, levels: int, positions: int) -> None:
    """In all sizes of chunk, with all scales told apart and with the last level for what is farther."""
    q, k, v, fade, _ = given(positions, 1)
    k, beta, fade = unit(k), strength(positions), fade / 9
    share = normal(*LEAD, positions, levels, seed=8).square()
    wanted, left = fenwick_loop(kind, q, k, v, fade, beta, share)
    core, rest = CORES[kind], (beta, fade) if kind == "delta" else (fade,)
    slots = min(levels - 1, positions.bit_length())
    assert not left[:, :, slots:].any()
    for chunk in (0, 16, 32, 64):
        found, memory = read_levels(core.chunks(q, k, v, *rest, chunk=chunk), share, positions, slots)
        assert memory is not None
        near((found, memory), (wanted, left[:, :, :slots]))
    assert read_levels(core.chunks(q, k, v, *rest), share, positions)[1] is None
    memory, read = torch.zeros(*LEAD, slots, H, E).double(), []
    for t in range(positions):
        at = [x[..., t : t + 1, :] for x in (q, k, v, *rest)]
        one, memory = levels_step(core.step, *at, share=share[..., t : t + 1, :], memory=memory,
                                  place_1=torch.tensor([t]))
        read.append(one)
    near((torch.cat(read, -2), memory), (wanted, left[:, :, :slots]))


@pytest.mark.parametrize("kind", ["decayed", "delta"])
def test_levels_that_all_weigh_one_are_one_memory(kind: str) -> None:
    q, k, v, fade, _ = given(150, 1)
    k, beta, core = unit(k), strength(150), CORES[kind]
    rest = (beta, fade) if kind == "delta" else (fade,)
    found, left = read_levels(core.chunks(q, k, v, *rest), torch.ones(*LEAD, 150, 9).double(), 150, 8)
    assert left is not None
    near((found, left.sum(-3)), core.rows(q, k, v, *rest))


def test_levels_are_those_of_the_paper_and_cover_each_pair_once() -> None:
    """13 = 8 + 4 + 1 reads tokens 0 .. 7 at level 4, 8 .. 11 at level 3, 12 at level 1, and itself."""
    level = level_of(64, torch.device("cpu"))
    assert level[13, :14].tolist() == [4] * 8 + [3] * 4 + [1] + [0]
    masks = torch.stack([(level == number).long().tril() for number in range(8)])
    assert masks.sum(0).equal(torch.ones(64, 64).long().tril())
    for number in range(1, 7):  # a bucket of level l holds 2^(l - 1) tokens, at the places with that bit
        sizes = masks[number].sum(-1)
        assert sizes.tolist() == [2 ** (number - 1) * (place >> (number - 1) & 1) for place in range(64)]


# ---- Several updates a token


def product_loop(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, fade: Tensor, state: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """S fades once, then N updates one after the other, then it is read: the matrices themselves."""
    found = []
    for t in range(q.shape[-2]):
        state = fade[..., t, :, None].exp() * state
        for n in range(t * steps, (t + 1) * steps):
            key, b = k[..., n, :], beta[..., n, :, None]
            turned = torch.eye(H) - b * torch.einsum("xyh,xyg->xyhg", key, key)
            state = turned @ state + b * torch.einsum("xyh,xye->xyhe", key, v[..., n, :])
        found.append(torch.einsum("xyhe,xyh->xye", state, q[..., t, :]))
    return torch.stack(found, -2), state


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("positions", [1, 5, 33, 70])
def test_several_updates_a_token_are_the_loop(steps: int, positions: int) -> None:
    """In chunks that hold whole tokens and in chunks that do not; gated and not; chunk by chunk and step by step."""
    q, _, _, fade, state = given(positions, 1)
    k, v = unit(normal(*LEAD, positions * steps, H, seed=12)), normal(*LEAD, positions * steps, E, seed=13)
    beta = strength(positions * steps)
    for rates in (fade, None):
        wanted = product_loop(q, k, v, beta, 0 * fade if rates is None else fade, state, steps)
        for chunk in (0, 16, 32, 64):
            near(delta(q, k, v, beta, rates, state, chunk), wanted)
        now, read = state, []
        for t in range(positions):
            at, own = slice(t, t + 1), slice(t * steps, (t + 1) * steps)
            one, now = delta_step(q[..., at, :], k[..., own, :], v[..., own, :], beta[..., own, :],
                                  None if rates is None else rates[..., at, :], now)
            read.append(one)
        near((torch.cat(read, -2), now), wanted)


def test_an_update_of_no_strength_is_none() -> None:
    """So one update a token is DeltaNet, and a second with b = 0 changes nothing, gated or not."""
    q, k, v, fade, state = given(70, 1)
    k, beta = unit(k), strength(70)
    pairs = ((k, unit(k.flip(-2))), (v, v.flip(-2)), (beta, 0 * beta))
    keys, values, strengths = (torch.stack(pair, -2).flatten(-3, -2) for pair in pairs)
    for rates in (None, fade):
        near(delta(q, keys, values, strengths, rates, state), delta(q, k, v, beta, rates, state))
    ungated = delta(q, keys, values, strengths.flip(-2), None, state)
    near(delta(q, keys, values, strengths.flip(-2), 0 * fade, state), ungated)  # a = 1: DeltaProduct


@pytest.mark.parametrize("order", [3, 5, 23])
def test_two_reflections_a_token_turn_and_one_cannot(order: int) -> None:
    """b = 2 and keys at an angle of pi / m: S turns by 2 pi / m a token, and is back after m; a memory that counts
    modulo m.  One reflection a token is its own inverse, so that S is back after two."""
    angle = torch.tensor([0.0, math.pi / order], dtype=torch.float64)
    k = torch.stack((angle.cos(), angle.sin()), -1)
    start, tokens = torch.eye(2).double(), 3 * order
    q, none, two = start[:1].expand(tokens, 2), torch.zeros(2 * tokens, 2).double(), torch.full((2 * tokens, 1), 2.0)
    read, _ = delta(q, k.repeat(tokens, 1), none, two.double(), None, start)
    turn = 2 * math.pi / order * torch.arange(1, tokens + 1).double()
    near((read.abs(),), (torch.stack((turn.cos(), turn.sin()), -1).abs(),))
    near((read[order - 1 :: order],), (q[:3],))
    once, _ = delta(q, k[1:].expand(tokens, 2), none[:tokens], two[:tokens].double(), None, start)
    near((once[1::2],), (q[: tokens // 2],))


def test_four_swaps_a_token_follow_permutations_of_five() -> None:
    """Each element of S5 is at most four swaps, keys (e_a - e_b) / sqrt 2 with b = 2; those not needed have b = 0.
    1024 random elements after each other, read without an error in float32 and float64, and with b = 1.9 not."""
    generator = torch.Generator().manual_seed(0)
    word = torch.stack([torch.randperm(5, generator=generator) for _ in range(1024)])
    k, beta, now, seen = torch.zeros(1024, 4, 5), torch.zeros(1024, 4, 1), torch.arange(5), []
    for t, image in enumerate(word.tolist()):
        for place in range(5):  # bring image[place] to its place
            at = image.index(place)
            if at != place:
                used = int(beta[t].count_nonzero())
                k[t, used, place], k[t, used, at], beta[t, used] = 0.5**0.5, -(0.5**0.5), 2.0
                image[place], image[at] = image[at], image[place]
                now = now.clone()
                now[[place, at]] = now[[at, place]]
        seen.append(now)
    wanted = torch.stack(seen)
    assert beta.count_nonzero(1).max() == 4 and len({tuple(row) for row in wanted.tolist()}) > 100
    for kind, b, right in ((torch.float64, 1.0, True), (torch.float32, 1.0, True), (torch.float32, 0.95, False)):
        held = torch.arange(5.0, dtype=kind)[:, None]  # S e = which of the five stands at each place
        keys, strengths = k.flatten(0, 1).to(kind), b * beta.flatten(0, 1).to(kind)
        none, places = torch.zeros(4096, 1, dtype=kind), torch.eye(5, dtype=kind)[:, None].expand(5, 1024, 5)
        read = [delta(place, keys, none, strengths, None, held)[0] for place in places]
        assert torch.cat(read, -1).round().long().equal(wanted) == right


# ---- PaTH


def path_loop(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """s_ij = k_j . H_(j+1) .. H_i q_i, one reflection after the other, each query on its way back."""
    positions = q.shape[-2]
    found = torch.zeros(*q.shape[:-1], positions).double()
    for i in range(positions):
        x = q[..., i, :]
        for j in reversed(range(i + 1)):
            found[..., i, j] = (k[..., j, :] * x).sum(-1)
            x = x - beta[..., j, :] * (x * w[..., j, :]).sum(-1, keepdim=True) * w[..., j, :]
    return found


@pytest.mark.parametrize("positions", LENGTHS)
def test_scores_of_path_are_the_loop(positions: int) -> None:
    q, k = given(positions, 0)[:2]
    w, beta = unit(normal(*LEAD, positions, H, seed=7)), strength(positions)
    wanted = path_loop(q, k, w, beta)
    keys = k[..., :0, :]
    for t in range(positions):  # the rule by which they are kept
        keys = torch.cat((path_step(keys, w[..., t : t + 1, :], beta[..., t : t + 1, :]), k[..., t : t + 1, :]), -2)
        scores = (keys @ q[..., t, :, None])[..., 0]
        torch.testing.assert_close(scores, wanted[..., t, : t + 1], atol=1e-10, rtol=1e-10)
    for chunk in (0, 16, 32, 64):
        scores, kept = path_scores(q, k, w, beta, chunk=chunk)
        near((scores.tril(), kept.keys), (wanted, keys))
        near(path_keys(k, w, beta, chunk=chunk)[:1], (keys,))


def whole_weights(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, fade: Tensor | None) -> Tensor:
    """The obvious form: all scores of the loop, and one softmax over each row of them."""
    scores, positions = path_loop(q, k, w, beta), q.shape[-2]
    if fade is not None:
        total = fade.cumsum(-2)
        scores = scores + total - total.mT
    return scores.masked_fill(torch.ones(positions, positions).triu(1).bool(), -torch.inf).softmax(-1)


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("positions", [3, 17, 64, 150])
def test_path_without_its_table_of_scores_is_the_loop(positions: int, forget: bool) -> None:
    """For all sizes of chunk, in one group of queries and in several, with gradients; and what is left of the row."""
    q, k, v, fade, _ = given(positions, 1)
    w, beta = unit(normal(*LEAD, positions, H, seed=7)), strength(positions)
    inputs = [x.requires_grad_() for x in (q, k, v, w, beta, *(fade,) * forget)]
    fades = fade if forget else None
    wanted = whole_weights(q, k, w, beta, fades) @ v
    weight = normal(*wanted.shape, seed=9)
    theirs = torch.autograd.grad((wanted * weight).sum(), inputs)
    for chunk, group in ((0, 512), (16, 512), (16, 32), (32, 64), (64, 64)):
        found = path_attention(q, k, v, w, beta, fades, chunk, group)
        near((found, *torch.autograd.grad((found * weight).sum(), inputs)), (wanted, *theirs))
        table, kept = path_scores(q, k, w, beta, fades, chunk)
        near((table.softmax(-1) @ v,), (wanted,))
        near((kept.keys,), (path_keys(k, w, beta, chunk=chunk).keys,))
        if forget:
            left = path_keys(k, w, beta, fade, chunk).faded
            assert kept.faded is not None and left is not None
            since = fade.sum(-2, keepdim=True) - fade.cumsum(-2)
            near((kept.faded, left), (since, since))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_path_in_groups_compiles_as_one_graph() -> None:
    q, k, v, _, _ = given(100, 1)
    w, beta = unit(normal(*LEAD, 100, H, seed=7)), strength(100)
    inputs = [x.requires_grad_() for x in (q, k, v, w, beta)]

    def read(*inputs: Tensor) -> Tensor:
        q, k, v, w, beta = inputs
        return path_attention(q, k, v, w, beta, None, 16, 32)

    compiled: Callable[..., Any] = torch.compile(read, fullgraph=True, backend="aot_eager")
    weight, found = normal(*v.shape, seed=9), []
    for form in (read, compiled):
        out = form(*inputs)
        found.append((out, *torch.autograd.grad((out * weight).sum(), inputs)))
    near(found[0], found[1])


def kept_for_backward(positions: int, group: int) -> int:
    """Numbers that one head of PaTH holds between its forward and its backward pass, each once."""
    q, k, v, w = (normal(1, positions, H, seed=seed).requires_grad_() for seed in range(4))
    held: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = path_attention(q, k, v, unit(w), torch.ones(1, positions, 1).double(), chunk=16, group=group)
    assert found.requires_grad
    return sum(held.values())


def test_what_path_keeps_grows_with_the_row_and_not_with_its_square() -> None:
    short, long = (kept_for_backward(positions, 64) for positions in (256, 1024))
    assert long < 4.2 * short and long < 1024 * 1024 / 4
    assert kept_for_backward(1024, 1024) > 1024 * 1024 / 2  # the control: one group keeps its scores


def test_without_reflections_path_is_a_product_and_with_one_alone_a_parity() -> None:
    q, k = given(70, 0)[:2]
    w, none = unit(normal(*LEAD, 70, H, seed=7)), torch.zeros(*LEAD, 70, 1).double()
    scores, kept = path_scores(q, k, w, none)
    near((scores.tril(), kept.keys), ((q @ k.mT).tril(), k))
    same = w[..., :1, :].expand_as(w)
    turned, _ = path_scores(same, same, same, none + 2)
    place = torch.arange(70)
    sign = (1 - 2 * ((place[:, None] - place) % 2)).double().tril()
    torch.testing.assert_close(turned.tril(), sign.expand_as(turned), atol=1e-10, rtol=0)


def test_hand_set_reflections_follow_permutations_of_five() -> None:
    """Words of swaps after a start token, whose score is positive where the swaps compose to the identity alone."""
    generator = torch.Generator().manual_seed(0)
    swaps = list(itertools.combinations(range(5), 2))
    word = torch.randint(len(swaps), (200, 40), generator=generator)
    word[:60, 20:] = word[:60, :20].flip(1)  # back the way they came: the identity
    w = torch.zeros(len(swaps), 6).double()
    for number, (x, y) in enumerate(swaps):
        w[number, x], w[number, y] = 0.5**0.5, -(0.5**0.5)
    reflections = torch.cat((torch.zeros(200, 1, 6).double(), w[word]), 1)
    q = torch.tensor([1.0, 2, 3, 4, 5, 1]).double().expand(200, 41, 6)
    k = torch.zeros(200, 41, 6).double()
    k[:, 0] = torch.tensor([1.0, 2, 3, 4, 5, -54.5]).double()
    scores, _ = path_scores(q, k, reflections, torch.full((200, 41, 1), 2.0).double())
    order = torch.arange(5).expand(200, 5).clone()
    identity = [torch.ones(200, dtype=torch.bool)]
    for t in range(40):
        for row in range(200):
            x, y = swaps[int(word[row, t])]
            order[row, [x, y]] = order[row, [y, x]]
        identity.append((order == torch.arange(5)).all(1))
    assert (scores[:, :, 0] > 0).equal(torch.stack(identity, 1))
    assert identity[-1][:60].all() and not torch.stack(identity)[1].any()
