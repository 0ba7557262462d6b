"""Mixture of depths: which tokens a block reads, in training and when each decides for itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from part_checks import CHECKS
from part_models import BASE, VOCABULARY, ids_of, randomised
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from physlm.config import from_dict, to_dict
from physlm.errors import UserError
from physlm.lab.cost import member_bytes
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.listing import block_slots
from physlm.models.module import Weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.fox import FoX
from physlm.models.parts.moe import MoE
from physlm.models.parts.ngram import NGram
from physlm.models.parts.part import State, Where
from physlm.models.parts.residual import Hyper
from physlm.models.parts.route import Choice, MixtureOfDepths
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

FOUR = dataclasses.replace(BASE, layers=4, heads=4, width=32)
ROUTES = [MixtureOfDepths(), MixtureOfDepths(0.3, decision="router"), MixtureOfDepths(0.5, every=1, weight="sigmoid")]
MODELS = [*(dataclasses.replace(FOUR, route=route) for route in ROUTES),
          dataclasses.replace(FOUR, route=MixtureOfDepths(0.4), mixer=(FoX(), Attention(group=2, sink=True, rope=0.5))),
          dataclasses.replace(FOUR, layers=2, route=MixtureOfDepths(0.4), mlp=(MoE(experts=4),), loops=2)]  # fmt: skip
named = pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)


@pytest.mark.parametrize("config", MODELS[3:], ids=lambda config: config.label)
def test_every_check_of_parts_holds_beside_other_parts(config: ModelConfig) -> None:
    for check in CHECKS:
        check(config)


@named
def test_whole_rows_are_steps_in_float64(config: ModelConfig) -> None:
    model, ids = randomised(config).double(), ids_of(2, 3, 40)
    chosen = choices(model, ids)
    assert all(0.05 < one.double().mean() < 0.95 for one in chosen), "some tokens pass by, and some do not"
    for first in (1, 9):
        reading = model.remember(3, 40)
        parts = [model.read(ids[..., :first], reading)]
        parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading.upto(t + 1)) for t in range(first, 40)]
        torch.testing.assert_close(torch.cat(parts, 2), model.hidden(ids)[0], atol=1e-10, rtol=1e-10)


def choices(model: Decoder, ids: Tensor) -> list[Tensor]:
    """What routed blocks read outside of training."""
    found = []
    for i, block in enumerate(model._blocks()):
        if block.route is not None:
            tap = model.hidden(ids, (f"block.{i}.mixer",))[1][f"block.{i}.mixer"]
            found.append(tap.any(-1))
    return found


@named
def test_training_reads_the_highest_scores_alone(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered gives what all tokens give under a mask, if the causal decision is put at the same tokens."""
    if any(mlp.losses for mlp in config.mlps):
        pytest.skip("a capacity drops tokens in training")
    config = dataclasses.replace(config, absolute=32)  # no two scores are equal
    model, ids = randomised(config).double().train(), ids_of(2, 3, 20)
    trained = model.hidden(ids)[0]
    route = config.route
    assert isinstance(route, MixtureOfDepths)

    def highest(self: MixtureOfDepths, w: Weights, x: Tensor, score_MBT1: Tensor) -> Tensor:
        score = score_MBT1[..., 0]
        rank = (score[..., None, :] > score[..., None]).sum(-1)  # how many are higher
        return torch.where(rank < max(1, int(self.capacity * score.shape[-1])), 1.0, -1.0).double()

    monkeypatch.setattr(MixtureOfDepths, "_logits", highest)
    torch.testing.assert_close(trained, model.eval().hidden(ids)[0], atol=1e-10, rtol=1e-10)


