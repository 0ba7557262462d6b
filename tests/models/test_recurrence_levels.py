"""Memories of several scales: chunks against the table of pairs, identities, the levels of the paper."""

from __future__ import annotations

import pytest
import torch
from recurrence_inputs import LEAD, E, H, given, near, normal, strength, unit
from torch import Tensor

from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.levels import level_of, levels_step, read_levels


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
