"""The Forgetting Transformer (FoX, arXiv 2503.02130): softmax attention whose scores fade as the tokens choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.models.parts.part import Kept, Mixer, Next, Where, Whole
from physlm.models.parts.recurrent import DECAY, GATE, check_recurrent
from physlm.models.parts.weight import GAIN, GATE_MATRIX, MATRIX, Constant, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

COLUMNS = 8  # of keys for what has faded: kernels of GPUs want heads of a multiple of 8


@dataclass(frozen=True)
class FoX(Mixer):
    """o_i = Sum_j softmax_j(q_i . k_j / sqrt(k) + c_i - c_j) v_j over j <= i,  c_t = ln f_1 + .. + ln f_t.

    f_t = sigmoid(x_t W_f + b) in each head; that of the key's own token does not count.  No other positions.  Where f
    is the constant e^-m this is ALiBi of slope m, and where f = 1 attention without positions.

    The weights of a query do not depend on c_i, so that -c_j alone is added, as further channels of the keys: in
    bfloat16 the three that it rounds to one after the other, which hold c to the digits of float32.  So any kernel of
    attention computes it, and none writes T x T scores.  A ln f below -50 counts as -50: c of a row of T tokens is at
    least -50 T, where float32 is exact to 3e-6 T; what is before such a token keeps e^-50 = 2e-22 of its weight.

    State: keys with those 8 channels and values of each token, H (2 k + 8), and c of the last one.

    Attributes:
        pro: the paper's larger block: k~_t = a_t k_(t-1) + (1 - a_t) k_t with a_t = sigmoid(x_t W) in each head, and
            so for v; then q and k are divided by their root mean square in each head; the output of each head is
            normed so too, and multiplied with sigmoid(x W_gate).  It has d^2 weights more; a narrower MLP makes up
            for them.
    """

    kind: ClassVar[str] = "fox"
    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    pro: bool = False

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, heads = model.width, model.heads
        pro = (Weight("shift", (d, 2 * heads), Normal(), GATE), Weight("gate", (d, d), Normal(), GATE_MATRIX),
               *(Weight(name, (d,), Constant(1.0), GAIN) for name in ("q_gain", "k_gain", "gain")))  # fmt: skip
        return (Weight("qkv", (d, 3 * d), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                Weight("forget", (d, heads), Normal(), GATE), Weight("bias", (heads,), Constant(0.0), DECAY),
                *pro * self.pro, Weight("out", (d, d), Normal(small=True), MATRIX))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        heads, width = model.heads, model.head_width
        return (Kept("keys", (heads, positions, width + COLUMNS), axis=1),
                Kept("values", (heads, positions, width), axis=1), Kept("faded", (heads, 1), float32=True),
                *(Kept("last", (1, 2 * model.width)),) * self.pro)

    def local_width(self, model: ModelConfig) -> int:
        return 3 * model.width

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        return (4.0 * model.width + 2 * COLUMNS * model.heads) * model.mean_reach(row_tokens)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        return 3 * COLUMNS * model.heads + 8 * model.width * self.pro

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        from physlm.models.faded_heads import gated_heads
        from physlm.models.parts.distances import keep, seen

        q, k, v = self._project(w, x, state, where)
        mask = None
        if state is not None:
            place = where.place_1 if isinstance(where, Next) else None
            keep(state["keys"], k, place)
            keep(state["values"], v[..., :-COLUMNS], place)
            if isinstance(where, Next):
                k, v = state["keys"], state["values"]
                mask = seen(k.shape[3], where.place_1)[None, None, None]
        mixed = read_faded(q, k, v, mask)
        if self.pro:
            return w.out(gated_heads(mixed, w.gate(x), w.gain))
        return w.out(mixed[..., :-COLUMNS].transpose(2, 3).reshape(x.shape))

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        import torch

        from physlm.models.parts.distances import future
        from physlm.models.parts.recurrent import widened

        q, k, _ = self._project(w, x, None, where)
        scores = widened(q) @ widened(k).mT
        return scores.masked_fill(future(x.shape[2], x.device), -torch.inf).softmax(-1)

    def _project(self, w: Weights, x: Tensor, state: State | None, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """q / sqrt(k), k with the channels of c, and v, (M, B, H, T, k + 8) each."""
        import torch
        import torch.nn.functional as F

        from physlm.models.faded_heads import Shift, read_heads
        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import in_heads
        from physlm.models.primitives import product
        from physlm.models.recurrences.chunks import floored, running_over_rows

        qkv, heads = w.mix_local(w.qkv(x), state, where), w.model.heads
        # one product for both kinds of gates: so narrow ones take as long as they take to read x
        gates = product(x, torch.cat((w.forget, w.shift), -1) if self.pro else w.forget)
        shift = Shift(gates[..., heads:].sigmoid(), w.q_gain, w.k_gain) if self.pro else None
        fade = floored(in_heads(F.logsigmoid(gates[..., :heads] + per_member(w.bias)), heads))
        faded = running_over_rows(fade)  # c, (M, B, H, T, 1)
        before = None
        if isinstance(where, Next):
            assert state is not None
            faded = faded + state["faded"][..., None]
            before = state["last"].clone() if self.pro else None
        if state is not None:
            state["faded"].copy_(faded[..., -1, :])
            if self.pro:
                state["last"].copy_(qkv[:, :, -1:, w.model.width :])
        return read_heads(qkv, faded, heads, shift, before)


def read_faded(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """What the queries of ``with_faded`` read of v, (M, B, H, T, k + 8), which means nothing in the last 8 channels;
    without a mask, of what is before them."""
    import torch.nn.functional as F

    # values as wide as keys: else the kernels of GPUs that need no memory for the scores refuse
    v = F.pad(v, (0, k.shape[-1] - v.shape[-1]))
    members, q, k, v = q.shape[:2], q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=1.0)
    return mixed.unflatten(0, members)
