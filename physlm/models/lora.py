"""Low-rank updates (LoRA, arXiv 2106.09685) of a decoder's query, value and embedding matrices.

    W = W_0 + (alpha / r) A B        for each member and matrix; A (inputs, r), B (r, outputs); y = x W

W_0 is frozen, and so is the rest of the model; A begins at zero, so that W = W_0, and B as a Gaussian.  The model
always holds the merged W, rounded to its own dtype, and so computes at its usual speed.  Nothing is lost by it: the
gradient of the merged W gives those of the factors,

    dA = (alpha / r) dW B^T,    dB = (alpha / r) A^T dW

and the sum is taken in float32 before it is rounded.  Rows of the tied embedding are moved at both its ends.  The k
columns of the fused q, k, v matrix stay as they are.  The settings (B Gaussian and A zero, r for q and v and another r
for the embedding) are those of arXiv 2309.14402; deviations of B are those of the reference implementation of LoRA,
1 / sqrt(3 d) in attention and 1 at the embedding.

Shape letters: M members, K = 2 x layers (query and value of each block in turn), V vocabulary rows, d width, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.models.attention import Attention, RelativeAttention
from physlm.models.decoder import Decoder


class LowRank(nn.Module):
    """The factors of every member, all in float32; takes over the weights of ``model``, which it freezes.

    Args:
        model: its present weights are the W_0 of each member.
        rank: of the updates of each query and value matrix; 0 leaves them out.
        embedding_rank: of the update of the embedding; 0 leaves it out.
        alpha: scale of the updates.
        seeds: one seed a member.  A member's first factors depend on its seed alone.
        half: let the model compute in bfloat16, but for the gains of norms.

    Attributes:
        weights: the model's parameters that are moved: ``gradients`` takes the gradients of these.
    """

    def __init__(
        self, model: Decoder, rank: int, embedding_rank: int, alpha: float, seeds: Sequence[int], half: bool = False
    ):
        super().__init__()
        assert rank > 0 or embedding_rank > 0
        self._base = {name: p.detach().clone().float() for name, p in model.named_parameters()}
        self._scale, self._embedding_scale = alpha / max(rank, 1), alpha / max(embedding_rank, 1)
        self._matrices = _attention_weights(model) if rank else {}
        # in containers, as parameters of the model are none of this module
        self._tables = [model.embedding.weight] if embedding_rank else []
        self.weights = [*self._matrices.values(), *self._tables]
        for name, p in model.named_parameters():
            p.requires_grad_(any(p is weight for weight in self.weights))
            if half and not name.endswith("norm.weight"):
                p.data = p.data.bfloat16()
        members, rows, width = model.embedding.weight.shape
        device = model.embedding.weight.device
        if rank:
            self._query_value = torch.stack(_query_value([self._base[name] for name in self._matrices]), 1)
            count = self._query_value.shape[1]
            self.attention_a = nn.Parameter(torch.zeros(members, count, width, rank, device=device))
            self.attention_b = nn.Parameter(_gaussian((count, rank, width), seeds, "attention").to(device))
            self.attention_b.data /= math.sqrt(3 * width)
        if embedding_rank:
            self.embedding_a = nn.Parameter(torch.zeros(members, rows, embedding_rank, device=device))
            self.embedding_b = nn.Parameter(_gaussian((embedding_rank, width), seeds, "embedding").to(device))

    @torch.no_grad()
    def gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """From the gradients of ``weights`` to those of ``parameters()``, in their orders, float32."""
        found = []
        count = len(self._matrices)
        if count:
            dw_MKdd = torch.stack(_query_value(gradients[:count]), 1).float()
            found += _factor_gradients(dw_MKdd, self.attention_a, self.attention_b, self._scale)
        if self._tables:
            dw_MVd = gradients[count].float()
            found += _factor_gradients(dw_MVd, self.embedding_a, self.embedding_b, self._embedding_scale)
        return found

    @torch.no_grad()
    def merge(self) -> None:
        """Write W_0 + (alpha / r) A B into the model, after the factors were changed."""
        if self._matrices:
            self._write_query_value(list(self._matrices.values()))
        for table in self._tables:
            table.copy_(self._moved_embedding())

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """All weights of the model in float32, by name: those that are moved, and the frozen ones."""
        weights = dict(self._base)
        if self._matrices:
            weights |= {name: self._base[name].clone() for name in self._matrices}
            self._write_query_value([weights[name] for name in self._matrices])
        if self._tables:
            weights["embedding.weight"] = self._moved_embedding()
        return weights

    def _write_query_value(self, fused: Sequence[Tensor]) -> None:
        """Write the moved q and v columns into fused matrices (M, d, 3 d), one a block."""
        moved_MKdd = _moved(self._query_value, self.attention_a, self.attention_b, self._scale)
        torch._foreach_copy_(_query_value(fused), list(moved_MKdd.unbind(1)))

    def _moved_embedding(self) -> Tensor:
        """(M, V, d)."""
        return _moved(self._base["embedding.weight"], self.embedding_a, self.embedding_b, self._embedding_scale)


def _attention_weights(model: Decoder) -> dict[str, nn.Parameter]:
    """The fused q, k, v matrix of each block, by its name in the model."""
    found = {}
    for name, part in model.named_modules():
        if isinstance(part, (Attention, RelativeAttention)):
            found[f"{name}.qkv.weight"] = part.qkv.weight
    assert found, "attention without queries"  # refused by RunSpec
    return found


def _query_value(fused: Sequence[Tensor]) -> list[Tensor]:
    """The q and the v columns (M, d, d) of each fused matrix (M, d, 3 d), as views."""
    return [part for matrix in fused for part in matrix.chunk(3, -1)[::2]]


def _moved(base: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """base + scale a b, over any leading axes."""
    flat = torch.baddbmm(base.flatten(0, -3), a.flatten(0, -3), b.flatten(0, -3), alpha=scale)
    return flat.view(base.shape)


def _factor_gradients(dw: Tensor, a: Tensor, b: Tensor, scale: float) -> list[Tensor]:
    return [dw @ b.mT * scale, a.mT @ dw * scale]


def _gaussian(shape: tuple[int, ...], seeds: Sequence[int], name: str) -> Tensor:
    """N(0, 1), (M, *shape), each member from its own seed."""
    count = math.prod(shape)
    return torch.stack([rng.normal(rng.key("lora", seed, name), count).float().view(shape) for seed in seeds])
