"""The mixture of experts against an obvious loop over tokens."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from part_models import BASE, SPEC, VOCABULARY, ids_of, randomised, with_part
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.measures.experts import mean_shares
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.dispatch import FEW, ranked, unlimited
from physlm.models.module import Weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import Whole
from physlm.training.config import TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
WIDTH = BASE.width
SETTINGS = [
    MoE(experts=4), MoE(experts=4, capacity=0.5), MoE(experts=4, top_k=2, capacity=0.75, expert=Gated()),
    MoE(experts=5, top_k=3, capacity=0.6, shared=True, alpha=0.0, bias_rate=0.5), MoE(capacity=1.25),
    MoE(experts=3, top_k=3, expert=Plain(ratio=2, act="relu2")),
]  # fmt: skip


def layer(part: MoE, members: int = 2, dtype: torch.dtype = torch.float64) -> Weights:
    """One part with large random weights, and a bias that is not even."""
    config = dataclasses.replace(BASE, mlp=(part,))
    w = Weights(part, config, members, part.weights(config))
    generator = torch.Generator().manual_seed(5)
    for tensor in (*w.parameters(), *w.buffers()):
        tensor.data = 0.5 * torch.randn(tensor.shape, generator=generator, dtype=dtype)
    return w


def inputs(members: int = 2, rows: int = 3, positions: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(members, rows, positions, WIDTH, generator=generator, dtype=torch.float64)


def dense(expert: Any, w: Weights, prefix: str, member: int, number: int | None, x_d: Tensor) -> Tensor:
    """One expert, or the shared one, on one token, from its formula."""
    up, down = (getattr(w, f"{prefix}{name}").weight[member] for name in ("up", "down"))
    if number is not None:
        up, down = up[number], down[number]
    h = x_d @ up
    if isinstance(expert, Gated):
        gate, value = h.chunk(2)
        return (torch.nn.functional.silu(gate) * value) @ down
    return (torch.relu(h) ** 2 if expert.act == "relu2" else torch.nn.functional.gelu(h, approximate="tanh")) @ down


def obvious(w: Weights, x: Tensor, limited: bool) -> tuple[Tensor, list[list[int]], list[int], Tensor]:
    """Token by token: the result, the loads and the number dropped of each member, and the balance loss."""
    part = w.part
    assert isinstance(part, MoE)
    outputs, loads, dropped, balance = [], [], [], []
    for m in range(len(x)):
        tokens = x[m].flatten(0, 1)
        count = len(tokens)
        capacity = part.top_k * int(part.capacity * -(-count // part.experts)) if limited else count
        load, taken, lost, ps, results = [0] * part.experts, [0] * part.experts, 0, [], []
        for token in tokens:
            p = torch.softmax(token @ w.router[m], 0)
            scores = p + w.bias[m] if part.bias_rate else p
            chosen = scores.detach().argsort(descending=True)[: part.top_k].tolist()
            total = sum(p[e] for e in chosen) if part.top_k > 1 else torch.ones(())
            y = torch.zeros_like(token)
            for e in chosen:
                load[e] += 1
                if taken[e] >= capacity:
                    lost += 1
                    continue
                taken[e] += 1
                y = y + p[e] / total * dense(part.expert, w, "", m, e, token)
            if part.shared:
                y = y + dense(part.expert, w, "shared_", m, None, token)
            ps.append(p)
            results.append(y)
        frac = torch.tensor(load) / (count * part.top_k)
        balance.append(part.experts * (frac * torch.stack(ps).mean(0)).sum())
        loads.append(load)
        dropped.append(lost)
        outputs.append(torch.stack(results).view_as(x[m]))
    return torch.stack(outputs), loads, dropped, torch.stack(balance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("part", SETTINGS, ids=lambda part: part.label)
def test_it_is_the_loop_over_tokens(part: MoE, training: bool) -> None:
    """Outputs, loads, what is dropped, the balance loss, and the gradients of all of it."""
    w, x = layer(part).train(training), inputs().requires_grad_()
    bias = w.bias.clone() if part.bias_rate else None
    loads = part.route(w, x.detach().flatten(1, 2)).ranked.load_ME
    y, losses = w(x, Whole())
    if bias is not None:
        w.bias.copy_(bias)  # training has moved it
    wanted, wanted_loads, lost, balance = obvious(w, x, training)
    torch.testing.assert_close(y, wanted)
    assert loads.tolist() == wanted_loads
    found = dict(zip(part.losses, losses, strict=True))
    torch.testing.assert_close(found["dropped"].double() * 21 * part.top_k, torch.tensor(lost).double() / 2)  # 2 blocks
    assert not found["dropped"].requires_grad and ("balance" in found) == (part.alpha > 0)
    if part.alpha:
        torch.testing.assert_close(found["balance"], part.alpha * balance)
    weigh = torch.linspace(-1, 1, y.numel()).view_as(y).double()
    learnt = [x, *w.parameters()]
    gradients = torch.autograd.grad((y * weigh).sum() + found.get("balance", y.new_zeros(1)).sum(), learnt)
    theirs = torch.autograd.grad((wanted * weigh).sum() + part.alpha * balance.sum(), learnt)
    for ours, theirs_ in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(ours, theirs_)


def test_settings_above_do_drop() -> None:
    lost = [sum(obvious(layer(part), inputs(), True)[2]) for part in SETTINGS]
    assert lost[-1] == 0 and all(lost[1:-1])


def test_at_an_even_load_the_balance_loss_is_alpha() -> None:
    part = MoE(experts=4, alpha=0.25)
    w = layer(part)
    w.router.data.zero_()
    w.router.data[:, :4] = 20 * torch.eye(4)
    x = torch.eye(WIDTH, dtype=torch.float64)[:4].repeat(2, 3, 1, 1)
    torch.testing.assert_close(w(x, Whole())[1][0], torch.full((2,), 0.25).double())
    x[:] = x[:, :, :1].clone()
    torch.testing.assert_close(w(x, Whole())[1][0], torch.full((2,), 1.0).double(), msg="all to one: E times as much")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("members", [1, 2])
def test_one_expert_is_the_dense_mlp_bit_for_bit(precision: str, members: int) -> None:
    """From the same seed, through training; the loss of balance is a constant without a gradient."""
    trained = []
    for expert, mlp in itertools.product((Plain(ratio=1), Gated()), (True, False)):
        part = MoE(experts=1, capacity=1.0, expert=expert) if mlp else expert
        spec = override(dataclasses.replace(SPEC, model=dataclasses.replace(BASE, mlp=(part,))),
                        [f"train.precision={precision}"])
        population = Population([override(spec, [f"train.seed={seed}"]) for seed in range(members)], CPU)
        first = population.model_of(0).state_dict()
        for _ in range(4):
            population.advance()
        trained.append((population, first))
    for (ours, our_first), (theirs, their_first) in (trained[:2], trained[2:]):
        assert ours.recent_losses(1)["loss"].equal(theirs.recent_losses(1)["loss"])
        assert ours.recent_losses(1)["balance"].allclose(torch.tensor(0.02).double()), "alpha in each of two blocks"
        for m in range(members):
            mixed, plain = ours.model_of(m), theirs.model_of(m)
            for name, weight in plain.state_dict().items():
                assert mixed.state_dict()[name].view_as(weight).equal(weight), name
            ids = ids_of(1, 3, 9)
            for a, b in ((mixed, plain), (mixed.in_bfloat16(), plain.in_bfloat16())):
                assert a.hidden(ids)[0].equal(b.hidden(ids)[0])
                assert a.train().hidden(ids)[0].equal(b.hidden(ids)[0])
        assert all(our_first[name].view_as(weight).equal(weight) for name, weight in their_first.items())
        assert not any(our_first[name].equal(weight) for name, weight in ours.model_of(0).state_dict().items())


def test_members_share_neither_statistics_nor_capacity() -> None:
    """A member's bits, those of its gradients, losses and bias too, do not change when others read something else."""
    for part in (MoE(experts=4, capacity=0.5, bias_rate=0.1), MoE(experts=4, top_k=2, capacity=0.5, shared=True)):
        found = []
        for other in (1.0, -3.0):
            w, x = layer(part, 3, torch.float32).train(), inputs(3).float()
            x[0], x[2] = other * x[0], x[2].flip(1) + other
            y, losses = w(x.requires_grad_(), Whole())
            gradients = torch.autograd.grad((y.square().sum() + losses[0].sum()), [x, *w.parameters()])
            found.append([y, *losses, *gradients, *w.buffers()])
        for a, b in zip(*found, strict=True):
            assert a[1].equal(b[1])
        assert not found[0][0][0].equal(found[1][0][0]) and not found[0][0][2].equal(found[1][0][2])


