"""Several updates of the delta rule a token: chunks against loops, and what reflections can follow."""

from __future__ import annotations

import math

import pytest
import torch
from recurrence_inputs import LEAD, E, H, given, near, normal, strength, unit
from torch import Tensor

from physlm.models.recurrences.delta import delta, delta_step


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
