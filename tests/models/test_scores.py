"""Positions and scores of attention against obvious loops, and what each is at the ends of its settings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from attention_maps import CPU, FOUR, weights_of
from part_models import BASE, ids_of, randomised, with_part
from torch import Tensor

from physlm.errors import UserError
from physlm.models.decoder import Decoder
from physlm.models.parts import attend as attending
from physlm.models.parts import scores
from physlm.models.parts.attend import attend
from physlm.models.parts.attention import Attention
from physlm.models.parts.distances import turn_first
from physlm.models.parts.part import Whole
from physlm.models.parts.relative import Relative
from physlm.models.patterns import irope, rotary_windows


def obvious(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None, window: int, chunk: int) -> Tensor:
    """Pair by pair what is in sight, then softmax; members have equally many rows."""
    rows, heads, positions, _ = q.shape
    scores = (q @ k.mT).double() / q.shape[-1] ** 0.5
    for i in range(positions):
        for j in range(positions):
            hidden = j > i or (window and i - j >= window) or (chunk and i // chunk != j // chunk)
            if hidden:
                scores[:, :, i, j] = -math.inf
            elif bias_mHW is not None:
                each = bias_mHW[..., i - j].double()
                scores[:, :, i, j] += each.repeat_interleave(rows // len(each), 0).expand(rows, heads)
    return (scores.softmax(-1) @ v.double()).to(q.dtype)


@pytest.mark.parametrize("bias", ["none", "one for all", "each member"])
@pytest.mark.parametrize(("positions", "window", "chunk"), [
    (40, 0, 0), (40, 3, 0), (40, 40, 0), (40, 0, 7), (40, 0, 8), (40, 0, 40), (75, 3, 0), (75, 0, 33), (70, 20, 0),
])  # fmt: skip
def test_attention_in_pieces_is_attention(
    bias: str, positions: int, window: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 16 queries in windows, and of 16 under a bias: with rows that they do not divide, too."""
    monkeypatch.setattr(attending, "LEAST_BLOCK", 16)
    monkeypatch.setattr(attending, "QUERIES", 16)
    generator = torch.Generator().manual_seed(positions)
    q, k, v = (torch.randn(4, 2, positions, 8, generator=generator).requires_grad_() for _ in range(3))
    biases = None
    if bias != "none":
        biases = torch.randn(1 if bias == "one for all" else 2, 2, positions + 3, generator=generator)
        biases[0, 0, 5:] = -math.inf
    results = []
    for function in (attend, obvious):
        y = function(q, k, v, biases, window, chunk)
        results.append([y, *torch.autograd.grad((y * torch.arange(8)).square().sum(), (q, k, v))])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(("bias", "window", "chunk"), [
    ("none", 0, 0), ("one for all", 0, 0), ("each member", 0, 0), ("none", 3, 0), ("each member", 20, 0),
    ("none", 0, 7), ("each member", 0, 16)])  # fmt: skip
