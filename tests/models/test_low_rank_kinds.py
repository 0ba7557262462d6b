"""VeRA and SingLoRA: the obvious forms, their gradients by autograd, first values, shared randomness, and counts."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.cross_entropy import linear_cross_entropy
from physlm.models.decoder import Decoder
from physlm.models.lora import LowRank
from physlm.models.low_rank_kinds import LoRA, Make, SingLoRA, VeRA
from physlm.models.parts.attention import Attention

WIDTH, WORDS, SEEDS, ALPHA, INITIAL, RANK, TABLE_RANK = 8, 11, (3, 4, 5), 4.0, 0.1, 2, 3
# matrices of 8 x 8 in the first layer and of 8 x 4 in the second; the embedding has more rows than columns
TWO_SHAPES = ModelConfig(layers=2, heads=2, width=WIDTH, mixer=(Attention(), Attention(group=2)))
PLACES = {"attention": (WIDTH, WIDTH), "attention_8x4": (WIDTH, WIDTH // 2), "embedding": (WORDS, WIDTH)}
COUNTS = {"attention": 2, "attention_8x4": 3, "embedding": 1}  # two heads that share keys have two blocks of queries
IDS = (torch.arange(3 * 2 * 6) * 7 % WORDS).view(3, 2, 6)
TARGETS = (IDS * 3 + 1) % WORDS
KINDS: dict[str, Make] = {"lora": LoRA, "vera": partial(VeRA, initial=INITIAL), "singlora": SingLoRA}
NEW = ("vera", "singlora")


def factors_of(model: Decoder, kind: str, seeds: tuple[int, ...] = SEEDS, rank: int = RANK,
               table_rank: int = TABLE_RANK) -> LowRank:  # fmt: skip
    return LowRank(model, rank, table_rank, ALPHA, seeds, make=KINDS[kind])


def trained(model: Decoder, kind: str, ramp: float = 0.6) -> LowRank:
    """As after some training: nothing is zero."""
    factors, generator = factors_of(model, kind), torch.Generator().manual_seed(0)
    for p in factors.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.5
    factors.ramp.fill_(ramp)
    factors.merge()
    return factors


def rank_at(place: str) -> int:
    return TABLE_RANK if place == "embedding" else RANK


def obvious(factors: LowRank, kind: str, place: str) -> Tensor:
    """The updates of a place as the papers write them, one after another, with gradients, (M, K, i, o)."""
    update, (inputs, outputs) = factors.get_submodule(place), PLACES[place]
    p = dict(update.named_parameters())

    def one(m: int, k: int) -> Tensor:
        if kind == "singlora":
            a = p["a"][m, k]
            return ((ALPHA / rank_at(place)) * factors.ramp * (a @ a.T))[:inputs, :outputs]
        a, b = update.get_buffer("random_a")[m, 0], update.get_buffer("random_b")[m, 0]
        return a @ torch.diag(p["d"][m, k]) @ b @ torch.diag(p["b"][m, k])

    return torch.stack([torch.stack([one(m, k) for k in range(COUNTS[place])]) for m in range(len(SEEDS))])


def moved(weights: Mapping[str, Tensor], factors: LowRank, kind: str) -> dict[str, Tensor]:
    """All weights with the obvious updates added where they belong: queries and values of each layer, the embedding."""
    first, second = (obvious(factors, kind, place) for place in ("attention", "attention_8x4"))
    zero = torch.zeros_like
    updates = {
        "blocks.0.attention.qkv.weight": torch.cat([first[:, 0], zero(first[:, 0]), first[:, 1]], -1),
        "blocks.1.attention.qkv.weight": torch.cat([second[:, 0], second[:, 1], zero(second[:, 0]), second[:, 2]], -1),
        "embedding.weight": obvious(factors, kind, "embedding")[:, 0],
    }
    return {name: value + updates[name] if name in updates else value for name, value in weights.items()}


@pytest.mark.parametrize("kind", NEW)
def test_the_merged_weights_and_the_gradients_are_those_of_the_obvious_form(kind: str) -> None:
    model = Decoder(TWO_SHAPES, WORDS, (0, 1, 2))
    for p in model.parameters():
        p.data *= 5.0  # so that attention is not uniform
    base = copy.deepcopy(model).requires_grad_(False)
    before = dict(base.named_parameters())
    factors = trained(model, kind)
    wanted = moved(before, factors, kind)
    for name, value in factors.merged().items():
        torch.testing.assert_close(value, wanted[name].detach(), rtol=1e-5, atol=1e-5, msg=name)
        torch.testing.assert_close(model.get_parameter(name).detach(), value, rtol=0, atol=0)
    logits = torch.func.functional_call(base, wanted, (IDS,)).logits
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 2), TARGETS.flatten(), reduction="sum")
    theirs = torch.autograd.grad(nll, list(factors.parameters()))
    hidden, _ = model.hidden(IDS)
    loss = linear_cross_entropy(hidden, model.embedding.weight, TARGETS).sum()
    ours = factors.gradients(torch.autograd.grad(loss, factors.weights))
    for (name, p), found, right in zip(factors.named_parameters(), ours, theirs, strict=True):
        assert found.shape == p.shape
        assert right.abs().max() > 0, name
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3 * right.abs().max().item(), msg=name)


@pytest.mark.parametrize("kind", NEW)
def test_it_begins_as_the_base_model_bit_for_bit(kind: str) -> None:
    model = Decoder(TWO_SHAPES, WORDS, (0, 1, 2))
    before, logits = copy.deepcopy(model.state_dict()), model(IDS).logits
    factors = factors_of(model, kind)
    factors.merge()
    assert all(factors.merged()[name].equal(value) and model.get_parameter(name).equal(value)
               for name, value in before.items())
    assert model(IDS).logits.equal(logits)


@pytest.mark.parametrize(("kind", "rank", "table_rank"), [(kind, *ranks) for kind in NEW for ranks in ((2, 0), (0, 3))])
def test_no_rank_leaves_its_matrices_alone_and_so_does_no_scale(kind: str, rank: int, table_rank: int) -> None:
    model = Decoder(TWO_SHAPES, WORDS, (0, 1, 2))
    before = copy.deepcopy(model.state_dict())
    factors = factors_of(model, kind, rank=rank, table_rank=table_rank)
    for p in factors.parameters():
        p.data.fill_(0.3)
    factors.ramp.fill_(1.0)
    factors.merge()
    different = {name for name, p in model.named_parameters() if not p.detach().equal(before[name])}
    layers = {f"blocks.{i}.attention.qkv.weight" for i in range(2)}
    assert different == (layers if rank else set()) | ({"embedding.weight"} if table_rank else set())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == different
    for zero in ("b", "d") if kind == "vera" else ("a",):
        for name, p in factors.named_parameters():
            p.data.fill_(0.0 if name.endswith(f".{zero}") else 0.3)
        factors.merge()
        assert all(p.detach().equal(before[name]) for name, p in model.named_parameters()), zero


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_counted(kind: str) -> None:
    """The table of ``physlm.models.low_rank_kinds``."""
    factors = factors_of(Decoder(TWO_SHAPES, WORDS, (0, 1, 2)), kind)
    for place, (inputs, outputs) in PLACES.items():
        r = rank_at(place)
        wanted = {"lora": r * (inputs + outputs), "vera": r + outputs, "singlora": r * max(inputs, outputs)}[kind]
        found = sum(p.numel() for p in factors.get_submodule(place).parameters())
        assert found == len(SEEDS) * COUNTS[place] * wanted


def test_random_matrices_are_shared_by_layers_and_not_by_members() -> None:
    factors = factors_of(Decoder(TWO_SHAPES, WORDS, (0, 1, 2)), "vera")
    wide, narrow, table = (factors.get_submodule(place) for place in PLACES)
    a, b = wide.get_buffer("random_a"), wide.get_buffer("random_b")
    assert a.shape == (3, 1, WIDTH, RANK) and b.shape == (3, 1, RANK, WIDTH), "one pair a member, whatever the layers"
    assert narrow.get_buffer("random_a").equal(a) and narrow.get_buffer("random_b").equal(b[..., : WIDTH // 2])
    assert table.get_buffer("random_a").shape == (3, 1, WORDS, TABLE_RANK)
    for matrix in (a, b, table.get_buffer("random_a")):
        assert not matrix[0].allclose(matrix[1], atol=0.01)
    (alone,) = (factors_of(Decoder(TWO_SHAPES, WORDS, (1,)), "vera", SEEDS[1:2]),)
    assert alone.get_submodule("attention").get_buffer("random_a").equal(a[1:2]), "they follow from the seed alone"
    assert not {name for name, _ in factors.named_parameters() if "random" in name}, "nothing trains them"
    assert all(name.rsplit(".", 1)[1] in ("d", "b") for name, _ in factors.named_parameters())


def test_first_values_have_the_published_deviations() -> None:
    model, rank = ModelConfig(layers=1, heads=1, width=64), 48
    vera = factors_of(Decoder(model, 50), "vera", (0,), rank, rank).get_submodule("attention")
    for name, wanted in (("random_a", math.sqrt(2 / 64)), ("random_b", math.sqrt(2 / rank))):
        values = vera.get_buffer(name)
        assert values.std().item() == pytest.approx(wanted, rel=0.05)
        assert values.abs().max().item() == pytest.approx(math.sqrt(3) * wanted, rel=0.01), "uniform"
    assert vera.get_parameter("d").unique().tolist() == [pytest.approx(INITIAL)]
    assert not vera.get_parameter("b").any()
    sing = factors_of(Decoder(model, 50), "singlora", (0,), rank, rank).get_submodule("attention")
    assert sing.get_parameter("a").std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.05)


def test_the_update_of_a_square_matrix_is_symmetric_and_grows_with_the_ramp() -> None:
    found = []
    for ramp in (0.5, 1.0):
        model = Decoder(ModelConfig(layers=1, heads=2, width=WIDTH), WORDS, (0, 1, 2))
        before = model.get_parameter("blocks.0.attention.qkv.weight").detach().clone()
        trained(model, "singlora", ramp)
        found.append((model.get_parameter("blocks.0.attention.qkv.weight").detach() - before).chunk(3, -1)[0])
    torch.testing.assert_close(found[0], found[0].mT)
    torch.testing.assert_close(2 * found[0], found[1])
    assert (torch.linalg.eigvalsh(found[1].double()) > -1e-5).all(), "and semidefinite"
