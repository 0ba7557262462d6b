"""The trained parts of P- and Q-probes: an update of the embedding, and a normalisation and a map at each place.

Shape letters: N probes, B texts, T positions, P places, d width, r rank, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm import rng

MOMENTUM = 0.1  # of the running mean and variance of a batch norm
EPSILON = 1e-5  # of both norms


class EmbeddingUpdate(nn.Module):
    """A[ids] B for each of N probes, at first A = 0 and B Gaussian; a probe's first B does not depend on the others.

    Args:
        rank: 0 leaves the update out.
    """

    def __init__(self, probes: int, rows: int, width: int, rank: int, seed: int):
        super().__init__()
        self.rows, self.width, self.rank = rows, width, rank
        first = rng.normal(rng.key("embedding update", seed), rank * width).view(rank, width).float()
        self.coefficients = nn.Parameter(torch.zeros(probes, rows, rank))
        self.directions = nn.Parameter(first.repeat(probes, 1, 1))

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(N, B, T, d) float32."""
        probes = len(self.directions)
        if not self.rank:
            return self.directions.new_zeros(probes, *ids_BT.shape, self.width)
        offset = self.rows * torch.arange(probes, device=ids_BT.device)
        ids = ids_BT.flatten() + offset[:, None]
        return (F.embedding(ids, self.coefficients.flatten(0, 1)) @ self.directions).unflatten(1, ids_BT.shape)


class PlaceHeads(nn.Module):
    """A normalisation and a linear map for each of N probes at each of P places.

    ``batch`` uses the mean and variance of the batch while it trains and their running means afterwards.

    Args:
        fixed_NdC: a map of each probe, the same at all places, of the state itself, which is added and does not learn.
    """

    mean: Tensor
    variance: Tensor
    fixed: Tensor | None

    def __init__(self, classes: tuple[int, ...], places: int, width: int, norm: str, fixed_NdC: Tensor | None = None):
        super().__init__()
        probes, most = len(classes), max(classes)
        self.norm = norm
        self.gain = nn.Parameter(torch.ones(probes, places, width))
        self.shift = nn.Parameter(torch.zeros(probes, places, width))
        self.maps = nn.Parameter(torch.zeros(probes, places, width, most))
        self.bias = nn.Parameter(torch.zeros(probes, places, most))
        self.register_buffer("mean", torch.zeros(probes, places, width), persistent=False)
        self.register_buffer("variance", torch.ones(probes, places, width), persistent=False)
        self.register_buffer("fixed", fixed_NdC, persistent=False)
        self.register_buffer("closed", torch.arange(most) >= torch.tensor(classes)[:, None], persistent=False)
        self.closed: Tensor

    def forward(self, x_NPBd: Tensor, mapped: bool = True) -> Tensor:
        """Logits (N, P, B, C); not ``mapped``: of the fixed map alone."""
        parts = [] if self.fixed is None else [x_NPBd @ self.fixed[:, None]]
        if mapped:
            x = self._normed(x_NPBd) * self.gain[:, :, None] + self.shift[:, :, None]
            parts.append(x @ self.maps + self.bias[:, :, None])
        logits = sum(parts[1:], parts[0])
        return logits.masked_fill(self.closed[:, None, None], -torch.inf)

    def _normed(self, x_NPBd: Tensor) -> Tensor:
        if self.norm == "layer":
            return F.layer_norm(x_NPBd, x_NPBd.shape[-1:], eps=EPSILON)
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x_NPBd, 2, correction=0)
            with torch.no_grad():
                rows = x_NPBd.shape[2]
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance * (rows / max(rows - 1, 1)), MOMENTUM)
        return (x_NPBd - mean[:, :, None]) * (variance[:, :, None] + EPSILON).rsqrt()
