"""Hyper-connections written out, and where they are the plain residual network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from part_checks import check_steps_are_whole_rows
from part_models import BASE, VOCABULARY, ids_of, randomised
from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.gla import GLA
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.norms import RMSNorm
from physlm.models.parts.part import Residual, Whole
from physlm.models.parts.residual import Hyper, ManifoldHyper, doubly_stochastic

DEEP = dataclasses.replace(BASE, layers=3)
RESIDUALS = [Hyper(streams=1), Hyper(streams=3), ManifoldHyper(), ManifoldHyper(streams=4, apart=-1.0)]


def with_residual(residual: Residual, base: ModelConfig = DEEP) -> ModelConfig:
    return dataclasses.replace(base, residual=residual)


def plain_twin(model: Decoder) -> Decoder:
    """The same weights but for those of the residual path."""
    config = dataclasses.replace(model.config, residual=type(BASE.residual)())
    twin = Decoder(config, model.vocabulary, (None,) * model.members)
    twin.load_state_dict({name: value for name, value in model.state_dict().items() if "_residual" not in name})
    return twin


def randomised_but_for_paths(residual: Residual) -> Decoder:
    config = with_residual(residual)
    model = randomised(config)
    fresh = Decoder(config, VOCABULARY, (0, 1)).state_dict()
    model.load_state_dict({name: fresh[name] if "_residual" in name else value
                           for name, value in model.state_dict().items()})  # fmt: skip
    return model.double()


@pytest.mark.parametrize("streams", [1, 2, 4, 7])
def test_static_connections_begin_as_the_plain_residual_network(streams: int) -> None:
    model, ids = randomised_but_for_paths(Hyper(streams)), ids_of(2, 3, 12)
    twin = plain_twin(model).double()
    torch.testing.assert_close(model(ids).logits, twin(ids).logits, atol=1e-10, rtol=1e-10)


def test_one_static_stream_is_the_residual_stream_gradients_too() -> None:
    model, ids = randomised_but_for_paths(Hyper(1)), ids_of(2, 3, 12)
    twin = plain_twin(model).double()
    for one in (model, twin):
        one(ids).logits.square().sum().backward()
    ours = dict(model.named_parameters())
    for name, p in twin.named_parameters():
        torch.testing.assert_close(ours[name].grad, p.grad, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("residual", RESIDUALS[2:], ids=lambda residual: residual.label)
def test_dynamic_connections_without_their_scale_are_the_plain_network_whatever_mixes(residual: Residual) -> None:
    """Equal streams stay equal under any doubly stochastic R."""
    model, ids = randomised_but_for_paths(residual), ids_of(2, 3, 12)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("_residual.scale"):
                p.zero_()
            if name.endswith("_residual.bias"):
                n = residual.streams
                p[:, 2 * n :] += torch.randn(p[:, 2 * n :].shape, generator=torch.Generator().manual_seed(1))
    n, rows = residual.streams, 0.0
    for name, p in model.named_parameters():
        if name.endswith("_residual.bias"):
            mix = doubly_stochastic(p.detach()[:, 2 * n :].unflatten(-1, (n, n)))
            rows = max(rows, float((mix.sum(-1) - 1).abs().max()))
    found, wanted = model(ids).logits, plain_twin(model).double()(ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-9 + 100 * rows, rtol=1e-9)
    assert rows < 1e-3


@pytest.mark.parametrize("residual", RESIDUALS, ids=lambda residual: residual.label)
def test_written_out_for_one_token(residual: Residual) -> None:
    """H <- R H + b F(norm a H), from the weights of one member, in float64."""
    model = randomised(with_residual(residual)).double()
    block, n = model._blocks()[1], residual.streams
    x = torch.randn(2, 3, 5, n * 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (mixer,) = model.config.mixer
    where = Whole(mixer.shared(mixer.tables(model.config, 8, torch.device("cpu")), (), 5))
    found, _, places = block.walk(x, where)
    for m in range(2):
        h = x[m].unflatten(-1, (n, 16))
        for name, path, norm, part in (("mixer", block.attention_residual, block.attention_norm, block.attention),
                                       ("mlp", block.mlp_residual, block.mlp_norm, block.mlp)):  # fmt: skip
            assert norm is not None and part is not None
            a, b, mix = _coefficients(residual, path, m, h)
            read = torch.einsum("btn,btnd->btd", a, h)
            normed = norm(read.expand(2, -1, -1, -1), torch.float64)
            y = part(normed, where)[m]
            torch.testing.assert_close(places[name][m], y, atol=1e-10, rtol=1e-10)
            h = torch.einsum("btij,btjd->btid", mix, h) + b[..., None] * y[:, :, None]
        torch.testing.assert_close(found[m], h.flatten(2), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(places["out"][m], h.mean(2), atol=1e-10, rtol=1e-10)


def _coefficients(residual: Residual, w: object, m: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, shape = residual.streams, h.shape[:2]
    if isinstance(residual, Hyper):
        return tuple(one[m].expand(*shape, *one[m].shape) for one in (w.read, w.add, w.mix))  # type: ignore[attr-defined]
    flat = h.flatten(2)
    normed = flat / (flat.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    z = normed @ w.project[m]  # type: ignore[attr-defined]
    scale, bias = w.scale[m], w.bias[m]  # type: ignore[attr-defined]
    z_a, z_b, z_mix = (part * s for part, s in zip(z.split((n, n, n * n), -1), scale, strict=True))
    mix = (z_mix + bias[2 * n :]).exp().unflatten(-1, (n, n))
    for _ in range(20):
        mix = mix / mix.sum(-1, keepdim=True)
        mix = mix / mix.sum(-2, keepdim=True)
    return (z_a + bias[:n]).sigmoid(), 2 * (z_b + bias[n : 2 * n]).sigmoid(), mix


def test_sinkhorn_is_doubly_stochastic_and_differentiates_as_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    found = doubly_stochastic(logits)
    torch.testing.assert_close(found.sum(-2), torch.ones(50, 4, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float((found.detach().sum(-1) - 1).abs().max()) < 1e-3 and bool((found > 0).all())
    assert torch.autograd.gradcheck(doubly_stochastic, logits[:2].detach().requires_grad_())
    extreme = (1e4 * torch.randn(50, 4, 4, generator=generator)).requires_grad_()
    doubly_stochastic(extreme).sum().backward()
    assert extreme.grad is not None and extreme.grad.isfinite().all()


def test_of_two_streams_the_mean_passes_unchanged_whatever_the_depth() -> None:
    """Where branches add nothing, the mean of the streams leaves as it came."""
    model = randomised(with_residual(ManifoldHyper(), dataclasses.replace(BASE, layers=6)), 1).double()
    x = torch.randn(1, 3, 5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    silent: dict[str, Callable[[Tensor], Tensor]] = {"mixer": torch.zeros_like, "mlp": torch.zeros_like}
    (mixer,) = model.config.mixer
    where = Whole(mixer.shared(mixer.tables(model.config, 8, torch.device("cpu")), (), 5))
    y = x
    for block in model._blocks():
        y, _, _ = block.walk(y, where, None, silent)
    assert not y.allclose(x)
    torch.testing.assert_close(y.unflatten(-1, (2, 16)).mean(-2), x.unflatten(-1, (2, 16)).mean(-2),
                               atol=1e-5, rtol=1e-5)  # fmt: skip


MODELS = [
    dataclasses.replace(DEEP, residual=residual, mixer=(Attention(), GLA()), local=(Canon(),), norm=RMSNorm())
    for residual in RESIDUALS
] + [dataclasses.replace(BASE, residual=Hyper(2), mlp=(NoMLP(),), loops=2, absolute=40)]  # fmt: skip


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)
def test_whole_rows_are_steps_in_float64(config: ModelConfig) -> None:
    model = randomised(config).double()
    check_steps_are_whole_rows(model, 20, (9,), 1e-10)
    plain = dataclasses.replace(config, residual=type(BASE.residual)())
    assert model.state_bytes(20) == Decoder(plain, VOCABULARY, (0, 1)).double().state_bytes(20)


def test_attention_maps_are_of_what_the_branch_reads() -> None:
    model = randomised(with_residual(Hyper(3)), 1).double()
    ids = ids_of(1, 2, 9)
    _, taps = model.hidden(ids, ["block.1.attention", "block.0.out", "embedding"])
    assert taps["block.1.attention"].shape == (1, 2, 2, 9, 9) and taps["block.0.out"].shape == (1, 2, 9, 16)


def test_an_edit_of_the_stream_moves_its_mean() -> None:
    model, ids = randomised(with_residual(ManifoldHyper())), ids_of(2, 3, 9)
    moved = model.edited({"block.2.out": lambda x: x + 1.0})
    torch.testing.assert_close(moved(ids, ["block.2.out"]).taps["block.2.out"],
                               model(ids, ["block.2.out"]).taps["block.2.out"] + 1.0)  # fmt: skip
    # the final norm does not see a constant, a change of one channel it does
    other = model.edited({"block.2.out": lambda x: x + torch.eye(16)[3]})
    assert not other(ids).logits.allclose(model(ids).logits)


def test_counts_by_hand() -> None:
    d, n = 16, 4
    flops = {residual: training_flops(with_residual(residual, BASE), 11, 64)
             for residual in (BASE.residual, Hyper(n), ManifoldHyper(n))}  # fmt: skip
    params = {residual: parameter_counts(with_residual(residual, BASE), 11)["params_all"] for residual in flops}
    mixing, projection = 2 * d * (n * n + 2 * n), n * d * (n * n + 2 * n)
    assert params[Hyper(n)] - params[BASE.residual] == 4 * (n * n + 2 * n) == 96
    assert params[ManifoldHyper(n)] - params[BASE.residual] == 4 * (projection + 3 + n * n + 2 * n)
    assert flops[Hyper(n)] - flops[BASE.residual] == 4 * 3 * mixing
    assert flops[ManifoldHyper(n)] - flops[BASE.residual] == 4 * (6 * projection + 3 * (mixing + 2 * 20 * 2 * n * n))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Hyper(0), "model.residual.streams: got 0, expected 1 to 64"),
    (lambda: ManifoldHyper(65), "model.residual.streams: got 65, expected 1 to 64"),
    (lambda: with_residual(ManifoldHyper(apart=math.inf)), "mhc.apart: got inf, expected a finite number"),
])  # fmt: skip
def test_what_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
