"""Muon: what its orthogonal factor is, that each matrix of each member has its own, and that the rest is AdamW's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import SPEC
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated import Gated
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mla import MLA
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.ngram import NGram
from physlm.models.parts.nsa import NSA
from physlm.models.parts.part import MLP, Mixer
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.muon import Muon, matrices, orthogonalised
from physlm.training.optimiser import AdamW
from physlm.training.schedule import schedule
from physlm.training.step import Population

CPU = torch.device("cpu")
SHAPE = ModelConfig(layers=2, heads=2, width=8, mlp=(Plain(ratio=1), MoE(experts=3)), mixer=(Attention(gate="head"),))
VOCABULARY, STEPS = 7, 6
BASE = TrainConfig(warmup_steps=2, betas=(0.9, 0.95), precision="float32", optimiser="muon")
MEMBERS = [dataclasses.replace(BASE, learning_rate=rate, weight_decay=decay, seed=seed)
           for seed, (rate, decay) in enumerate(((1e-2, 0.0), (3e-2, 0.5), (1e-3, 0.1)))]  # fmt: skip


def gradients(model: Decoder, seeds: list[int], step: int) -> list[Tensor]:
    generators = [torch.Generator().manual_seed(1000 * step + seed) for seed in seeds]
    return [torch.stack([torch.randn(p.shape[1:], generator=g) for g in generators]) for p in model.parameters()]


def trained(configs: list[TrainConfig], kind: type[Muon] | type[AdamW] = Muon) -> tuple[Decoder, Muon | AdamW]:
    seeds = [config.seed for config in configs]
    model = Decoder(SHAPE, VOCABULARY, seeds)
    optimiser = kind(model, configs, STEPS)
    for step in range(STEPS):
        optimiser.take(gradients(model, seeds, step))
        optimiser.update(torch.tensor(step))
    return model, optimiser


def test_the_factor_is_near_the_orthogonal_one_of_the_svd() -> None:
    """Singular values between 0.6 and 1.3, in the subspaces of the gradient; tall and wide ones alike."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((16, 16), (64, 64), (8, 40), (40, 8)):
        g = torch.randn(2, *shape, generator=generator)
        u, _, v = torch.linalg.svd(g.double(), full_matrices=False)
        found = orthogonalised(g).double()
        inside = u.mT @ found @ v.mT
        sizes = torch.linalg.svdvals(found)
        assert float(sizes.min()) > 0.05 and float(sizes.max()) < 1.3
        off = inside - torch.diag_embed(inside.diagonal(dim1=-2, dim2=-1))
        assert float(off.abs().max()) < 1e-4, "the same singular vectors"
        torch.testing.assert_close(orthogonalised(g.mT).mT, orthogonalised(g), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(orthogonalised(1000 * g), orthogonalised(g), atol=1e-5, rtol=1e-5)
    low = torch.randn(20, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    assert int((torch.linalg.svdvals(orthogonalised(low)) > 1e-3).sum()) == 3
    assert not orthogonalised(torch.zeros(5, 6)).any()


def test_a_member_alone_is_the_member_of_a_population() -> None:
    """Each matrix of each member is orthogonalised alone: with the companions' gradients a thousand times as large."""
    together, _ = trained(MEMBERS)
    for m, config in enumerate(MEMBERS):
        alone, _ = trained([config])
        ours = together.member(m).state_dict()
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=1e-6, msg=name)


def widths_of(mixer: Mixer, mlp: MLP) -> ModelConfig:
    return ModelConfig(layers=1, heads=2, width=16, mlp=(mlp,), mixer=(mixer,))


# which columns of a weight are one matrix: those that a model without fusion would have as one
FUSED = [
    (SHAPE, "blocks.0.attention.qkv", (8, 8, 8)),
    (SHAPE, "blocks.1.mlp.down", (8,)),
    (widths_of(Attention(), Gated(ratio=2)), "blocks.0.mlp.up", (32, 32)),
    (widths_of(Attention(), MoE(experts=3, expert=Gated(ratio=1))), "blocks.0.mlp.up", (16, 16)),
    (widths_of(Attention(group=2), Plain()), "blocks.0.attention.qkv", (16, 8, 8)),
    (widths_of(GLA(), Plain()), "blocks.0.attention.qkv", (8, 8, 16)),
    (widths_of(GatedDeltaNet(steps=2, keys=0.5, values=1.0), Plain()), "blocks.0.attention.qkv", (8, 8, 8, 16, 16)),
    (widths_of(Mamba2(size=6), Plain()), "blocks.0.attention.inputs", (32, 32, 6, 6)),
    (widths_of(MLA(rotated=1.0), Plain()), "blocks.0.attention.inputs", (32, 8, 8)),
    (widths_of(MLA(rotated=0), Plain()), "blocks.0.attention.inputs", (16, 8)),
    (widths_of(MLA(), Plain()), "blocks.0.attention.up", (16, 16)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "name", "widths"), FUSED, ids=lambda value: getattr(value, "label", None))
def test_written_out_for_a_matrix_of_each_sort(shape: ModelConfig, name: str, widths: tuple[int, ...]) -> None:
    """q, k and v of a fused matrix, the two of a gated MLP, and each of the experts, are matrices of their own."""
    name += ".weight"
    model = Decoder(shape, VOCABULARY, (0,))
    first = model.get_parameter(name).detach().clone()
    config = dataclasses.replace(MEMBERS[1], seed=0)
    optimiser = Muon(model, [config], STEPS)
    momentum = torch.zeros(())
    rates = schedule(config, STEPS)
    names = [name for name, _ in model.named_parameters()]
    for step in range(STEPS):
        grads = dict(zip(names, gradients(model, [0], step), strict=True))
        optimiser.take(list(grads.values()))
        optimiser.update(torch.tensor(step))
        momentum = 0.9 * momentum + 0.1 * grads[name]
        ahead = 0.9 * momentum + 0.1 * grads[name]
        directions = []
        for piece in ahead.split(widths, -1):
            each = [orthogonalised(matrix) for matrix in piece.reshape(-1, *piece.shape[-2:]).unbind(0)]
            directions.append(0.2 * max(piece.shape[-2:]) ** 0.5 * torch.stack(each).view(piece.shape))
        first = first - float(rates[step]) * config.learning_rate * (0.5 * first + torch.cat(directions, -1))
        torch.testing.assert_close(model.get_parameter(name).data, first, atol=1e-5, rtol=1e-5)


def test_narrow_columns_of_a_fused_matrix_are_moved_as_adamw_moves_them() -> None:
    """k~ of MLA, 4 of 36 columns."""
    shape = widths_of(MLA(), Plain())
    found = []
    for kind in (Muon, AdamW):
        model = Decoder(shape, VOCABULARY, (0, 1))
        optimiser = kind(model, MEMBERS[:2], STEPS)
        for step in range(STEPS):
            optimiser.take(gradients(model, [0, 1], step))
            optimiser.update(torch.tensor(step))
        found.append(model.get_parameter("blocks.0.attention.inputs.weight").data.split((24, 8, 4), -1))
    assert [ours.equal(theirs) for ours, theirs in zip(*found, strict=True)] == [False, False, True]


@pytest.mark.parametrize(("mixer", "gates"), [
    (Attention(gate="element"), {"gate"}), (Attention(gate="head", value_rows=5), {"gate", "value_gate"}),
    (NSA(), {"gate"}), (FoX(pro=True), {"gate"}), (GLA(), {"gate"}), (GatedDeltaNet(), {"gate"}),
], ids=lambda value: getattr(value, "label", None))  # fmt: skip
def test_gates_are_of_adamw_however_wide(mixer: Mixer, gates: set[str]) -> None:
    model = ModelConfig(layers=1, heads=8, width=64, mixer=(mixer,))
    wide = [weight for weight in mixer.weights(model)
            if weight.role.matrix and min(weight.shape) >= 5 and weight.name in gates]  # fmt: skip
    assert {weight.name for weight in wide} == gates and not any(matrices(weight) for weight in wide)
    assert {weight.name for weight in mixer.weights(model) if matrices(weight)} == {"qkv", "out"}


@pytest.mark.parametrize("kind", [Muon, AdamW])
def test_rows_of_tables_that_are_not_read_stay_as_they_are(kind: type[Muon] | type[AdamW]) -> None:
    """Decay moves neither hashed n-grams nor tables of values; it moves the embedding."""
    model = Decoder(widths_of(Attention(value_rows=5), NGram(rows=7)), VOCABULARY, (0,))
    first = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = kind(model, [dataclasses.replace(MEMBERS[1], seed=0)], STEPS)
    optimiser.take([torch.zeros_like(p) for p in model.parameters()])
    optimiser.update(torch.tensor(2))
    still = {name for name, p in model.named_parameters() if p.equal(first[name])}
    assert {"blocks.0.mlp.table", "blocks.0.attention.values"} <= still and "embedding.weight" not in still


def test_all_else_is_moved_as_adamw_moves_it() -> None:
    """Embeddings, gains, routers and matrices that are too narrow."""
    (ours, _), (theirs, _) = trained(MEMBERS), trained(MEMBERS, AdamW)
    found = {name for name, weight in ours.weights.items() if matrices(weight)}
    assert found == {"blocks.0.attention.qkv.weight", "blocks.0.attention.out.weight", "blocks.0.mlp.up.weight",
                     "blocks.0.mlp.down.weight", "blocks.1.attention.qkv.weight", "blocks.1.attention.out.weight",
                     "blocks.1.mlp.up.weight", "blocks.1.mlp.down.weight"}  # fmt: skip
    other = theirs.state_dict()
    for name, p in ours.state_dict().items():
        assert p.equal(other[name]) == (name not in found), name


def test_steps_are_as_large_as_those_of_adamw() -> None:
    """The root mean square of a step over the learning rate: 0.2 for a square matrix of full rank."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((64, 64), (64, 256)):
        step = 0.2 * max(shape) ** 0.5 * orthogonalised(torch.randn(shape, generator=generator))
        assert 0.15 < float(step.square().mean().sqrt()) < 0.25


SPECS = [override(dataclasses.replace(SPEC, model=dataclasses.replace(SHAPE, mlp=(Gated(),))),
                  ["train.optimiser=muon", f"train.seed={seed}", f"train.precision={precision}"])
         for precision in ("float32", "bf16") for seed in (0, 1)]  # fmt: skip


@pytest.mark.parametrize("specs", [SPECS[:2], SPECS[2:]], ids=["float32", "bf16"])
def test_training_goes_on_from_its_state_bit_for_bit(specs: list[RunSpec]) -> None:
    whole, cut, resumed = (Population(specs, CPU) for _ in range(3))
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        cut.advance()
    resumed.load({name: tensor.clone() for name, tensor in cut.tensors().items()})
    for _ in range(2):
        resumed.advance()
    for m in range(2):
        ours, theirs = whole.model_of(m).state_dict(), resumed.model_of(m).state_dict()
        assert all(ours[name].equal(theirs[name]) and ours[name].isfinite().all() for name in ours)


def test_it_learns() -> None:
    spec = override(SPECS[0], ["train.steps=60", "train.learning_rate=0.02"])
    population = Population([spec], CPU, window=60)
    for _ in range(60):
        population.advance()
    losses = population._losses_WKM[:, 0, 0]
    assert float(losses[-5:].mean()) < 0.8 * float(losses[:5].mean())


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="train.optimiser: got muon with low-rank updates"):
        dataclasses.replace(SPEC, start=SPEC, train=dataclasses.replace(BASE, lora_rank=2, steps=4))
    learnt = dataclasses.replace(SPEC.model, mixer=(Attention(learnt_scale="head"),))
    with pytest.raises(UserError, match="train.optimiser: got muon with learnt scales alone"):
        dataclasses.replace(SPEC, start=SPEC, model=learnt,
                            train=dataclasses.replace(BASE, trained="scales", steps=4))  # fmt: skip
