"""AdamW over one flat buffer against torch.optim.AdamW, one ordinary optimiser for each member."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.training.config import TrainConfig
from physlm.training.optimiser import AdamW
from physlm.training.schedule import schedule

SHAPE = ModelConfig(layers=2, heads=1, width=6)
VOCABULARY = 7  # 42 numbers a member: with the gains of 6, no tensor ends where the next may start
STEPS = 20
BASE = TrainConfig(warmup_steps=2, betas=(0.8, 0.95), eps=1e-5, precision="float32")
MEMBERS = tuple(
    dataclasses.replace(BASE, learning_rate=rate, weight_decay=decay)
    for rate, decay in ((1e-2, 0.0), (3e-2, 0.5), (1e-3, 0.1))
)


def gradients(seed: int, model: Decoder) -> list[Tensor]:
    """One gradient a parameter; each member's depend on the seed and its place 0, 1, ... alone."""
    generators = [torch.Generator().manual_seed(1000 * seed + m) for m in range(model.members)]
    return [torch.stack([torch.randn(p.shape[1:], generator=g) for g in generators]) for p in model.parameters()]


def train(configs: Sequence[TrainConfig], seeds: Sequence[int], grads: Sequence[Sequence[Tensor]]) -> AdamW:
    model = Decoder(SHAPE, VOCABULARY, seeds)
    optimiser = AdamW(model, configs, STEPS)
    for t, grad in enumerate(grads):
        optimiser.take(grad)
        optimiser.update(torch.tensor(t))
    return optimiser


def with_precision(configs: Sequence[TrainConfig], precision: Literal["bf16", "float32"]) -> list[TrainConfig]:
    return [dataclasses.replace(config, precision=precision) for config in configs]


@pytest.fixture(scope="module")
def model() -> Decoder:
    return Decoder(SHAPE, VOCABULARY, (0, 1, 2))


