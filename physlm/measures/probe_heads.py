"""The multi-head linear probe: what it computes, for many models, layers and questions at once.

    G_i(x) = bias + sum_r sum_k w_{r,i->k} f_r(E_k(x)),     w_{r,i->k} = softmax_k <P_{i,r}, P_{k,r}>

E_k is the frozen activation at position k, f_r a linear map, r one of H heads.  The weights w depend on positions
only, so the probe can gather but not parse (arXiv 2305.13673, section 4).  The softmax runs over the positions of the
sentence that the mask allows: all ("full"), |k - i| <= 1 ("tridiagonal"), or k = i ("diagonal": the ordinary linear
probe).

How it is computed.  With A = exp(<P_i, P_k> - max_k) the same for all sentences, and m_k = 1 on a sentence's positions,

    G = sum_r (A_r (m f_r(E))) / (A_r m)

so the softmax over each sentence's own positions costs one product of (W, W) with all sentences side by side.

Where it starts.  P is the random Fourier features of exp(-(i - k)^2 / (2 s_r^2)) times SHARPNESS, so that head r starts
as a window of width s_r around i; the widths run from 1/2 token to the whole table.  f starts at 0.

Shape letters: N probes = M members times K taps, B sentences, W positions, d width, H heads, p dimensions of a
position, O outputs = Y questions of the group times C classes, F positions of many sentences.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.measures.finite import check_finite

Mask = Literal["full", "tridiagonal", "diagonal"]
MASKS: tuple[Mask, ...] = ("full", "tridiagonal", "diagonal")
SHARPNESS = 6.0  # about ln 512: at first the nearest positions weigh as much as all the others together
NARROWEST = 0.5  # tokens
SMALLEST = 1e-12  # sum of weights over a sentence; its square must fit bfloat16
MAX_LEVERAGE = 1e4  # a direction with less than 1 / 1e4 of the mean variance is not blown up to unit variance


class ProbeHeads(nn.Module):
    """Probes that share one table of positions: all questions of one group, on N activations.

    Args:
        probes: N.
        width: d.
        classes: the number of classes of each question.
        mask: which positions a probe may read.
        seed: of the first positions, the same for all N probes.
    """

    def __init__(
        self, probes: int, width: int, classes: tuple[int, ...], mask: Mask, heads: int, position_dims: int,
        max_positions: int, seed: int, device: torch.device,
    ):  # fmt: skip
        super().__init__()
        self.mask, self.questions, self.most = mask, len(classes), max(classes)
        self.heads = 1 if mask == "diagonal" else heads  # k = i alone: all heads are one
        outputs = self.questions * self.most
        self.maps = nn.Parameter(torch.zeros(probes, width, self.heads * outputs, device=device))
        self.bias = nn.Parameter(torch.zeros(probes, outputs, device=device))
        closed = torch.arange(self.most) >= torch.tensor(classes)[:, None]
        self.register_buffer("closed_YC", closed.to(device), persistent=False)
        self.positions: nn.Parameter | None = None
        if mask != "diagonal":
            first = first_positions(heads, max_positions, position_dims, seed).to(device)
            self.positions = nn.Parameter(first.expand(probes, -1, -1, -1).clone())

    def forward(self, x_NWBd: Tensor, keys_NWB: Tensor) -> Tensor:
        """Logits (N, W, B, Y, C) in float32.

        Args:
            x_NWBd: activations in the dtype to compute in, zero outside of ``keys_NWB``.
            keys_NWB: the positions of the sentence.
        """
        probes, positions, rows, width = x_NWBd.shape
        values = torch.bmm(x_NWBd.reshape(probes, positions * rows, width), self.maps.to(x_NWBd.dtype))
        if self.positions is None:
            mixed = values.view(probes, positions, rows, -1).float()
        else:
            mixed = self._mix(values.view(probes, positions, rows, self.heads, -1), keys_NWB)
        logits = (mixed + self.bias[:, None, None]).view(probes, positions, rows, self.questions, self.most)
        assert isinstance(self.closed_YC, Tensor)
        return logits.masked_fill(self.closed_YC, -torch.inf)

    def _mix(self, values_NWBHO: Tensor, keys_NWB: Tensor) -> Tensor:
        probes, positions, rows, heads, outputs = values_NWBHO.shape
        a = self.attention(positions).to(values_NWBHO.dtype).flatten(0, 1)  # (N H, W, W)
        values = values_NWBHO.permute(0, 3, 1, 2, 4).reshape(probes * heads, positions, rows * outputs)
        sums = torch.bmm(a, values).view(probes, heads, positions, rows, outputs)
        keys = keys_NWB.to(a.dtype)[:, None].expand(-1, heads, -1, -1).reshape(probes * heads, positions, rows)
        norm = torch.bmm(a, keys).view(probes, heads, positions, rows, 1)
        # a position outside of the sentence may see none of it; its output is never read, but must not become inf
        return (sums * norm.clamp_min(SMALLEST).reciprocal()).sum(1, dtype=torch.float32)

    def attention(self, positions: int) -> Tensor:
        """A: (N, H, W, W), the weights before they are divided by their sum over a sentence."""
        assert self.positions is not None
        p = self.positions[:, :, :positions]
        scores = p @ p.transpose(-1, -2)
        if self.mask == "tridiagonal":
            i = torch.arange(positions, device=p.device)
            scores = scores.masked_fill((i[:, None] - i).abs() > 1, -torch.inf)
        return torch.exp(scores - scores.detach().amax(-1, keepdim=True))


def first_positions(heads: int, positions: int, dims: int, seed: int) -> Tensor:
    """P before training, (H, positions, p) float32: windows of widths in geometric progression."""
    half = dims // 2
    widest = max(positions / 4, 2 * NARROWEST)
    widths = NARROWEST * (widest / NARROWEST) ** (torch.arange(heads) / max(heads - 1, 1))
    draws = rng.normal(rng.key("probe positions", seed), heads * half).view(heads, 1, half)
    angles = torch.arange(positions).double()[:, None] * draws / widths[:, None, None]
    features = torch.cat((angles.cos(), angles.sin()), -1)
    return (features * math.sqrt(SHARPNESS / half)).float()


def whitening(x_NFd: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (N, d) and symmetric change of basis (N, d, d) after which the activations have unit covariance, float32.

    An invertible linear map: a linear probe can say exactly what it could say without, and learns it faster; and
    bfloat16 keeps what lies in directions of small variance.

    Raises:
        NotFiniteError: an activation or its square is not finite.
    """
    x = x_NFd.float()
    mean = x.mean(1)
    x = x - mean[:, None]
    covariance = (x.transpose(1, 2) @ x).double() / x.shape[1]
    check_finite(covariance, "activations to probe, or squares of them,")
    values, vectors = torch.linalg.eigh(covariance)
    floor = values.mean(-1, keepdim=True).clamp_min(1e-30) / MAX_LEVERAGE
    scale = values.clamp_min(0.0).add(floor).rsqrt()
    return mean, (vectors * scale[:, None] @ vectors.transpose(1, 2)).float()
