"""What every part must do, whichever it is: checks of models that hold it, for parts of the package and any other.

A test goes through ``CHECKS`` for each model of ``models_of`` its parts, ``check_compiles`` for ``compiled_models_of``
them, and ``check_settings_are_live`` for each part; ``part_models`` makes these models.  A check that is added here is
made of all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from part_models import CPU, SPEC, VOCABULARY, ids_of, others, randomised, with_part
from torch import Tensor

from physlm.config import content_hash, from_dict, override, to_dict
from physlm.errors import UserError
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.listing import model_weights, times_read
from physlm.models.parts.part import Part
from physlm.models.parts.weight import Given
from physlm.models.quantisation import Quantisation, check_model
from physlm.models.quantised import Read, quantised
from physlm.models.reading import Reading
from physlm.training.step import Population


def check_settings_survive_json(config: ModelConfig) -> None:
    assert from_dict(ModelConfig, to_dict(config)) == config
    assert set(config.label) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+.")
    assert all(isinstance(value, (str, int, float, bool)) for value in config.facts().values())


def check_the_list_of_weights_is_the_model(config: ModelConfig) -> None:
    model, listed = Decoder(config, VOCABULARY, (0, 1)), model_weights(config, VOCABULARY)
    found = {name: tuple(tensor.shape[1:]) for name, tensor in model.state_dict().items()}
    assert found == {name: weight.shape for name, weight in listed.items()}
    trained = {name for name, weight in listed.items() if weight.trained}
    assert {name for name, _ in model.named_parameters()} == trained
    counts = parameter_counts(config, VOCABULARY)
    assert counts["params_all"] == sum(p[0].numel() for p in model.parameters())
    running = {name for name, weight in listed.items() if weight.running}
    assert counts["params_fixed"] == sum(b[0].numel() for name, b in model.named_buffers() if name not in running)
    assert counts["params_nonembedding"] < counts["params_used"] == counts["params_all"] >= counts["params_active"]
    active = sum(listed[name].numbers * listed[name].share for name in trained)
    assert abs(counts["params_active"] - active) <= 0.5 + 1e-6, "a whole number"
    met = sum(weight.numbers * weight.share * times_read(config, name) for name, weight in listed.items()
              if weight.role.multiplied)
    flops = [training_flops(config, VOCABULARY, tokens) for tokens in (0, 1, 64)]
    branches = sum(1 + (not config.mlps[layer].empty) for layer in config.order)
    streams = config.parallel.streams
    assert 6 * met + 3 * streams * branches * config.residual.flops(config, 0) == flops[0] <= flops[1] <= flops[2]


def check_first_weights_depend_on_the_members_seed_and_the_weights_name(config: ModelConfig) -> None:
    together, alone = Decoder(config, VOCABULARY, (4, 9)), Decoder(config, VOCABULARY, (9,))
    for (name, both), single in zip(together.state_dict().items(), alone.state_dict().values(), strict=True):
        assert both[1].equal(single[0]) and both.isfinite().all(), name
        given = isinstance(together.weights[name].init, Given)
        assert (both[0] != both[1]).any() or len(both[0].unique()) == 1 or given, f"{name}: the seed does not matter"


def check_reading_token_by_token_gives_the_same_activations(config: ModelConfig) -> None:
    """Some tokens at once, then one by one: more than any short memory holds, which has room for 16.  In bfloat16 there
    are fewer, as a rounding may send a token to another expert."""
    for members in (1, 2):
        model = randomised(config, members)
        for half, tokens, at_once, tolerance in ((False, 20, (1, 17), 5e-5), (True, 12, (1, 5), 0.15)):
            model = model.in_bfloat16() if half else model
            reading = check_steps_are_whole_rows(model, tokens, at_once, tolerance)
            held = sum(t.numel() * t.element_size() for state in reading.states for t in tensors(state))
            assert held == 3 * model.state_bytes(reading.positions)


def check_steps_are_whole_rows(model: Decoder, tokens: int, at_once: Sequence[int], tolerance: float) -> Reading:
    """So many tokens at once and then one by one are what whole rows are; the last reading."""
    precision, ids = model.embedding.weight.dtype, ids_of(model.members, 3, tokens)
    whole, _ = model.hidden(ids)
    for first in at_once:
        reading = model.remember(rows=3, positions=tokens)
        parts = [model.read(ids[..., :first], reading)]
        parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading.upto(t + 1)) for t in range(first, tokens)]
        found = torch.cat(parts, 2)
        assert found.dtype == whole.dtype == precision
        torch.testing.assert_close(found, whole, atol=tolerance, rtol=tolerance)
    return reading


def tensors(state: dict[str, Any]) -> Iterator[Tensor]:
    for one in state.values():
        yield from (one,) if isinstance(one, Tensor) else tensors(one)


def check_generation_does_not_depend_on_the_batch(config: ModelConfig) -> None:
    """After prompts of one token, which are not read as whole rows, and of more: the second batch of rows begins as
    empty as the first."""
    model = randomised(config)
    for columns in (1, 3):
        prompts = ids_of(1, 5, 3)[0, :, :columns]
        whole = generate(model, prompts, 4, key=3)
        few = generate(model, prompts, 4, key=3, rows_at_once=3)
        assert whole.ids.equal(few.ids) and whole.lengths.equal(few.lengths)
        alone = generate(model.member(1), prompts, 4, key=3)
        assert whole.ids[1].equal(alone.ids)


def check_tokens_beside_rows_see_what_stands_before_them(config: ModelConfig) -> None:
    model, ids = randomised(config), ids_of(2, 3, 12)
    assert model.has_aside == all(part.reads_beside for part in config.parts)
    if not model.has_aside:
        return
    reading = model.remember(rows=3, positions=12, beside=True)
    model.read(ids, reading)
    places = torch.tensor([[0, 5, 11], [2, 2, 7], [1, 3, 10]])
    other = model.embedding((ids + 1) % VOCABULARY).gather(2, places[None, ..., None].expand(2, -1, -1, config.width))
    found = model.aside(other, places, reading)
    for row in range(3):
        for q, place in enumerate(places[row].tolist()):
            changed = ids[:, row : row + 1].clone()
            changed[..., place] = (changed[..., place] + 1) % VOCABULARY
            wanted = model.hidden(changed)[0][:, 0, place]
            torch.testing.assert_close(found[:, row, q], wanted, atol=5e-5, rtol=5e-5)


def check_continuations_beside_one_text_are_read_as_if_alone(config: ModelConfig) -> None:
    """A text of 6 tokens, and two continuations of 3, after its fourth token and after its last."""
    model, ids, ends = randomised(config), ids_of(2, 3, 12), (4, 6)
    assert model.has_aside or not config.reads_among
    if not config.reads_among:
        return
    at = torch.arange(12)
    places = torch.cat((at[:6], *(end + at[:3] for end in ends)))
    piece = torch.cat((torch.zeros(6), torch.ones(3), torch.full((3,), 2.0)))
    sees_text = (piece[None] == 0) & (at < torch.cat((at[:6] + 1, *(torch.full((3,), end) for end in ends)))[:, None])
    seen = sees_text | ((piece[:, None] == piece) & (at[:, None] >= at))
    found = model.hidden_among(model.embedding(ids), places.expand(3, -1), seen.expand(3, -1, -1))
    torch.testing.assert_close(found[:, :, :6], model.hidden(ids[..., :6])[0], atol=5e-5, rtol=5e-5)
    for number, end in enumerate(ends):
        own = slice(6 + 3 * number, 9 + 3 * number)
        alone = model.hidden(torch.cat((ids[..., :end], ids[..., own]), -1))[0]
        torch.testing.assert_close(found[:, :, own], alone[:, :, end:], atol=5e-5, rtol=5e-5)


def check_members_and_the_future_are_out_of_sight(config: ModelConfig) -> None:
    model, ids = randomised(config), ids_of(2, 2, 8)
    changed = ids.clone()
    changed[..., 5:] = (changed[..., 5:] + 3) % VOCABULARY
    changed[1] = (changed[1] + 1) % VOCABULARY
    before, after = model(ids).logits, model(changed).logits
    assert before[0, :, :5].equal(after[0, :, :5]) and not before[0, :, 5:].allclose(after[0, :, 5:])
    for m in range(2):
        torch.testing.assert_close(model.member(m)(ids[m : m + 1]).logits[0], before[m], atol=1e-5, rtol=1e-5)
    before[0].square().sum().backward()
    apart = {name for name, weight in model.weights.items() if weight.role.apart}
    check_gradients_of_the_first_member(model, set(model.weights) - apart)
    assert all(model.get_parameter(name).grad is None for name in apart)
    if apart:
        model.zero_grad()
        losses = model.train().hidden_with_losses(ids)[1].values()
        torch.stack([loss[0] for loss in losses if loss.requires_grad]).sum().backward()
        check_gradients_of_the_first_member(model, apart)


def check_gradients_of_the_first_member(model: Decoder, names: set[str]) -> None:
    """It has them in the parameters among these, and the second has none."""
    for name, p in model.named_parameters():
        if name in names:
            assert p.grad is not None and p.grad.isfinite().all(), name
            assert not p.grad[1].any() and p.grad[0].any(), name


def check_gradients_are_finite_with_extreme_inputs(config: ModelConfig) -> None:
    """Weights ten times too large, in bfloat16: scores in the thousands, gates at their ends."""
    model = randomised(config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(10)
    model = model.in_bfloat16().train()
    hidden, losses = model.hidden_with_losses(ids_of(2, 3, 20))
    total = hidden.float().square().mean() + sum(loss.sum() for loss in losses.values())
    total.backward()
    for name, p in model.named_parameters():
        # an output of its own is behind the activations
        assert name == "output.weight" or (p.grad is not None and p.grad.isfinite().all()), name
    assert hidden.isfinite().all() and all(bool(loss.isfinite().all()) for loss in losses.values())


def check_edits_replace_activations_wherever_the_model_reads(config: ModelConfig) -> None:
    """A branch that is silenced is a branch that is not there; the model itself is left alone."""
    model, ids = randomised(config), ids_of(2, 3, 12)
    taps = [name for name in model.tap_names if name.endswith((".mixer", ".mlp", ".out"))]
    before, found = model(ids, taps=taps)
    for name in taps[:2]:
        silent = model.edited({name: torch.zeros_like})
        assert not silent(ids, taps=[name]).taps[name].any()
        assert not silent(ids).logits.allclose(before, atol=1e-3)
        reading = silent.remember(3, 12)
        parts = [silent.read(ids[..., :4], reading)]
        parts += [silent.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(4, 12)]
        torch.testing.assert_close(torch.cat(parts, 2), silent.hidden(ids)[0], atol=5e-5, rtol=5e-5)
    added = {name: found[name] for name in taps}
    same = model.edited({name: lambda x, name=name: added[name] for name in taps})  # type: ignore[misc]
    assert same(ids).logits.equal(before) and model(ids).logits.equal(before)
    with pytest.raises(UserError, match="edit: unknown name 'block.0.mixr'; did you mean 'block.0.mixer'"):
        model.edited({"block.0.mixr": torch.zeros_like})


def check_its_matrices_are_quantised_each_member_alone(config: ModelConfig) -> None:
    """Or the model is refused: of a matrix for each of several experts, say, nothing is silently left in 16 bits."""
    listed = model_weights(config, VOCABULARY)
    if any(weight.role.multiplied and len(weight.shape) > 2 for weight in listed.values()):
        with pytest.raises(UserError, match="expected matrices of two axes"):
            check_model(config, VOCABULARY)
        return
    check_model(config, VOCABULARY)
    model, ids = randomised(config), ids_of(1, 3, 12)[0]
    setting, texts = Quantisation(bits=2), [Read(ids, torch.ones_like(ids))]
    found = quantised(model, setting, texts)
    for name, weight in listed.items():
        if weight.role.matrix:
            levels = [len(row.unique()) for row in found.state_dict()[name].mT.flatten(0, 1)]
            assert max(levels) <= 2**setting.bits, name
    assert any(weight.role.matrix and weight.shape[0] > 2**setting.bits for weight in listed.values())
    assert found(ids[None].expand(2, -1, -1)).logits.isfinite().all()
    with torch.no_grad():
        for p in model.parameters():
            p[1] *= 2
    again = quantised(model, setting, texts).state_dict()
    for name, tensor in found.state_dict().items():
        assert again[name][0].equal(tensor[0]), name
        assert not listed[name].trained or not again[name][1].equal(tensor[1]), name


def check_compiles(config: ModelConfig, members: int) -> None:
    """Blocks compile as whole graphs, which serve any number of rows; in training too, where parts do more there."""
    for training in (False, True)[: 1 + any(part.losses for part in config.parts)]:
        _compiles(randomised(config, members).train(training))


def _compiles(model: Decoder) -> None:
    ids = ids_of(model.members, 5, 12)
    first_values = {name: value.clone() for name, value in model.state_dict().items()}
    moved = [p for name, p in model.named_parameters() if model.training or not model.weights[name].role.apart]

    def gradients(rows: int) -> list[Tensor]:
        model.load_state_dict(first_values)
        hidden, losses = model.hidden_with_losses(ids[:, :rows].contiguous())
        loss = (hidden * torch.arange(model.config.width)).square().sum() + sum(one.sum() for one in losses.values())
        return [hidden, *losses.values(), *torch.autograd.grad(loss, moved),
                *(buffer.clone() for buffer in model.buffers())]

    plain = [gradients(3), gradients(5)]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = torch.compile(function, fullgraph=True, backend="aot_eager")
        return compiled

    model.compile_parts(wrap)
    # shapes as the training step sets them; the graphs of parts that were compiled before serve again
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=256):
        first = gradients(3)
        with torch._dynamo.config.patch(error_on_recompile=True):
            second = gradients(5)
    for ours, theirs in zip([*first, *second], [*plain[0], *plain[1]], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.detach().abs().max()), rtol=1e-4)


def check_training_goes_on_from_its_state_and_members_are_cut_out_whole(config: ModelConfig) -> None:
    for precision in ("float32", "bf16"):
        _goes_on_from_its_state(config, precision)


def _goes_on_from_its_state(config: ModelConfig, precision: str) -> None:
    spec = override(dataclasses.replace(SPEC, model=config), [f"train.precision={precision}"])
    specs = [spec, override(spec, ["train.seed=1", "train.learning_rate=0.003"])]
    whole, cut = Population(specs, CPU), Population(specs, CPU)
    first = whole.model_of(1).state_dict()
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        cut.advance()
    saved = {name: tensor.clone() for name, tensor in cut.tensors().items()}
    resumed = Population(specs, CPU)
    resumed.load(saved)
    for _ in range(2):
        resumed.advance()
    listed = model_weights(config, whole.model.vocabulary)
    for m in range(2):
        a, b = whole.model_of(m).state_dict(), resumed.model_of(m).state_dict()
        assert a.keys() == b.keys() == listed.keys()
        assert all(a[name].equal(b[name]) and a[name].isfinite().all() for name in a)
    moved = {name for name, before in first.items() if not before.equal(whole.model_of(1).state_dict()[name])}
    assert moved == {name for name, weight in listed.items() if weight.trained or weight.running}
    assert whole.recent_losses(1)["loss"].isfinite().all()


def check_no_number_is_asked_of_the_device(config: ModelConfig) -> None:
    """A step that is captured never waits for a number.  Here the device holds none, so that asking for one fails: in
    training, and in generation where keys are kept and where a token is read after them."""
    model = randomised(config, 2).to("meta")
    ids = torch.empty(2, 3, 12, dtype=torch.long, device="meta")
    hidden, losses = model.train().hidden_with_losses(ids)
    torch.autograd.grad(hidden.sum() + sum(one.sum() for one in losses.values()), list(model.parameters()),
                        allow_unused=True)
    if config.causal:
        with torch.no_grad():
            reading = model.eval().remember(3, 12)
            model.read(ids[..., :5], reading)
            assert model.step(ids[..., 5:6], torch.empty(1, dtype=torch.long, device="meta"), reading).is_meta


def check_settings_are_live(name: str, part: Part) -> None:
    """Another value is another function or loss in training, or what is trained of it is."""
    def seen(one: Part) -> tuple[Any, ...]:
        config = with_part(name, one)
        model = Decoder(config, VOCABULARY).train()
        listed = {key: weight.trained for key, weight in model.weights.items()}
        hidden, losses = model.hidden_with_losses(ids_of(1, 2, 12))
        return (hidden.flatten().tolist(), {key: loss.tolist() for key, loss in losses.items()},
                parameter_counts(config, VOCABULARY), listed)

    found = [seen(part), *map(seen, others(part))]
    assert all(found[i] != found[j] for i in range(len(found)) for j in range(i)), f"a dead setting of {part}"


def check_labels_tell_models_apart(models: Sequence[ModelConfig]) -> None:
    assert len({model.label for model in models}) == len({content_hash(model) for model in models}) == len(models)


CHECKS: tuple[Callable[[ModelConfig], None], ...] = (
    check_settings_survive_json,
    check_the_list_of_weights_is_the_model,
    check_first_weights_depend_on_the_members_seed_and_the_weights_name,
    check_reading_token_by_token_gives_the_same_activations,
    check_generation_does_not_depend_on_the_batch,
    check_tokens_beside_rows_see_what_stands_before_them,
    check_continuations_beside_one_text_are_read_as_if_alone,
    check_members_and_the_future_are_out_of_sight,
    check_gradients_are_finite_with_extreme_inputs,
    check_edits_replace_activations_wherever_the_model_reads,
    check_training_goes_on_from_its_state_and_members_are_cut_out_whole,
    check_its_matrices_are_quantised_each_member_alone,
    check_no_number_is_asked_of_the_device,
)
