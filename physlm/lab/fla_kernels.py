"""The kernels of fla-core that compute the same as mixers of ours, and how our tensors become theirs.

    ours      q, k, v (M, B, H, T, c)   gates (M, B, H, T, 1)
    theirs    q, k, v (M B, T, H, c)    gates (M B, T, H)

    scale     our q comes divided by sqrt(h), so theirs are called with scale = 1; that also settles PaTH-FoX, whose
              gates their kernel adds to the scores before it scales them
    gates     natural logarithms of what is kept, at most 0, on both sides; ours count as -50 where they are below
    b         what the delta rule multiplies with, from 0 to 2, on both sides: after the sigmoid
    state     0 before the first token, as in training; theirs would be (M B, H, h, e) in float32, ours (M, B, H, h, e)
    shared    keys and queries of all heads (Mamba2) are repeated for each, or are one group of theirs
    steps     several updates a token lie beside each other, (.., T N, c), on both sides, and fade before the first

q, k and v are given in the type in which our core has them in training: float32 of recurrences, bfloat16 of attention.
The kernels of the delta family take 16 bits only.  Gates are float32.

What has no kernel here: log-linear Gated DeltaNet, 2-simplicial attention; native sparse attention, whose kernel needs
16 heads of queries to one of keys; attention and MLA, which torch's own kernels compute; FoX Pro, whose core is FoX's.

Shape letters: M members, B rows, H heads, T positions, N updates of each, c channels, h width of a key, e width of a
value, L levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from physlm.lab.bench_mixers import LEVELS
from physlm.models.config import ModelConfig
from physlm.models.faded_heads import with_faded
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import COLUMNS, FoX, read_faded
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention, quotient
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH
from physlm.models.parts.recurrent import unit
from physlm.models.parts.recurrent_mixer import RecurrentMixer
from physlm.models.recurrences.chunks import floored, running_over_rows
from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.levels import read_levels
from physlm.models.recurrences.path import path_attention

Given = dict[str, Tensor]  # what a core gets: q, k, v; fade, log decays; beta; w, reflections; share, weights of levels
NAMES = {"fade": "g", "share": "level_scales"}  # of theirs, where they differ


@dataclass(frozen=True)
class Kernel:
    """A mixer, and the function that computes its core.

    Attributes:
        function: its module and its name in ``fla.ops``.
        inputs: names of what it gets.
        ours: o (M, B, H, T, e) by our core, in a model that computes in the second argument.
        type: of q, k and v.
        options: what else it is told.
        grouped: keys and queries of all heads are one group.
        gated: its backward pass is the one that ``refused`` is about.
    """

    mixer: Mixer
    function: str
    inputs: tuple[str, ...]
    ours: Callable[[Given, torch.dtype], Tensor]
    type: torch.dtype = torch.float32
    options: Mapping[str, Any] = field(default_factory=dict)
    grouped: bool = False
    gated: bool = False

    def theirs(self, function: Callable[..., Any], given: Given) -> Tensor:
        """The same by their function, or by another with its arguments."""
        members, _, heads = given["v"].shape[:3]
        arguments: dict[str, Any] = {}
        for name, x in given.items():
            if name in ("q", "k") and not self.grouped:
                x = x.expand(-1, -1, heads, -1, -1)
            x = x.flatten(0, 1).transpose(1, 2)  # (M B, T, H, c)
            if name in ("q", "k", "v"):
                x = x.to(self.type)
            elif x.shape[-1] == 1:
                x = x[..., 0]
            arguments[NAMES.get(name, name)] = x.contiguous()
        found = function(**arguments, scale=1.0, **self.options)
        o: Tensor = found[0] if isinstance(found, tuple) else found
        return o.transpose(1, 2).unflatten(0, (members, -1))


def refused(kernel: Kernel, capability: tuple[int, int], triton: str, tilelang: bool) -> str:
    """Why the kernel is not to be used on this GPU; empty: nothing is known against it.

    Triton from 3.4.0 to before 3.7.1 compiles the gated backward pass wrongly for Hopper, so that gradients of keys
    and gates are wrong (issue 640 of fla-org/flash-linear-attention); fla-core raises there, unless tilelang stands in.
    """
    if not kernel.gated or capability[0] != 9 or tilelang or not "3.4.0" <= TorchVersion(triton) < "3.7.1":
        return ""
    return f"wrong gradients on Hopper with triton {triton}; needs triton 3.7.1 or tilelang"


def drawn(kernel: Kernel, model: ModelConfig, positions: int, rows: int, members: int = 1) -> Given:
    """Tensors as the mixer's core gets them in this model, float32; q, k and v are numbers of the kernel's type."""
    generator, mixer, steps = torch.Generator().manual_seed(0), kernel.mixer, getattr(kernel.mixer, "steps", 1)
    keys = values = model.head_width
    if isinstance(mixer, RecurrentMixer):
        keys, values = (channels // model.heads for channels in mixer.sizes(model))

    def normal(channels: int, updates: int = 1, heads: int = model.heads) -> Tensor:
        return torch.randn(members, rows, heads, positions * updates, channels, generator=generator)

    shared = 1 if isinstance(mixer, Mamba2) else model.heads
    q, k = normal(keys, heads=shared), normal(keys, steps, shared)
    if isinstance(mixer, LinearAttention):
        q, k = q.exp(), k.exp()  # above 0, as its features
    elif isinstance(mixer, DeltaNet | GatedDeltaNet):
        q, k = unit(q), unit(k)
    rounded = {"q": q * keys**-0.5, "k": k, "v": normal(values, steps)}
    largest = 2 if isinstance(mixer, PaTH) or getattr(mixer, "negative", False) else 1
    rates = keys if isinstance(mixer, GLA) and mixer.gate == "vector" else 1
    every = {name: x.to(kernel.type).float() for name, x in rounded.items()} | {
        "fade": -normal(rates).square() / 9, "beta": largest * normal(1, steps).sigmoid(), "w": unit(normal(keys)),
        "share": normal(LEVELS).square(),
    }  # fmt: skip
    return {name: every[name] for name in kernel.inputs}


def off_by(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest of |theirs - ours| / |ours| over these tensors, each by its root mean square; NaN if one is there."""
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack([(b - a).norm() / a.norm() for a, b in pairs]).max())


