"""A trained model that reads in another way: the weights are its own, the function is that of the other settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from part_models import BASE, ids_of, randomised, with_part

from physlm.errors import UserError
from physlm.measures.generation import generate
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.positional import Uniform
from physlm.models.patterns import irope
from physlm.models.retuning import Among, changed, retuned

NOPE = with_part("mixer", Attention(rope=0))


@pytest.mark.parametrize("settings", [
    {"rope_base": 500_000.0}, {"log_n": True, "scale": 0.2}, {"scale": 1.3}, {"floor": 4}, {"window": 5}, {"chunk": 4},
], ids=str)  # fmt: skip
def test_it_is_the_model_of_the_other_settings_with_the_same_weights(settings: dict[str, Any]) -> None:
    model, ids = randomised(BASE), ids_of(2, 3, 20)
    found = retuned(model, **settings)
    other = Decoder(with_part("mixer", Attention(**settings)), model.vocabulary, (None, None))
    other.load_state_dict(model.state_dict())
    assert found(ids).logits.equal(other(ids).logits) and found.config == other.config
    assert not found(ids).logits.allclose(model(ids).logits)
    assert generate(found, ids[0, :, :3], 4, key=1).ids.equal(generate(other, ids[0, :, :3], 4, key=1).ids)
    assert all(a is b for a, b in zip(found.parameters(), model.parameters(), strict=True)), "shared, not copied"
    rounded = retuned(model.in_bfloat16(), **settings)
    assert {p.dtype for p in rounded.parameters()} == {torch.bfloat16, torch.float32}
    torch.testing.assert_close(rounded(ids).logits.float(), found(ids).logits, atol=1.0, rtol=0.3)


@pytest.mark.parametrize("learnt", ["head", "one"])
def test_a_scale_that_becomes_learnt_begins_at_its_value(learnt: Any) -> None:
    model, ids = randomised(NOPE), ids_of(2, 3, 20)
    found = retuned(model, learnt_scale=learnt)
    assert found(ids).logits.equal(model(ids).logits), "lambda = 1 changes nothing"
    sharper = retuned(model, learnt_scale=learnt, scale=1.5)
    torch.testing.assert_close(sharper(ids).logits, retuned(model, scale=1.5)(ids).logits, atol=1e-5, rtol=1e-5)
    new = {name for name, weight in found.weights.items() if weight.role.name == "temperature"}
    assert {name for name, _ in found.named_parameters()} - {name for name, _ in model.named_parameters()} == new
    gradients = torch.autograd.grad(sharper(ids).logits.square().sum(), [sharper.get_parameter(name) for name in new])
    assert all(bool(gradient.all()) for gradient in gradients)


def test_layers_with_or_without_positions_can_be_changed_alone() -> None:
    config = dataclasses.replace(BASE, mixer=irope(8, 2))
    local, whole = config.mixer
    cases: tuple[tuple[Among, tuple[Attention, Attention]], ...] = (
        ("unrotated", (Attention(chunk=8), Attention(rope=0, scale=2.0))),
        ("rotated", (Attention(chunk=8, scale=2.0), Attention(rope=0))),
        ("all", (Attention(chunk=8, scale=2.0), Attention(rope=0, scale=2.0))))  # fmt: skip
    for among, wanted in cases:
        assert changed(config, among, scale=2.0).mixer == wanted
    mixed = dataclasses.replace(BASE, mixer=(Uniform(), whole))
    assert changed(mixed, floor=3).mixer == (Uniform(), Attention(rope=0, floor=3))
    assert changed(config, "all") == config and local == Attention(chunk=8)


def test_below_its_floor_the_temperature_of_irope_is_one() -> None:
    model, ids = randomised(dataclasses.replace(BASE, mixer=irope(8, 2))), ids_of(2, 3, 20)
    found, before = (one(ids).logits for one in (retuned(model, among="unrotated", floor=8), model))
    assert found[:, :, :7].equal(before[:, :, :7]) and not found[:, :, 7].equal(before[:, :, 7])


def test_what_trained_weights_cannot_do_is_refused() -> None:
    model = randomised(BASE)
    for change, message in (
        (lambda: retuned(model, rope_bsae=1.0), "unknown name 'rope_bsae'; did you mean 'rope_base'"),
        (lambda: retuned(model, bias="alibi"), "unknown name 'bias'. Allowed: chunk, floor, "),
        (lambda: retuned(model, among="rotatd", floor=3),  # type: ignore[arg-type]
         "among: unknown name 'rotatd'; did you mean 'rotated'"),
        (lambda: retuned(model, among="unrotated", floor=3), "got rope, expected attention in some unrotated layers"),
        (lambda: retuned(randomised(with_part("mixer", Uniform())), scale=2.0), "expected attention in some layers"),
        (lambda: retuned(model, window=-2), "window: got -2, expected at least 1"),
        (lambda: retuned(retuned(model, learnt_scale="one"), learnt_scale="head"), "weights would be left out"),
    ):
        with pytest.raises(UserError, match=message):
            change()
