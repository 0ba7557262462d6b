"""What mixers with a fixed-size memory have in common: roles, first values, the short convolution, the memory.

    x -> projections -> local mixing -> short convolution and SiLU -> heads -> recurrence -> norm of each head -> out

Shape letters: M members, B rows, T positions, H heads, h width of a key, e width of a value.  Free of torch, as parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from physlm.errors import UserError
from physlm.models.parts.part import FILTER, Kept, Mixer, Next, Role, Uniform, Weight, Where

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

# projections to gates: in bfloat16 a decay near 1 would be rounded to 1, and the memory would never fade
GATE = Role("gate", float32=True, multiplied=True)
DECAY = Role("decay", decays=False, float32=True)
TAPS = 4
CHUNK = 64  # tokens at most that a recurrence reads at once, see ``recurrences.chunks``
NORM_EPS, UNIT_EPS = 1e-5, 1e-6


@dataclass(frozen=True)
class LogUniform:
    """ln A with A uniform between two bounds."""

    low: float
    high: float

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        return Uniform(self.low, self.high).draw(key, count, model).log()


@dataclass(frozen=True)
class StepSize:
    """b with softplus(b) = D, where ln D is uniform between the logarithms of two bounds: ln(e^D - 1)."""

    low: float
    high: float

    def draw(self, key: int, count: int, model: ModelConfig) -> Tensor:
        step = Uniform(math.log(self.low), math.log(self.high)).draw(key, count, model).exp()
        return step.expm1().log()


STEP = StepSize(1e-3, 0.1)  # of Mamba2 and Gated DeltaNet


def check_recurrent(mixer: Mixer, model: ModelConfig, **widths: float) -> None:
    """Refuse an encoder, and widths, as shares of the model's, that the heads do not divide."""
    if not model.causal:
        raise UserError(f"model.causal: got false with the mixer {mixer.kind}, whose memory is of earlier tokens; "
                        "expected true")
    for name, share in widths.items():
        each = share * model.width / model.heads
        if not round(each) >= 1 or abs(each - round(each)) > 1e-6:
            raise UserError(f"model.mixer.{name}: got {share:g} of {model.width} channels, expected a share that gives "
                            f"each of {model.heads} heads a whole number of them")


def channels(share: float, model: ModelConfig) -> int:
    """How many channels a share of the model's width is."""
    return round(share * model.width)


# ---- Short convolution


def conv_weights(conv: bool, width: int) -> tuple[Weight, ...]:
    """A filter over the last four tokens for each channel, drawn as torch draws a convolution's."""
    bound = TAPS**-0.5
    return (Weight("conv", (TAPS, width), Uniform(-bound, bound), FILTER),) * conv


def conv_kept(conv: bool, width: int) -> tuple[Kept, ...]:
    """The last three inputs."""
    return (Kept("last", (TAPS - 1, width)),) * conv


def convolved(
    w: Weights, x: Tensor, state: State | None, where: Where, conv: bool, bias: Tensor | None = None
) -> Tensor:
    """SiLU(bias + sum_s w_s x_(t-s)), zeros before the row; SiLU(x) without ``conv``; in the dtype of x."""
    import torch.nn.functional as F

    from physlm.models.local_filter import local_filter, local_filter_step
    from physlm.models.module import per_member
    from physlm.models.parts.canon import begin

    y = x
    if conv and isinstance(where, Next):
        assert state is not None
        y = local_filter_step(x, state["last"], w.conv, False, "")
    elif conv:
        y = local_filter(x, w.conv, False, "")
        if state is not None:
            begin(state, x)
    wide = widened(y)
    return F.silu(wide if bias is None else wide + per_member(bias)).to(x.dtype)


# ---- Heads and memory


def widened(x: Tensor) -> Tensor:
    """In float32, or float64 if that is what came."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_heads(x_MBTc: Tensor, heads: int) -> Tensor:
    """(M, B, H, T, c / H), widened."""
    return widened(x_MBTc).unflatten(-1, (heads, -1)).transpose(2, 3)


def memory_kept(model: ModelConfig, keys: int, values: int) -> Kept:
    """The matrix of each head, (H, h, e) float32, for so many channels of keys and of values."""
    return Kept("memory", (model.heads, keys // model.heads, values // model.heads), float32=True)


def remembered(
    rows: Callable[..., tuple[Tensor, Tensor]], step: Callable[..., tuple[Tensor, Tensor]], state: State | None,
    where: Where, *given: Any,
) -> Tensor:
    """What a recurrence reads out, (M, B, H, T, e), by its form for ``rows`` or one ``step``; the memory moves on."""
    if isinstance(where, Next):
        assert state is not None
        read, memory = step(*given, state["memory"])
    else:
        read, memory = rows(*given)
    if state is not None:
        state["memory"].copy_(memory)
    return read


def out_of_heads(o_MBHTe: Tensor) -> Tensor:
    """(M, B, T, H e)."""
    return o_MBHTe.transpose(2, 3).flatten(-2)


def normed_heads(o_MBHTe: Tensor, gain_Mc: Tensor) -> Tensor:
    """g o / sqrt(mean o^2 + 1e-5) over each head, (M, B, T, H e)."""
    import torch

    from physlm.models.module import per_member

    scale = torch.rsqrt(o_MBHTe.square().mean(-1, keepdim=True) + NORM_EPS)
    return out_of_heads(o_MBHTe * scale) * per_member(gain_Mc)


def unit(x: Tensor) -> Tensor:
    """x / sqrt(sum x^2 + 1e-6) over the last axis."""
    import torch

    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + UNIT_EPS)


def log_decay(w: Weights, x: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """D = softplus(x W_step + b) and -e^A D, of Mamba2 and Gated DeltaNet, (M, B, H, T, 1) each."""
    import torch.nn.functional as F

    from physlm.models.module import per_member
    from physlm.models.primitives import product

    step = F.softplus(product(x, w.step) + per_member(w.step_bias))
    return in_heads(step, heads), in_heads(-per_member(w.decay.exp()) * step, heads)


def gated(y: Tensor, gate: Tensor) -> Tensor:
    """y SiLU(gate), in the dtype of the gate."""
    import torch.nn.functional as F

    return (y * F.silu(widened(gate))).to(gate.dtype)


# ---- Costs


def chunk_flops(model: ModelConfig, keys: int, values: int, row_tokens: int, solved: bool = False) -> float:
    """Forward FLOPs a token of a recurrence in chunks: 4 h e a head for what goes through the memory, and 2 (h + e) for
    each position of a chunk.  ``solved``: of the delta rule, which has twice of both, and the inverse of C x C."""
    chunk = min(CHUNK, row_tokens)
    through = 4.0 * keys * values / model.heads * bool(row_tokens)
    within = 2.0 * chunk * (keys + values)
    return 2 * (through + within) + model.heads * chunk**2 if solved else through + within


def chunk_numbers(model: ModelConfig, keys: int, values: int, row_tokens: int) -> int:
    """Numbers a token that the backward pass keeps of it, float32 counted as two: scores, and the memories."""
    chunk = max(1, min(CHUNK, row_tokens))
    return round(2 * (2 * model.heads * chunk + 2 * keys * values / (model.heads * chunk)))