# ---- Ours


def _linear(x: Given, rounded: torch.dtype) -> Tensor:
    v = torch.cat((x["v"], torch.ones_like(x["v"][..., :1])), -1)
    return quotient(CORES["decayed"].rows(x["q"], x["k"], v, rounded=rounded)[0])


def _decayed(x: Given, rounded: torch.dtype) -> Tensor:
    return CORES["decayed"].rows(x["q"], x["k"], x["v"], x["fade"], rounded=rounded)[0]


def _levels(x: Given, rounded: torch.dtype) -> Tensor:
    chunked = CORES["decayed"].chunks(x["q"], x["k"], x["v"], x["fade"], rounded=rounded)
    return read_levels(chunked, x["share"], x["q"].shape[-2], rounded=rounded)[0]


def _delta(x: Given, rounded: torch.dtype) -> Tensor:
    return CORES["delta"].rows(x["q"], x["k"], x["v"], x["beta"], x.get("fade"), rounded=rounded)[0]


def _fox(x: Given, rounded: torch.dtype) -> Tensor:
    q, k = with_faded(x["q"], x["k"], running_over_rows(floored(x["fade"])), rounded)
    return read_faded(q, k, x["v"].to(rounded), None)[..., :-COLUMNS]


def _path(x: Given, rounded: torch.dtype) -> Tensor:
    return path_attention(x["q"], x["k"], x["v"].to(rounded), x["w"], x["beta"], x.get("fade"))


# ---- The table

_QKV = ("q", "k", "v")
KERNELS = (
    Kernel(LinearAttention(), "linear_attn.chunk_linear_attn", _QKV, _linear, options={"normalize": True}),
    Kernel(GLA(), "gla.chunk_gla", (*_QKV, "fade"), _decayed),
    Kernel(GLA(gate="scalar"), "simple_gla.chunk_simple_gla", (*_QKV, "fade"), _decayed, gated=True),
    Kernel(Mamba2(), "simple_gla.chunk_simple_gla", (*_QKV, "fade"), _decayed, gated=True),
    Kernel(Mamba2(levels=LEVELS), "log_linear_attn.chunk_log_linear_attn", (*_QKV, "fade", "share"), _levels,
           grouped=True),
    Kernel(DeltaNet(), "delta_rule.chunk_delta_rule", (*_QKV, "beta"), _delta, torch.bfloat16),
    Kernel(DeltaNet(negative=True, steps=2), "gated_delta_product.chunk_gated_delta_product", (*_QKV, "beta"), _delta,
           torch.bfloat16, {"g": None, "num_householder": 2}),
    Kernel(GatedDeltaNet(), "gated_delta_rule.chunk_gated_delta_rule", (*_QKV, "beta", "fade"), _delta, torch.bfloat16,
           gated=True),
    Kernel(GatedDeltaNet(negative=True, steps=2), "gated_delta_product.chunk_gated_delta_product",
           (*_QKV, "beta", "fade"), _delta, torch.bfloat16, {"num_householder": 2}, gated=True),
    Kernel(FoX(), "forgetting_attn.parallel_forgetting_attn", (*_QKV, "fade"), _fox, torch.bfloat16),
    Kernel(PaTH(), "path_attn.parallel_path_attn", (*_QKV, "w", "beta"), _path, torch.bfloat16),
    Kernel(PaTH(forget=True), "path_attn.parallel_path_attn", (*_QKV, "w", "beta", "fade"), _path, torch.bfloat16),
)
