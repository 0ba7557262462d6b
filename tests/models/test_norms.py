"""Norms written out, and dynamic tanh at the ends of its range."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import BASE, ids_of, randomised

from physlm.errors import UserError
from physlm.models.module import Weights
from physlm.models.parts.norms import DyT, LayerNorm, RMSNorm
from physlm.models.parts.part import NormPart


def weights_of(norm: NormPart, members: int = 2) -> Weights:
    w = Weights(norm, BASE, members, norm.weights(BASE)).double()
    for p in w.parameters():
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return w


def inputs() -> torch.Tensor:
    return torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("norm", [LayerNorm(), RMSNorm(), DyT()], ids=lambda norm: norm.kind)
def test_formulas_in_float64(norm: NormPart) -> None:
    w, x = weights_of(norm), inputs()
    found = w(x, torch.float64)
    for m in range(2):
        gain = w.weight[m]
        centred = x[m] - x[m].mean(-1, keepdim=True)
        wanted = {"layernorm": gain * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt(),
                  "rmsnorm": gain * x[m] / (x[m].square().mean(-1, keepdim=True) + 1e-5).sqrt(),
                  "dyt": gain * torch.tanh(w.alpha[m] * x[m]) if norm.kind == "dyt" else None}[norm.kind]
        torch.testing.assert_close(found[m], wanted, atol=1e-12, rtol=1e-12)


def test_dynamic_tanh_of_small_alpha_is_the_identity() -> None:
    w, x = weights_of(DyT()), inputs()
    for alpha in (1e-2, 1e-3):
        w.alpha.data.fill_(alpha)
        w.weight.data.fill_(1 / alpha)
        error = (DyT().read(w, x, None, torch.float64) - x).abs()
        assert bool((error <= alpha**2 * x.abs() ** 3 / 3 + 1e-12).all()), "tanh z = z - z^3 / 3 + .."


def test_dynamic_tanh_knows_nothing_of_other_channels_and_is_bounded() -> None:
    w, x = weights_of(DyT()), inputs()
    before = DyT().read(w, x, None, torch.float64)
    x[..., 3] *= 1e6
    after = DyT().read(w, x, None, torch.float64)
    same = torch.arange(16) != 3
    assert after[..., same].equal(before[..., same]) and not after[..., 3].allclose(before[..., 3])
    assert bool((after.abs() <= w.weight.abs()[:, None, None]).all())


def test_a_model_learns_its_alpha_from_the_first_value_of_the_settings() -> None:
    model = randomised(dataclasses.replace(BASE, norm=DyT(alpha=0.8)), 1)
    model(ids_of(1, 2, 9)).logits.square().sum().backward()
    alphas = {name: p for name, p in model.named_parameters() if name.endswith("alpha")}
    assert len(alphas) == 5 and all(p.shape == (1, 1) and p.grad is not None and p.grad.any() for p in alphas.values())
    with pytest.raises(UserError, match="model.norm.alpha: got 0.0, expected a number above 0"):
        DyT(alpha=0.0)
