"""Attention whose weights fade, FoX, and PaTH with and without: their relatives, and gates at their ends."""

from __future__ import annotations

import itertools

import pytest
import torch
from mixer_inputs import inputs, weights_of
from part_models import ids_of, randomised, with_part
from torch import Tensor

from physlm.models.decoder import Decoder
from physlm.models.faded_heads import columns_of
from physlm.models.parts.attention import Attention
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer, Whole
from physlm.models.parts.path import PaTH


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
    faded = (per_token * torch.linspace(0.9, 1.1, 512)).cumsum(0)[:, None]
    columns = columns_of(faded, torch.bfloat16)
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