@pytest.fixture(scope="module")
def grads(model: Decoder) -> list[list[Tensor]]:
    """Twenty steps of gradients of very different sizes, some of them zero, as rare words have.

    All are numbers that bfloat16 holds, which is how the gradients of bfloat16 weights come in.
    """
    scaled = []
    for t in range(STEPS):
        step = [(g * 10.0 ** (i % 5 - 3)).bfloat16().float() for i, g in enumerate(gradients(t, model))]
        step[0][:, t % VOCABULARY] = 0.0
        scaled.append(step)
    return scaled


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_equals_torchs_adamw_for_each_member(
    model: Decoder, grads: list[list[Tensor]], precision: Literal["bf16", "float32"]
) -> None:
    """Also with bf16: the master weights never feel the rounding of the copy."""
    ours = train(with_precision(MEMBERS, precision), (0, 1, 2), grads)
    rates = schedule(BASE, STEPS)
    for m, config in enumerate(MEMBERS):
        plain = {name: p[m].detach().clone().requires_grad_() for name, p in model.named_parameters()}
        gains = [p for name, p in plain.items() if p.dim() == 1]
        matrices = [p for name, p in plain.items() if p.dim() > 1]
        assert len(gains) == 2 * SHAPE.layers + 1 and len(matrices) == 4 * SHAPE.layers + 1
        theirs = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}],
            lr=config.learning_rate, betas=config.betas, eps=config.eps,
        )  # fmt: skip
        for t, grad in enumerate(grads):
            for p, g in zip(plain.values(), grad, strict=True):
                p.grad = g[m].clone()
            for group in theirs.param_groups:
                group["lr"] = config.learning_rate * rates[t].item()
            theirs.step()
            assert t or any(not p.detach().equal(model.state_dict()[n][m]) for n, p in plain.items()), "it moved"
        for name, p in plain.items():
            torch.testing.assert_close(ours.master_views[name][m], p.detach(), atol=1e-6, rtol=1e-6, msg=name)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_member_does_not_feel_its_companions(grads: list[list[Tensor]], place: int) -> None:
    """Not even one whose gradients are not finite."""
    spoiled = [[g.clone() for g in step] for step in grads]
    for step in spoiled:
        for g in step:
            g[torch.arange(len(g)) != place] = torch.nan
    alone = train(MEMBERS[place : place + 1], (place,), [[g[place : place + 1] for g in step] for step in grads])
    for companions in (grads, spoiled):
        together = train(MEMBERS, (0, 1, 2), companions)
        for name, view in alone.master_views.items():
            assert view.isfinite().all()
            torch.testing.assert_close(together.master_views[name][place], view[0], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_padding_stays_zero(grads: list[list[Tensor]], precision: Literal["bf16", "float32"]) -> None:
    optimiser = train(with_precision(MEMBERS, precision), (0, 1, 2), grads)
    padding = torch.ones(len(optimiser.master), dtype=torch.bool)
    for view in optimiser.master_views.values():
        start = view.storage_offset()
        assert start % 16 == 0 and bool(padding[start : start + view.numel()].all()), "aligned, and no two overlap"
        padding[start : start + view.numel()] = False
    assert padding.any()
    for name, flat in optimiser.tensors().items():
        assert bool((flat[padding] == 0).all()), name
        assert bool((flat[~padding] != 0).any()), name


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_model_computes_with_the_rounded_master(
    grads: list[list[Tensor]], precision: Literal["bf16", "float32"]
) -> None:
    model = Decoder(SHAPE, VOCABULARY, (0, 1, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = AdamW(model, with_precision(MEMBERS, precision), STEPS)

    def check() -> None:
        for name, p in model.named_parameters():
            rounded = precision == "bf16" and p.dim() > 2  # the gains of norms stay in float32
            assert p.dtype == (torch.bfloat16 if rounded else torch.float32)
            assert p.detach().equal(optimiser.master_views[name].to(p.dtype)), name

    check()
    assert all(optimiser.master_views[name].equal(value) for name, value in before.items()), "not rounded at the start"
    for t, grad in enumerate(grads):
        optimiser.take(grad)
        optimiser.update(torch.tensor(t))
        check()
    assert all(not optimiser.master_views[name].equal(value) for name, value in before.items())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_loaded_state_goes_on_bit_by_bit(
    grads: list[list[Tensor]], precision: Literal["bf16", "float32"]
) -> None:
    configs = with_precision(MEMBERS, precision)
    whole = train(configs, (0, 1, 2), grads)
    saved = {name: tensor.clone() for name, tensor in train(configs, (0, 1, 2), grads[:7]).tensors().items()}
    model = Decoder(SHAPE, VOCABULARY, (5, 6, 7))
    resumed = AdamW(model, configs, STEPS)
    resumed.load(saved)
    for name, p in model.named_parameters():
        assert p.detach().equal(resumed.master_views[name].to(p.dtype)), "the copy follows the loaded weights"
    for t, grad in enumerate(grads[7:], start=7):
        resumed.take(grad)
        resumed.update(torch.tensor(t))
    assert all(resumed.tensors()[name].equal(tensor) for name, tensor in whole.tensors().items())


def test_decay_alone_shrinks_matrices_and_spares_gains() -> None:
    """Without gradients and with a constant rate, w_t = w_0 (1 - lr decay)^t."""
    config = dataclasses.replace(BASE, learning_rate=0.1, weight_decay=0.5, final_fraction=1.0, warmup_steps=0)
    model = Decoder(SHAPE, VOCABULARY, (3,))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = AdamW(model, [config], STEPS)
    for t in range(4):
        optimiser.take([torch.zeros_like(p) for p in model.parameters()])
        optimiser.update(torch.tensor(t))
    for name, p in model.named_parameters():
        shrunk = 1.0 if name.endswith("norm.weight") else 0.95**4
        torch.testing.assert_close(p.detach(), before[name] * shrunk, atol=0, rtol=1e-6)
