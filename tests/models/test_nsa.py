"""Native sparse attention written out query by query, and where each of its branches is full attention."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from part_checks import CHECKS
from part_models import BASE, ids_of, randomised, with_part
from torch import Tensor

from physlm.errors import UserError
from physlm.models.module import Weights
from physlm.models.parts.attend import attend
from physlm.models.parts.canon import Canon
from physlm.models.parts.nsa import NSA
from physlm.models.parts.part import Next, Whole

SETTINGS = [NSA(), NSA(block=4, select=2, window=5), NSA(block=3, select=3, window=1, rope=False),
            NSA(block=5, select=1, window=9)]  # fmt: skip
CPU = torch.device("cpu")


def weights_of(mixer: NSA) -> Weights:
    w = Weights(mixer, BASE, 2, mixer.weights(BASE)).double()
    generator = torch.Generator().manual_seed(0)
    for p in w.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return w


def heads(positions: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(2, 3, positions, 8, generator=generator, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("mixer", SETTINGS, ids=lambda mixer: mixer.label)
def test_written_out_query_by_query(mixer: NSA) -> None:
    q, k, v = heads(23)
    found = mixer.attentions(q, k, v, torch.arange(23))
    b = mixer.block

    def mixed(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return torch.softmax(keys @ query / 8**0.5, 0) @ values

    for n, h, i in ((n, h, i) for n in range(2) for h in range(3) for i in range(23)):
        past = [c for c in range(23 // b) if (c + 1) * b <= i + 1]
        means_k = [k[n, h, c * b : (c + 1) * b].mean(0) for c in past]
        means_v = [v[n, h, c * b : (c + 1) * b].mean(0) for c in past]
        brief = mixed(q[n, h, i], torch.stack(means_k), torch.stack(means_v)) if past else torch.zeros(8).double()
        torch.testing.assert_close(found[0][n, h, i], brief, atol=1e-10, rtol=1e-10)
        scores = {c: float(mean @ q[n, h, i]) for c, mean in zip(past, means_k, strict=True) if c != i // b}
        chosen = {i // b, *sorted(scores, key=lambda c: -scores[c])[: mixer.select - 1]}
        tokens = [j for j in range(i + 1) if j // b in chosen]
        torch.testing.assert_close(found[1][n, h, i], mixed(q[n, h, i], k[n, h, tokens], v[n, h, tokens]),
                                   atol=1e-10, rtol=1e-10)  # fmt: skip
        last = slice(max(0, i - mixer.window + 1), i + 1)
        torch.testing.assert_close(found[2][n, h, i], mixed(q[n, h, i], k[n, h, last], v[n, h, last]),
                                   atol=1e-10, rtol=1e-10)  # fmt: skip


def test_each_branch_is_full_attention_at_its_end() -> None:
    """Blocks of one token; as many blocks as there are; a window as long as the row."""
    q, k, v = heads(23)
    full, at = attend(q, k, v), torch.arange(23)
    for branch, mixer in enumerate((NSA(block=1), NSA(block=4, select=6), NSA(window=23))):
        torch.testing.assert_close(mixer.attentions(q, k, v, at)[branch], full, atol=1e-10, rtol=1e-10)
    few = NSA(block=4, select=2, window=5).attentions(q, k, v, at)
    assert all(not part.allclose(full, atol=1e-3) for part in few)


@pytest.mark.parametrize("mixer", SETTINGS, ids=lambda mixer: mixer.label)
def test_whole_rows_are_steps_in_float64(mixer: NSA) -> None:
    w = weights_of(mixer)
    x = torch.randn(2, 3, 50, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shared = mixer.shared(mixer.tables(BASE, 64, CPU), (), 64)
    whole = w(x, Whole(tuple(table[:50] for table in shared)))
    for first in (0, 3, 45):
        kept = mixer.state(BASE, 64, False)
        state: dict[str, Any] = {one.name: torch.zeros(2, 3, *one.shape).double() for one in kept}
        parts = [w(x[:, :, :first], Whole(tuple(table[:first] for table in shared)), state)] if first else []
        parts += [w(x[:, :, t : t + 1], Next(torch.tensor([t]), shared), state) for t in range(first, 50)]
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-10, rtol=1e-10)


def test_gates_weigh_the_branches() -> None:
    mixer = SETTINGS[2]
    w, x = weights_of(mixer), torch.randn(2, 3, 23, 16, generator=torch.Generator().manual_seed(1)).double()
    qkv = (x @ w.qkv.weight[:, None]).flatten(0, 1).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    parts = mixer.attentions(qkv[0], qkv[1], qkv[2], torch.arange(23))
    gates = torch.sigmoid(x @ w.gate.weight[:, None]).flatten(0, 1).unflatten(-1, (3, 2))
    mixed = sum(gates[:, :, g].mT[..., None] * parts[g] for g in range(3))
    assert isinstance(mixed, Tensor)
    wanted = mixed.transpose(1, 2).flatten(-2).unflatten(0, (2, 3)) @ w.out.weight[:, None]
    torch.testing.assert_close(w(x, Whole()), wanted, atol=1e-10, rtol=1e-10)


def test_only_the_compressed_branch_trains_what_selects() -> None:
    """Keys of a block that is past and not selected have a gradient through A_c alone."""
    mixer = NSA(block=4, select=1, window=1)
    q, k, v = (x.requires_grad_() for x in heads(12))
    brief, selected, window = mixer.attentions(q, k, v, torch.arange(12))
    assert torch.autograd.grad(brief[:, :, -1].sum(), k, retain_graph=True)[0][:, :, :4].any()
    for other in (selected, window):
        assert not torch.autograd.grad(other[:, :, -1].sum(), k, retain_graph=True)[0][:, :, :8].any()


def test_every_check_of_parts_holds_with_local_mixing() -> None:
    config = dataclasses.replace(with_part("mixer", NSA(block=8, select=2, window=3)), local=(Canon(),))
    for check in CHECKS:
        check(config)
    model, ids = randomised(config), ids_of(2, 3, 20)
    assert model(ids).logits.isfinite().all()


def test_flops_by_hand() -> None:
    """Of 64 tokens: 32 / 4 blocks, 8 tokens of two blocks, and a window of 16 of which 14 are there on average."""
    assert NSA(block=4, select=2, window=16).flops(BASE, 64) == 4 * 16 * (8 + 8 + 14)


@pytest.mark.parametrize(("settings", "message"), [
    (dict(block=0), "model.mixer.block: got 0, expected at least 1 token"),
    (dict(select=0), "model.mixer.select: got 0, expected at least 1 block"),
    (dict(window=0), "model.mixer.window: got 0, expected at least 1 token"),
    (dict(rope_base=-1.0), "model.mixer.rope_base: got -1.0, expected a number above 0"),
])  # fmt: skip
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NSA(**settings)
    with pytest.raises(UserError, match="model.causal: got false with the mixer nsa"):
        dataclasses.replace(with_part("mixer", NSA()), causal=False)
    with pytest.raises(UserError, match="got true with heads of 5 dimensions, expected an even number"):
        dataclasses.replace(BASE, width=10, mixer=(NSA(),))
