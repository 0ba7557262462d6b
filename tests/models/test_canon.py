"""Canon layers: the formula, its impulse response, and that the fixed ones stay."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.part import Whole


def layer(canon: Canon, width: int = 5, members: int = 2) -> Weights:
    w = Weights(canon, ModelConfig(), members, canon.weights_at(width))
    with torch.no_grad():
        w.filter.copy_(torch.randn(members, 4, width, generator=torch.Generator().manual_seed(1)))
    return w


def obvious(canon: Canon, filter_M4m: Tensor, x_MBTm: Tensor) -> Tensor:
    """One number at a time."""
    out = torch.zeros_like(x_MBTm)
    members, rows, positions, width = x_MBTm.shape
    for m in range(members):
        for b in range(rows):
            for t in range(positions):
                for c in range(width):
                    total = sum(filter_M4m[m, s, c] * x_MBTm[m, b, t - s, c] for s in range(4) if t >= s)
                    total = F.silu(torch.as_tensor(total)) if canon.act else total
                    out[m, b, t, c] = total + (x_MBTm[m, b, t, c] if canon.residual else 0.0)
    return out


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("act", [True, False])
@pytest.mark.parametrize("positions", [1, 2, 3, 9])
def test_the_formula(residual: bool, act: bool, positions: int) -> None:
    canon = Canon(residual=residual, act=act)
    w, x = layer(canon), torch.randn(2, 2, positions, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(w(x, Whole()), obvious(canon, w.filter.detach(), x))


def test_impulses() -> None:
    """No filter: nothing changes.  Its second tap alone: a shift by one.  An impulse is seen at four tokens."""
    x = torch.randn(1, 2, 9, 5)
    w = layer(Canon(), members=1)
    with torch.no_grad():
        w.filter.zero_()
    assert w(x, Whole()).equal(x)
    shift = layer(Canon(residual=False), members=1)
    with torch.no_grad():
        shift.filter.zero_()
        shift.filter[:, 1] = 1.0
    assert shift(x, Whole())[:, :, 1:].equal(x[:, :, :-1]) and not shift(x, Whole())[:, :, 0].any()
    impulse = torch.zeros(2, 1, 9, 5)
    impulse[:, :, 3] = 1.0
    assert layer(Canon())(impulse, Whole())[0, 0].any(-1).tolist() == [False] * 3 + [True] * 4 + [False] * 2


def test_parameters_are_those_of_the_paper() -> None:
    """arXiv 2512.17351: 4 d at A, 12 d at B, 4 d at C, 16 d at D, or 64 d / 3 where the MLP is gated."""
    def more(sites: str, config: ModelConfig) -> float:
        with_canon = dataclasses.replace(config, local=(Canon(sites),))
        return (parameter_counts(with_canon, 9)["params_all"] - parameter_counts(config, 9)["params_all"]) / 48

    plain, gated = ModelConfig(layers=1, width=48), ModelConfig(layers=1, width=48, mlp=(Gated(),))
    assert [more(site, plain) for site in ("A", "B", "C", "D", "ABCD")] == [4, 12, 4, 16, 36]
    assert more("D", gated) == pytest.approx(64 / 3)


def test_first_filters_are_uniform() -> None:
    filters = Decoder(ModelConfig(layers=2, width=256, local=(Canon(),)), 9).state_dict()["blocks.1.local_a.filter"]
    assert filters.abs().max() <= 0.5 and filters.std().item() == pytest.approx(12**-0.5, rel=0.05)


def test_sites_in_another_order_or_unknown_are_refused() -> None:
    for sites in ("BA", "AA", "E", ""):
        with pytest.raises(UserError, match="expected some of ABCD, in this order"):
            Canon(sites)


def test_defaults_never_change() -> None:
    assert Canon() == Canon("ABCD", residual=True, act=False, trained=True)
