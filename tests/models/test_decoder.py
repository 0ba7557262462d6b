"""The decoder against an obvious single model, its counts against formulas, its members against each other."""

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from positions import position_of, reach_of, way
from torch import Tensor

from physlm.config import from_dict
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.norms import LayerNorm, RMSNorm

CONFIGS = [
    ModelConfig(layers=2, heads=2, width=16),
    ModelConfig(layers=1, heads=1, width=12, norm=RMSNorm(), mixer=(Attention(rope=0.5),)),
    ModelConfig(layers=3, heads=4, width=32, mlp=(Plain(2),), **way("none")),
    ModelConfig(layers=2, heads=1, width=8, mlp=(NoMLP(),), vocab_size=40, mixer=(Attention(rope_base=100.0),)),
    ModelConfig(layers=2, heads=2, width=16, **way("absolute", 9)),
    # distances 4 and more count as 3
    ModelConfig(layers=2, heads=2, width=16, **way("relative", 4)),
    ModelConfig(layers=2, heads=2, width=16, **way("relative")),
    ModelConfig(layers=2, heads=2, width=16, **way("position_only", 4)),
    ModelConfig(layers=1, heads=4, width=16, **way("position_only")),
    ModelConfig(layers=2, heads=4, width=16, **way("uniform")),
    ModelConfig(layers=2, heads=2, width=16, causal=False),
    ModelConfig(layers=1, heads=2, width=16, causal=False, vocab_size=40, **way("absolute")),
    ModelConfig(layers=2, heads=2, width=16, causal=False, **way("relative", 3)),
    ModelConfig(layers=1, heads=2, width=16, causal=False, **way("relative")),
    ModelConfig(layers=2, heads=2, width=16, causal=False, **way("position_only", 3)),
]
VOCABULARY = 31


Weights = dict[str, Tensor]


def norm(config: ModelConfig, x: Tensor, gain: Tensor) -> Tensor:
    if config.norm == LayerNorm():
        x = x - x.mean()
    return gain * x / torch.sqrt((x * x).mean() + 1e-5)


