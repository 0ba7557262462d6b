"""How far a change of one token reaches, where it is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import BASE, ids_of, randomised

from physlm.errors import UserError
from physlm.measures.impulse import impulse_response, reach
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.mlp import NoMLP

ITSELF = Attention(rope=0.0, window=1)  # mixes no tokens
DEEP = dataclasses.replace(BASE, layers=3, mixer=(ITSELF,))


@pytest.mark.parametrize("sites", ["", "A", "B", "C", "D", "AC", "ABCD"])
def test_each_place_of_a_canon_layer_moves_it_three_tokens(sites: str) -> None:
    config = dataclasses.replace(DEEP, local=(Canon(sites),) if sites else ())
    found = reach(impulse_response(randomised(config), ids_of(2, 4, 64), 5), least=1e-8)  # the last taps of twelve
    assert found.tolist() == [[3 * len(sites) * layer for layer in range(4)]] * 2


@pytest.mark.parametrize(("mixer", "wanted"), [
    (Attention(window=5), [0, 4, 8, 12]), (Attention(rope=0.0), [0, 58, 58, 58]),
    (Attention(chunk=16), [0, 10, 10, 10]),
], ids=lambda x: x.label if isinstance(x, Attention) else "")  # fmt: skip
def test_attention_moves_it_as_far_as_it_sees(mixer: Attention, wanted: list[int]) -> None:
    config = dataclasses.replace(DEEP, mixer=(mixer,))
    assert reach(impulse_response(randomised(config), ids_of(2, 4, 64), 5)).tolist() == [wanted] * 2


def test_the_size_of_each_tap() -> None:
    """One linear Canon layer, before an attention that is the identity of its values: r is known in closed form."""
    config = ModelConfig(layers=1, heads=1, width=8, mixer=(ITSELF,), mlp=(NoMLP(),), local=(Canon("B"),))
    model = randomised(config, 1)
    ids, block = ids_of(1, 3, 12), model._blocks()[0]
    found = impulse_response(model, ids, 4)
    changed = ids.clone()
    changed[..., 4] = (changed[..., 4] + 1) % model.vocabulary
    with torch.no_grad():
        x, y = (model.embedding(one)[:, :, 4] for one in (ids, changed))
        v, u = (block.attention.qkv(block.attention_norm(one[:, :, None], torch.float32))[..., 16:] for one in (x, y))
        taps = dict(model.named_parameters())["blocks.0.attention.local.filter"][0, :, 16:]
        for s in range(4):
            moved = block.attention.out((u - v) * (taps[s] + (s == 0)))[:, :, 0] + (y - x) * (s == 0)
            wanted = (moved.square().sum(-1).mean() / (y - x).square().sum(-1).mean()).sqrt()
            torch.testing.assert_close(found[0, 1, s], wanted.double(), atol=1e-5, rtol=1e-4)
    assert not found[0, 1, 4:].any() and found[0, 0].tolist() == [1.0, *[0.0] * 7]


def test_members_have_their_own() -> None:
    model, ids = randomised(dataclasses.replace(BASE, local=(Canon(),))), ids_of(2, 3, 20)
    both = impulse_response(model, ids, 3)
    assert both.shape == (2, 3, 17) and both.isfinite().all()
    for m in range(2):
        alone = impulse_response(model.member(m), ids[m : m + 1], 3)[0]
        torch.testing.assert_close(alone, both[m], atol=1e-5, rtol=1e-4)
    assert not both[0].allclose(both[1])


def test_a_place_outside_of_the_rows_is_refused() -> None:
    for place in (-1, 12):
        with pytest.raises(UserError, match=f"got the place {place}, expected 0 to 11"):
            impulse_response(randomised(BASE), ids_of(2, 1, 12), place)
