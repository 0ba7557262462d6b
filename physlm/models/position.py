"""Position schemes: rotary angles, learnt tables of positions and of distances, and the fixed windows of GPT_uni.

Shape letters: M members, B rows, T positions, d width, H heads, k = d / H, r rotated dimensions of a head, P rows of a
table, W distances in use.  The distance of query position i and key position j is i - j.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm.errors import UserError


class Rotary(nn.Module):
    """The relative scheme of every model since Part 2 (arXiv 2104.09864).

    Turns dimension pairs (j, j + r/2) of a head by the angle t base^(-2j/r), for the first r dimensions.

    A query-key product then depends on the distance of the two positions only.  Pairs are split in halves as in
    GPT-NeoX.  r = ``dims``; the other dimensions pass unchanged.
    """

    def __init__(self, dims: int, base: float):
        super().__init__()
        self.dims = dims
        self.register_buffer("frequency", base ** (-torch.arange(0, dims, 2).double() / dims), persistent=False)
        self.frequency: Tensor
        self._angles: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def angles(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin of every position and frequency, (T, r/2) float32; cut from tables that are kept for good, since
        a CUDA graph may read them."""
        at = (size_for(positions), self.frequency.device)
        if at not in self._angles:
            angle = torch.arange(at[0], device=at[1])[:, None] * self.frequency
            self._angles[at] = angle.cos().float(), angle.sin().float()
        cos, sin = self._angles[at]
        return cos[:positions], sin[:positions]

    def forward(self, x_BHTk: Tensor, cos_Tr: Tensor, sin_Tr: Tensor) -> Tensor:
        turned, rest = x_BHTk[..., : self.dims].float(), x_BHTk[..., self.dims :]
        a, b = turned.chunk(2, -1)
        turned = torch.cat((a * cos_Tr - b * sin_Tr, b * cos_Tr + a * sin_Tr), -1).to(x_BHTk.dtype)
        return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def size_for(positions: int) -> int:
    """The power of two from ``positions`` up: few sizes of table are ever built."""
    return 1 << (positions - 1).bit_length()


class Positions(nn.Module):
    """x_t + p_t with a learnt vector for each of ``rows`` positions, as in GPT-2; weight (M, P, d)."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))

    def check(self, positions: int) -> None:
        """Raises UserError where the table is too short for so many positions."""
        if positions > self.weight.shape[1]:
            raise UserError(f"model.max_positions: got {positions} positions, expected at most {self.weight.shape[1]}, "
                            "the rows of the table of absolute positions")

    def forward(self, x_MBTd: Tensor) -> Tensor:
        # with one member, (T, d) and no axes of one: see Norm
        weight = self.weight[0] if len(self.weight) == 1 else self.weight[:, None]
        return x_MBTd + weight[..., : x_MBTd.shape[2], :].float()

    def at(self, x_MB1d: Tensor, place_1: Tensor) -> Tensor:
        """The same for one token at a position that only the device knows."""
        return x_MB1d + self.weight.index_select(1, place_1)[:, None].float()

    def aside(self, x_MBQd: Tensor, places_BQ: Tensor) -> Tensor:
        """The same for tokens each at a place of its own."""
        return x_MBQd + self.weight[:, places_BQ].float()


class Distances(nn.Module):
    """A learnt vector for each distance, shared by all blocks, as in DeBERTa (arXiv 2006.03654); weight (M, P, d)."""

    def __init__(self, members: int, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, rows, width))


def clipped(table_MPx: Tensor, positions: int, causal: bool) -> Tensor:
    """Rows of the distances 0 .. T - 1, or -T .. T - 1 if not ``causal``, from a table of P of them: (M, W, x).

    Distances beyond the table take its last row on their side.  Cutting and repeating rows, not indexing: the gradient
    is then a sum in a fixed order.
    """
    reach = table_MPx.shape[1] if causal else table_MPx.shape[1] // 2
    middle = 0 if causal else reach
    beyond = max(0, positions - reach)
    kept = min(positions, reach)
    parts = [table_MPx[:, middle - (0 if causal else kept) : middle + kept]]
    if beyond:
        if not causal:
            parts.insert(0, table_MPx[:, :1].expand(-1, beyond, -1))
        parts.append(table_MPx[:, -1:].expand(-1, beyond, -1))
    return torch.cat(parts, 1) if beyond else parts[0]


def clipped_row(rows: int, place_1: Tensor, positions: int) -> Tensor:
    """Rows in a causal table of ``rows`` distances for the query at ``place`` and each key 0 .. L - 1: (L,).

    Keys after the query get row 0; they are masked elsewhere.
    """
    return (place_1 - torch.arange(positions, device=place_1.device)).clamp(0, rows - 1)


def skew(x: Tensor, offset: int) -> Tensor:
    """From distances to positions: out[..., a, b] = x[..., a, b - a + offset], (..., T, W) -> (..., T, T).

    Anything where that column does not exist.  Only padding and reshaping: compiled, it is no copy but an index within
    the kernel that reads it, and so is its gradient, without atomics.
    """
    rows, columns = x.shape[-2:]
    flat = F.pad(x, (0, 1)).flatten(-2)  # element (a, c) is now at a (W + 1) + c
    return flat.narrow(-1, offset, rows * columns).unflatten(-1, (rows, columns))[..., :rows]


def windows(heads: int, positions: int, device: torch.device) -> Tensor:
    """Weights of GPT_uni, (H, T, T) float32.

    Row i of head h = 1, 2, ... is uniform over the last 2^h - 1 positions, j = i - 2^h + 2 .. i, or what there is.
    """
    place = torch.arange(positions, device=device)
    distance = place[:, None] - place
    # float64 holds 2^h for every number of heads
    reach = 2.0 ** torch.arange(1, heads + 1, device=device, dtype=torch.float64) - 1
    inside = (distance >= 0) & (distance < reach[:, None, None])
    return inside.float() / inside.sum(-1, keepdim=True)