def turn(config: ModelConfig, x: Tensor, t: int) -> Tensor:
    (mixer,) = config.mixer
    assert isinstance(mixer, Attention)
    r = mixer.dims(config)
    y = x.clone()
    for j in range(r // 2):
        angle = t * mixer.rope_base ** (-2 * j / r)
        a, b = x[j], x[j + r // 2]
        y[j] = a * math.cos(angle) - b * math.sin(angle)
        y[j + r // 2] = a * math.sin(angle) + b * math.cos(angle)
    return y


def row(config: ModelConfig, distance: int) -> int:
    """Of a table of distances."""
    far = reach_of(config)
    return min(distance, far - 1) if config.causal else min(max(distance, -far), far - 1) + far


def score(config: ModelConfig, w: Weights, name: str, h: int, q: Tensor, key: Tensor, t: int, s: int) -> Tensor:
    """What position t gives to position s before the softmax."""
    k = config.head_width
    if position_of(config) == "position_only":
        return w[name + ".logits"][row(config, t - s), h]
    if position_of(config) == "uniform":
        return torch.tensor(0.0 if t - s < 2 ** (h + 1) - 1 else -math.inf).double()
    if position_of(config) == "relative":
        both = (w["distances.weight"][row(config, t - s)] @ w[name + ".distance.weight"]).view(2, config.heads, k)
        return (q @ key + q @ both[0, h] + key @ both[1, h]) / math.sqrt(3 * k)
    if position_of(config).startswith("rope"):
        q, key = turn(config, q, t), turn(config, key, s)
    return q @ key / math.sqrt(k)


def attend(config: ModelConfig, w: Weights, name: str, stream: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """What the attention of one layer adds at each position, and its weights (H, T, T)."""
    k, places = config.head_width, len(stream)
    normed = [norm(config, x, w[name + "_norm.weight"]) for x in stream]
    if name + ".qkv.weight" in w:
        qkv = [(x @ w[name + ".qkv.weight"]).view(3, config.heads, k) for x in normed]
    else:
        qkv = [(x @ w[name + ".value.weight"]).view(1, config.heads, k).expand(3, -1, -1) for x in normed]
    outs, found = [], torch.zeros(config.heads, places, places, dtype=torch.double)
    for t in range(places):
        heads = []
        seen = range(t + 1 if config.causal else places)
        for h in range(config.heads):
            scores = torch.stack([score(config, w, name, h, qkv[t][0, h], qkv[s][1, h], t, s) for s in seen])
            found[h, t, : len(seen)] = scores.softmax(0)
            heads.append(scores.softmax(0) @ torch.stack([qkv[s][2, h] for s in seen]))
        outs.append(torch.cat(heads) @ w[name + ".out.weight"])
    return outs, found


def obvious(config: ModelConfig, weights: Weights, ids: list[int]) -> tuple[Tensor, list[Tensor]]:
    """One sequence, one position and one head at a time, in float64: logits, and attention (H, T, T) of each layer."""
    w = {name: value[0].double() for name, value in weights.items()}
    stream = [w["embedding.weight"][i] for i in ids]
    if config.absolute:
        stream = [x + w["positions.weight"][t] for t, x in enumerate(stream)]
    attention = []
    for layer in range(config.layers):
        outs, found = attend(config, w, f"blocks.{layer}.attention", stream)
        attention.append(found)
        stream = [x + o for x, o in zip(stream, outs, strict=True)]
        if config.mlp != (NoMLP(),):
            name = f"blocks.{layer}.mlp"
            hidden = [norm(config, x, w[name + "_norm.weight"]) @ w[name + ".up.weight"] for x in stream]
            stream = [
                x + F.gelu(u, approximate="tanh") @ w[name + ".down.weight"]
                for x, u in zip(stream, hidden, strict=True)
            ]
    final = torch.stack([norm(config, x, w["final_norm.weight"]) for x in stream])
    return final @ w["embedding.weight"].T, attention


def randomised(config: ModelConfig, seeds: tuple[int, ...]) -> Decoder:
    """Weights large enough that every part matters, gains away from 1."""
    model = Decoder(config, VOCABULARY, seeds)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) + (1.0 if p.dim() == 2 else 0.0))
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_logits_and_attention_equal_the_obvious_implementation(config: ModelConfig) -> None:
    model = randomised(config, (0, 1))
    ids = torch.tensor([[[3, 0, 7, 7, 30, 2, 9]], [[1, 2, 3, 4, 5, 6, 30]]])
    logits, taps = model(ids, taps=[f"block.{i}.attention" for i in range(config.layers)])
    assert logits.shape == (2, 1, 7, config.embedding_rows(VOCABULARY))
    for m in range(2):
        expected, attention = obvious(config, model.member(m).state_dict(), ids[m, 0].tolist())
        torch.testing.assert_close(logits[m, 0].double(), expected, atol=2e-4, rtol=2e-4)
        for i, weights in enumerate(attention):
            torch.testing.assert_close(taps[f"block.{i}.attention"][m, 0].double(), weights, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_a_member_cut_out_is_the_member(config: ModelConfig) -> None:
    model = randomised(config, (0, 1, 2))
    ids = torch.arange(24).view(3, 2, 4)
    together = model(ids, taps=model.tap_names)
    for m in range(3):
        alone = model.member(m)(ids[m : m + 1], taps=model.tap_names)
        torch.testing.assert_close(together.logits[m], alone.logits[0], atol=1e-5, rtol=1e-5)
        for name in model.tap_names:
            torch.testing.assert_close(together.taps[name][m], alone.taps[name][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_the_future_is_seen_by_encoders_only(config: ModelConfig) -> None:
    model = randomised(config, (0,))
    ids = torch.arange(8).view(1, 1, 8)
    changed = ids.clone()
    changed[..., 5:] = 20
    before, after = model(ids).logits, model(changed).logits
    assert before[..., :5, :].equal(after[..., :5, :]) == config.causal
    assert not before[..., 5:, :].allclose(after[..., 5:, :])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_gradients_stay_inside_their_member(config: ModelConfig) -> None:
    model = randomised(config, (0, 1))
    logits = model(torch.arange(16).view(2, 1, 8)).logits
    logits[0].square().sum().backward()
    for p in model.parameters():
        assert p.grad is not None and bool((p.grad[1] == 0).all()) and bool((p.grad[0] != 0).any())


def test_first_weights_depend_on_the_members_seed_alone() -> None:
    config = CONFIGS[0]
    together, alone = Decoder(config, VOCABULARY, (4, 9)), Decoder(config, VOCABULARY, (9,))
    for (name, both), single in zip(together.state_dict().items(), alone.state_dict().values(), strict=True):
        assert both[1].equal(single[0]), name
    beside = Decoder(config, VOCABULARY, (None, 9))
    beside.load_member(0, Decoder(config, VOCABULARY, (4,)).state_dict())
    for (name, both), loaded in zip(together.state_dict().items(), beside.state_dict().values(), strict=True):
        assert both.equal(loaded), name
    std = {n: p.std().item() for n, p in Decoder(ModelConfig(layers=8, heads=1, width=64), 500).named_parameters()}
    assert std["embedding.weight"] == pytest.approx(0.02, rel=0.03)
    assert std["blocks.3.attention.qkv.weight"] == pytest.approx(0.02, rel=0.03)
    assert std["blocks.3.mlp.down.weight"] == pytest.approx(0.02 / 4, rel=0.03)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_counts_equal_the_models(config: ModelConfig) -> None:
    model = Decoder(config, VOCABULARY, (0, 1))
    counts = parameter_counts(config, VOCABULARY)
    sizes = {name: p[0].numel() for name, p in model.named_parameters()}
    assert counts["params_all"] == sum(sizes.values())
    assert counts["params_nonembedding"] == sum(sizes.values()) - sizes["embedding.weight"]
    used = VOCABULARY + (not config.causal)
    unused = (config.vocab_size or used) - used
    assert counts["params_used"] == counts["params_all"] - unused * config.width


def test_counts_of_gpt2_small_are_the_papers() -> None:
    """arXiv 2404.05405: 3275 used tokens make GPT2-small 88M; P ~ 12 l (64 h)^2 + 3275 * 64 h within 0.5 %."""
    config = ModelConfig(layers=12, heads=12, width=768)
    count = parameter_counts(config, 3275)["params_used"]
    assert count == pytest.approx(88e6, rel=0.01)
    assert count == pytest.approx(12 * 12 * 768**2 + 3275 * 768, rel=5e-3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.label)
def test_flops_are_six_for_each_weight_that_a_token_meets(config: ModelConfig) -> None:
    """Not the gains, nor the tables of positions and distances."""
    sizes = {name: p[0].numel() for name, p in Decoder(config, VOCABULARY).named_parameters()}
    met = sum(size for name, size in sizes.items() if name == "embedding.weight"
              or name.split(".")[-2] in ("qkv", "value", "out", "up", "down"))  # fmt: skip
    assert training_flops(config, VOCABULARY, 0) == 6 * met


@pytest.mark.parametrize(("position", "causal", "each"), [
    ("rope", True, 2), ("none", True, 2), ("absolute", True, 2), ("rope", False, 4),
    ("relative", True, 4), ("relative", False, 8), ("position_only", True, 1), ("uniform", True, 1),
])  # fmt: skip
def test_flops_of_attention(position: Literal["rope", "none"], causal: bool, each: int) -> None:
    """Forward, a position: d T multiply-adds for each product of queries, keys or values, half of them if causal."""
    config = ModelConfig(layers=2, heads=1, width=64, causal=causal, **way(position))
    attention = training_flops(config, 4096, 512) - training_flops(config, 4096, 0)
    assert attention == 3 * 2 * (each / 2) * 64 * 512 * 2


def test_flops_are_six_a_weight_and_attention() -> None:
    config = ModelConfig(layers=2, heads=1, width=64)
    assert training_flops(config, 4096, 512) == 6 * (12 * 2 * 64**2 + 4096 * 64) + 6 * 2 * 64 * 512


@pytest.mark.parametrize(("data", "message"), [
    ({"width": 65, "heads": 2}, "got 65 for 2 heads, expected a multiple"),
    ({"layers": 0}, "model.layers: got 0"),
    ({"mixer": {"kind": "attention", "rope": 0.01}}, "even number of rotated dimensions"),
    ({"mixer": {"kind": "attention", "rope": 1.5}}, "got 1.5, expected a share from 0 to 1"),
    ({"mixer": ["attention"] * 3}, "model.mixer: got a pattern of 3 parts for 2 layers, expected at least 1"),
    ({"mixer": []}, "model.mixer: got a pattern of 0 parts for 2 layers, expected at least 1"),
    ({"norm": "batchnorm"}, "model.norm.kind: unknown name 'batchnorm'. Allowed: dyt, layernorm, rmsnorm"),
    ({"layer": 3}, "did you mean 'layers'"),
    ({"width": "64"}, "expected int, got '64'"),
    ({"absolute": -1}, "model.absolute: got -1"),
    ({"mixer": {"kind": "relative", "reach": 0}}, "model.mixer.reach: got 0"),
    ({"mixer": "relativ"}, r"model.mixer\[0\].kind: unknown name 'relativ'; did you mean 'relative'"),
    ({"mixer": "uniform", "causal": False}, "model.causal: got false with the mixer uniform"),
])  # fmt: skip
def test_bad_settings_are_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(ModelConfig, data, "model")


def test_bad_requests_are_named() -> None:
    with pytest.raises(UserError, match="got 10, expected at least 31"):
        Decoder(ModelConfig(vocab_size=10), VOCABULARY)
    with pytest.raises(UserError, match="got 31, expected at least 32, the task's vocabulary and the mask token"):
        Decoder(ModelConfig(vocab_size=31, causal=False), VOCABULARY)
    with pytest.raises(UserError, match="model.absolute: got 10 positions, expected at most 9"):
        Decoder(CONFIGS[4], VOCABULARY)(torch.zeros(1, 1, 10, dtype=torch.long))
    with pytest.raises(UserError, match=r"block\.0\.out"):
        Decoder(CONFIGS[0], VOCABULARY)(torch.zeros(1, 1, 2, dtype=torch.long), taps=("blocks.0",))
