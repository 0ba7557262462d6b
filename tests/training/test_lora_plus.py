"""LoRA+: the factors on the side of the outputs learn faster than those on the side of the inputs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.training.config import TrainConfig
from physlm.training.optimiser import LowRankAdamW

SHAPE, VOCABULARY, STEPS = ModelConfig(layers=2, heads=2, width=8), 7, 4
BASE = TrainConfig(warmup_steps=0, precision="float32", lora_rank=2, lora_embedding_rank=3)
MEMBERS = [dataclasses.replace(BASE, learning_rate=rate, weight_decay=decay, seed=seed)
           for seed, (rate, decay) in enumerate(((1e-2, 0.0), (3e-2, 0.5)))]  # fmt: skip


def moved(ratio: float, members: list[TrainConfig], steps: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Factors before and after steps with gradients of the factors that depend on the member's seed alone."""
    configs = [dataclasses.replace(config, lora_ratio=ratio) for config in members]
    model = Decoder(SHAPE, VOCABULARY, [config.seed for config in configs])
    optimiser = LowRankAdamW(model, configs, STEPS)
    before = {name: p.detach().clone() for name, p in optimiser.factors.named_parameters()}
    for step in range(steps):
        generators = [torch.Generator().manual_seed(100 * step + config.seed) for config in configs]
        optimiser._adamw.take([torch.stack([torch.randn(p.shape[1:], generator=g) for g in generators])
                               for p in before.values()])  # fmt: skip
        optimiser.update(torch.tensor(step))
    return before, {name: p.detach().clone() for name, p in optimiser.factors.named_parameters()}


def test_factors_of_the_outputs_move_so_many_times_as_far() -> None:
    before, slow = moved(1.0, MEMBERS)
    _, fast = moved(16.0, MEMBERS)
    outputs = {name for name, p in before.items() if p.shape[-1] in (SHAPE.width, 2 * SHAPE.width)}
    assert outputs == {"attention.b", "embedding.b"} and len(before) == 4
    for name, p in before.items():
        if name in outputs:
            torch.testing.assert_close(fast[name] - p, 16 * (slow[name] - p))
        else:
            assert fast[name].equal(slow[name]) and not slow[name].equal(p)


def test_a_ratio_of_one_is_lora_and_each_member_has_its_own_rate() -> None:
    together = moved(4.0, MEMBERS, STEPS)[1]
    for m, config in enumerate(MEMBERS):
        alone = moved(4.0, [config], STEPS)[1]
        assert all(p[0].equal(together[name][m]) for name, p in alone.items())
    by_hand = moved(1.0, [dataclasses.replace(MEMBERS[1], learning_rate=4 * MEMBERS[1].learning_rate)], STEPS)[1]
    torch.testing.assert_close(together["attention.b"][1], by_hand["attention.b"][0])


def test_many_members_have_a_rate_each() -> None:
    """More groups than a byte numbers."""
    members = [dataclasses.replace(BASE, learning_rate=1e-3 * (1 + m), seed=m) for m in range(80)]
    _, fast = moved(3.0, members)
    before, slow = moved(1.0, members)
    first = before["attention.b"]
    torch.testing.assert_close(fast["attention.b"] - first, 3 * (slow["attention.b"] - first))
    assert fast["attention.a"].equal(slow["attention.a"])


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="train.lora_ratio: got -1.0, expected between 0.0 and inf"):
        TrainConfig(lora_ratio=-1.0)
