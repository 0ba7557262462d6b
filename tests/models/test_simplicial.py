"""2-simplicial attention against loops over pairs, and where it is attention within a window."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from part_checks import CHECKS
from part_models import BASE, ids_of, randomised, with_part
from torch import Tensor

from physlm.errors import UserError
from physlm.models.counting import training_flops
from physlm.models.module import Weights
from physlm.models.parts.attend import attend
from physlm.models.parts.canon import Canon
from physlm.models.parts.part import Next, Whole
from physlm.models.parts.simplicial import Simplicial

SETTINGS = [Simplicial(), Simplicial(window=5, second=3), Simplicial(window=2, second=7), Simplicial(1, 1)]


def weights_of(mixer: Simplicial, canon: bool = False) -> Weights:
    local = Weights(Canon(), BASE, 2, Canon().weights_at(80)) if canon else None
    w = Weights(mixer, BASE, 2, mixer.weights(BASE), local).double()
    generator = torch.Generator().manual_seed(0)
    for p in w.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return w


def inputs(positions: int) -> Tensor:
    return torch.randn(2, 3, positions, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("mixer", SETTINGS, ids=lambda mixer: mixer.label)
def test_written_out_pair_by_pair(mixer: Simplicial) -> None:
    w, x = weights_of(mixer), inputs(9)
    found = w(x, Whole())
    for m in range(2):
        q, k, v, k2, v2 = (x[m, 1] @ w.qkv.weight[m]).view(9, 5, 2, 8).unbind(1)
        rows = []
        for i in range(9):
            heads = []
            for h in range(2):
                total, mixed = torch.zeros((), dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
                for j in range(max(0, i - mixer.window + 1), i + 1):
                    for l in range(max(0, i - mixer.second + 1), i + 1):  # noqa: E741
                        weight = ((q[i, h] * k[j, h] * k2[l, h]).sum() / 8**0.5).exp()
                        total, mixed = total + weight, mixed + weight * v[j, h] * v2[l, h]
                heads.append(mixed / total)
            rows.append(torch.cat(heads))
        torch.testing.assert_close(found[m, 1], torch.stack(rows) @ w.out.weight[m], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("canon", [False, True])
@pytest.mark.parametrize("mixer", SETTINGS, ids=lambda mixer: mixer.label)
def test_whole_rows_are_steps_in_float64(mixer: Simplicial, canon: bool) -> None:
    w, x = weights_of(mixer, canon), inputs(50)
    whole = w(x, Whole())
    for first in (0, 1, 3, 45):
        kept = mixer.state(BASE, 50, False)
        state: dict[str, Any] = {one.name: torch.zeros(2, 3, *one.shape).double() for one in kept}
        if canon:
            state["local"] = {one.name: torch.zeros(2, 3, *one.shape).double()
                              for one in Canon().state_at(80, 50, False)}
        parts = [w(x[:, :, :first], Whole(), state)] if first else []
        parts += [w(x[:, :, t : t + 1], Next(torch.tensor([t])), state) for t in range(first, 50)]
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("second", [1, 4, 20])
def test_with_ones_in_the_second_place_it_is_attention_within_the_window(second: int) -> None:
    mixer = Simplicial(window=5, second=second)
    w, x = weights_of(mixer, canon=True), inputs(20)
    # local mixing that adds nothing, but for k' and v', where it is made to give ones
    w.local.filter.data.zero_()  # type: ignore[union-attr]
    w.qkv.weight.data[..., 48:] = 0
    x[..., 0] = 1.0
    w.qkv.weight.data[:, 0, 48:] = 1.0
    q, k, v = (x @ w.qkv.weight[:, None])[..., :48].unflatten(-1, (3, 2, 8)).permute(3, 0, 1, 4, 2, 5).flatten(1, 2)
    mixed = attend(q, k, v, window=5).unflatten(0, (2, 3)).transpose(2, 3).flatten(-2)
    torch.testing.assert_close(w(x, Whole()), mixed @ w.out.weight[:, None], atol=1e-10, rtol=1e-10)


def test_only_the_windows_matter() -> None:
    """A token at a distance of both windows or more changes nothing, one within either of them does."""
    w, x = weights_of(Simplicial(window=3, second=6)), inputs(20)
    before = w(x, Whole())
    x[:, :, 4] += 1
    moved = (w(x, Whole()) != before).any(-1).any(0).any(0)
    assert moved.nonzero()[:, 0].tolist() == list(range(4, 10))


def test_every_check_of_parts_holds_for_short_windows_that_come_round() -> None:
    config = dataclasses.replace(with_part("mixer", Simplicial(window=3, second=2)), local=(Canon(),))
    for check in CHECKS:
        check(config)
    model, ids = randomised(config).double(), ids_of(2, 3, 40)
    assert model.state_bytes(16) == model.state_bytes(1000)
    reading = model.remember(3, 40)
    parts = [model.read(ids[..., :1], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(1, 40)]
    torch.testing.assert_close(torch.cat(parts, 2), model.hidden(ids)[0], atol=1e-4, rtol=1e-4)


def test_flops_by_hand() -> None:
    """Of rows of 6 tokens with windows of 3 and 2: 1, 4, 6, 6, 6, 6 pairs and 1, 2, 2, 2, 2, 2 seconds."""
    mixer = Simplicial(window=3, second=2)
    assert mixer.flops(BASE, 6) == 4 * 16 * (29 + 11) / 6
    config = with_part("mixer", mixer)
    assert training_flops(config, 11, 6) == training_flops(config, 11, 0) + 2 * 3 * mixer.flops(BASE, 6)


@pytest.mark.parametrize(("settings", "message"), [
    (dict(window=0), "model.mixer.window: got 0, expected at least 1 token"),
    (dict(second=-1), "model.mixer.second: got -1, expected at least 1 token"),
    (dict(window=1 << 10, second=1 << 5), "got 1024 and 32, expected at most 16384 pairs of tokens"),
])  # fmt: skip
def test_what_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Simplicial(**settings)
    with pytest.raises(UserError, match="model.causal: got false with the mixer simplicial"):
        dataclasses.replace(with_part("mixer", Simplicial()), causal=False)
