"""Value residual: the values of the first layer in those of each later one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_checks import CHECKS, check_steps_are_whole_rows
from part_models import BASE, VOCABULARY, ids_of, randomised

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Whole
from physlm.models.parts.route import MixtureOfDepths

THREE = dataclasses.replace(BASE, layers=3, heads=4, width=32)
MIXERS = [Attention(value_residual=0.5), Attention(value_residual=1.0), Attention(learnt_residual=True),
          Attention(group=2, sink=True, value_residual=0.25, learnt_residual=True, window=7)]  # fmt: skip
MODELS = [*(dataclasses.replace(THREE, mixer=(mixer,)) for mixer in MIXERS),
          dataclasses.replace(THREE, mixer=(Attention(), MIXERS[0]), loops=2, prelude=1)]  # fmt: skip
named = pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)


@pytest.mark.parametrize("config", MODELS[3:], ids=lambda config: config.label)
def test_every_check_of_parts_holds(config: ModelConfig) -> None:
    for check in CHECKS:
        check(config)


@named
def test_whole_rows_are_steps_in_float64(config: ModelConfig) -> None:
    check_steps_are_whole_rows(randomised(config).double(), 40, (9,), 1e-10)


@pytest.mark.parametrize("members", [1, 2])
def test_factors_of_nothing_and_all_are_plain_attention(members: int) -> None:
    """Learnt ones begin there, bit for bit; a share of 0 is the plain part."""
    model, plain = (Decoder(dataclasses.replace(THREE, mixer=(mixer,)), VOCABULARY, range(members)) for mixer in (
        MIXERS[2], Attention()))
    ids = ids_of(members, 3, 20)
    assert model(ids).logits.equal(plain(ids).logits)
    assert Attention(value_residual=0.0) == Attention()


@pytest.mark.parametrize("learnt", [False, True])
def test_written_out(learnt: bool) -> None:
    """Of three layers each later one mixes the values of the first, not those of the one before."""
    config = dataclasses.replace(THREE, mixer=(Attention(value_residual=0.25, learnt_residual=learnt),))
    model, ids = randomised(config).double(), ids_of(2, 3, 12)
    plain = Attention()
    tables = plain.shared(plain.tables(config, 16, torch.device("cpu")), (), 12)
    x, first = model.embedding(ids), torch.empty(0)
    found = model.hidden(ids, tuple(f"block.{i}.mixer" for i in range(3)))[1]
    for i, block in enumerate(model._blocks()):
        w = block.attention
        normed = block.attention_norm(x, torch.float64)
        weights = plain.attention(w, normed, Whole(tables))
        own = w.qkv(normed)[..., 64:]
        first = own if i == 0 else first
        of_first, of_own = torch.full((2, 1, 1, 1), 0.25).double(), torch.full((2, 1, 1, 1), 0.75).double()
        if learnt and i:
            of_first, of_own = w.value_residual[:, :, None, None, None].unbind(1)
        values = own if i == 0 else of_first * first + of_own * own
        mixed = (weights @ values.unflatten(-1, (4, 8)).transpose(2, 3)).transpose(2, 3).flatten(-2)
        torch.testing.assert_close(found[f"block.{i}.mixer"], w.out(mixed), atol=1e-10, rtol=1e-10)
        x = model.hidden(ids, (f"block.{i}.out",))[1][f"block.{i}.out"]


def test_layers_with_values_of_the_first_alone_do_not_need_their_own() -> None:
    """A share of 1, SVFormer."""
    model, ids = randomised(MODELS[1]), ids_of(2, 3, 12)
    before = model(ids).logits
    with torch.no_grad():
        for i in (1, 2):
            model.get_parameter(f"blocks.{i}.attention.qkv.weight")[..., 64:] += 1
    assert model(ids).logits.equal(before)
    with torch.no_grad():
        model.get_parameter("blocks.0.attention.qkv.weight")[..., 64:] += 1
    assert not model(ids).logits.allclose(before)


def test_learnt_factors_are_two_numbers_of_each_later_layer() -> None:
    plain, fixed, learnt = (parameter_counts(dataclasses.replace(THREE, mixer=(mixer,)), VOCABULARY)["params_used"]
                            for mixer in (Attention(), MIXERS[0], MIXERS[2]))
    assert plain == fixed == learnt - 2 * 2
    names = [name for name in Decoder(MODELS[2], VOCABULARY).weights if name.endswith("value_residual")]
    assert names == [f"blocks.{i}.attention.value_residual" for i in (1, 2)]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="value_residual: got 1.5, expected a share from 0 to 1"):
        Attention(value_residual=1.5)
    with pytest.raises(UserError, match="expected values of one shape in all layers"):
        dataclasses.replace(THREE, mixer=(Attention(value_residual=0.5), Attention(value_residual=0.5, group=2)))
    with pytest.raises(UserError, match="expected a mixer that can leave tokens out"):
        dataclasses.replace(MODELS[0], route=MixtureOfDepths())
