"""Mixers with a fixed-size memory, FoX and MLA: each against its formula, token by token in float64."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from part_checks import ids_of, randomised, with_part
from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mla import MLA
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.part import Mixer, Next, Whole
from physlm.models.parts.path import PaTH
from physlm.models.patterns import hybrid

MODEL = ModelConfig(layers=1, heads=2, width=16)
MIXERS = [
    LinearAttention(), LinearAttention(normaliser="rms", conv=True), LinearAttention(keys=0.5, values=1.5), GLA(),
    GLA(gate="scalar", conv=True),
    GLA(keys=1.0, rank=3, exponent=1.0), Mamba2(), Mamba2(expand=1, size=5, conv=False), DeltaNet(),
    DeltaNet(negative=True, steps=2), DeltaNet(conv=False, steps=3), DeltaNet(keys=0.5, values=1.5), GatedDeltaNet(),
    Mamba2(size=5, levels=8), Mamba2(size=5, levels=3), GatedDeltaNet(levels=8), GatedDeltaNet(levels=4, conv=False),
    GatedDeltaNet(negative=True, steps=2, keys=0.5, values=1.0), GatedDeltaNet(conv=False), FoX(), FoX(pro=True),
    PaTH(), PaTH(conv=False, rank=0.5, forget=True), PaTH(forget=True),
    MLA(), MLA(latent=0.25, rotated=0.0), MLA(rotated=1.0, rope_base=100.0),
]  # fmt: skip
CANON = Canon()


def weights_of(mixer: Mixer, members: int = 2, canon: bool = False, model: ModelConfig = MODEL) -> Weights:
    """In float64, large enough that each part of the formula matters."""
    local = Weights(CANON, model, members, CANON.weights_at(mixer.local_width(model))) if canon else None
    w = Weights(mixer, model, members, mixer.weights(model), local).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in w.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return w


def inputs(positions: int, members: int = 2) -> Tensor:
    return torch.randn(members, 3, positions, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def whole_rows(mixer: Mixer, positions: int) -> Whole:
    return Whole(mixer.shared(mixer.tables(MODEL, positions, torch.device("cpu")), (), positions))


def token(mixer: Mixer, place: int) -> Next:
    return Next(torch.tensor([place]), whole_rows(mixer, 96).shared)


def empty(w: Weights, positions: int) -> dict[str, Any]:
    assert isinstance(w.part, Mixer)
    kept = w.part.state(MODEL, positions, False)
    state: dict[str, Any] = {one.name: torch.zeros(2, 3, *one.shape).double() for one in kept}
    if w.local is not None:
        state["local"] = {one.name: torch.zeros(2, 3, *one.shape).double()
                          for one in CANON.state_at(w.part.local_width(MODEL), positions, False)}
    return state


# ---- The formulas, for one member and row: x (T, d), p the weights by name


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def short(p: dict[str, Tensor], x: Tensor, conv: bool, bias: Tensor | float = 0.0) -> Tensor:
    if not conv:
        return silu(x)
    rows = [bias + sum((p["conv"][s] * x[t - s] for s in range(min(4, t + 1))), torch.zeros_like(x[0]))
            for t in range(len(x))]
    return silu(torch.stack(rows))


def normed(o: Tensor) -> Tensor:
    return o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def unit(x: Tensor) -> Tensor:
    return x / (x.square().sum() + 1e-6).sqrt()


def linear(m: LinearAttention, p: dict[str, Tensor], x: Tensor) -> Tensor:
    keys, values = round(16 * m.keys), round(16 * m.values)
    qkv = x @ p["qkv"]
    parts = (short(p, qkv, True) if m.conv else qkv).split((keys, keys, values), -1)
    q, k, v = (part.unflatten(-1, (2, -1)) for part in parts)
    rows = []
    for t in range(len(x)):
        heads = []
        for h in range(2):
            weight = (F.elu(k[: t + 1, h]) + 1) @ (F.elu(q[t, h]) + 1)
            o = weight @ v[: t + 1, h]
            heads.append(o / (weight.sum() + 1e-6) if m.normaliser == "sum" else normed(o))
        rows.append(torch.cat(heads) * (1 if m.normaliser == "sum" else p["gain"]))
    return torch.stack(rows) @ p["out"]


def gla(m: GLA, p: dict[str, Tensor], x: Tensor) -> Tensor:
    keys, values = round(16 * m.keys), round(16 * m.values)
    qkv = x @ p["qkv"]
    q, k, v = (short(p, qkv, True) if m.conv else qkv).split((keys, keys, values), -1)
    a = torch.sigmoid((x @ p["down"] if m.gate == "vector" else x) @ p["up"] + p["bias"]) ** m.exponent
    heads = []
    for h in range(2):
        qh, kh, vh, ah = (y.chunk(2, -1)[h] for y in (q, k, v, a))
        state, rows = torch.zeros(keys // 2, values // 2).double(), []
        for t in range(len(x)):
            state = torch.diag(ah[t].expand(keys // 2)) @ state + torch.outer(kh[t], vh[t])
            rows.append(normed(state.T @ qh[t] / math.sqrt(keys / 2)))
        heads.append(torch.stack(rows))
    return (torch.cat(heads, -1) * p["gain"] * silu(x @ p["gate"])) @ p["out"]


def level(i: int, j: int, levels: int) -> int:
    """Of token j for the one at i: by the first place from the top where their binary digits differ."""
    return min((i ^ j).bit_length(), levels - 1)


def shares(m: Mamba2 | GatedDeltaNet, p: dict[str, Tensor], x: Tensor, h: int) -> Tensor:
    """g of each level of a head, (T, L); 1 where there are no levels."""
    if not m.levels:
        return torch.ones(len(x), 1).double()
    return F.softplus((x @ p["level"] * p["level_scale"]).view(-1, 2, m.levels)[:, h])


def mamba2(m: Mamba2, p: dict[str, Tensor], x: Tensor) -> Tensor:
    inner = 16 * m.expand
    z, mixed = (x @ p["inputs"]).split((inner, inner + 2 * m.size), -1)
    u, b, c = short(p, mixed, m.conv, p.get("conv_bias", 0.0)).split((inner, m.size, m.size), -1)
    step = F.softplus(x @ p["step"] + p["step_bias"])
    heads = []
    for h in range(2):
        uh, share = u.chunk(2, -1)[h], shares(m, p, x, h)
        written: list[Tensor] = []  # of each token, as what it wrote stands now
        rows = []
        for t in range(len(x)):
            a = torch.exp(-torch.exp(p["decay"][h]) * step[t, h])
            written = [a * one for one in written] + [torch.outer(b[t], step[t, h] * uh[t])]
            read = sum((share[t, level(t, j, max(1, m.levels))] * one for j, one in enumerate(written)), 0 * written[0])
            rows.append(read.T @ c[t] + p["skip"][h] * uh[t])
        heads.append(torch.stack(rows))
    return (normed(torch.cat(heads, -1) * silu(z)) * p["gain"]) @ p["out"]


def deltanet(m: DeltaNet | GatedDeltaNet, p: dict[str, Tensor], x: Tensor) -> Tensor:
    gated, n = isinstance(m, GatedDeltaNet), m.steps
    keys, values = round(16 * m.keys), round(16 * m.values)
    q, k, v = short(p, x @ p["qkv"], m.conv).split((keys, n * keys, n * values), -1)
    beta = torch.sigmoid(x @ p["beta"]) * (2 if m.negative else 1)
    heads = []
    for h in range(2):
        share = shares(m, p, x, h) if isinstance(m, GatedDeltaNet) else torch.ones(len(x), 1).double()
        written: list[Tensor] = []  # of each token, as what it wrote stands now: the memory is their sum
        rows = []
        for t in range(len(x)):
            if gated:
                step = F.softplus(x[t] @ p["step"][:, h] + p["step_bias"][h])
                written = [torch.exp(-torch.exp(p["decay"][h]) * step) * one for one in written]
            written.append(torch.zeros(keys // 2, values // 2).double())
            for s in range(n):
                key = unit(k[t].view(n, 2, -1)[s, h])
                value, b = v[t].view(n, 2, -1)[s, h], beta[t].view(n, 2)[s, h]
                written = [one - b * torch.outer(key, one.T @ key) for one in written]
                written[t] = written[t] + b * torch.outer(key, value)
            levels = share.shape[-1]
            state = sum((share[t, level(t, j, levels)] * one for j, one in enumerate(written)), 0 * written[0])
            rows.append(normed(state.T @ unit(q[t].view(2, -1)[h]) / math.sqrt(keys / 2)))
        heads.append(torch.stack(rows))
    o = torch.cat(heads, -1) * p["gain"]
    return (o * silu(x @ p["gate"]) if gated else o) @ p["out"]


def fox(m: FoX, p: dict[str, Tensor], x: Tensor) -> Tensor:
    q, k, v = (x @ p["qkv"]).view(-1, 3, 2, 8).unbind(1)
    fade = torch.log(torch.sigmoid(x @ p["forget"] + p["bias"]))
    if m.pro:
        share = torch.sigmoid(x @ p["shift"]).view(-1, 2, 2, 1)
        k, v = (share[:, i] * torch.cat((0 * y[:1], y[:-1])) + (1 - share[:, i]) * y for i, y in enumerate((k, v)))
        q, k = normed(q) * p["q_gain"].view(2, 8), normed(k) * p["k_gain"].view(2, 8)
    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            scores = torch.stack([q[i, h] @ k[j, h] / math.sqrt(8) + fade[j + 1 : i + 1, h].sum()
                                  for j in range(i + 1)])  # fmt: skip
            heads.append(scores.softmax(0) @ v[: i + 1, h])
        rows.append(torch.stack(heads))
    o = torch.stack(rows)
    if m.pro:
        return (normed(o).flatten(1) * p["gain"] * torch.sigmoid(x @ p["gate"])) @ p["out"]
    return o.flatten(1) @ p["out"]


def mla(m: MLA, p: dict[str, Tensor], x: Tensor) -> Tensor:
    r, latent = round(8 * m.rotated), round(16 * m.latent)
    q, c, key = (x @ p["inputs"]).split((2 * (8 + r), latent, r), -1)
    q, kv = q.view(-1, 2, 8 + r), (normed(c) * p["gain"] @ p["up"]).view(-1, 2, 2, 8)

    def at(y: Tensor, t: int) -> Tensor:  # turned by RoPE
        angle = t * m.rope_base ** (-torch.arange(0, r, 2).double() / r)
        a, b = y.chunk(2)
        cos, sin = angle.cos().float().double(), angle.sin().float().double()  # the tables are of float32
        return torch.cat((a * cos - b * sin, b * cos + a * sin))

    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            scores = torch.stack([q[i, h, :8] @ kv[j, 0, h] + (at(q[i, h, 8:], i) @ at(key[j], j) if r else 0.0)
                                  for j in range(i + 1)])  # fmt: skip
            heads.append((scores / math.sqrt(8 + r)).softmax(0) @ kv[: i + 1, 1, h])
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ p["out"]


def path(m: PaTH, p: dict[str, Tensor], x: Tensor) -> Tensor:
    q, k, v = (x @ p["qkv"]).view(-1, 3, 2, 8).unbind(1)
    turn = short(p, x @ p["down"] @ p["up"], m.conv).view(-1, 2, 8)
    beta = 2 * torch.sigmoid(x @ p["beta"] + p["bias"])
    fade = torch.log(torch.sigmoid(x @ p["fade"] + p["fade_bias"])) if m.forget else torch.zeros(len(x), 2).double()
    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            product, scores = torch.eye(8).double(), []
            for j in reversed(range(i + 1)):
                scores.append(k[j, h] @ product @ q[i, h] / math.sqrt(8) + fade[j + 1 : i + 1, h].sum())
                w = unit(turn[j, h])
                product = (torch.eye(8) - beta[j, h] * torch.outer(w, w)) @ product
            heads.append(torch.stack(scores[::-1]).softmax(0) @ v[: i + 1, h])
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ p["out"]


FORMULAS: dict[str, Any] = {"mla": mla, "path": path, "linear": linear, "gla": gla, "mamba2": mamba2,
                            "deltanet": deltanet, "gated_deltanet": deltanet, "fox": fox}  # fmt: skip


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


# ---- FoX among its relatives


def fox_of(bias: float) -> tuple[Decoder, Decoder]:
    """FoX with gates of sigmoid(bias) whatever the token, and attention without positions with the same weights."""
    fading = randomised(with_part("mixer", FoX()))
    plain = randomised(with_part("mixer", Attention(rope=0)))
    state = fading.state_dict()
    for name, tensor in state.items():
        if name.endswith("forget"):
            tensor.zero_()
        elif name.endswith("attention.bias"):
            tensor.fill_(bias)
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    return fading, plain


def test_a_gate_that_is_open_is_attention_without_positions() -> None:
    fading, plain = fox_of(40.0)
    ids = ids_of(2, 3, 30)
    torch.testing.assert_close(fading(ids).logits, plain(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_constant_gate_is_alibi() -> None:
    """f = e^-m with ALiBi's slopes m of two heads, 2^-4 and 2^-8."""
    fading, plain = fox_of(0.0)
    slope = torch.tensor([2.0**-4, 2.0**-8])
    with torch.no_grad():
        for name, p in fading.named_parameters():
            if name.endswith("attention.bias"):
                p.copy_(-(slope.exp() - 1).log().expand_as(p))  # the logit of e^-m
    alibi = Decoder(with_part("mixer", Attention(rope=0, bias="alibi")), 11, (0, 1))
    alibi.load_state_dict(plain.state_dict())
    ids = ids_of(2, 3, 30)
    ours, theirs = (model(ids, taps=("block.0.attention",)) for model in (fading, alibi))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*(x.taps["block.0.attention"] for x in (ours, theirs)), atol=1e-5, rtol=1e-4)


