"""Recurrences of a fixed-size memory: chunks against loops over tokens, identities, and numbers at their ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.models.recurrences.chunks import FLOOR, chunk_of, running_over_rows
from physlm.models.recurrences.decayed import decayed, decayed_step
from physlm.models.recurrences.delta import delta, delta_step, unit_inverse
from physlm.models.recurrences.path import path_scores, path_step

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


def near(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], tolerance: float = 1e-10) -> None:
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
    near(delta_step(q, k, v, beta, fade if rates else None, state), wanted)


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


def test_chunks_are_as_long_as_rows_up_to_64() -> None:
    assert [chunk_of(positions, "delta") for positions in (1, 16, 17, 33, 64, 65, 512)] == [16, 16, 32, 64, 64, 64, 64]
    assert torch.tensor(FLOOR).exp() < 1e-21


@pytest.mark.parametrize("positions", [*LENGTHS, 5000])
def test_running_sums_are_those_of_cumsum(positions: int) -> None:
    x = normal(2, positions, 3)
    torch.testing.assert_close(running_over_rows(x), x.cumsum(-2), atol=1e-10, rtol=1e-10)


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
        near(path_scores(q, k, w, beta, chunk), (wanted, keys))


def test_without_reflections_path_is_a_product_and_with_one_alone_a_parity() -> None:
    q, k = given(70, 0)[:2]
    w, none = unit(normal(*LEAD, 70, H, seed=7)), torch.zeros(*LEAD, 70, 1).double()
    scores, keys = path_scores(q, k, w, none)
    near((scores, keys), ((q @ k.mT).tril(), k))
    same = w[..., :1, :].expand_as(w)
    turned, _ = path_scores(same, same, same, none + 2)
    place = torch.arange(70)
    sign = (1 - 2 * ((place[:, None] - place) % 2)).double().tril()
    torch.testing.assert_close(turned, sign.expand_as(turned), atol=1e-10, rtol=0)


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
