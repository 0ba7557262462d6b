"""Activations of any causal model of transformers, as our own probes take them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from extras import of_extra
from torch import Tensor

from physlm.errors import UserError
from physlm.hf.convert import to_hf
from physlm.measures.features import hf_features
from physlm.measures.probes import Labelled, ProbeConfig, Target, probe, tap_features
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.canon import Canon

transformers = of_extra("transformers", "hf")


def ids_of(*shape: int) -> Tensor:
    return torch.randint(50, shape, generator=torch.Generator().manual_seed(0))


def gpt2() -> Any:
    config = transformers.GPT2Config(vocab_size=50, n_embd=64, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config)


@pytest.mark.parametrize("changes", [{}, {"local": (Canon(),)}], ids=["gpt_neox", "physlm"])
def test_they_are_those_of_our_own_model(changes: dict[str, Any]) -> None:
    model, ids = Decoder(ModelConfig(2, 2, 32, init_std=0.2, **changes), 50), ids_of(1, 3, 12)
    ours = tap_features(model, ["embedding", "block.0.out"])(ids)
    theirs = hf_features(to_hf(model, 16), [0, 1])(ids)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_later_tokens_and_padding_change_nothing() -> None:
    features, ids = hf_features(gpt2(), [0, 1, -1]), ids_of(1, 4, 12)
    assert features(ids).shape == (1, 3, 4, 12, 64) and not features(ids).requires_grad
    torch.testing.assert_close(features(ids)[..., :7, :], features(ids[..., :7]))


def test_a_probe_reads_what_stands_in_the_embedding() -> None:
    def batches(split: str, number: int) -> Labelled:
        generator = torch.Generator().manual_seed(2 * number + (split == "evaluation"))
        ids = torch.randint(50, (1, 32, 12), generator=generator)
        coin = torch.randint(2, ids.shape, generator=generator)
        return Labelled(ids, torch.stack((ids % 2, coin), -1), torch.ones_like(ids, dtype=torch.bool))

    targets = [Target("odd", 2), Target("coin", 2)]
    found = probe(hf_features(gpt2(), [0]), batches, targets, ProbeConfig("diagonal", steps=200, evaluation_batches=4))
    odd, coin = found.accuracy.value[0, 0]
    assert odd > 0.95 and coin < 0.6


@pytest.mark.parametrize("layers", [(), 1, (0, 3), (-4,)])
def test_layers_that_are_not_there_are_named(layers: Any) -> None:
    with pytest.raises(UserError, match="hf_features: layers: got"):
        hf_features(gpt2(), layers)
    with pytest.raises(UserError, match="got ids of 2 members"):
        hf_features(gpt2())(ids_of(2, 3, 4))
