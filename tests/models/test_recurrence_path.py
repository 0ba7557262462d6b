"""PaTH: scores and outputs against loops over reflections, what is kept for the backward pass, permutations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from recurrence_inputs import LEAD, LENGTHS, H, given, near, normal, strength, unit
from torch import Tensor

from physlm.models.recurrences.path import path_attention, path_keys, path_scores, path_step


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
