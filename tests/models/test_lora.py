"""Low-rank updates: the merged model is the unmerged one, their gradients are autograd's, and nothing else moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from positions import position_of, way
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.cross_entropy import linear_cross_entropy
from physlm.models.decoder import Decoder
from physlm.models.lora import LowRank
from physlm.models.parts.part import Whole

SHAPE = ModelConfig(layers=2, heads=2, width=8)
WORDS, SEEDS, ALPHA = 11, (3, 4, 5), 4.0
IDS = (torch.arange(3 * 2 * 6) * 7 % WORDS).view(3, 2, 6)
TARGETS = (IDS * 3 + 1) % WORDS
RANKS = [(2, 0), (0, 3), (2, 3)]


def trained_factors(model: Decoder, rank: int, embedding_rank: int) -> LowRank:
    """Factors as after some training: neither A nor B is zero."""
    factors = LowRank(model, rank, embedding_rank, ALPHA, SEEDS)
    generator = torch.Generator().manual_seed(0)
    for p in factors.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.3
    factors.merge()
    return factors


def unmerged(base: Decoder, factors: LowRank, rank: int, embedding_rank: int) -> Callable[[], Tensor]:
    """The obvious form, for position ``none``: y = x W + (alpha / r) (x A) B in every product; returns the logits."""
    assert position_of(base.config) == "none"
    fused = [base.get_parameter(f"blocks.{i}.attention.qkv.weight") for i in range(base.config.layers)]
    scale, table_scale = ALPHA / max(rank, 1), ALPHA / max(embedding_rank, 1)
    layer_factors = [factors.get_parameter(f"attention.{name}") for name in "ab"] if rank else []
    table_factors = [factors.get_parameter(f"embedding.{name}") for name in "ab"] if embedding_rank else []

    def logits() -> Tensor:
        table = base.embedding.weight
        x = torch.stack([table[m][IDS[m]] for m in range(3)])
        if embedding_rank:
            a, b = (p[:, 0] for p in table_factors)
            x = x + torch.stack([table_scale * (a[m][IDS[m]] @ b[m]) for m in range(3)])
        for i, block in enumerate(base._blocks()):
            normed = block.attention_norm(x, torch.float32)
            parts = list(torch.einsum("mbti,mio->mbto", normed, fused[i]).chunk(3, -1))
            for k, which in ((2 * i, 0), (2 * i + 1, 2)) if rank else ():
                low = torch.einsum("mbti,mir->mbtr", normed, layer_factors[0][:, k])
                parts[which] = parts[which] + scale * torch.einsum("mbtr,mro->mbto", low, layer_factors[1][:, k])
            q, k_, v = (part.unflatten(-1, (SHAPE.heads, -1)).transpose(2, 3) for part in parts)
            mixed = F.scaled_dot_product_attention(q, k_, v, is_causal=True).transpose(2, 3).flatten(-2)
            x = x + torch.einsum("mbti,mio->mbto", mixed, block.attention.out.weight)
            assert block.mlp is not None and block.mlp_norm is not None
            x = x + block.mlp(block.mlp_norm(x, torch.float32), Whole())
        x = base.final_norm(x, torch.float32)
        out = torch.einsum("mbti,mvi->mbtv", x, table)
        if embedding_rank:
            out = out + table_scale * torch.einsum("mbtr,mvr->mbtv", x @ b[:, None].mT, a)
        return out

    return logits


@pytest.fixture
def model() -> Decoder:
    model = Decoder(ModelConfig(layers=2, heads=2, width=8, **way("none")), WORDS, (0, 1, 2))
    for p in model.parameters():
        p.data *= 5.0  # so that attention is not uniform
    return model


@pytest.mark.parametrize(("rank", "embedding_rank"), RANKS)
def test_merged_and_unmerged_logits_are_equal(model: Decoder, rank: int, embedding_rank: int) -> None:
    base = copy.deepcopy(model)
    before = model(IDS).logits
    factors = trained_factors(model, rank, embedding_rank)
    plain = unmerged(base, factors, rank, embedding_rank)()
    torch.testing.assert_close(model(IDS).logits, plain, rtol=1e-4, atol=1e-4)
    assert (plain - before).abs().mean() > 0.1, "the updates are felt"
    merged = Decoder(model.config, WORDS, (0, 1, 2))
    merged.load_state_dict(factors.merged())
    assert merged(IDS).logits.equal(model(IDS).logits)


@pytest.mark.parametrize(("rank", "embedding_rank"), RANKS)
def test_gradients_are_those_of_the_unmerged_form(model: Decoder, rank: int, embedding_rank: int) -> None:
    base = copy.deepcopy(model).requires_grad_(False)
    factors = trained_factors(model, rank, embedding_rank)
    nll = F.cross_entropy(unmerged(base, factors, rank, embedding_rank)().flatten(0, 2), TARGETS.flatten(),
                          reduction="sum")  # fmt: skip
    wanted = torch.autograd.grad(nll, list(factors.parameters()))
    hidden, _ = model.hidden(IDS)
    loss = linear_cross_entropy(hidden, model.embedding.weight, TARGETS).sum()
    found = factors.gradients(torch.autograd.grad(loss, factors.weights))
    for (name, p), ours, theirs in zip(factors.named_parameters(), found, wanted, strict=True):
        assert ours.shape == p.shape and ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item(), msg=name)


@pytest.mark.parametrize("position", ["rope", "none", "absolute", "relative"])
@pytest.mark.parametrize(("rank", "embedding_rank"), RANKS)
def test_query_value_and_embedding_move_and_nothing_else(position: str, rank: int, embedding_rank: int) -> None:
    config = ModelConfig(layers=2, heads=2, width=8, **way(position, 8))
    model = Decoder(config, WORDS, (0, 1, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    factors = trained_factors(model, rank, embedding_rank)
    moved = {name for name, p in model.named_parameters() if not p.detach().equal(before[name])}
    fused = {f"blocks.{i}.attention.qkv.weight" for i in range(2)}
    assert moved == (fused if rank else set()) | ({"embedding.weight"} if embedding_rank else set())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == moved
    for name in fused if rank else ():
        for part, (old, new) in enumerate(zip(before[name].chunk(3, -1), model.get_parameter(name).chunk(3, -1),
                                              strict=True)):  # fmt: skip
            assert old.equal(new) == (part == 1), "the keys stay"
            assert part == 1 or torch.linalg.matrix_rank(new - old, rtol=1e-4).tolist() == [rank] * 3
    assert factors.merged().keys() == before.keys() == model.state_dict().keys()


def test_the_first_update_is_zero_and_seeds_decide_the_factors() -> None:
    model, alone = Decoder(SHAPE, WORDS, (0, 1, 2)), Decoder(SHAPE, WORDS, (1,))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    factors, single = LowRank(model, 2, 3, ALPHA, SEEDS), LowRank(alone, 2, 3, ALPHA, SEEDS[1:2])
    factors.merge()
    assert all(p.detach().equal(before[name]) and factors.merged()[name].equal(before[name])
               for name, p in model.named_parameters())
    for (name, many), one in zip(factors.named_parameters(), single.parameters(), strict=True):
        assert many[1:2].equal(one) and (name.endswith(".a") == (not many.any()))
    b = factors.get_parameter("attention.b")
    assert not b[0].allclose(b[1], atol=0.01)


def test_the_factors_have_the_published_deviations() -> None:
    factors = LowRank(Decoder(ModelConfig(layers=2, heads=1, width=64), 50), 16, 32, ALPHA, (0,))
    for name, wanted in (("attention.b", 1 / math.sqrt(3 * 64)), ("embedding.b", 1.0)):
        values = factors.get_parameter(name)
        error = 4 * wanted / math.sqrt(2 * values.numel())
        assert values.std().item() == pytest.approx(wanted, abs=error)
        assert values.mean().item() == pytest.approx(0, abs=4 * wanted / math.sqrt(values.numel()))


def test_bfloat16_rounds_the_sum_and_not_the_update() -> None:
    """An update far below the last place of bfloat16 is kept, and shows when it has grown."""
    model = Decoder(SHAPE, WORDS, (0, 1, 2))
    base = model.embedding.weight.detach().clone()
    factors = LowRank(model, 2, 3, ALPHA, SEEDS, half=True)
    assert all(p.dtype == (torch.float32 if name.endswith("norm.weight") else torch.bfloat16)
               for name, p in model.named_parameters())
    factors.get_parameter("embedding.a").data.fill_(1e-8)
    factors.merge()
    merged = factors.merged()["embedding.weight"]
    assert not merged.equal(base) and model.embedding.weight.equal(merged.bfloat16())
    assert (model.embedding.weight == base.bfloat16()).float().mean() > 0.99
    factors.get_parameter("embedding.a").data.fill_(1e-2)
    factors.merge()
    assert (model.embedding.weight == base.bfloat16()).float().mean() < 0.5


def test_the_compiled_parts_give_the_same_gradients() -> None:
    """With frozen weights in them, and for the first block an input that needs no gradient."""

    def gradients(compiled: bool) -> list[Tensor]:
        model = Decoder(SHAPE, WORDS, (0, 1, 2))
        factors = LowRank(model, 2, 0, ALPHA, SEEDS)
        if compiled:
            model.compile_parts(lambda part: torch.compile(part, fullgraph=True, backend="aot_eager"))
        hidden, _ = model.hidden(IDS)
        loss = linear_cross_entropy(hidden, model.embedding.weight, TARGETS).sum()
        return list(torch.autograd.grad(loss, factors.weights))

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
