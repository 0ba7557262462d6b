"""A mixture of experts that begins with a dense model: what it computes, what is drawn anew, and how it trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from part_models import BASE, SPEC, ids_of, randomised

from physlm.config import content_hash, from_dict, override, to_dict
from physlm.errors import UserError
from physlm.lab.results import settings_of
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import MLP, Whole
from physlm.models.upcycling import can_begin, upcycled
from physlm.training.config import RunSpec
from physlm.training.loop import train_population
from physlm.training.step import Population

CPU = torch.device("cpu")
EXPERTS: tuple[MLP, ...] = (Plain(), Plain(ratio=1, act="relu2"), Gated())


def mlps(model: Decoder) -> list[Any]:
    """The MLP of each block."""
    return [block.mlp for block in model.blocks]


def dense(expert: MLP) -> Decoder:
    return randomised(dataclasses.replace(BASE, mlp=(expert,)), members=1)


def mixture(model: Decoder, part: MoE, share: float = 0.0, seed: int = 0) -> Decoder:
    config = dataclasses.replace(model.config, mlp=(part,))
    grown = Decoder(config, model.vocabulary, (None,))
    grown.load_state_dict(upcycled(model.state_dict(), model.config, config, share, seed))
    return grown


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda part: part.label)
def test_copies_with_gates_that_sum_to_one_are_the_dense_model(expert: MLP) -> None:
    model, ids = dense(expert), ids_of(1, 3, 12)
    grown = mixture(model, MoE(experts=4, top_k=2, expert=expert, capacity=2.0))
    for mode in (True, False):  # a capacity of all tokens drops none in training either
        torch.testing.assert_close(grown.train(mode).hidden(ids)[0], model.hidden(ids)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda part: part.label)
def test_copies_with_one_choice_are_the_dense_model_times_the_gate(expert: MLP) -> None:
    model, ids = dense(expert), ids_of(1, 3, 12)
    part = MoE(experts=4, expert=expert)
    grown = mixture(model, part)
    with torch.no_grad():
        for w in mlps(grown):
            w.router.mul_(20)
    seen: dict[int, Any] = {}
    for i, w in enumerate(mlps(grown)):
        w.register_forward_pre_hook(lambda w, given, i=i: seen.update({i: given[0]}))
    found = grown(ids, taps=["block.0.mlp", "block.1.mlp"]).taps
    for i, (w, plain) in enumerate(zip(mlps(grown), mlps(model), strict=True)):
        gate_1N1 = part.route(w, seen[i].flatten(1, 2)).gate_MNk
        assert gate_1N1.min() < 0.9
        wanted = gate_1N1.view(1, 3, 12, 1) * expert.read(plain, seen[i], None, Whole())
        torch.testing.assert_close(found[f"block.{i}.mlp"], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("expert", EXPERTS, ids=lambda part: part.label)
def test_the_order_of_hidden_units_does_not_matter_for_copies(expert: MLP) -> None:
    """So the shuffle of 2502.19261 has nothing to do where all units are copied."""
    model, ids = dense(expert), ids_of(1, 3, 12)
    part = MoE(experts=3, top_k=3, expert=expert)
    before = mixture(model, part).hidden(ids)[0]
    for w in mlps(model):
        up, down = w.up.weight, w.down.weight
        order = torch.randperm(down.shape[1], generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            up.copy_(torch.cat([one[..., order] for one in up.split(len(order), -1)], -1))
            down.copy_(down[:, order])
    torch.testing.assert_close(mixture(model, part).hidden(ids)[0], before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("expert", [Plain(), Gated(ratio=4.0)], ids=lambda part: part.label)
def test_a_share_of_hidden_units_is_drawn_anew_with_the_statistics_of_what_it_replaces(expert: MLP, share: float
                                                                                       ) -> None:
    """Whole units, in each expert and matrix others; all else is as it was."""
    wide = dataclasses.replace(BASE, width=64, mlp=(expert,))
    model = randomised(wide, members=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5)  # a mean that is not 0
    old, new = model.state_dict(), mixture(model, MoE(experts=3, expert=expert), share, seed=7).state_dict()
    subsets = []
    for name in ("blocks.0.mlp.up.weight", "blocks.0.mlp.down.weight"):
        hidden = 4 * 64
        for number in range(3):
            ours, theirs = new[name][0, number], old[name][0]
            if "up" in name:
                ours, theirs = ours.T, theirs.T
            for part, was in zip(ours.split(hidden), theirs.split(hidden), strict=True):
                changed = (part != was).any(1)
                assert int(changed.sum()) == round(share * hidden)
                assert (part[changed] != was[changed]).all() and part[~changed].equal(was[~changed])
                tolerance = 5 / part[changed].numel() ** 0.5
                assert abs(float(part[changed].mean() - was[changed].mean())) < tolerance * float(was.std())
                assert abs(float(part[changed].std() / was[changed].std()) - 1) < tolerance
                subsets.append(tuple(changed.tolist()))
    assert share == 1.0 or len(set(subsets)) == len(subsets)
    untouched = [name for name in old if ".mlp." not in name]
    assert all(new[name].equal(old[name]) for name in untouched) and len(untouched) > 5
    again = mixture(model, MoE(experts=3, expert=expert), share, seed=7).state_dict()
    other = mixture(model, MoE(experts=3, expert=expert), share, seed=8).state_dict()
    assert all(again[name].equal(new[name]) for name in new)
    assert not other["blocks.0.mlp.up.weight"].equal(new["blocks.0.mlp.up.weight"])


def test_the_router_begins_as_in_a_new_model() -> None:
    grown = mixture(dense(Plain()), MoE(experts=4, expert=Plain(), bias_rate=0.1), seed=3).state_dict()
    config = dataclasses.replace(BASE, mlp=(MoE(experts=4, expert=Plain(), bias_rate=0.1),))
    new = Decoder(config, 11, (3,)).state_dict()
    for name in ("blocks.1.mlp.router", "blocks.1.mlp.bias"):
        assert grown[name].equal(new[name])


START = dataclasses.replace(SPEC, train=dataclasses.replace(SPEC.train, precision="float32"))
MIXTURE = dataclasses.replace(BASE, mlp=(MoE(experts=2, top_k=2, expert=Plain()),))
GROWN = RunSpec(SPEC.task, MIXTURE, START.train, START)


def test_a_run_begins_with_its_dense_start_each_member_alone_and_resumed_the_same(tmp_path: Path) -> None:
    states = [Population([override(START, [f"train.seed={seed}"])], CPU).model_of(0).state_dict() for seed in (5, 6)]
    specs = [override(GROWN, [f"start.train.seed={seed}", "train.redrawn=0.5", f"train.seed={seed}"])
             for seed in (5, 6)]
    population = Population(specs, CPU, initial=states)
    for m, (spec, state) in enumerate(zip(specs, states, strict=True)):
        wanted = upcycled(state, BASE, spec.model, 0.5, spec.train.seed)
        found = population.model_of(m).state_dict()
        assert found.keys() == wanted.keys() and all(found[name].equal(wanted[name]) for name in wanted)

    def train(name: str, log: Any = lambda line: None) -> list[Decoder]:
        return train_population(specs, CPU, checkpoint=tmp_path / name, log=log, initial=states,
                                checkpoint_seconds=0.0, progress=False)  # fmt: skip

    def die(line: dict[str, Any]) -> None:
        if line["step"] == 2:
            raise KeyboardInterrupt

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", die)
    for a, b in zip(train("cut"), whole, strict=True):
        assert all(value.equal(b.state_dict()[name]) for name, value in a.state_dict().items())
    with pytest.raises(UserError, match="weights of member 0: blocks"):
        Population(specs, CPU, initial=[whole[0].state_dict(), states[1]])


def test_tables_say_what_it_began_with_and_files_keep_it() -> None:
    assert GROWN.upcycled and not START.upcycled
    assert from_dict(RunSpec, to_dict(GROWN)) == GROWN
    columns = settings_of(GROWN)
    assert (columns["start.model.mlp"], columns["model.mlp"]) == ("plain", GROWN.model.mlp[0].label)
    assert "start.model.mlp" not in settings_of(RunSpec(SPEC.task, BASE, SPEC.train, START))
    half = override(GROWN, ["train.redrawn=0.5"])
    assert content_hash(half) != content_hash(GROWN)


@pytest.mark.parametrize(("mlp", "begins"), [
    ((Plain(),), True), ((MoE(experts=2, expert=Plain()),), True), ((MoE(experts=2, expert=Plain()), Plain()), True),
    ((MoE(experts=2),), False), ((MoE(experts=2, expert=Plain(), shared=True),), False), ((Gated(),), False),
])  # fmt: skip
def test_which_models_begin_with_a_dense_one(mlp: tuple[MLP, ...], begins: bool) -> None:
    model = dataclasses.replace(BASE, mlp=mlp)
    assert can_begin(model, BASE) == begins
    assert not can_begin(BASE, ModelConfig(layers=3))
    if begins:
        assert RunSpec(SPEC.task, model, SPEC.train, START).start == START
    else:
        with pytest.raises(UserError, match=r"start\.model\.mlp: got .* the MLPs that its experts are"):
            RunSpec(SPEC.task, model, SPEC.train, START)


def test_nothing_is_drawn_anew_where_no_expert_begins_with_an_mlp() -> None:
    for start in (None, START):
        with pytest.raises(UserError, match=r"train\.redrawn: got 0\.5, expected 0 unless experts begin"):
            RunSpec(SPEC.task, BASE, dataclasses.replace(START.train, redrawn=0.5), start)
    with pytest.raises(UserError, match=r"train\.redrawn: got 1\.5, expected between 0\.0 and 1\.0"):
        dataclasses.replace(START.train, redrawn=1.5)