def test_what_a_kernel_is_given_fits_it(bias: str, window: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of GPUs take so many rows at once, chunks and blocks counted, and masks of whole sixteens of keys."""
    monkeypatch.setattr(attending, "MOST_ROWS", 5)
    kernel, given = attending.F.scaled_dot_product_attention, []

    def watched(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        given.append((len(q), 0 if mask is None else mask.shape[-1], mask is None or len(mask) == 1))
        found: Tensor = kernel(q, k, v, mask, is_causal=is_causal)
        return found

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(12, 2, 150, 8, generator=generator) for _ in range(3))
    biases = {"none": None, "one for all": torch.randn(1, 2, 150), "each member": torch.randn(2, 2, 150)}[bias]
    whole = attend(q, k, v, biases, window, chunk)
    monkeypatch.setattr(attending.F, "scaled_dot_product_attention", watched)
    torch.testing.assert_close(attend(q, k, v, biases, window, chunk), whole, atol=1e-5, rtol=1e-5)
    rows, keys, shared = zip(*given, strict=True)
    assert max(rows) <= 5 < 12 <= sum(rows) * (2 if bias == "each member" else 1)
    assert all(number % 16 == 0 for number in keys) and all(shared)


def test_the_gradient_of_a_learnt_bias_goes_through_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attending, "QUERIES", 16)
    q, k, v = torch.randn(3, 4, 2, 40, 8, generator=torch.Generator().manual_seed(0)).unbind()
    biases = torch.randn(2, 2, 40, requires_grad=True)
    ours, theirs = (torch.autograd.grad(y.square().sum(), biases)[0] for y in (
        attend(q, k, v, biases), obvious(q, k, v, biases, 0, 0)))  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)


PLAIN = [
    (Attention(window=12), Attention()), (Attention(window=500), Attention()),
    (Attention(chunk=12), Attention()), (Attention(chunk=500), Attention()),
    (Attention(rope=0, window=12), Attention(rope=0)), (Attention(scale=1.0), Attention()),
    (Attention(floor=13), Attention()), (Attention(rope_heads=1.0), Attention()),
    (Attention(rope_heads=0.5, rope=0), Attention(rope=0)),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "plain"), PLAIN, ids=lambda part: part.label)
def test_beyond_the_row_a_setting_is_plain_attention(setting: Attention, plain: Attention) -> None:
    """A window or chunk of at least the row, a floor above it, a scale of 1."""
    ids = ids_of(2, 3, 12)
    ours, theirs = (randomised(with_part("mixer", part)) for part in (setting, plain))
    a, b = (model(ids, taps=("block.1.attention",)) for model in (ours, theirs))
    torch.testing.assert_close(a.logits, b.logits, atol=0, rtol=0)
    torch.testing.assert_close(*(x.taps["block.1.attention"] for x in (a, b)), atol=0, rtol=0)


@pytest.mark.parametrize("setting", [
    Attention(), Attention(window=5), Attention(chunk=7, qk_norm="head"), Attention(rope=0, bias="alibi"),
    Attention(bias="t5", learnt_scale="head"), Attention(rope_heads=0.5, qk_norm="full", window=9)],
    ids=lambda part: part.label)  # fmt: skip
@pytest.mark.parametrize("group", [2, 4])
def test_shared_keys_are_attention_whose_heads_have_the_same_keys(group: int, setting: Attention) -> None:
    """GQA, and MQA with 4 heads in a group: the weights of ordinary attention whose columns are repeated."""
    if setting.rope_heads != 1 and group == 4:
        pytest.skip("2 turned heads cannot share one head of keys with 2 that are not")
    few = dataclasses.replace(setting, group=group)
    shared, plain = (randomised(with_part("mixer", part, FOUR)) for part in (few, setting))
    state = shared.state_dict()
    for name, weight in state.items():
        if name.endswith((".qkv.weight", ".k_gain")):
            q = weight.shape[-1] - 2 * 32 // group if name.endswith("qkv.weight") else 0
            keys = weight[..., q:].unflatten(-1, (-1, 8)).repeat_interleave(group, -2).flatten(-2)
            state[name] = torch.cat((weight[..., :q], keys), -1)
    plain.load_state_dict(state)
    ids = ids_of(2, 3, 30)
    taps = ("block.0.attention",)
    ours, theirs = shared(ids, taps), plain(ids, taps)
    torch.testing.assert_close(ours.taps[taps[0]], theirs.taps[taps[0]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    reading = shared.remember(3, 30)
    parts = [shared.read(ids[..., :9], reading)]
    parts += [shared.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(9, 30)]
    torch.testing.assert_close(torch.cat(parts, 2), shared.hidden(ids)[0], atol=5e-5, rtol=5e-5)
    assert shared.state_bytes(30) * group == plain.state_bytes(30)


@pytest.mark.parametrize("learnt", ["head", "one"])
def test_a_learnt_scale_that_is_one_changes_nothing(learnt: Any) -> None:
    ids = ids_of(2, 3, 12)
    ours = Decoder(with_part("mixer", Attention(learnt_scale=learnt)), 11, (0, 1))
    plain = Decoder(BASE, 11, (0, 1))
    assert ours(ids).logits.equal(plain(ids).logits)


def test_hybrids() -> None:
    assert irope(chunk=64, interval=1) == (Attention(rope=0),) == rotary_windows(window=64, interval=1)
    assert irope(64) == (Attention(chunk=64),) * 3 + (Attention(rope=0),)
    assert rotary_windows(32, 2, Attention(scale=2.0)) == (Attention(scale=2.0, window=32), Attention(rope=0))
    ids = ids_of(2, 3, 12)
    whole, plain = (randomised(dataclasses.replace(BASE, mixer=mixer))(ids).logits for mixer in (
        irope(12, 2), (Attention(), Attention(rope=0))))  # fmt: skip
    assert whole.equal(plain)
    config = dataclasses.replace(BASE, layers=4, mixer=irope(8))
    assert config.facts()["position"] == "rope+chunk8,rope+chunk8,rope+chunk8,none"


@pytest.mark.parametrize("part", [
    Attention(window=5), Attention(chunk=7, log_n=True), Attention(rope=0.5, rope_heads=0.5, floor=8),
    Attention(bias="t5", window=9), *(Attention(rope=0, bias=bias, chunk=16) for bias in ("alibi", "hard_alibi")),
    Attention(bias="t5", learnt_scale="one", scale=2.0),
], ids=lambda part: part.label)  # fmt: skip
def test_attention_maps_are_what_the_mixer_mixes_with(part: Attention) -> None:
    model, ids = randomised(with_part("mixer", part, FOUR), 2), ids_of(2, 3, 150)
    taps = model(ids, taps=("embedding", "block.0.attention", "block.0.mixer")).taps
    block = model._blocks()[0]
    v = block.attention.qkv(block.attention_norm(taps["embedding"], torch.float32))[..., -32:].unflatten(-1, (4, 8))
    mixed = taps["block.0.attention"] @ v.transpose(2, 3)
    torch.testing.assert_close(taps["block.0.attention"].sum(-1), torch.ones(2, 3, 4, 150))
    wanted = block.attention.out(mixed.transpose(2, 3).flatten(-2))
    torch.testing.assert_close(taps["block.0.mixer"], wanted, atol=1e-5, rtol=1e-4)


# ---- Biases of distance


def test_slopes_of_alibi() -> None:
    assert scores.slopes(8) == tuple(0.5**h for h in range(1, 9))
    assert scores.slopes(16)[0] == 2**-0.5 and scores.slopes(16)[-1] == 2**-8
    assert scores.slopes(1) == (2**-8,)
    assert scores.slopes(12) == (*scores.slopes(8), *scores.slopes(16)[0:8:2])
    assert scores.slopes(3) == (2**-4, 2**-8, 2**-2)


def test_alibi_is_a_constant_forget_gate() -> None:
    """log f_t = -m for every token, c its running sum: the score of a forgetting transformer, q . k + c_i - c_j."""
    plain, biased = weights_of(Attention(rope=0)).double(), weights_of(Attention(rope=0, bias="alibi")).double()
    c_HT = torch.tensor([-m for m in scores.slopes(4)])[:, None].expand(4, 12).cumsum(1)
    forgotten = (plain.log() + c_HT[:, :, None] - c_HT[:, None]).softmax(-1)
    torch.testing.assert_close(biased, forgotten, atol=1e-6, rtol=1e-4)


def test_hard_alibi_sees_its_nearest_tokens() -> None:
    """Of four heads the first sees itself, the second itself and the token before, the others all."""
    found = weights_of(Attention(rope=0, bias="hard_alibi"))
    place = torch.arange(12)
    distance = place[:, None] - place
    for head, reach in enumerate((1, 2, 12, 12)):
        assert ((found[head] > 0) == ((distance >= 0) & (distance < reach))).all()
    plain = weights_of(Attention(rope=0))
    torch.testing.assert_close(found[2:], plain[2:], atol=0, rtol=0)
    assert scores.nearest(8) == (1, 2, 3, 4, 0, 0, 0, 0)


def test_buckets_of_t5() -> None:
    table = scores.bias("t5", 4, 400, CPU)
    assert table.shape == (32, 400) and table.sum(0).eq(1).all()
    for distance in range(400):
        wanted = distance
        if distance >= 16:
            wanted = min(31, 16 + int(math.log(distance / 16) / math.log(128 / 16) * 16))
        assert int(table[:, distance].argmax()) == wanted, distance


def test_t5_adds_one_number_a_head_and_bucket_in_all_layers() -> None:
    config = with_part("mixer", Attention(rope=0, bias="t5"), dataclasses.replace(FOUR, layers=2))
    model = randomised(config, 2)
    named = dict(model.named_parameters())
    assert named["buckets.weight"].shape == (2, 32, 4) and sum("buckets" in name for name in named) == 1
    plain = randomised(with_part("mixer", Attention(rope=0), dataclasses.replace(FOUR, layers=2)), 2)
    plain.load_state_dict({name: p for name, p in model.state_dict().items() if "buckets" not in name})
    ids, tap = ids_of(2, 1, 12), "block.0.attention"
    ours, theirs = (one(ids, taps=(tap,)).taps[tap][:, 0].double() for one in (model, plain))
    place = torch.arange(12)
    added = named["buckets.weight"].mT.double()[..., (place[:, None] - place).clamp_min(0)]  # distances below 16
    torch.testing.assert_close(ours, (theirs.log() + added).softmax(-1), atol=1e-6, rtol=1e-4)


# ---- Rotation


def test_a_quarter_is_turned_in_either_way() -> None:
    """Half of the dimensions of half of the heads, or a quarter of each head's."""
    x = torch.randn(3, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    for part, turned in ((Attention(rope=0.5, rope_heads=0.5), (slice(0, 2), slice(0, 4))),
                         (Attention(rope=0.25), (slice(0, 4), slice(0, 2)))):  # fmt: skip
        shared = part._named(part.shared(part.tables(FOUR, 16, CPU), (), 12))
        moved = turn_first(x, part.turned_heads(FOUR), shared["cos"], shared["sin"]) != x
        inside = torch.zeros(4, 8, dtype=torch.bool)
        inside[turned] = True
        assert (moved[:, :, 1:] == inside[:, None]).all() and not moved[:, :, 0].any() and inside.sum() == 8


@pytest.mark.parametrize("part", [
    Attention(), Attention(rope=0.25), Attention(rope=0.5, rope_heads=0.5), Attention(rope=0), Attention(window=5),
    *(Attention(rope=0, bias=bias) for bias in ("alibi", "hard_alibi", "t5")), Attention(bias="t5", scale=0.5),
], ids=lambda part: part.label)  # fmt: skip
def test_scores_depend_on_the_distance_alone(part: Attention) -> None:
    """The same tokens twenty places later: the ratio of two weights of a row is the same."""
    config = with_part("mixer", part, FOUR)
    model = randomised(config, 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 12, 32, generator=generator)
    late = torch.cat((torch.randn(1, 1, 20, 32, generator=generator), x), 2)
    block = model._blocks()[0]
    found = []
    for tokens in (x, late):
        shared = Whole(model._shared(tokens.shape[2])[part])
        weights = part.attention(block.attention, tokens, shared)[0, 0, :, -12:, -12:].log()
        found.append(weights - weights.diagonal(dim1=-2, dim2=-1)[..., None])
    torch.testing.assert_close(found[0], found[1], atol=2e-4, rtol=2e-4)
    assert (found[0][:, 11] != found[0][:, 10]).any()


# ---- Memory


@pytest.mark.parametrize("mixer", [
    (Attention(window=20),), (Attention(chunk=20),), (Attention(rope=0, bias="alibi", window=33),),
    (Attention(bias="t5", chunk=9, log_n=True),),
], ids=lambda mixer: mixer[0].label)  # fmt: skip
def test_a_short_sight_keeps_what_it_needs(mixer: tuple[Attention, ...]) -> None:
    """The state does not grow with the row, and reads as whole rows do long after it has come round."""
    model, ids = randomised(dataclasses.replace(BASE, mixer=mixer), 2), ids_of(2, 2, 120)
    plain = randomised(BASE, 2)
    reach = 16 * math.ceil(mixer[0].reach / 16)
    assert model.state_bytes(reach) == model.state_bytes(100_000) == plain.state_bytes(reach)
    whole, _ = model.hidden(ids)
    for first in (1, 7, 48, 61):
        reading = model.remember(2, 120)
        parts = [model.read(ids[..., :first], reading)]
        parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading.upto(t + 1)) for t in range(first, 120)]
        torch.testing.assert_close(torch.cat(parts, 2), whole, atol=5e-5, rtol=5e-5)


