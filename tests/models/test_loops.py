"""Layers that are passed several times: a looped model is its unrolled copy with tied weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import BASE, VOCABULARY, ids_of, randomised

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.hf.convert import check_exportable
from physlm.measures.attention import decoder_attention
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.quantisation import Quantisation
from physlm.models.quantised import Read, quantised, second_moments

MODEL = dataclasses.replace(BASE, layers=4, mixer=(Attention(), DeltaNet()), mlp=(Plain(), Gated()), local=(Canon(),))
LOOPED = dataclasses.replace(MODEL, loops=3, prelude=1, coda=1)
LOOPS = [LOOPED, dataclasses.replace(MODEL, loops=2), dataclasses.replace(MODEL, loops=2, coda=3)]


def unrolled(config: ModelConfig) -> ModelConfig:
    """The same with a layer for each pass."""
    return dataclasses.replace(
        config, layers=config.depth, mixer=tuple(config.mixers[i] for i in config.order),
        mlp=tuple(config.mlps[i] for i in config.order), loops=1, prelude=0, coda=0,
        local=tuple(one for i in config.order if (one := config.locals[i]) is not None))  # fmt: skip


def name_of_pass(name: str, layer: int) -> str:
    place, _, rest = name.partition(".")
    return f"blocks.{layer}.{rest.partition('.')[2]}" if place == "blocks" else name


def copy_of(model: Decoder) -> Decoder:
    """The unrolled copy of a looped model, with the same weights at each pass."""
    config = unrolled(model.config)
    copy = Decoder(config, model.vocabulary, (None,) * model.members)
    ours = model.state_dict()
    copy.load_state_dict({name: ours[name_of_pass(name, model.config.order[int(name.split(".")[1])]) if
                                     name.startswith("blocks.") else name] for name in copy.state_dict()})  # fmt: skip
    return copy


def test_the_order_by_hand() -> None:
    assert LOOPED.order == (0, 1, 2, 1, 2, 1, 2, 3) and LOOPED.depth == 8
    assert LOOPS[1].order == (0, 1, 2, 3) * 2 and LOOPS[2].order == (0, 0, 1, 2, 3)
    assert MODEL.order == (0, 1, 2, 3)


def test_one_pass_is_the_plain_stack() -> None:
    """To the bit, and under the same name: no run that was made before there were loops is made again."""
    once = dataclasses.replace(MODEL, loops=1)
    assert content_hash(once) == content_hash(MODEL) and once.label == MODEL.label
    assert Decoder(once, VOCABULARY)(ids_of(1, 2, 9)).logits.equal(Decoder(MODEL, VOCABULARY)(ids_of(1, 2, 9)).logits)


@pytest.mark.parametrize("config", LOOPS, ids=lambda config: config.label)
def test_a_loop_is_the_unrolled_stack_with_tied_weights_gradients_too(config: ModelConfig) -> None:
    looped = randomised(config).double()
    copy, ids = copy_of(looped).double(), ids_of(2, 3, 12)
    copy.load_state_dict(copy_of(looped).state_dict())
    taps = looped.tap_names
    assert taps == copy.tap_names
    (ours, found), (theirs, wanted) = looped(ids, taps), copy(ids, taps)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    for tap in taps:
        torch.testing.assert_close(found[tap], wanted[tap], atol=1e-12, rtol=1e-12)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    gradients = dict.fromkeys(dict(looped.named_parameters()), torch.zeros((), dtype=torch.float64))
    for name, p in copy.named_parameters():
        layer = config.order[int(name.split(".")[1])] if name.startswith("blocks.") else 0
        assert p.grad is not None
        gradients[name_of_pass(name, layer)] = gradients[name_of_pass(name, layer)] + p.grad
    for name, p in looped.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, gradients[name], atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("config", LOOPS, ids=lambda config: config.label)
def test_token_by_token_each_pass_has_a_memory_of_its_own(config: ModelConfig) -> None:
    model, ids = randomised(config).double(), ids_of(2, 3, 12)
    reading = model.remember(3, 12)
    assert len(reading.states) == config.depth
    assert model.state_bytes(16) == copy_of(model).double().state_bytes(16)
    parts = [model.read(ids[..., :5], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(5, 12)]
    torch.testing.assert_close(torch.cat(parts, 2), model.hidden(ids)[0], atol=1e-10, rtol=1e-10)


def test_parameters_are_counted_once_and_flops_at_each_pass() -> None:
    """At one shape, and the state of generation per pass."""
    for config in LOOPS:
        assert parameter_counts(config, VOCABULARY) == parameter_counts(MODEL, VOCABULARY)
        assert training_flops(config, VOCABULARY, 64) == training_flops(unrolled(config), VOCABULARY, 64)
    outside = training_flops(dataclasses.replace(MODEL, layers=4), VOCABULARY, 64)
    twice = training_flops(dataclasses.replace(MODEL, loops=2), VOCABULARY, 64)
    assert twice == 2 * outside - 6 * VOCABULARY * MODEL.width  # the output is read once


def test_first_values_count_each_pass() -> None:
    """What the projections into the stream are drawn with falls with the depth, so that the stream is as large as that
    of the unrolled model."""
    deep = Decoder(dataclasses.replace(BASE, loops=8), VOCABULARY).state_dict()["blocks.0.mlp.down.weight"]
    flat = Decoder(BASE, VOCABULARY).state_dict()["blocks.0.mlp.down.weight"]
    torch.testing.assert_close(deep * 8**0.5, flat)


def test_an_edit_is_of_one_pass_alone() -> None:
    model, ids = randomised(dataclasses.replace(BASE, loops=2)), ids_of(2, 2, 9)
    silent = model.edited({"block.2.mlp": torch.zeros_like})  # the first layer in its second pass
    found = silent(ids, taps=("block.0.mlp", "block.2.mlp")).taps
    assert found["block.0.mlp"].any() and not found["block.2.mlp"].any()
    one = silent.member(0)(ids[:1], taps=("block.2.mlp",)).taps
    assert not one["block.2.mlp"].any(), "a member is edited as the model is"
    assert len(decoder_attention(model.member(0), ids[0])) == 4
    with pytest.raises(UserError, match="block.4.mlp"):
        model.edited({"block.4.mlp": torch.zeros_like})


def test_losses_of_experts_are_those_of_the_unrolled_stack() -> None:
    model = randomised(dataclasses.replace(BASE, mlp=(MoE(experts=4, capacity=1.0),), loops=2)).train()
    ours, theirs = model.hidden_with_losses(ids_of(2, 3, 12))[1], copy_of(model).train().hidden_with_losses(
        ids_of(2, 3, 12))[1]  # fmt: skip
    assert ours.keys() == theirs.keys() == {"balance", "dropped"} and bool((ours["dropped"] > 0).all())
    for name, loss in ours.items():
        torch.testing.assert_close(loss, theirs[name])


def test_a_matrix_is_quantised_for_the_inputs_of_all_its_passes() -> None:
    model = randomised(dataclasses.replace(BASE, loops=2))
    copy, ids = copy_of(model), ids_of(1, 3, 12)[0]
    texts = [Read(ids, torch.ones_like(ids))]
    ours = second_moments(model, "blocks.0.mlp.up.weight", texts)
    passes = [second_moments(copy, f"blocks.{i}.mlp.up.weight", texts) for i in (0, 2)]
    torch.testing.assert_close(ours, passes[0] + passes[1])
    assert quantised(model, Quantisation(bits=4), texts)(ids[None].expand(2, -1, -1)).logits.isfinite().all()


@pytest.mark.parametrize(("settings", "message"), [
    ({"loops": 0}, "model.loops: got 0, expected 1 to 4096 passes"),
    ({"loops": 2, "prelude": 1, "coda": 1}, "got 1 and 1 of 2 layers, expected fewer together"),
    ({"prelude": 1}, "got 1 and 0 with one pass, expected 0 and 0, or model.loops above 1"),
    ({"loops": 2, "coda": -1}, "model.coda: got -1, expected at least 0"),
])  # fmt: skip
def test_what_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(BASE, **settings)  # type: ignore[arg-type]


def test_export_takes_loops_and_names_the_part_that_no_architecture_has() -> None:
    check_exportable(dataclasses.replace(BASE, loops=2))
    with pytest.raises(UserError, match=r"export to hf: model.mlp: got 'moe', expected plain or gated or none"):
        check_exportable(dataclasses.replace(BASE, loops=2, mlp=(MoE(experts=4),)))
