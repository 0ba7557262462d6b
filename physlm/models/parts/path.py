"""PaTH attention (arXiv 2505.16381): positions are a product of reflections that the tokens between choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Kept, Mixer, Next, Where, Whole
from physlm.models.parts.recurrent import CHUNKS, DECAY, GATE, GROUP, channels, check_recurrent, conv_kept, conv_weights
from physlm.models.parts.weight import MATRIX, Constant, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class PaTH(Mixer):
    """softmax_j(k_j^T H_(j+1) .. H_i q_i / sqrt(k)) v_j over j <= i,  H_t = I - b_t w_t w_t^T,  b_t = 2 sigmoid(x_t W).

    b_t has a learnt bias in each head.  w_t is SiLU of a short convolution of x W_down W_up, divided by its length in
    each head; the convolution has four taps, as everywhere here, where the paper has three.  With b_t = 0 this is
    attention without positions; b_t = 2 swaps two channels of a key, so that permutations can be followed.

    Of whole rows only the scores of a chunk of queries are written out at a time, see ``recurrences.path``.  State:
    keys in float32, which every token turns further, and values; the last three inputs of the convolution; with
    ``forget`` what has faded since each token.

    Attributes:
        rank: of W_down W_up, as a share of the width; the paper has 32 channels.
        conv: the short convolution; without it SiLU alone.
        forget: PaTH-FoX: c_i - c_j is added to the scores, as in FoX; unlike the authors' code not divided by sqrt(k).
    """

    kind: ClassVar[str] = "path"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    rank: float = 0.125
    conv: bool = True
    forget: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.rank <= 1:
            raise UserError(f"model.mixer.rank: got {self.rank}, expected a share of the width, above 0 and at most 1")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model)

    def _rank(self, model: ModelConfig) -> int:
        return max(1, channels(self.rank, model))

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, heads, rank = model.width, model.heads, self._rank(model)
        forget = (Weight("fade", (d, heads), Normal(), GATE), Weight("fade_bias", (heads,), Constant(0.0), DECAY))
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                Weight("down", (d, rank), Normal(), GATE), Weight("up", (rank, d), Normal(), GATE),
                *conv_weights(self.conv, d), Weight("beta", (d, heads), Normal(), GATE),
                Weight("bias", (heads,), Constant(0.0), DECAY), *forget * self.forget,
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        heads, width = model.heads, model.head_width
        return (Kept("keys", (heads, positions, width), axis=1, float32=True),
                Kept("values", (heads, positions, width), axis=1), *conv_kept(self.conv, model.width),
                *(Kept("faded", (heads, positions, 1), axis=1, float32=True),) * self.forget)

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """4 d for each position that is read, and those of the reflections: k^2 a head for each chunk before."""
        chunk = max(1, min(CHUNKS["path"], row_tokens))
        reach = model.mean_reach(row_tokens)
        return (4.0 + 2 * model.head_width / chunk) * model.width * reach + 8.0 * chunk * model.width * bool(row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Float32 counted as two: scores and weights of each key and head and the keys as each chunk meets them, in
        rows of up to 512 tokens; of longer ones what the groups of queries begin with."""
        chunk = max(1, min(CHUNKS["path"], row_tokens))
        own = 16 * model.width + 4 * model.heads * chunk
        if row_tokens > GROUP:
            return own
        return own + row_tokens * (3 * model.heads + model.width // chunk)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        import torch

        from physlm.models.parts.distances import keep, seen
        from physlm.models.parts.recurrent import out_of_heads
        from physlm.models.recurrences.path import path_attention, path_keys, path_step

        q, k, v, turn, beta = self._project(w, x, state, where)
        fade = self._fade(w, x) if self.forget else None
        if isinstance(where, Next):
            assert state is not None
            state["keys"].copy_(path_step(state["keys"], turn, beta))
            keep(state["keys"], k, where.place_1)
            keep(state["values"], v, where.place_1)
            scores = q @ state["keys"].mT
            if fade is not None:
                state["faded"].add_(fade)
                keep(state["faded"], torch.zeros_like(fade), where.place_1)
                scores = scores + state["faded"].mT
            weight = scores.masked_fill(~seen(scores.shape[-1], where.place_1), -torch.inf).softmax(-1)
            return w.out(out_of_heads(weight.to(x.dtype) @ state["values"]))
        if state is not None:
            keys, faded = path_keys(k, turn, beta, fade)
            keep(state["keys"], keys)
            keep(state["values"], v)
            if faded is not None:
                keep(state["faded"], faded)
        return w.out(out_of_heads(path_attention(q, k, v, turn, beta, fade)))

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        from physlm.models.recurrences.path import path_scores

        q, k, _, turn, beta = self._project(w, x, None, where)
        return path_scores(q, k, turn, beta, self._fade(w, x) if self.forget else None)[0].softmax(-1)

    def _fade(self, w: Weights, x: Tensor) -> Tensor:
        """ln f of each token, at least -50, (M, B, H, T, 1)."""
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import in_heads
        from physlm.models.primitives import product
        from physlm.models.recurrences.chunks import floored

        return floored(in_heads(F.logsigmoid(product(x, w.fade) + per_member(w.fade_bias)), w.model.heads))

    def _project(
        self, w: Weights, x: Tensor, state: State | None, where: Where
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """q / sqrt(k), k and w widened, v in the dtype of x, each (M, B, H, T, k), and b, (M, B, H, T, 1)."""
        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import convolved, in_heads, unit
        from physlm.models.primitives import product

        heads = w.model.heads
        q, k, v = (in_heads(part, heads) for part in w.mix_local(w.qkv(x), state, where).chunk(3, -1))
        low = product(product(x, w.down.to(x.dtype)), w.up.to(x.dtype))  # no gate: rounded as q and k are
        turn = unit(in_heads(convolved(w, low, state, where, self.conv), heads))
        beta = 2 * in_heads((product(x, w.beta) + per_member(w.bias)).sigmoid(), heads)
        return q * q.shape[-1] ** -0.5, k, v.to(x.dtype), turn, beta
