"""Ternary maps against their formula and their derivation by hand; models of them are models as any other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from part_checks import (
    check_compiles,
    check_first_weights_depend_on_the_members_seed_and_the_weights_name,
    check_members_and_the_future_are_out_of_sight,
    check_settings_survive_json,
    check_the_list_of_weights_is_the_model,
    check_training_goes_on_from_its_state_and_members_are_cut_out_whole,
)
from part_models import BASE, VOCABULARY, ids_of, randomised

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.listing import model_weights
from physlm.models.parts.gated import Gated
from physlm.models.parts.moe import MoE
from physlm.models.parts.relative import Relative
from physlm.models.primitives import Linear, Ternary, eight_bits, product, three_values
from physlm.models.quantisation import Quantisation, stored_bits
from physlm.models.quantised import Read, quantised
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

TERNARY = dataclasses.replace(BASE, ternary=True)
MODELS = [TERNARY, dataclasses.replace(TERNARY, mlp=(Gated(),)), dataclasses.replace(TERNARY, mixer=(Relative(),))]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99),
       st.sampled_from([torch.float32, torch.bfloat16]))
@settings(max_examples=60, deadline=None)
def test_weights_have_three_values_of_their_own_matrix(
    members: int, inputs: int, outputs: int, seed: int, dtype: torch.dtype
) -> None:
    weight = drawn(members, inputs, outputs, seed=seed).to(dtype)
    found = three_values(weight)
    for own, rounded in zip(weight, found, strict=True):
        gamma = own.float().abs().mean()
        sign = torch.where(own.float().abs() > gamma / 2, own.float().sign(), 0.0)
        torch.testing.assert_close(rounded, (sign * gamma).to(dtype), rtol=1e-6, atol=0)
        assert set(rounded.abs().unique().tolist()) <= {0.0, rounded.abs().max().item()}
    assert found.dtype == dtype


@given(st.integers(1, 40), st.integers(0, 99), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_tokens_have_255_levels_each_its_own(inputs: int, seed: int, scale: float) -> None:
    x = scale * drawn(3, inputs, seed=seed)
    found = eight_bits(x)
    step = x.abs().amax(-1, keepdim=True) / 127
    torch.testing.assert_close(found / step, torch.round(found / step), atol=1e-3, rtol=0)
    assert ((found - x).abs() <= 0.5001 * step).all() and (found / step).abs().max() <= 127.001
    assert found[1].equal(eight_bits(x[1:2])[0]), "a token is rounded alone"


def test_all_255_levels_occur_and_no_others() -> None:
    assert len(eight_bits(torch.linspace(-1, 1, 100_001)).unique()) == 255


def test_of_zeros_all_is_zero() -> None:
    assert not three_values(torch.zeros(2, 3, 4)).any() and not eight_bits(torch.zeros(2, 3)).any()


def test_the_output_and_the_gradients_are_those_of_the_plain_map_at_the_rounded_point() -> None:
    """Straight through both roundings; that of the input goes on through the norm."""
    linear, x = Ternary(2, (6, 5)), drawn(2, 3, 4, 6).requires_grad_()
    with torch.no_grad():
        linear.weight.copy_(drawn(2, 6, 5, seed=1))
    normed = (x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()).detach()
    point, weight = eight_bits(normed).requires_grad_(), three_values(linear.weight.detach()).requires_grad_()
    wanted, found, out = product(point, weight), linear(x), drawn(2, 3, 4, 5, seed=2)
    torch.testing.assert_close(found, wanted)
    for_point, for_weight = torch.autograd.grad(wanted, (point, weight), out)
    for_x, for_own = torch.autograd.grad(found, (x, linear.weight), out)
    torch.testing.assert_close(for_own, for_weight)
    again = x.detach().clone().requires_grad_()
    normed = again / (again.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(for_x, torch.autograd.grad(normed, again, for_point)[0])


def test_the_size_of_an_input_does_not_matter_and_that_of_a_weight_scales() -> None:
    linear, x = Ternary(1, (16, 8)), drawn(1, 1, 5, 16)
    with torch.no_grad():
        linear.weight.copy_(drawn(1, 16, 8, seed=1))
        before = linear(x)
        torch.testing.assert_close(linear(64 * x), before, rtol=1e-3, atol=1e-3)
        linear.weight.mul_(4)
        torch.testing.assert_close(linear(x), 4 * before)


def test_members_are_as_alone() -> None:
    both, x = Ternary(3, (6, 5)), drawn(3, 2, 4, 6)
    with torch.no_grad():
        both.weight.copy_(drawn(3, 6, 5, seed=1) * torch.tensor([1.0, 10.0, 0.1])[:, None, None])
        for m in range(3):
            alone = Ternary(1, (6, 5))
            alone.weight.copy_(both.weight[m : m + 1])
            torch.testing.assert_close(both(x)[m : m + 1], alone(x[m : m + 1]))


def test_ternary_maps_are_the_matrices_of_tokens_alone() -> None:
    """The embedding, the norms and the matrix of a table are as ever; names, shapes and counts as well."""
    for config in MODELS:
        plain = dataclasses.replace(config, ternary=False)
        ours, theirs = model_weights(config, VOCABULARY), model_weights(plain, VOCABULARY)
        assert {name: weight.shape for name, weight in ours.items()} == {
            name: weight.shape for name, weight in theirs.items()}  # fmt: skip
        assert parameter_counts(config, VOCABULARY) == parameter_counts(plain, VOCABULARY)
        assert {name for name, weight in ours.items() if weight.role.ternary} == {
            name for name, weight in theirs.items() if weight.role.matrix and weight.role.multiplied}  # fmt: skip
        model = Decoder(config, VOCABULARY)
        assert {f"{name}.weight": isinstance(module, Ternary) for name, module in model.named_modules()
                if isinstance(module, Linear)} == {
            name: weight.role.ternary for name, weight in ours.items() if weight.role.matrix}  # fmt: skip


def test_an_ordinary_run_keeps_its_hash_and_its_label() -> None:
    assert content_hash(dataclasses.replace(BASE, ternary=False)) == content_hash(BASE) != content_hash(TERNARY)
    assert BASE.label + "-ternary" == TERNARY.label
    assert BASE.facts() | {"ternary": True} == TERNARY.facts()


@pytest.mark.parametrize("check", [
    check_settings_survive_json, check_the_list_of_weights_is_the_model,
    check_first_weights_depend_on_the_members_seed_and_the_weights_name, check_members_and_the_future_are_out_of_sight,
    check_training_goes_on_from_its_state_and_members_are_cut_out_whole,
], ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)
def test_a_ternary_model_is_a_model(config: ModelConfig, check: Callable[[ModelConfig], None]) -> None:
    check(config)


def test_reading_token_by_token_is_close() -> None:
    """Where a number lies between two levels of 8 bits, the order of a sum decides, so not to the last bits."""
    model, ids = randomised(TERNARY), ids_of(2, 3, 12)
    whole, _ = model.hidden(ids)
    reading = model.remember(rows=3, positions=12)
    parts = [model.read(ids[..., :5], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading.upto(t + 1)) for t in range(5, 12)]
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=0.05, rtol=0.05)


@pytest.fixture
def compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("members", [1, 2])
def test_ternary_blocks_compile_as_whole_graphs(members: int) -> None:
    """So nothing in them depends on numbers, and a step can be captured."""
    check_compiles(TERNARY, members)


def test_stored_bits_by_hand_and_what_is_ternary_is_left_alone() -> None:
    """Two layers of 12 d^2, eight matrices; norms in float32; the embedding as the setting says."""
    d, embedding, norms = 16, 16 * VOCABULARY, 5 * 16
    each = sum(math.ceil(math.log2(3) * numbers) + 32 for numbers in (3 * d * d, d * d, 4 * d * d, 4 * d * d))
    for setting, bits in ((None, 32), (Quantisation(16), 16), (Quantisation(4), 16), (Quantisation(4, embedding=True),
                                                                                     4 + 16 / d)):  # fmt: skip
        assert stored_bits(TERNARY, VOCABULARY, setting) == 2 * each + 32 * norms + round(bits * embedding)
    model, ids = randomised(TERNARY), ids_of(1, 3, 12)[0]
    for method in ("nearest", "gptq"):
        found = quantised(model, Quantisation(3, method), [Read(ids, torch.ones_like(ids))])
        assert all(tensor.equal(model.in_bfloat16().float().state_dict()[name])
                   for name, tensor in found.state_dict().items())  # fmt: skip


def test_a_ternary_model_learns() -> None:
    """The gradients lead somewhere: a text by heart, which an untrained model does not know."""
    model = Decoder(dataclasses.replace(TERNARY, init_std=0.1), VOCABULARY, (0,))
    ids = torch.randint(VOCABULARY, (1, 4, 16), generator=torch.Generator().manual_seed(0))
    optimiser, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(150):
        logits = model(ids[..., :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), ids[..., 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_what_cannot_be_ternary_is_refused() -> None:
    with pytest.raises(UserError, match="model.ternary: got true with the part 'moe'"):
        dataclasses.replace(TERNARY, mlp=(MoE(experts=2),))
    start = RunSpec(BioSConfig(20, pool_size=4), TERNARY, TrainConfig())
    with pytest.raises(UserError, match="updates of a ternary model"):
        RunSpec(start.task, TERNARY, TrainConfig(lora_rank=2), start)


def test_a_matrix_that_is_not_ternary_is_quantised() -> None:
    """Of relative positions that of the table."""
    model, ids = randomised(MODELS[2]), ids_of(1, 3, 12)[0]
    found = quantised(model, Quantisation(3), [Read(ids, torch.ones_like(ids))])
    for name, weight in model.weights.items():
        if weight.role.matrix:
            levels = max(len(row.unique()) for row in found.state_dict()[name].mT.flatten(0, 1))
            assert (levels <= 8) != weight.role.ternary, name
