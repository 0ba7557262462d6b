"""The mixture of experts: many MLPs, of which each token uses a few (arXiv 2101.03961)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from physlm.errors import UserError
from physlm.models.parts.mlp import Plain
from physlm.models.parts.part import MLP, Where
from physlm.models.parts.weight import Constant, Normal, Role, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.dispatch import Ranked
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

ROUTER = Role("router", float32=True, multiplied=True)  # in bfloat16 rounding would choose other experts
BIAS = Role("bias of a router", decays=False, float32=True)
_EXPERT = Plain(ratio=1)


class Routing(NamedTuple):
    """What the router says: p, the experts chosen with their gates, and the load that follows.

    Shape letters: M members, N tokens, E experts, k choices.
    """

    share_MNE: Tensor
    chosen_MNk: Tensor
    gate_MNk: Tensor
    ranked: Ranked


@dataclass(frozen=True)
class MoE(MLP):
    """y = Sum over the k experts e of highest p_e + b_e of g_e E_e(x), p = softmax(x W_router) in float32.

    g_e = p_e for k = 1 (Switch, arXiv 2101.03961), and p_e over the sum of the chosen p for k > 1.  The defaults are
    the setting of arXiv 2404.05405: 32 experts d -> d -> d, k = 1, capacity factor 2.

    In training an expert takes at most ``capacity_of(N)`` of the N tokens of a member's batch, the first in the order
    of rows and positions; the others are dropped: this expert adds nothing to them, and they pass by the residual.  An
    earlier token never depends on a later one of its row.  Outside of training nothing is dropped (2404.05405 has a
    factor of 8 there), so that a token's output depends on no other token's choice.

    Two ways to balance the load, each off at 0:

        alpha       loss alpha E Sum_e f_e mean(p_e), f_e the share of assignments that go to e (Switch); alpha at an
                    even load, in each block, logged as ``balance``
        bias_rate   b_e += bias_rate sign(1 / E - f_e) after each step, without a gradient (arXiv 2408.15664, 1e-3)

    The share of assignments that are dropped, mean over the blocks, is logged as ``dropped``.

    A ``chain`` of passes goes through the same experts, each with a router, and a bias, of its own (chain of experts,
    arXiv 2506.18945): x_0 = x, x_(c+1) = x_c + y_c(x_c), and what all passes add is the result.  ``top_k``, capacity
    and losses are those of each pass; the losses of a block are summed over them, ``dropped`` is their mean.

    Attributes:
        expert: each expert; any MLP of matrices alone.
        capacity: the capacity factor, in thousandths.
        shared: one expert more, which every token uses with gate 1 (arXiv 2401.06066), at each pass.
        chain: passes through the experts.
    """

    kind: ClassVar[str] = "moe"
    experts: int = 32
    top_k: int = 1
    expert: MLP = _EXPERT
    capacity: float = 2.0
    shared: bool = False
    alpha: float = 0.01
    bias_rate: float = 0.0
    chain: int = 1

    def __post_init__(self) -> None:
        if self.experts < 1:
            raise UserError(f"model.mlp.experts: got {self.experts}, expected at least 1")
        if not 1 <= self.top_k <= self.experts:
            raise UserError(f"model.mlp.top_k: got {self.top_k}, expected 1 to {self.experts}, the experts")
        if self.chain < 1:
            raise UserError(f"model.mlp.chain: got {self.chain}, expected at least 1 pass")
        if not 1e-3 <= self.capacity < 1e6:
            raise UserError(f"model.mlp.capacity: got {self.capacity}, expected 0.001 to a million")
        for name in ("alpha", "bias_rate"):
            if not getattr(self, name) >= 0:
                raise UserError(f"model.mlp.{name}: got {getattr(self, name)}, expected 0 or more")

    def check(self, model: ModelConfig) -> None:
        weights = self.expert.weights(model)
        if not weights or self.expert.losses or not all(weight.role.matrix and weight.trained for weight in weights):
            raise UserError(f"model.mlp.expert: got {self.expert.kind}, expected an MLP of matrices alone")

    @property
    def losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """``balance`` where it is trained with, and ``dropped``, which has no gradient."""
        return ("balance", "dropped") if self.alpha else ("dropped",)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        one, passes = self.expert.weights(model), range(self.chain)
        share = min(1.0, self.chain * self.top_k / self.experts)
        return (*(Weight(_of_pass("router", c), (model.width, self.experts), Normal(), ROUTER) for c in passes),
                *(replace(weight, shape=(self.experts, *weight.shape), share=share) for weight in one),
                *(replace(weight, name=f"shared_{weight.name}") for weight in one if self.shared),
                *(Weight(_of_pass("bias", c), (self.experts,), Constant(0.0), BIAS, trained=False, running=True)
                  for c in passes if self.bias_rate))

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """Of a chain that comes back to weights that it has met."""
        again = max(0.0, self.chain * self.top_k / self.experts - 1) * self.experts + (self.chain - 1) * self.shared
        return 2.0 * again * sum(weight.numbers for weight in self.expert.weights(model))

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Inputs and outputs of the experts' matrices, in all slots, beyond a plain MLP's 10 d; and p in float32."""
        slots = self.experts if self._holds_all else self.top_k * self.capacity
        each = sum(sum(weight.shape) for weight in self.expert.weights(model))
        held = round(self.chain * (slots + self.shared) * each)
        return max(0, held - 10 * model.width) + 2 * self.chain * self.experts

    @property
    def _holds_all(self) -> bool:
        """Whether every expert has slots for every token."""
        return self.capacity * self.top_k >= self.experts

    def capacity_of(self, tokens: int) -> int:
        """Tokens that an expert takes of N in training: k floor(f ceil(N / E)), at least 1; or all of them."""
        if self._holds_all:
            return tokens
        even = (tokens + self.experts - 1) // self.experts
        return max(1, round(1000 * self.capacity) * even // 1000 * self.top_k)

    def route(self, w: Weights, x_MNd: Tensor, number: int = 0) -> Routing:
        """Which experts each token asks for in this pass."""
        from physlm.models.dispatch import best, ranked
        from physlm.models.primitives import product

        p = product(x_MNd, getattr(w, _of_pass("router", number))).softmax(-1)
        scores = p.detach()
        if self.bias_rate:
            scores = scores + getattr(w, _of_pass("bias", number))[:, None]
        chosen = best(scores, self.top_k)
        gate = p.gather(-1, chosen)
        if self.top_k > 1:
            gate = gate / gate.sum(-1, keepdim=True)
        return Routing(p, chosen, gate, ranked(chosen, self.experts))

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, losses, _ = self.passes(w, x, where)
        return y, losses

    def passes(self, w: Weights, x: Tensor, where: Where) -> tuple[Tensor, tuple[Tensor, ...], list[Routing]]:
        """What ``read`` gives, and the routing of each pass."""
        y, losses, routing = self._pass(w, x, where, 0)
        routings = [routing]
        for number in range(1, self.chain):
            more, others, routing = self._pass(w, x + y, where, number)
            y, losses = y + more, tuple(a + b for a, b in zip(losses, others, strict=True))
            routings.append(routing)
        return y, losses, routings

    def _pass(self, w: Weights, x: Tensor, where: Where, number: int) -> tuple[Tensor, tuple[Tensor, ...], Routing]:
        import torch

        from physlm.models.dispatch import limited, unlimited

        x_MNd = x.flatten(1, 2)
        tokens = x_MNd.shape[1]
        routing = self.route(w, x_MNd, number)
        capacity = self.capacity_of(tokens)
        slots = limited(routing.ranked, capacity) if w.training or self._holds_all else unlimited(routing.ranked)
        x_MAd = x_MNd[:, :, None].expand(-1, -1, self.top_k, -1).flatten(1, 2)
        y_MGCd = self.expert.read(_Expert(w, "", slots.expert_MG), slots.scattered(x_MAd), None, where)  # type: ignore[arg-type]
        y_MNkd = slots.gathered(y_MGCd).unflatten(1, (tokens, self.top_k))
        y = (y_MNkd * routing.gate_MNk[..., None]).sum(2).to(y_MNkd.dtype).view_as(x)
        if self.shared:
            y = y + self.expert.read(_Expert(w, "shared_"), x, None, where)  # type: ignore[arg-type]
        share_ME = routing.ranked.load_ME / x_MAd.shape[1]
        if w.training and self.bias_rate:
            with torch.no_grad():
                getattr(w, _of_pass("bias", number)).add_((1 / self.experts - share_ME).sign(), alpha=self.bias_rate)
        return y, self._losses(w, routing, share_ME, capacity if w.training else x_MAd.shape[1]), routing

    def _losses(self, w: Weights, routing: Routing, share_ME: Tensor, capacity: int) -> tuple[Tensor, ...]:
        mlps = (w.model.mlps[layer] for layer in w.model.order)
        blocks = self.chain * sum("dropped" in mlp.losses for mlp in mlps)
        lost_M = (routing.ranked.load_ME - capacity).clamp(min=0).sum(-1)
        dropped_M = lost_M / (routing.ranked.expert_MA.shape[1] * blocks)
        if not self.alpha:
            return (dropped_M,)
        return self.alpha * self.experts * (share_ME * routing.share_MNE.mean(1)).sum(-1), dropped_M


def _of_pass(name: str, number: int) -> str:
    """A weight of the first pass, or of another."""
    return f"{name}_{number + 1}" if number else name


class _Expert:
    """``w`` for the experts' own ``read``: matrices whose names have a ``prefix``, each at its group of tokens."""

    def __init__(self, w: Weights, prefix: str, expert_MG: Tensor | None = None):
        self._w, self._prefix, self._expert_MG = w, prefix, expert_MG
        self.mix_local = w.mix_local

    def __getattr__(self, name: str) -> Callable[[Tensor], Tensor]:
        import torch

        from physlm.models.primitives import product

        weight = getattr(self._w, self._prefix + name).weight
        if self._expert_MG is not None:
            weight = weight[torch.arange(len(weight), device=weight.device)[:, None], self._expert_MG]
        return lambda x: product(x, weight)
