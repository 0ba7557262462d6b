"""The four primitives that know about members; everything above them folds M into the batch.

Shape letters: M members, B rows, T positions, d width, i inputs, o outputs, V vocabulary rows.
An activation is (M, B, T, d); member m sees only its own weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.models.cross_entropy import embedding


class Linear(nn.Module):
    """y = x W for each member; no bias.  Weight (M, i, o)."""

    def __init__(self, members: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))

    def forward(self, x_MBTi: Tensor) -> Tensor:
        members, rows, positions, inputs = x_MBTi.shape
        x = x_MBTi.to(self.weight.dtype)
        if members == 1:  # a plain matrix product has faster kernels than a batched one
            y = x.reshape(rows * positions, inputs) @ self.weight[0]
        else:
            y = torch.bmm(x.reshape(members, rows * positions, inputs), self.weight)
        return y.view(members, rows, positions, -1)


class Embedding(nn.Module):
    """A table of one row a token for each member, (M, V, d); tied to the output: logits = hidden E^T."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))

    def forward(self, ids_MBT: Tensor) -> Tensor:
        members, rows, positions = ids_MBT.shape
        return embedding(ids_MBT.reshape(members, rows * positions), self.weight).view(members, rows, positions, -1)


class Norm(nn.Module):
    """Layer norm (zero mean, unit variance) or RMS norm (unit mean square) in float32, then a gain; no bias.

    layernorm: y = g (x - mean x) / sqrt(var x + 1e-5);  rmsnorm: y = g x / sqrt(mean x^2 + 1e-5).
    The gain (M, d) stays in float32; the result has the dtype ``out``.
    """

    def __init__(self, members: int, width: int, kind: str):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(members, width))

    def forward(self, x_MBTd: Tensor, out: torch.dtype) -> Tensor:
        normalise = F.layer_norm if self.kind == "layernorm" else F.rms_norm
        x = normalise(x_MBTd.float(), (x_MBTd.shape[-1],), eps=1e-5)
        # with one member a gain of shape (1, 1, 1, d) breaks the compiled backward of torch 2.11: use (d,)
        gain = self.weight[0] if len(self.weight) == 1 else self.weight[:, None, None]
        return (x * gain).to(out)