def test_a_gate_that_shuts_hides_all_before_it() -> None:
    w, x = weights_of(FoX()), inputs(30)
    with torch.no_grad():
        w.forget.zero_()
        w.forget[:, 0] = 1e4
        w.bias.fill_(100.0)
    x[..., 0] = 0
    x[:, :, 20, 0] = -1
    with torch.no_grad():
        whole, late = w(x, Whole()), w(x[:, :, 20:], Whole())
    torch.testing.assert_close(whole[:, :, 20:], late, atol=1e-10, rtol=1e-10)


GATES = [*itertools.combinations((0.0, 30.0, -30.0, 1e4, -1e4), 2), (-1e4, -1e4), (1e4, 1e4)]


@pytest.mark.parametrize("mixer", [FoX(), FoX(pro=True), PaTH(forget=True), GLA(), GLA(gate="scalar"), Mamba2(size=5),
                                   GatedDeltaNet(), GatedDeltaNet(levels=5)], ids=lambda mixer: mixer.label)
def test_gates_at_their_ends_are_finite_and_near_float64(mixer: Mixer) -> None:
    """Some tokens with one logit, some with the other, of 100 tokens in float32: values and gradients."""
    logits = {"fox": ("forget", "bias"), "path": ("fade", "fade_bias"), "gla": ("up", "bias")}
    name, bias = logits.get(mixer.kind, ("step", "step_bias"))
    for first, second in GATES:
        w, x = weights_of(mixer, members=1), inputs(100, 1)
        x[..., 0] = 1 - 2 * (torch.arange(100) % 3 % 2)
        with torch.no_grad():
            getattr(w, name).zero_()
            if hasattr(w, "down"):  # the logits pass through a narrow matrix
                w.down[:, :, 0] = 0.0
                w.down[:, 0, 0] = 1.0
            getattr(w, name)[:, 0] = (first - second) / 2
            getattr(w, bias).fill_((first + second) / 2)
        exact = w(x, Whole())
        found = w.float()(x.float(), Whole())
        torch.testing.assert_close(found.double(), exact, atol=5e-3, rtol=5e-3)
        found.square().mean().backward()
        for own, p in w.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all(), (own, first, second)