def test_in_a_hybrid_only_the_layers_that_see_all_keep_all() -> None:
    model = Decoder(dataclasses.replace(BASE, layers=4, mixer=irope(32)), 11)
    one = Decoder(dataclasses.replace(BASE, layers=1), 11)
    assert model.state_bytes(1024) == 3 * one.state_bytes(32) + one.state_bytes(1024)


# ---- What is refused


@pytest.mark.parametrize(("settings", "model", "message"), [
    ({"window": -1}, {}, "window: got -1, expected at least 1 token, or 0"),
    ({"chunk": -3}, {}, "chunk: got -3, expected at least 1 token, or 0"),
    ({"floor": -3}, {}, "floor: got -3, expected at least 1 token, or 0"),
    ({"window": 4, "chunk": 4}, {}, "got 4 and 4, expected one of them to be 0"),
    ({"window": 65}, {"absolute": 64}, "window: got 65, expected at most 64, the rows of the table of absolute"),
    ({"chunk": 65}, {"absolute": 64}, "chunk: got 65, expected at most 64"),
    ({"scale": 0.0}, {}, "scale: got 0.0, expected a number above 0"),
    ({"rope_heads": 0.0}, {}, "rope_heads: got 0.0, expected a share"),
    ({"rope_heads": 1.5}, {}, "rope_heads: got 1.5, expected a share"),
    ({"rope_heads": 0.3}, {}, "rope_heads: got 0.3 of 2 heads, expected a whole number"),
    ({"bias": "hard_alibi"}, {"heads": 1}, "expected at least 2 heads"),
    *(({name: value}, {"causal": False}, f"model.causal: got false with model.mixer.{name}={value}")
      for name, value in (("bias", "t5"), ("bias", "alibi"), ("window", 4), ("chunk", 4), ("log_n", True),
                          ("floor", 4))),
])  # fmt: skip
def test_bad_settings_are_refused_with_the_allowed_range(
    settings: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(BASE, mixer=(Attention(**settings),), **model)


def test_bad_patterns_are_refused() -> None:
    for pattern, message in ((lambda: irope(4, 0), "interval: got 0, expected at least 1"),
                             (lambda: irope(0), "got 0, expected at least 1 token"),
                             (lambda: rotary_windows(-2), "window: got -2, expected at least 1 token")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            pattern()
    for mixer in ((Relative(8), Relative(4)), tuple(Attention(learnt_scale="one", scale=s) for s in (1.0, 2.0))):
        with pytest.raises(UserError, match=r"model.mixer: got \S+ and \S+, which share"):
            dataclasses.replace(BASE, mixer=mixer)
