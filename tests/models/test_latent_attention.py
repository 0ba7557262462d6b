"""MLA among its relatives: attention, a ternary model, and what is kept of a token."""

from __future__ import annotations

import dataclasses
import math

import torch
from mixer_inputs import MODEL, inputs, weights_of
from part_models import ids_of, randomised

from physlm.models.config import ModelConfig
from physlm.models.module import Weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.fox import FoX
from physlm.models.parts.mla import MLA
from physlm.models.parts.part import Whole


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