@torch.no_grad()
def test_in_training_no_token_depends_on_later_ones() -> None:
    """Nor in what is dropped: earlier tokens come first, whatever is a first or a second choice."""
    for part in (MoE(experts=4, capacity=1.0), MoE(experts=4, top_k=2, capacity=0.7)):
        w, x = layer(part).train(), inputs(rows=1, positions=30)
        before = w(x, Whole())[0]
        x[:, :, 12:] = x[:, :, 12:].flip(2)
        after = w(x, Whole())[0]
        assert before[:, :, :12].equal(after[:, :, :12]) and not before[:, :, 12:].equal(after[:, :, 12:])
        assert not before[:, :, 12:].any(-1).all(), "some were dropped"


@torch.no_grad()
def test_outside_of_training_nothing_is_dropped_for_few_tokens_and_many() -> None:
    """Not even where all go to one expert: as with a capacity that holds them all."""
    part = MoE(experts=6, capacity=0.5, top_k=2)
    w = layer(part, 2, torch.float32)
    whole = dataclasses.replace(part, capacity=3.0)
    for count in (1, 2, 15, 17, FEW // 2 - 1, FEW // 2 + 100):
        for same in (False, True):
            x = inputs(2, 1, count).float()
            x = x[:, :, :1].expand_as(x) if same else x
            y, losses = part.read(w.eval(), x, None, Whole())
            wanted, _ = whole.read(w.train(), x, None, Whole())
            torch.testing.assert_close(y, wanted)
            assert not losses[-1].any() and y.any(-1).all()


def test_every_assignment_has_a_slot_of_its_own_in_a_group_of_its_expert() -> None:
    generator = torch.Generator().manual_seed(1)
    for tokens, experts in ((1, 32), (33, 3), (500, 32), (5000, 7)):
        chosen = (torch.rand(2, tokens, 1, generator=generator) ** 3 * experts).long()
        slots = unlimited(ranked(chosen, experts))
        assert slots.kept_MA.all() and slots.expert_MG is not None
        size = slots.filled_MS.shape[1] // slots.groups
        for m in range(2):
            assert len(slots.slot_MA[m].unique()) == tokens == int(slots.filled_MS[m].sum())
            assert slots.expert_MG[m][slots.slot_MA[m] // size].equal(chosen[m, :, 0])
            assert slots.assignment_MS[m][slots.slot_MA[m]].equal(torch.arange(tokens))


def test_permuted_experts_are_the_same_mixture() -> None:
    part, order = MoE(experts=4, capacity=0.5, shared=True, alpha=0.1, bias_rate=0.1), [2, 0, 3, 1]
    w, x = layer(part).train(), inputs()
    y, losses = part.read(w.eval(), x, None, Whole())
    w.router.data = w.router.data[..., order]
    for one in (w.up, w.down):
        one.weight.data = one.weight.data[:, order]
    w.bias.copy_(w.bias[:, order])
    again, more = part.read(w, x, None, Whole())
    torch.testing.assert_close(again, y)
    torch.testing.assert_close(more, losses)


def test_the_bias_moves_the_load_towards_an_even_one_and_has_no_gradient() -> None:
    """By one step of ``bias_rate`` a step of training, only there; gates are as without it."""
    part = MoE(experts=4, alpha=0.0, bias_rate=0.02)
    w, x = layer(part).train(), inputs(2, 8, 32) + 0.5  # far from 0: experts that all tokens prefer
    w.bias.zero_()
    loads = []
    for _ in range(60):
        before = w.bias.clone()
        load = part.route(w, x.flatten(1, 2)).ranked.load_ME / 256
        w(x, Whole())
        torch.testing.assert_close(w.bias - before, 0.02 * (0.25 - load).sign().double())
        loads.append(load)
    first, last = ((load - 0.25).abs().amax(-1) for load in (loads[0], torch.stack(loads[-10:]).mean(0)))
    assert (first > 0.08).all() and (last < first / 3).all()
    assert "bias" not in dict(w.named_parameters()) and not w.bias.requires_grad
    kept = w.bias.clone()
    routing = part.route(w.eval(), x.flatten(1, 2))
    w(x, Whole())
    assert w.bias.equal(kept), "outside of training it stays"
    assert routing.gate_MNk.equal(routing.share_MNE.gather(-1, routing.chosen_MNk))


def test_either_way_of_balance_makes_the_load_of_a_run_more_even() -> None:
    busiest = []
    for part in (MoE(experts=8, alpha=0.0), MoE(experts=8, alpha=0.1), MoE(experts=8, alpha=0.0, bias_rate=0.005)):
        train = TrainConfig(steps=60, batch_rows=8, learning_rate=3e-3, warmup_steps=1, precision="float32")
        spec = dataclasses.replace(SPEC, model=with_part("mlp", part), train=train)
        population = Population([spec], CPU)
        while population.step < population.steps:
            population.advance()
        shares = mean_shares(spec, population.model_of(0), batches=4)
        busiest.append(sum(float(layer.load_RE.mean(0).max()) for layer in shares.values()) / 2)
    assert busiest[0] > 0.3 > 0.22 > max(busiest[1:]), busiest


def test_parameters_in_all_and_those_that_a_token_uses() -> None:
    """Published: 68 d^2 a layer in all, 6 d^2 of them used, attention included, and the router (2404.05405)."""
    d = 64
    model = ModelConfig(layers=3, heads=1, width=d, mlp=(MoE(bias_rate=0.1),))
    counts = parameter_counts(model, 100)
    norms, table = 7 * d, 100 * d
    assert counts["params_all"] == counts["params_used"] == 3 * (68 * d * d + 32 * d) + norms + table
    assert counts["params_active"] == 3 * (6 * d * d + 32 * d) + norms + table
    assert counts["params_fixed"] == 0, "a bias that runs along is no random number held fixed"
    assert counts["params_all"] == sum(p[0].numel() for p in Decoder(model, 100).parameters())
    used = 6.0 * (3 * (6 * d * d + 32 * d) + table)
    assert training_flops(model, 100, 0) == used
    two = MoE(experts=8, top_k=2, shared=True, expert=Plain(ratio=4))
    counts = parameter_counts(dataclasses.replace(model, mlp=(two,)), 100)
    assert counts["params_active"] == 3 * ((4 + 3 * 8) * d * d + 8 * d) + norms + table
    assert counts["params_all"] == 3 * ((4 + 9 * 8) * d * d + 8 * d) + norms + table


CHAINS = [MoE(experts=4, chain=2), MoE(experts=4, top_k=2, capacity=0.75, expert=Gated(), chain=3),
          MoE(experts=5, top_k=3, capacity=0.6, shared=True, alpha=0.0, bias_rate=0.5, chain=2)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("part", CHAINS, ids=lambda part: part.label)
def test_a_chain_is_mixtures_of_the_same_experts_one_after_the_other(part: MoE, training: bool) -> None:
    """x_(c+1) = x_c + y_c(x_c), each pass with a router of its own; gradients of the experts are summed."""
    w, x = layer(part).train(training), inputs().requires_grad_()
    one = dataclasses.replace(part, chain=1)
    passes = []
    for c in range(part.chain):
        single = layer(one).train(training)
        for name, tensor in (*single.named_parameters(), *single.named_buffers()):
            own = name in ("router", "bias") and c
            tensor.data = getattr(w, f"{name}_{c + 1}").data.clone() if own else w.state_dict()[name].clone()
        passes.append(single)
    y, losses = w(x, Whole())
    h, wanted = x, torch.zeros_like(x)
    theirs: list[dict[str, Tensor]] = []
    for single in passes:
        more, of_pass = single(h, Whole())
        h, wanted, theirs = h + more, wanted + more, [*theirs, dict(zip(one.losses, of_pass, strict=True))]
    torch.testing.assert_close(y, wanted)
    found = dict(zip(part.losses, losses, strict=True))
    torch.testing.assert_close(found["dropped"], torch.stack([each["dropped"] for each in theirs]).mean(0))
    if part.alpha:
        torch.testing.assert_close(found["balance"], torch.stack([each["balance"] for each in theirs]).sum(0))
    if part.bias_rate and training:
        assert w.bias.equal(passes[0].bias) and w.bias_2.equal(passes[1].bias) and not w.bias.equal(w.bias_2)
    y.square().sum().backward()
    wanted.square().sum().backward()
    for single in passes[1:]:
        torch.testing.assert_close(passes[0].up.weight.grad.add_(single.up.weight.grad), passes[0].up.weight.grad)
    torch.testing.assert_close(w.up.weight.grad, passes[0].up.weight.grad)
    torch.testing.assert_close(w.router_2.grad, passes[1].router.grad)


def test_a_chain_costs_a_router_a_pass_and_the_flops_of_each() -> None:
    d, plain = 64, ModelConfig(layers=1, heads=1, width=64, mixer=(Attention(),))
    def cost(part: MoE) -> tuple[dict[str, int], float]:
        model = dataclasses.replace(plain, mlp=(part,))
        return parameter_counts(model, 100), training_flops(model, 100, 1)

    part = MoE(experts=8, top_k=2)
    once, twice, often = cost(part), cost(dataclasses.replace(part, chain=2)), cost(dataclasses.replace(part, chain=6))
    assert twice[0]["params_all"] - once[0]["params_all"] == 8 * d
    assert twice[0]["params_active"] - once[0]["params_active"] == 8 * d + 2 * 2 * d * d
    assert often[0]["params_active"] == often[0]["params_all"], "it may use them all"
    assert twice[1] - once[1] == 6 * (8 * d + 2 * 2 * d * d)
    assert often[1] - once[1] == 5 * 6 * (8 * d + 2 * 2 * d * d), "FLOPs go on to grow"
    shared = MoE(experts=8, top_k=2, shared=True)
    assert cost(dataclasses.replace(shared, chain=2))[1] - cost(shared)[1] == 6 * (8 * d + 3 * 2 * d * d)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_generation_reads_as_whole_rows_with_experts_in_every_other_block(half: bool) -> None:
    model = randomised(ModelConfig(layers=4, heads=2, width=16, mixer=(Attention(),), mlp=(MoE(experts=4), Plain())))
    model = model.in_bfloat16() if half else model
    assert model.blocks[0].mlp.router.dtype == torch.float32  # type: ignore[union-attr]
    ids, reading = ids_of(2, 3, 12), model.remember(3, 12)
    parts = [model.read(ids[..., :4], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(4, 12)]
    close = torch.isclose(torch.cat(parts, 2), model.hidden(ids)[0], atol=0.15 if half else 5e-5, rtol=0.0).all(-1)
    # a rounded activation at the border between two experts may choose the other one
    assert close.float().mean() >= (0.9 if half else 1.0)


def test_logged_are_the_balance_summed_and_the_share_dropped_averaged_over_blocks() -> None:
    mlp = (MoE(experts=4, capacity=0.5), Plain(), MoE(experts=4, capacity=0.25))
    config = dataclasses.replace(BASE, layers=3, mlp=mlp)
    model, ids = Decoder(config, VOCABULARY, (0, 1)).train(), ids_of(2, 4, 16)
    _, losses = model.hidden_with_losses(ids)
    assert list(losses) == ["balance", "dropped"]
    # capacities of 8 and 4 of 64 tokens an expert: at least half and three quarters are dropped
    assert (losses["dropped"] >= (0.5 + 0.75) / 2 - 1e-6).all() and (losses["dropped"] < 1).all()
    assert (losses["balance"] > 0.0199).all()
    assert not model.eval().hidden_with_losses(ids)[1]["dropped"].any()
    population = Population([dataclasses.replace(SPEC, model=config)], CPU)
    assert population.loss_names == ("loss", "balance", "dropped") and population.model.training
    assert not population.model_of(0).training


@pytest.mark.parametrize(("settings", "message"), [
    (dict(experts=0), "experts: got 0, expected at least 1"),
    (dict(top_k=33), "top_k: got 33, expected 1 to 32"),
    (dict(top_k=0), "top_k: got 0, expected 1 to 32"),
    (dict(capacity=0.0), "capacity: got 0.0, expected 0.001 to a million"),
    (dict(chain=0), "chain: got 0, expected at least 1 pass"),
    (dict(alpha=-1.0), "alpha: got -1.0, expected 0 or more"),
    (dict(bias_rate=-1.0), "bias_rate: got -1.0, expected 0 or more"),
    (dict(expert=NoMLP()), "expert: got none, expected an MLP of matrices alone"),
    (dict(expert=MoE(experts=2)), "expert: got moe, expected an MLP of matrices alone"),
    (dict(expert=Plain(ratio=1 << 30)), "plain.ratio: got 1073741824, expected at most"),
    (dict(alpha=float("inf")), "moe.alpha: got inf, expected a finite number"),
])  # fmt: skip
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(BASE, mlp=(MoE(**settings),))
