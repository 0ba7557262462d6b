"""The frame of mixers with a fixed-size memory: each states its weights of its own, its gates and its core.

    q, k, v = SiLU(conv(local(x W_qkv)))            of each head; where ``silu`` is off, SiLU of v alone
    o       = core(q, k, v, gates)                  with a memory S of each head
    y       = W_out (SiLU(x W_gate) * RMSNorm(o))   the norm over each head, the gate where there is one

The core ``decayed`` lets S fade and adds to it, ``delta`` replaces in it, see ``physlm.models.recurrences``.

Shape letters: M members, B rows, T positions, H heads, h width of a key, e width of a value, L levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.errors import UserError
from physlm.models.parts.part import Kept, Mixer, Next, Where
from physlm.models.parts.recurrent import (
    DECAY,
    GATE,
    channels,
    check_recurrent,
    chunk_flops,
    chunk_numbers,
    conv_kept,
    conv_weights,
)
from physlm.models.parts.weight import GAIN, GATE_MATRIX, MATRIX, Constant, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

CoreName = Literal["decayed", "delta"]


class RecurrentMixer(Mixer):
    """What such mixers share; see the top of this page.  A setting that a mixer does not have is as it is here.

    Attributes:
        core: the recurrence.
        silu_without_conv: what passes SiLU passes it where there is no convolution too.
        output_gate: y has a gate.
        keys, values: channels of all heads together, as shares of the width.
        conv: the short convolution.
        silu: q, k and v pass SiLU; else v alone does.
        steps: updates a token, each with a key and a value of its own.
        levels: L > 0: a memory of each scale of time, see ``recurrences.levels``, which the token weighs with
            softplus(s_l x W_l), s = 1 at first.  L levels tell tokens up to 2^(L - 1) apart; what is farther belongs to
            the last one.  The state has L - 1 memories in place of one, and no more than rows of its length need.
    """

    reads_beside: ClassVar[bool] = False  # type: ignore[misc]
    core: ClassVar[CoreName] = "decayed"
    silu_without_conv: ClassVar[bool] = True
    output_gate: ClassVar[bool] = False
    keys: float = 1.0
    values: float = 1.0
    conv: bool = True
    silu: bool = True
    steps: int = 1
    levels: int = 0

    # ---- What a mixer states

    def gates(self, model: ModelConfig) -> tuple[Weight, ...]:
        """Its weights beside those of the frame."""
        return ()

    def given(self, w: Weights, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        """The arguments of its core, in heads, (M, B, H, T, ..), of q, k and v, (M, B, T, channels)."""
        raise TypeError(f"{type(self).__name__} does not say what it gives to its core")

    def head(self, w: Weights, x: Tensor, o_MBHTe: Tensor) -> Tensor:
        """What W_out gets, (M, B, T, channels of the values)."""
        from physlm.models.parts.recurrent import gated, normed_heads

        y = normed_heads(o_MBHTe, w.gain)
        return gated(y, w.gate(x)) if self.output_gate else y

    # ---- What follows from it

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"model.mixer.steps: got {self.steps}, expected at least 1")
        if self.levels < 0 or self.levels == 1:
            raise UserError(f"model.mixer.levels: got {self.levels}, expected 0, one memory, or at least 2")
        if self.levels and self.steps > 1:
            raise UserError(f"model.mixer.levels, model.mixer.steps: got {self.levels} and {self.steps}, expected no "
                            "levels or one update a token")

    def check(self, model: ModelConfig) -> None:
        check_recurrent(self, model, keys=self.keys, values=self.values)

    def sizes(self, model: ModelConfig) -> tuple[int, int]:
        """Channels of the keys and of the values of all heads, of one update."""
        return channels(self.keys, model), channels(self.values, model)

    def local_width(self, model: ModelConfig) -> int:
        keys, values = self.sizes(model)
        return keys + self.steps * (keys + values)

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        (keys, values), n, mixed = self.sizes(model), self.steps, self.local_width(model)
        # q and the values, as in attention, where columns are blocks of one width
        moved, blocks = ((0, *range(n + 1, 2 * n + 1)), 2 * n + 1) if keys == values else ((0,), 1)
        parts = (*(keys,) * (n + 1), *(values,) * n)
        return (Weight("qkv", (model.width, mixed), Normal(), MATRIX, low_rank=moved, blocks=blocks, parts=parts),
                *conv_weights(self.conv, mixed), *self.gates(model), *self.level_weights(model),
                *(Weight("gate", (model.width, values), Normal(), GATE_MATRIX),) * self.output_gate,
                *self.gain(values), Weight("out", (values, model.width), Normal(small=True), MATRIX))

    def gain(self, values: int) -> tuple[Weight, ...]:
        """Of the norm of the heads."""
        return (Weight("gain", (values,), Constant(1.0), GAIN),)

    def level_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        """W_l and s_l of the levels of each head."""
        numbers = model.heads * self.levels
        return (Weight("level", (model.width, numbers), Normal(), GATE),
                Weight("level_scale", (numbers,), Constant(1.0), DECAY)) * bool(self.levels)

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        keys, values = (channels // model.heads for channels in self.sizes(model))
        slots = (min(self.levels - 1, positions.bit_length()),) * bool(self.levels)
        return (Kept("memory", (model.heads, *slots, keys, values + self.counted), float32=True),
                *conv_kept(self.conv, self.conv_width(model)))

    @property
    def counted(self) -> int:
        """Columns of S beside those of the values."""
        return 0

    def conv_width(self, model: ModelConfig) -> int:
        """Channels that the short convolution acts on."""
        return self.local_width(model)

    @property
    def core_of_costs(self) -> str:
        """The core as the size of its chunks knows it."""
        return self.core

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """Of a memory of each scale 2 h e for each level beyond a chunk."""
        keys, values = self.sizes(model)
        return self.steps * chunk_flops(model, keys, values, row_tokens, self.core_of_costs, self.levels)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        keys, values = self.sizes(model)
        return self.steps * chunk_numbers(model, keys, values, row_tokens, self.core_of_costs, self.levels)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        from physlm.models.parts.recurrent import convolved

        (keys, values), n = self.sizes(w.model), self.steps
        qkv = w.mix_local(w.qkv(x), state, where)
        if self.conv or self.silu_without_conv:
            qkv = convolved(w, qkv, state, where, self.conv, plain=0 if self.silu else (1 + n) * keys)
        q, k, v = qkv.split((keys, n * keys, n * values), -1)
        return w.out(self.head(w, x, self.remembered(w, x, state, where, *self.given(w, x, q, k, v))))

    def remembered(self, w: Weights, x: Tensor, state: State | None, where: Where, *given: Any) -> Tensor:
        """What the core reads out, (M, B, H, T, e), by its form for rows or one step; the memory moves on."""
        from physlm.models.recurrences.cores import CORES
        from physlm.models.recurrences.levels import levels_step, read_levels

        core, levels = CORES[self.core], self._shares(w, x) if self.levels else None
        memory: Tensor | None
        if isinstance(where, Next):
            assert state is not None
            if levels is None:
                read, memory = core.step(*given, state["memory"])
            else:
                read, memory = levels_step(core.step, *given, share=levels, memory=state["memory"],
                                           place_1=where.place_1)
        elif levels is None:
            read, memory = core.rows(*given, rounded=x.dtype)
        else:
            slots = 0 if state is None else state["memory"].shape[-3]
            read, memory = read_levels(core.chunks(*given, rounded=x.dtype), levels, x.shape[2], slots, x.dtype)
        if state is not None:
            assert memory is not None
            state["memory"].copy_(memory)
        return read

    def _shares(self, w: Weights, x: Tensor) -> Tensor:
        """The weight of each level, (M, B, H, T, L)."""
        import torch.nn.functional as F

        from physlm.models.module import per_member
        from physlm.models.parts.recurrent import in_heads
        from physlm.models.primitives import product

        return in_heads(F.softplus(product(x, w.level) * per_member(w.level_scale)), w.model.heads)