def test_of_all_tokens_with_a_factor_of_one_it_is_the_plain_model(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(FOUR, route=MixtureOfDepths(1.0, every=1))
    model, plain = randomised(config).double(), randomised(FOUR).double()
    state = {name: value for name, value in model.state_dict().items() if ".route." not in name}
    plain.load_state_dict(state)
    choose = MixtureOfDepths.choose

    def whole(self: MixtureOfDepths, w: Weights, x: Tensor, state: State | None, where: Where) -> Choice:
        choice = choose(self, w, x, state, where)
        return choice._replace(gate_MBT1=torch.ones_like(choice.gate_MBT1))

    monkeypatch.setattr(MixtureOfDepths, "choose", whole)
    ids = ids_of(2, 3, 20)
    torch.testing.assert_close(model.train().hidden(ids)[0], plain.hidden(ids)[0], atol=1e-10, rtol=1e-10)


@named
def test_the_future_decides_in_training_alone(config: ModelConfig) -> None:
    model, ids = randomised(config).double(), ids_of(2, 3, 40)
    changed = ids.clone()
    changed[..., 30:] = (changed[..., 30:] + 3) % VOCABULARY
    before, after = model.hidden(ids)[0], model.hidden(changed)[0]
    assert before[:, :, :30].equal(after[:, :, :30])
    model.train()
    before, after = model.hidden(ids)[0], model.hidden(changed)[0]
    assert not before[:, :, :30].allclose(after[:, :, :30])


@named
def test_in_training_rows_and_members_choose_apart(config: ModelConfig) -> None:
    if any(mlp.losses for mlp in config.mlps):
        pytest.skip("a capacity is of all rows of a member")
    model, ids = randomised(config).train(), ids_of(2, 3, 24)
    whole, losses = model.hidden_with_losses(ids)
    for m in range(2):
        alone, own = model.member(m).train().hidden_with_losses(ids[m : m + 1])
        torch.testing.assert_close(alone[0], whole[m], atol=1e-5, rtol=1e-5)
        for name, loss in losses.items():
            torch.testing.assert_close(own[name][0], loss[m])
    row = model.hidden(ids[:, 1:2])[0]
    torch.testing.assert_close(row[:, 0], whole[:, 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("decision", ["predictor", "router"])
def test_losses_written_out(decision: Any) -> None:
    route = MixtureOfDepths(0.25, every=1, decision=decision, alpha=0.5)
    config = dataclasses.replace(BASE, layers=1, route=route)
    model, ids = randomised(config).double().train(), ids_of(2, 3, 12)
    x, w = model.embedding(ids), model.get_submodule("blocks.0.route")
    assert isinstance(w, Weights)
    losses = model.hidden_with_losses(ids)[1]
    for m in range(2):
        score = x[m] @ w.router[m][:, 0]
        rms = x[m] / (x[m].square().mean(-1, keepdim=True) + 1e-6).sqrt()
        logit = score if decision == "router" else (
            torch.nn.functional.silu(rms @ w.predictor_up[m]) @ w.predictor_out[m])[..., 0]
        wanted = torch.zeros_like(score)
        for row in range(3):
            wanted[row, score[row].argsort(descending=True)[:3]] = 1
        p = torch.sigmoid(logit)
        entropy = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
        torch.testing.assert_close(losses["routing"][m], 0.5 * entropy)
        torch.testing.assert_close(losses["misrouted"][m], ((logit > 0) != (wanted > 0)).double().mean())
    losses["routing"].sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    apart = {name for name in model.weights if ".route.predictor" in name}
    assert moved == apart if decision == "predictor" else "blocks.0.route.router" in moved


class Called(TorchDispatchMode):
    """The names of the operations that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", MODELS[:3], ids=lambda config: config.label)
def test_what_training_alone_reads_is_computed_in_training_alone(config: ModelConfig) -> None:
    """The highest scores of a row and the losses: one top C in each routed block, and none outside of training."""
    model, ids = randomised(config), ids_of(2, 3, 20)
    routed = sum(config.route.tokens(layer, 20) < 20 for layer in config.order)
    for training in (True, False):
        with Called() as called:
            losses = model.train(training).hidden_with_losses(ids)[1]
        assert list(losses) == (["routing", "misrouted"] if training else [])
        for operation in ("topk", "binary_cross_entropy_with_logits"):
            assert called.names.count(operation) == (routed if training else 0), operation
    assert routed in (2, 4)


def test_a_mixture_of_experts_beside_it_keeps_its_own_losses_outside_of_training() -> None:
    model, ids = randomised(MODELS[4]), ids_of(2, 3, 20)
    assert list(model.train().hidden_with_losses(ids)[1]) == ["balance", "dropped", "routing", "misrouted"]
    assert list(model.eval().hidden_with_losses(ids)[1]) == ["balance", "dropped"]


def test_the_predictor_learns_what_the_router_wants() -> None:
    """Scores that follow the token: what the causal decision places otherwise goes to 0."""
    config = dataclasses.replace(BASE, layers=1, route=MixtureOfDepths(0.25, every=1))
    model = Decoder(config, VOCABULARY).train()
    apart = [p for name, p in model.named_parameters() if model.weights[name].role.apart]
    with torch.no_grad():  # the stream is the embedding; its first channel says how much a token is wanted
        model.embedding.weight[0] = torch.randn(VOCABULARY, 16, generator=torch.Generator().manual_seed(0))
        model.embedding.weight[0, :, 0] = torch.where(torch.arange(VOCABULARY) < 3, 4.0, -4.0)
        model.get_parameter("blocks.0.route.router").copy_(torch.eye(16)[None, :, :1])
    ids = (torch.arange(4 * 12).view(1, 4, 12) % 12 // 3 * 3 + torch.arange(12) % 3).clamp(max=VOCABULARY - 1)
    optimiser = torch.optim.Adam(apart, lr=0.02)
    before = float(model.hidden_with_losses(ids)[1]["misrouted"])
    for _ in range(200):
        optimiser.zero_grad()
        model.hidden_with_losses(ids)[1]["routing"].sum().backward()
        optimiser.step()
    assert before > 0.2 and float(model.hidden_with_losses(ids)[1]["misrouted"]) < 0.05


def test_a_routed_block_counts_for_its_share_of_tokens() -> None:
    config = dataclasses.replace(FOUR, route=MixtureOfDepths(0.25, units=8))
    d, vocabulary = 32, VOCABULARY
    plain, routed = (parameter_counts(one, vocabulary) for one in (FOUR, config))
    router = d + 8 * d + 8
    assert routed["params_used"] == plain["params_used"] + 2 * router
    block = 12 * d * d + 2 * d
    assert routed["params_active"] == plain["params_active"] + 2 * router - round(2 * 0.75 * block)
    tokens = 64
    attention = 4 * d * tokens / 2, 0.25 * 4 * d * 16 / 2
    wanted = 6 * (vocabulary * d + 2 * 12 * d * d + 2 * 0.25 * 12 * d * d + 2 * router) + 3 * 2 * sum(attention)
    assert training_flops(config, vocabulary, tokens) == wanted
    assert config.route.tokens(1, 64) == 16 and config.route.tokens(1, 3) == 1 and config.route.tokens(0, 64) == 64
    assert [("route" in block_slots(config, layer)) for layer in range(4)] == [False, True, False, True]
    task = BioDConfig(people=12)
    sizes = [member_bytes(RunSpec(task, one, TrainConfig(batch_rows=64))) for one in (config, FOUR)]
    assert sizes[0] < sizes[1]


def test_scores_of_a_routed_block_are_not_shown_as_attention() -> None:
    names = Decoder(MODELS[0], VOCABULARY).tap_names
    assert [f"block.{i}.attention" in names for i in range(4)] == [True, False, True, False]


@pytest.mark.parametrize(("changes", "message"), [
    ({"mixer": (FoX(),)}, "got fox in a block that some tokens pass by, expected a mixer that can leave tokens out"),
    ({"mixer": (Attention(window=4),)}, "got rope_window4 in a block"),
    ({"mlp": (NGram(),)}, "expected one that looks at each token alone"),
    ({"local": (Canon(),)}, "model.local: got canon in a block that some tokens pass by, expected none"),
    ({"residual": Hyper()}, "got hyper of 4 streams with model.route=depths, expected one stream"),
    ({"causal": False}, "got false with model.route=depths, expected true"),
    ({"layers": 1}, "model.route.every: got 2 with 1 layer, expected at most as many"),
])  # fmt: skip
def test_models_that_it_does_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(FOUR, route=MixtureOfDepths(), **changes)


@pytest.mark.parametrize("setting", [{"capacity": 0.0}, {"capacity": 1.5}, {"every": 0}, {"units": 0}, {"alpha": 0.0}])
def test_settings_that_mean_nothing_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"model.route.{next(iter(setting))}: got"):
        MixtureOfDepths(**setting)


def test_layers_that_are_not_routed_may_hold_anything() -> None:
    config = dataclasses.replace(FOUR, route=MixtureOfDepths(), mixer=(FoX(), Attention()))
    assert from_dict(ModelConfig, to_dict(config)) == config and not config.reads_among
    state = Decoder(config, VOCABULARY).remember(2, 16).states
    assert [("route" in one) for one in state] == [False, True, False, True]
