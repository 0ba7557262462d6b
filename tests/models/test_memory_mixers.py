"""Mixers with a fixed-size memory, FoX, PaTH and MLA: each against its formula, token by token in float64."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from mixer_formulas import FORMULAS
from mixer_inputs import MODEL, empty, inputs, token, weights_of, whole_rows
from part_models import ids_of, randomised, with_part
from torch import Tensor

from physlm.config import canonical_json, content_hash
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.local_filter import local_filter
from physlm.models.parts.attention import Attention
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mla import MLA
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.part import Mixer, Whole
from physlm.models.parts.path import PaTH
from physlm.models.parts.recurrent import convolved, widened
from physlm.models.patterns import hybrid
from physlm.models.recurrences.delta import heads_of_steps

MIXERS = [
    LinearAttention(), LinearAttention(normaliser="rms", conv=True), LinearAttention(keys=0.5, values=1.5), GLA(),
    GLA(gate="scalar", conv=True),
    GLA(keys=1.0, rank=3, exponent=1.0), Mamba2(), Mamba2(expand=1, size=5, conv=False), DeltaNet(),
    DeltaNet(negative=True, steps=2), DeltaNet(conv=False, steps=3), DeltaNet(keys=0.5, values=1.5), GatedDeltaNet(),
    Mamba2(size=5, levels=8), Mamba2(size=5, levels=3), GatedDeltaNet(levels=8), GatedDeltaNet(levels=4, conv=False),
    GatedDeltaNet(negative=True, steps=2, keys=0.5, values=1.0), GatedDeltaNet(conv=False), FoX(), FoX(pro=True),
    DeltaNet(silu=False), DeltaNet(negative=True, steps=2, keys=0.5, conv=False, silu=False),
    GatedDeltaNet(silu=False), GatedDeltaNet(levels=4, silu=False),
    PaTH(), PaTH(conv=False, rank=0.5, forget=True), PaTH(forget=True),
    MLA(), MLA(latent=0.25, rotated=0.0), MLA(rotated=1.0, rope_base=100.0),
]  # fmt: skip


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.label)
@torch.no_grad()
def test_a_mixer_is_its_formula(mixer: Mixer) -> None:
    w, x = weights_of(mixer), inputs(37)
    found = w(x, whole_rows(mixer, 37))
    for m in range(2):
        p = {name.removesuffix(".weight"): tensor[m] for name, tensor in w.state_dict().items()}
        for row in range(2):
            wanted = FORMULAS[mixer.kind](mixer, p, x[m, row])
            torch.testing.assert_close(found[m, row], wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("canon", [False, True])
@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.label)
@torch.no_grad()
def test_whole_rows_are_read_as_steps_are(mixer: Mixer, canon: bool) -> None:
    """In float64, in several chunks; after 0, 1, 2, 3 and 70 tokens at once; with Canon layers and without."""
    w, x = weights_of(mixer, canon=canon), inputs(90)
    whole = w(x, whole_rows(mixer, 90))
    assert whole.dtype == torch.float64
    for first in (0, 1, 2, 3, 70):
        state = empty(w, 96)
        parts = [w(x[:, :, :first], whole_rows(mixer, first), state)] if first else []
        parts += [w(x[:, :, t : t + 1], token(mixer, t), state) for t in range(first, 90)]
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.label)
@torch.no_grad()
def test_the_future_and_other_rows_are_out_of_sight(mixer: Mixer) -> None:
    w, x = weights_of(mixer), inputs(90)
    before, changed = w(x, whole_rows(mixer, 90)), x.clone()
    changed[:, 0, 70:] += 1
    changed[:, 1] += 1
    after = w(changed, whole_rows(mixer, 90))
    torch.testing.assert_close(after[:, 0, :70], before[:, 0, :70], atol=1e-12, rtol=1e-12)
    assert not after[:, 0, 70:].allclose(before[:, 0, 70:]) and after[:, 2].allclose(before[:, 2], atol=1e-12)


# ---- SiLU

DELTA = [DeltaNet(steps=2), DeltaNet(negative=True, conv=False), GatedDeltaNet(), GatedDeltaNet(levels=4)]
LEAST = -0.2785  # SiLU is above it everywhere


class Given(NamedTuple):
    """q, k and v of a mixer, before q and k are made units."""

    q: Tensor
    k: Tensor
    v: Tensor


def given_to(mixer: Mixer, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Given:
    found: list[Given] = []

    def seen(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found.append(Given(q, k, v))
        return heads_of_steps(q, k, v, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("physlm.models.recurrences.delta.heads_of_steps", seen)
        weights_of(mixer)(x, Whole())
    (one,) = found
    return one


@pytest.mark.parametrize("mixer", DELTA, ids=lambda mixer: mixer.label)
@torch.no_grad()
def test_without_silu_queries_and_keys_go_to_both_sides(
    mixer: DeltaNet | GatedDeltaNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are odd functions of x, so that each direction is as near as its opposite; with SiLU they lean to one side.
    Values pass it in either case."""
    off, x = dataclasses.replace(mixer, silu=False), inputs(90)
    plain, turned = (given_to(off, sign * x, monkeypatch) for sign in (1, -1))
    for here, there in zip(plain[:2], turned[:2], strict=True):
        assert here.equal(-there)
        channels = here.flatten(0, 2)
        assert (channels.amin(0) < 4 * LEAST).all() and (channels.amax(0) > -4 * LEAST).all(), "in every channel"
    usual = given_to(mixer, x, monkeypatch)
    assert all(part.min() > LEAST for part in (*usual, plain.v))
    wanted = Given(F.silu(plain.q), F.silu(plain.k), plain.v)
    torch.testing.assert_close(usual, wanted, atol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("mixer", DELTA, ids=lambda mixer: mixer.label)
def test_silu_is_the_default_and_takes_no_part_in_names_and_hashes(mixer: DeltaNet | GatedDeltaNet) -> None:
    """Older runs were named without it."""
    on, off = (dataclasses.replace(mixer, silu=silu) for silu in (True, False))
    assert on == mixer and "silu" not in canonical_json(mixer) and "silu" not in mixer.label
    assert content_hash(off) != content_hash(mixer) and off.label == f"{mixer.label}_silufalse"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("conv", [True, False])
@torch.no_grad()
def test_of_a_short_convolution_the_first_channels_may_go_without_silu(conv: bool, dtype: torch.dtype) -> None:
    """The first are those of the convolution, the others SiLU of them; all are by default, to the last bit."""
    w = weights_of(DeltaNet()).to(dtype)
    x = w.qkv(inputs(40).to(dtype))
    summed = local_filter(x, w.conv, False, "") if conv else x
    usual = F.silu(widened(summed)).to(dtype)
    assert convolved(w, x, None, Whole(), conv).equal(usual)
    for plain in (1, 32, 48):
        found = convolved(w, x, None, Whole(), conv, plain=plain)
        assert found.dtype == dtype and found[..., :plain].equal(summed[..., :plain])
        torch.testing.assert_close(found[..., plain:], usual[..., plain:], atol=0, rtol=4 * torch.finfo(dtype).eps)


# ---- State and first values


@pytest.mark.parametrize(("mixer", "numbers"), [
    (LinearAttention(), 4 * 16 * 17), (LinearAttention(normaliser="rms"), 4 * 16 * 16), (GLA(), 4 * 8 * 16),
    (Mamba2(), 2 * 64 * 64), (DeltaNet(), 4 * 16 * 16), (DeltaNet(steps=2), 4 * 16 * 16),
    (GatedDeltaNet(), 4 * 12 * 24), (GatedDeltaNet(keys=0.5, values=1.0), 4 * 8 * 16),
    (DeltaNet(keys=0.5, values=2.0), 4 * 8 * 32), (LinearAttention(keys=0.25), 4 * 4 * 17),
], ids=lambda x: x.label if isinstance(x, Mixer) else str(x))  # fmt: skip
def test_the_memory_does_not_grow_with_the_row(mixer: Mixer, numbers: int) -> None:
    """At 64 wide with 4 heads; beside it three inputs of the convolution."""
    model = with_part("mixer", mixer, ModelConfig(layers=1, heads=4, width=64))
    kept = mixer.state(model, 16, False)
    assert kept == mixer.state(model, 4096, False)
    assert {one.name: math.prod(one.shape) for one in kept if one.float32} == {"memory": numbers}
    conv = sum(math.prod(one.shape) for one in kept if not one.float32)
    assert conv == sum(3 * weight.shape[1] for weight in mixer.weights(model) if weight.name == "conv")
    decoder = Decoder(model, 11, (0, 1))
    assert decoder.state_bytes(16) == decoder.state_bytes(4096) == 2 * 4 * (numbers + conv)


@pytest.mark.parametrize("mixer", [Mamba2(), GatedDeltaNet()], ids=lambda mixer: mixer.label)
def test_the_memory_of_levels_grows_with_the_logarithm_of_the_row(mixer: Mamba2 | GatedDeltaNet) -> None:
    """As many memories as a row's length has binary digits, and at most L - 1; the weights are d H L + H L more."""
    model = ModelConfig(layers=1, heads=4, width=64)
    several = dataclasses.replace(mixer, levels=10)

    def size(one: Mixer, positions: int) -> int:
        return sum(math.prod(kept.shape) for kept in one.state(model, positions, False) if kept.name == "memory")

    base = size(mixer, 512)
    assert [size(several, tokens) // base for tokens in (16, 31, 32, 256, 512, 4096)] == [5, 5, 6, 9, 9, 9]
    numbers = [sum(weight.numbers for weight in one.weights(model)) for one in (mixer, several)]
    assert numbers[1] - numbers[0] == 64 * 4 * 10 + 4 * 10
    plain, wide = (Decoder(with_part("mixer", one, model), 11).state_bytes(512) for one in (mixer, several))
    assert wide - plain == 8 * base * 4


@pytest.mark.parametrize("mixer", [Mamba2(size=5), GatedDeltaNet(negative=True)], ids=lambda mixer: mixer.label)
@torch.no_grad()
def test_levels_that_all_weigh_one_are_the_mixer_itself(mixer: Mamba2 | GatedDeltaNet) -> None:
    """x W_l = ln(e - 1), whatever the token, so that g = softplus of it is 1; and another g is another mixer."""
    several = dataclasses.replace(mixer, levels=5)
    w, plain, x = weights_of(several), weights_of(mixer), inputs(90)
    x[..., 0] = 1.0
    plain.load_state_dict({name: w.state_dict()[name] for name in plain.state_dict()})
    w.level.zero_()
    w.level_scale.fill_(1.0)
    w.level[:, 0] = math.log(math.e - 1)
    torch.testing.assert_close(w(x, Whole()), plain(x, Whole()), atol=1e-12, rtol=1e-12)
    w.level[:, 0, 3] += 0.5
    assert not w(x, Whole()).allclose(plain(x, Whole()), atol=1e-3)


def test_parameters_of_the_published_shapes() -> None:
    """In units of d^2, without gates, convolutions and norms."""
    for mixer, wanted in ((LinearAttention(), 4), (GLA(), 4), (DeltaNet(), 4), (GatedDeltaNet(), 6),
                          (Mamba2(), 6 + 2 * 64 / 512), (FoX(), 4), (FoX(pro=True), 5)):
        model = ModelConfig(layers=1, heads=8, width=512, mixer=(mixer,))
        matrices = sum(weight.numbers for weight in mixer.weights(model) if weight.role.matrix)
        assert matrices / 512**2 == wanted


@pytest.mark.parametrize(("mixer", "highest"), [(Mamba2(), 16.0), (GatedDeltaNet(), 16.0)])
def test_first_decays_are_those_of_the_papers(mixer: Mixer, highest: float) -> None:
    model = Decoder(ModelConfig(layers=2, heads=64, width=256, mixer=(mixer,), mlp=(NoMLP(),)), 11, (0, 1))
    found = model.state_dict()
    rate = torch.cat([found[f"blocks.{i}.attention.decay"].exp().flatten() for i in range(2)])
    assert rate.min() > (1 if isinstance(mixer, Mamba2) else 0) and rate.max() < highest and 6 < rate.mean() < 11
    step = torch.cat([F.softplus(found[f"blocks.{i}.attention.step_bias"]).flatten() for i in range(2)])
    assert step.min() > 0.99e-3 and step.max() < 0.101
    assert abs(step.log().mean() - math.log(0.01)) < 0.4  # log-uniform


# ---- Hybrids, and what is refused


def test_hybrids_have_one_layer_of_attention_in_so_many() -> None:
    assert hybrid(DeltaNet(), 4) == (DeltaNet(),) * 3 + (Attention(rope=0),)
    assert hybrid(GLA(), 2, FoX()) == (GLA(), FoX()) and hybrid(GLA(), 1) == (Attention(rope=0),)
    model = randomised(ModelConfig(layers=4, heads=2, width=16, mixer=hybrid(GatedDeltaNet(), 2)))
    whole, reading = model.hidden(ids_of(2, 3, 12))[0], model.remember(3, 12)
    steps = [model.step(ids_of(2, 3, 12)[..., t : t + 1], torch.tensor([t]), reading) for t in range(12)]
    torch.testing.assert_close(torch.cat(steps, 2), whole, atol=5e-5, rtol=5e-5)
    with pytest.raises(UserError, match="interval: got 0, expected at least 1 layer"):
        hybrid(GLA(), 0)


@pytest.mark.parametrize(("settings", "message"), [
    (lambda: dataclasses.replace(MODEL, mixer=(GLA(),), causal=False), "model.causal: got false with the mixer gla"),
    (lambda: dataclasses.replace(MODEL, mixer=(FoX(),), causal=False), "model.causal: got false with the mixer fox"),
    (lambda: dataclasses.replace(MODEL, mixer=(GLA(keys=0.3),)), "model.mixer.keys: got 0.3 of 16 channels"),
    (lambda: dataclasses.replace(MODEL, mixer=(GatedDeltaNet(values=-1.0),)), "model.mixer.values: got -1"),
    (lambda: GLA(rank=0), "model.mixer.rank: got 0"), (lambda: GLA(exponent=0.0), "model.mixer.exponent: got 0"),
    (lambda: Mamba2(size=0), "model.mixer.size: got 0"), (lambda: DeltaNet(steps=0), "model.mixer.steps: got 0"),
    (lambda: GatedDeltaNet(steps=0), "model.mixer.steps: got 0"),
    (lambda: Mamba2(levels=1), "model.mixer.levels: got 1, expected 0, one memory, or at least 2"),
    (lambda: GatedDeltaNet(levels=-2), "model.mixer.levels: got -2"),
    (lambda: GatedDeltaNet(levels=4, steps=2), "got 4 and 2, expected no levels or one update a token"),
    (lambda: dataclasses.replace(MODEL, mixer=(DeltaNet(keys=0.3),)), "model.mixer.keys: got 0.3 of 16 channels"),
    (lambda: dataclasses.replace(MODEL, mixer=(Attention(group=3),)), "model.mixer.group: got 3"),
    (lambda: Attention(group=0), "model.mixer.group: got 0"),
    (lambda: dataclasses.replace(MODEL, heads=4, mixer=(Attention(rope_heads=0.5, group=4),)), "and 2, those that are"),
    (lambda: PaTH(rank=0.0), "model.mixer.rank: got 0"),
    (lambda: MLA(latent=0.0), "model.mixer.latent: got 0"), (lambda: MLA(rotated=-1.0), "model.mixer.rotated: got -1"),
    (lambda: MLA(rope_base=0.0), "model.mixer.rope_base: got 0"),
    (lambda: dataclasses.replace(MODEL, mixer=(MLA(rotated=0.4),)), "model.mixer.rotated: got 0.4 of 8 channels"),
    (lambda: dataclasses.replace(MODEL, mixer=(MLA(latent=0.01),)), "model.mixer.latent: got 0.01 of 16 channels"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings()
