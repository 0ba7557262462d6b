"""What mixers with a fixed-size memory are made of: roles, first values, the short convolution, heads, gates, chunks.

``recurrent_mixer`` is the frame that they share; FoX, PaTH and MLA take single pieces of this page.

Shape letters: M members, B rows, T positions, H heads, h width of a key, e width of a value.  Free of torch, as parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from physlm.errors import UserError, counted
from physlm.models.parts.part import Kept, Mixer, Next, Where
from physlm.models.parts.weight import FILTER, Role, Uniform, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State

# projections to gates: in bfloat16 a decay near 1 would be rounded to 1, and the memory would never fade
GATE = Role("gate", float32=True, multiplied=True)
DECAY = Role("decay", decays=False, float32=True)
TAPS = 4
# positions at most that a recurrence reads at once, by its core, see ``recurrences.chunks``; powers of two
CHUNKS = {"decayed": 64, "channels": 64, "delta": 64, "path": 64}
LEAST_CHUNK = 16
GROUP = 512  # queries of PaTH that are read again at a time in the backward pass of longer rows
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
            raise UserError(f"model.mixer.{name}: got {share:g} of {counted(model.width, 'channel')}, expected a share "
                            f"that gives each of {counted(model.heads, 'head')} a whole number of them")


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
    w: Weights, x: Tensor, state: State | None, where: Where, conv: bool, bias: Tensor | None = None, plain: int = 0
) -> Tensor:
    """SiLU(bias + sum_s w_s x_(t-s)), zeros before the row; SiLU(x) without ``conv``; in the dtype of x.

    The first ``plain`` channels have no SiLU around them.
    """
    import torch
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
    wide = wide if bias is None else wide + per_member(bias)
    if not plain:
        return F.silu(wide).to(x.dtype)
    return torch.cat((wide[..., :plain], F.silu(wide[..., plain:])), -1).to(x.dtype)


# ---- Heads and memory


def widened(x: Tensor) -> Tensor:
    """In float32, or float64 if that is what came."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_heads(x_MBTc: Tensor, heads: int) -> Tensor:
    """(M, B, H, T, c / H), widened."""
    return widened(x_MBTc).unflatten(-1, (heads, -1)).transpose(2, 3)


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


# ---- Chunks and costs


def chunk_of(positions: int, core: str) -> int:
    """C: the power of two from T up, at least 16 and at most that of the core."""
    return min(CHUNKS[core], max(LEAST_CHUNK, 1 << max(0, positions - 1).bit_length()))


def memories_of(row_tokens: int, core: str, levels: int) -> int:
    """How many memories a chunk reads: one, or one of each level beyond a chunk."""
    chunk = chunk_of(row_tokens, core)
    return max(1, (-(-row_tokens // chunk) - 1).bit_length()) if levels else 1


def chunk_flops(model: ModelConfig, keys: int, values: int, row_tokens: int, core: str, levels: int = 0) -> float:
    """Forward FLOPs a token of a recurrence in chunks: 2 h e a head for what is written and for each memory that is
    read, and 2 (h + e) for each position of a chunk.  The delta rule has 2 h^2 (1 + e / C) more, and 4 (2 h + C) for
    each position."""
    chunk, each = min(CHUNKS[core], row_tokens), keys / model.heads
    if not chunk:
        return 0.0
    found = 2.0 * each * values * (1 + memories_of(row_tokens, core, levels)) + 2.0 * chunk * (keys + values)
    if core == "delta":
        found += 2 * each * (keys + each * values / chunk) + 4.0 * chunk * (2 * keys + model.heads * chunk)
    return found


def chunk_numbers(model: ModelConfig, keys: int, values: int, row_tokens: int, core: str, levels: int = 0) -> int:
    """Numbers a token that the backward pass keeps of it, float32 counted as two: scores, and the memories."""
    chunk = max(1, min(CHUNKS[core], row_tokens))
    memories = memories_of(row_tokens, core, levels)
    found = 2 * (2 * model.heads * chunk + (1 + memories) * keys * values / (model.heads * chunk))
    if levels:
        found += 2 * memories * keys
    return round(2 * found if core == "delta" else found)