def test_a_row_after_a_shut_gate_is_a_row_of_its_own_in_path_too() -> None:
    """In float64 what is before it keeps e^-50 of its weight."""
    w, x = weights_of(PaTH(forget=True, conv=False)), inputs(150)
    with torch.no_grad():
        w.fade.zero_()
        w.fade[:, 0] = 1e4
        w.fade_bias.fill_(100.0)
        x[..., 0] = 0
        x[:, :, 70, 0] = -1
        whole, late = w(x, Whole()), w(x[:, :, 70:], Whole())
    torch.testing.assert_close(whole[:, :, 70:], late, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_fox_and_path_train_without_a_table_of_scores() -> None:
    """What is kept for the backward pass grows with the row, and not with its square."""
    for mixer in (FoX(), FoX(pro=True), PaTH(forget=True)):
        w, kept = weights_of(mixer, members=1).float(), []
        for positions in (1024, 2048):
            x = torch.randn(1, 1, positions, 16, generator=torch.Generator().manual_seed(0))
            held: dict[int, int] = {}

            def pack(one: Tensor, held: dict[int, int] = held) -> Tensor:
                held[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes() // 4
                return one

            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
                assert w(x, Whole()).requires_grad
            kept.append(sum(held.values()))
        assert kept[1] < 2.2 * kept[0]


@pytest.mark.parametrize("per_token", [-0.7, -0.01, -30.0])
def test_in_bfloat16_what_has_faded_keeps_its_digits(per_token: float) -> None:
    """c reaches hundreds, where bfloat16 counts in twos; as three channels it is what float32 holds."""
    from physlm.models.parts.fox import _columns

    faded = (per_token * torch.linspace(0.9, 1.1, 512)).cumsum(0)[:, None]
    columns = _columns(faded, torch.bfloat16)
    assert columns.dtype == torch.bfloat16 and columns.shape == (512, 8)
    torch.testing.assert_close(columns.float().sum(-1, keepdim=True), faded, atol=0, rtol=2e-7)
    assert (columns[:, :1].float() - faded).abs().max() > 1e-3 * faded.abs().max()  # one alone does not


def test_fox_shows_the_weights_that_it_mixes_with() -> None:
    for part in (FoX(), FoX(pro=True)):
        w, x = weights_of(part), inputs(30)
        with torch.no_grad():
            weight = part.attention(w, x, Whole())
        torch.testing.assert_close(weight.sum(-1), torch.ones(2, 3, 2, 30).double())
        assert not weight.triu(1).any()
    w = weights_of(FoX())
    with torch.no_grad():
        v = w.qkv(x)[..., 32:].unflatten(-1, (2, 8)).transpose(2, 3)
        mixed = FoX().attention(w, x, Whole()) @ v
        torch.testing.assert_close(w(x, Whole()), w.out(mixed.transpose(2, 3).flatten(-2)), atol=1e-10, rtol=1e-10)


# ---- PaTH among its relatives


def test_without_reflections_path_is_attention_without_positions_or_fox() -> None:
    ids = ids_of(2, 3, 30)
    for part, other in ((PaTH(), Attention(rope=0)), (PaTH(forget=True), FoX())):
        model, plain = (randomised(with_part("mixer", one)) for one in (part, other))
        renamed = {"forget": "fade", "bias": "fade_bias"} if other.kind == "fox" else {}
        state = model.state_dict()
        for name, tensor in state.items():
            if name.endswith("attention.beta"):
                tensor.zero_()
            elif name.endswith("attention.bias"):
                tensor.fill_(-60.0)

        def of(name: str, renamed: dict[str, str] = renamed) -> str:
            head, _, own = name.rpartition(".")
            return f"{head}.{renamed[own]}" if "attention." in name and own in renamed else name

        plain.load_state_dict({name: state[of(name)] for name in plain.state_dict()})
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, atol=1e-4, rtol=1e-4)


# ---- MLA among its relatives


def test_a_latent_that_is_the_token_is_attention() -> None:
    """W_c the identity on tokens of mean square 1, and no turned channels."""
    w = weights_of(MLA(latent=1.0, rotated=0.0))
    plain = Weights(Attention(rope=0), MODEL, 2, Attention(rope=0).weights(MODEL)).double()
    with torch.no_grad():
        w.inputs.weight[..., 16:] = torch.eye(16)
        w.gain.fill_(1.0)
        plain.qkv.weight.copy_(torch.cat((w.inputs.weight[..., :16], w.up.weight), -1))
        plain.out.weight.copy_(w.out.weight)
        x = inputs(30)
        x = x / x.square().mean(-1, keepdim=True).sqrt()
        torch.testing.assert_close(w(x, Whole()), plain(x, Whole()), atol=1e-5, rtol=1e-4)  # eps 1e-5 of the norm
        shown = MLA(latent=1.0, rotated=0.0).attention(w, x, Whole()), Attention(rope=0).attention(plain, x, Whole())
        torch.testing.assert_close(*shown, atol=1e-5, rtol=1e-4, check_dtype=False)


def test_a_ternary_model_steps_as_it_reads() -> None:
    """It cannot read by the absorbed form, as inputs of W_up are rounded."""
    model = randomised(dataclasses.replace(MODEL, mixer=(MLA(),), ternary=True))
    ids, reading = ids_of(2, 3, 12), model.remember(3, 12)
    steps = [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(12)]
    torch.testing.assert_close(torch.cat(steps, 2), model.hidden(ids)[0], atol=5e-5, rtol=5e-5)


def test_the_state_of_attention_by_how_it_shares_keys() -> None:
    """Numbers a token, layer and row at 512 wide with 8 heads."""
    model = ModelConfig(layers=1, heads=8, width=512)
    for mixer, wanted in ((Attention(), 1024), (Attention(group=4), 256), (Attention(group=8), 128),
                          (MLA(latent=0.5), 256 + 32), (MLA(latent=0.25), 128 + 32), (FoX(), 1024 + 64)):
        kept = mixer.state(model, 16, False)
        assert sum(math.prod(one.shape) for one in kept if one.axis is not None) == 16 * wanted


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
