"""The load of experts, against loads that are planted and against what training logs."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from part_models import BASE, SPEC, with_part

from physlm.errors import UserError
from physlm.measures.experts import BATCHES, mean_shares, measure
from physlm.measures.measure import check
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.moe import MoE
from physlm.training.config import RunSpec
from physlm.training.step import Population

CPU = torch.device("cpu")


def run_of(part: MoE, *, planted: bool = False, model: ModelConfig | None = None) -> Trained:
    spec = dataclasses.replace(SPEC, model=model or with_part("mlp", part))
    decoder = Decoder(spec.model, len(spec.task.vocabulary()), (0,))
    if planted:
        planted_bias = torch.tensor([6.0, 5.0, *[0.0] * (part.experts - 2)])
        decoder.load_state_dict({name: planted_bias[None] if name.endswith("mlp.bias") else value
                                 for name, value in decoder.state_dict().items()})
    return Trained(spec, CPU, lambda step: decoder)


def test_a_planted_load_is_found() -> None:
    """Biases send all first choices to expert 0 and all second ones to expert 1."""
    part = MoE(experts=4, top_k=2, capacity=0.5, bias_rate=1e-4)
    found = {row.label: row for row in measure(run_of(part, planted=True))}
    assert list(found) == [f"{name}/layer={layer}{rest}" for layer in (0, 1) for name, rest in (
        ("expert_load", "/expert=busiest"), ("expert_load", "/expert=idlest"), ("expert_dropped", ""))]
    tokens = SPEC.train.batch_rows * SPEC.task.row_tokens
    capacity = 2 * int(0.5 * -(-tokens // 4))
    for layer in (0, 1):
        busiest, idlest, dropped = (found[f"{name}/layer={layer}{rest}"] for name, rest in (
            ("expert_load", "/expert=busiest"), ("expert_load", "/expert=idlest"), ("expert_dropped", "")))
        assert busiest.value == 0.5 and idlest.value == 0.0
        assert dropped.value == pytest.approx(1 - capacity / tokens)
        assert all(row.n == BATCHES * SPEC.train.batch_rows and row.lo <= row.value <= row.hi and row.unit == "1"
                   for row in (busiest, idlest, dropped))


def test_it_is_what_training_logs_and_leaves_the_model_alone() -> None:
    part = MoE(experts=4, capacity=0.75, bias_rate=0.01)
    spec = dataclasses.replace(SPEC, model=ModelConfig(layers=4, heads=2, width=16, mlp=(Plain(), part)))
    population = Population([spec], CPU)
    while population.step < population.steps:
        population.advance()
    model = population.model_of(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shares = mean_shares(spec, model, 1)
    assert list(shares) == [(1, 0), (3, 0)] and not model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    inputs_SMBT, _ = population.sample(spec.steps)
    _, losses = population.model.hidden_with_losses(inputs_SMBT[0])
    logged = sum(float(layer.dropped_R.mean()) for layer in shares.values()) / 2
    assert 0 < logged == pytest.approx(float(losses["dropped"]), rel=1e-5)
    for layer in shares.values():
        torch.testing.assert_close(layer.load_RE.sum(1), torch.ones(len(layer.load_RE)).double())


def test_a_dense_model_is_one_expert_that_takes_everything() -> None:
    """As the mixture of one expert is, which is the same model bit for bit; blocks without an MLP have no row."""
    dense = measure(run_of(MoE(), model=BASE))
    one = measure(run_of(MoE(experts=1, capacity=1.0, expert=Plain())))
    assert [(row.label, row.value, row.lo, row.hi, row.n) for row in dense] == [
        (row.label, row.value, row.lo, row.hi, row.n) for row in one]
    assert {row.label: row.value for row in dense} == {
        f"{name}/layer={layer}{rest}": value for layer in (0, 1) for name, rest, value in (
            ("expert_load", "/expert=busiest", 1.0), ("expert_load", "/expert=idlest", 1.0),
            ("expert_dropped", "", 0.0))}
    half = measure(run_of(MoE(), model=dataclasses.replace(BASE, mlp=(NoMLP(), Plain()))))
    assert {row.where["layer"] for row in half} == {1}


def test_each_pass_of_a_chain_has_its_own_rows() -> None:
    """Biases planted in each pass send its choices elsewhere; together they drop what training logs."""
    part = MoE(experts=4, capacity=0.5, bias_rate=1e-4, chain=2)
    run = run_of(part)
    model = run.model
    planted = {"bias": [6.0, 0.0, 0.0, 0.0], "bias_2": [0.0, 0.0, 6.0, 0.0]}
    state = model.state_dict()
    model.load_state_dict({name: torch.tensor([planted[name.rpartition(".")[2]]]) if "mlp.bias" in name else value
                           for name, value in state.items()})
    found = {row.label: row for row in measure(run)}
    assert list(found)[:4] == [f"{name}/layer=0/pass={number}{rest}" for number, name, rest in (
        (0, "expert_load", "/expert=busiest"), (0, "expert_load", "/expert=idlest"), (0, "expert_dropped", ""),
        (1, "expert_load", "/expert=busiest"))]
    assert all(row.n == BATCHES * SPEC.train.batch_rows for row in found.values()) and len(found) == 12
    shares = mean_shares(run.spec, model, 1)
    assert list(shares) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for (_, number), layer in shares.items():
        assert float(layer.load_RE[:, 2 * number].min()) == 1.0
    population = Population([run.spec], CPU)
    inputs_SMBT, _ = population.sample(run.spec.steps)
    _, losses = copy.deepcopy(model).train().hidden_with_losses(inputs_SMBT[0])
    assert sum(float(layer.dropped_R.mean()) for layer in shares.values()) / 4 == pytest.approx(
        float(losses["dropped"]), rel=1e-5)


def test_later_passes_read_what_earlier_ones_give() -> None:
    """A chain without planted biases drops on average what training logs, each pass by its own input."""
    part = MoE(experts=4, capacity=0.5, chain=3)
    run = run_of(part)
    shares = mean_shares(run.spec, run.model, 1)
    population = Population([run.spec], CPU)
    inputs_SMBT, _ = population.sample(run.spec.steps)
    _, losses = copy.deepcopy(run.model).train().hidden_with_losses(inputs_SMBT[0])
    dropped = [float(layer.dropped_R.mean()) for layer in shares.values()]
    assert len(dropped) == 6 and len(set(dropped)) > 1
    assert sum(dropped) / 6 == pytest.approx(float(losses["dropped"]), rel=1e-5)


def test_each_pass_of_looped_layers_has_its_own_rows() -> None:
    """The tokens of a pass are counted once."""
    model = dataclasses.replace(with_part("mlp", MoE(experts=4)), loops=2)
    found = measure(run_of(MoE(experts=4), model=model))
    assert [row.where.get("pass") for row in found] == [0, 0, 0, 1, 1, 1] * 2
    assert {row.n for row in found} == {BATCHES * SPEC.train.batch_rows}


def test_runs_without_mlps_are_refused() -> None:
    def refused(spec: RunSpec, message: str) -> None:
        with pytest.raises(UserError, match=message):
            check("expert_load", spec)

    check("expert_load", run_of(MoE(experts=4)).spec)
    check("expert_load", SPEC)
    refused(run_of(MoE(), model=dataclasses.replace(BASE, mlp=(NoMLP(),))).spec, "got model.mlp none, expected moe, or")
    refused(run_of(MoE(), model=dataclasses.replace(with_part("mlp", MoE()), causal=False)).spec, "model.causal false")
