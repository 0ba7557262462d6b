"""The weight gradient of the population's linear layers, summed over parts of the tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from physlm.models import primitives
from physlm.models.primitives import Linear, token_splits


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("splits", [1, 2, 4, 8])
def test_the_split_weight_gradient_is_autograds(monkeypatch: pytest.MonkeyPatch, members: int, splits: int) -> None:
    """The CPU never splits by itself, so the parts that a GPU would use are forced."""
    asked = []

    def forced(x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        asked.append(x.shape)
        return primitives.split_product(x, grad, splits)

    monkeypatch.setattr(primitives, "_weight_gradient", forced)
    generator = torch.Generator().manual_seed(0)
    layer = Linear(members, (5, 7))
    with torch.no_grad():
        layer.weight.copy_(torch.randn(members, 5, 7, generator=generator))
    layer.double()
    x = torch.randn(members, 2, 8, 5, generator=generator, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(members, 2, 8, 7, generator=generator, dtype=torch.double)
    ours = torch.autograd.grad(layer(x), (x, layer.weight), upstream)
    plain = torch.einsum("mbti,mio->mbto", x, layer.weight)
    theirs = torch.autograd.grad(plain, (x, layer.weight), upstream)
    assert asked == [(members, 16, 5)]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 64), st.integers(1, 1024), st.integers(1, 4096), st.integers(1, 100_000))
def test_splits_divide_the_tokens_and_never_overfill_the_gpu(
    members: int, inputs: int, outputs: int, tokens: int
) -> None:
    splits = token_splits(members, inputs, outputs, tokens)
    assert splits & (splits - 1) == 0 and tokens % splits == 0
    tiles = members * -(-inputs // 64) * -(-outputs // 64)
    assert splits == 1 or tiles * splits <= 132
    assert tokens % (2 * splits) or tiles * splits * 2 > 132, "as many parts as fit"
