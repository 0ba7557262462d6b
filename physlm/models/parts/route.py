"""Which tokens a block reads: all of them, or those that a router chooses (mixture of depths, arXiv 2404.02258).

Shape letters: M members, B rows, T positions, C tokens that are chosen, L positions of a state, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from physlm.errors import UserError, counted
from physlm.models.parts.part import Kept, Next, Route, Where, Whole
from physlm.models.parts.weight import Normal, Role, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

ROUTER = Role("router of tokens", float32=True, multiplied=True)  # in bfloat16 rounding would choose other tokens
PREDICTOR = Role("predictor of a router", float32=True, multiplied=True, apart=True)
_MOST_UNITS = 1 << 12


class Choice(NamedTuple):
    """Which tokens a block reads: ``places_MBC`` says it in training, ``chosen_MBT`` outside of training.

    Attributes:
        gate_MBT1: of each token, the factor of what the block adds to it; float32 at least.
        chosen_MBT: of each token, whether the block reads it; None in training.
        places_MBC: positions of the tokens that the block reads, ascending; None outside of training.
        kept_MBL: of each position of the state, whether its token was chosen, or is the one being read; None of whole
            rows.
        losses: of the router in training, each (M,); () outside of it, where nobody reads them.
    """

    gate_MBT1: Tensor
    chosen_MBT: Tensor | None = None
    places_MBC: Tensor | None = None
    kept_MBL: Tensor | None = None
    losses: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class AllTokens(Route):
    """Every block reads all tokens: x <- x + f(x)."""

    kind: ClassVar[str] = "all"

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return ()


@dataclass(frozen=True)
class MixtureOfDepths(Route):
    """Mixture of depths (arXiv 2404.02258): every second block reads an eighth of the tokens of each row.

        r_t = x_t . w                                       in float32
        x_t <- x_t + g_t f(x)_t      chosen tokens, f what mixer and MLP add where they see chosen tokens alone
        x_t <- x_t                   others                 g_t = r_t, or sigmoid(r_t)

    In training the C = capacity T tokens of a row with the highest r are chosen, at least one; they keep their places,
    and nothing else is computed.  Whether a token is among them depends on later ones: a whole row in training is not
    causal.  Outside of training the ``decision`` is the token's own, so that whole rows are what single steps give and
    accuracy is that of generation; any number of a row's tokens may be chosen:

        predictor   z_t > 0 of an MLP beside it, z_t = silu(x^_t W_1) W_2 with x^ = x / rms(x), which has no gradient in
                    x: it changes nothing of the model (the paper's second way, "a second router")
        router      r_t > 0, which the loss below trains (the paper's first way)

    Loss, of each routed block: alpha BCE(sigmoid(z_t or r_t), whether t is among the C highest), mean over tokens, in
    nats, logged as ``routing``.  ``misrouted``, without a gradient, is the share of tokens of which the causal
    decision differs from the top C, mean over the routed blocks.  The paper names neither alpha nor the size of the
    predictor; r begins near 0, and so does what a routed block adds.

    Members and rows choose apart.  State: keys and values of all positions, and which of them were chosen; the paper's
    would be those of chosen tokens alone, whose number only the rows know.

    FLOPs and active parameters count a routed block for the share of tokens that training gives it.

    Attributes:
        capacity: C / T.
        every: one of so many blocks, the last one, is routed; 1: all are.
        units: hidden ones of the predictor.
        weight: g, the ``score`` itself as published or its ``sigmoid``.
        alpha: of the loss.
    """

    kind: ClassVar[str] = "depths"
    losses: ClassVar[tuple[str, ...]] = ("routing", "misrouted")
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    capacity: float = 0.125
    every: int = 2
    decision: Literal["predictor", "router"] = "predictor"
    units: int = 32
    weight: Literal["score", "sigmoid"] = "score"
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.capacity <= 1:
            raise UserError(f"model.route.capacity: got {self.capacity}, expected a share of the tokens, above 0 and "
                            "at most 1")
        if self.every < 1:
            raise UserError(f"model.route.every: got {self.every}, expected at least 1, where every block is routed")
        if not 1 <= self.units <= _MOST_UNITS:
            raise UserError(f"model.route.units: got {self.units}, expected 1 to {_MOST_UNITS}")
        if not self.alpha > 0:
            raise UserError(f"model.route.alpha: got {self.alpha}, expected a number above 0: without the loss nothing "
                            "learns which tokens to choose when later ones are not known")

    def check(self, model: ModelConfig) -> None:
        routed = [layer for layer in range(model.layers) if self.routes(layer)]
        if not routed:
            raise UserError(f"model.route.every: got {self.every} with {counted(model.layers, 'layer')}, expected at "
                            "most as many")
        if not model.causal:
            raise UserError("model.causal: got false with model.route=depths, expected true")
        if model.residual.streams > 1:
            raise UserError(f"model.residual: got {model.residual.kind} of {counted(model.residual.streams, 'stream')} "
                            "with model.route=depths, expected one stream")
        if model.parallel.prefix:
            raise UserError(f"model.parallel: got {model.parallel.label} with model.route=depths, expected no prefix")
        for layer in routed:
            mixer, mlp, local = model.mixers[layer], model.mlps[layer], model.locals[layer]
            if not mixer.reads_chosen:
                raise UserError(f"model.mixer: got {mixer.label} in a block that some tokens pass by, expected a mixer "
                                "that can leave tokens out: attention without a bias, window, chunk, log_n and table "
                                "of values")
            if mlp.reads_ids or mlp.state(model, 1, False):
                raise UserError(f"model.mlp: got {mlp.label} in a block that some tokens pass by, expected one that "
                                "looks at each token alone")
            if local is not None and local.sites:
                raise UserError(f"model.local: got {local.label} in a block that some tokens pass by, expected none")

    def routes(self, layer: int) -> bool:
        return layer % self.every == self.every - 1

    def share(self, layer: int) -> float:
        return self.capacity if self.routes(layer) else 1.0

    def tokens(self, layer: int, row_tokens: int) -> int:
        return self.chosen(row_tokens) if row_tokens and self.routes(layer) else row_tokens

    def chosen(self, row_tokens: int) -> int:
        """C of a row of T tokens."""
        return max(1, int(self.capacity * row_tokens))

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        """Of one routed block."""
        router = Weight("router", (model.width, 1), Normal(), ROUTER)
        if self.decision == "router":
            return (router,)
        return (router, Weight("predictor_up", (model.width, self.units), Normal(), PREDICTOR),
                Weight("predictor_out", (self.units, 1), Normal(), PREDICTOR))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        return (Kept("chosen", (positions,), axis=0, float32=True),)

    def choose(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Choice:
        """In training which places, else whether each token is chosen."""
        from physlm.models.primitives import product

        score_MBT1 = product(x, w.router)
        gate = score_MBT1.sigmoid() if self.weight == "sigmoid" else score_MBT1
        score, logit = score_MBT1[..., 0], self._logits(w, x, score_MBT1)
        if w.training and isinstance(where, Whole):
            places = score.detach().topk(self.chosen(x.shape[2]), -1).indices.sort(-1).values
            return Choice(gate, places_MBC=places, losses=self._losses(w, logit, places))
        chosen = logit > 0
        if isinstance(where, Whole):
            if state is not None:
                state["chosen"][..., : chosen.shape[-1]].copy_(chosen)
            return Choice(gate, chosen)
        assert isinstance(where, Next) and state is not None, "beside rows: refused by reads_beside"
        state["chosen"].index_copy_(2, where.place_1, chosen.to(state["chosen"].dtype))
        itself = state["chosen"].new_ones(1).expand_as(chosen)
        return Choice(gate, chosen, kept_MBL=state["chosen"].index_copy(2, where.place_1, itself) > 0)

    def _logits(self, w: Weights, x: Tensor, score_MBT1: Tensor) -> Tensor:
        """Of the causal decision, (M, B, T)."""
        import torch.nn.functional as F

        from physlm.models.primitives import product

        if self.decision == "router":
            return score_MBT1[..., 0]
        seen = F.rms_norm(x.detach(), x.shape[-1:], eps=1e-6)
        return product(F.silu(product(seen, w.predictor_up)), w.predictor_out)[..., 0]

    def _losses(self, w: Weights, logit_MBT: Tensor, places_MBC: Tensor) -> tuple[Tensor, ...]:
        import torch
        import torch.nn.functional as F

        among = torch.zeros_like(logit_MBT).scatter(-1, places_MBC, 1.0)
        routing = F.binary_cross_entropy_with_logits(logit_MBT, among, reduction="none").mean((1, 2))
        blocks = sum(self.routes(layer) for layer in w.model.order)
        misrouted = ((logit_MBT.detach() > 0) != (among > 0)).to(routing.dtype).mean((1, 2)) / blocks
        return self.alpha * routing, misrouted
