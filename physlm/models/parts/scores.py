"""What is done to the scores of attention: biases of distance, and the laws of its scale.  Free of torch.

    a_ij = t_i q_i . k_j / sqrt(k) + b_h[i - j]        weights: softmax over the keys j that i sees

ALiBi, H-ALiBi and T5 are a b (``bias`` gives its table); scalable softmax, the temperature of iRoPE and tuned
temperatures are a t.

Shape letters: N = M B rows of all M members, T positions, H heads, k channels of one, W distances.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Bias = Literal["none", "alibi", "hard_alibi", "t5"]
BUCKETS = 32  # of T5: distances 0 .. 15 each their own, then 16 of equal ratio up to 128, all beyond in the last
EXACT, FARTHEST = 16, 128


def slopes(heads: int) -> tuple[float, ...]:
    """m_h of ALiBi, a_ij - m_h (i - j): 2^(-8 h / H) for h = 1 .. H where H is a power of two (arXiv 2108.12409).

    Else those of the next lower power of two, and then every other of those of twice that power.
    """
    power = 1 << (heads.bit_length() - 1)
    if power == heads:
        return tuple(2.0 ** (-8 * h / heads) for h in range(1, heads + 1))
    return slopes(power) + slopes(2 * power)[::2][: heads - power]


def nearest(heads: int) -> tuple[int, ...]:
    """How many nearest tokens, itself among them, each head of H-ALiBi sees: h for h = 1 .. H / 2 (arXiv 2402.01032);
    0 for the other heads, which see all."""
    return tuple(h + 1 if h < heads // 2 else 0 for h in range(heads))


def bucket_bounds() -> tuple[int, ...]:
    """The smallest distance of each bucket of T5 (arXiv 1910.10683) but the first: 1 .. 16, then the whole numbers from
    16 (128 / 16)^(s / 16) up, s = 1 .. 15."""
    ratio = FARTHEST / EXACT
    wide = BUCKETS - EXACT
    return (*range(1, EXACT + 1), *(math.ceil(EXACT * ratio ** (s / wide)) for s in range(1, wide)))


def bias(kind: Bias, heads: int, size: int, device: torch.device) -> Tensor:
    """b of each head at the distances 0 .. size - 1, (H, W) float32; of T5 which bucket each lies in, (32, W)."""
    import torch

    distance = torch.arange(size, device=device)
    if kind == "alibi":
        return -torch.tensor(slopes(heads), device=device)[:, None] * distance
    if kind == "hard_alibi":
        reach = torch.tensor([seen or size for seen in nearest(heads)], device=device)
        return torch.zeros(heads, size, device=device).masked_fill(distance >= reach[:, None], -torch.inf)
    assert kind == "t5"
    bucket = torch.bucketize(distance, torch.tensor(bucket_bounds(), device=device), right=True)
    return (bucket == torch.arange(BUCKETS, device=device)[:, None]).float()


# ---- Scale


def scalable_start(row_tokens: int) -> float:
    """The s with which s ln n is 1 on average over the rows n = 1 .. T of attention: 0.1685 at T = 1024, the 0.168 of
    scalable softmax (arXiv 2501.19399)."""
    return row_tokens / math.lgamma(row_tokens + 1)  # the sum of ln n is ln T!


def floor_scale(place: int, floor: int) -> float:
    """Temperature of the layers of iRoPE without positions, for the query at ``place`` = 0, 1, ..: 1 up to ``floor``
    tokens, then 1 + 0.1 ln(floor((place + 1) / floor) + 1), as Llama 4 has it."""
    return 1 + FLOOR_GAIN * math.log((place + 1) // floor + 1)


FLOOR_GAIN = 0.1


def row_scale(log_n: bool, floor: int, window: int, chunk: int, size: int, device: torch.device,
              reach: tuple[int, ...] = (0,)) -> Tensor:  # fmt: skip
    """What the logits of each query are multiplied with beside the learnt scale of its head, float32, (size, H).

    ln n with n the number of keys that the query sees, and ``floor_scale``.

    Args:
        reach: how many nearest tokens each head sees at most, 0: all, see ``nearest``; one number where all heads see
            the same.
    """
    import torch

    place = torch.arange(size, device=device)
    scale = torch.ones(size, len(reach), device=device, dtype=torch.float64)
    if log_n:
        seen = place % chunk + 1 if chunk else (place + 1).clamp_max(window) if window else place + 1
        most = torch.tensor([tokens or size for tokens in reach], device=device)
        scale = scale * torch.minimum(seen[:, None], most).double().log()
    if floor:
        scale = scale * (1 + FLOOR_GAIN * ((place + 1) // floor + 1).double().log())[:, None]
    return scale.float()


def scaled(q_NHTk: Tensor, scale: float, learnt_MH: Tensor | None, rows: Tensor | None) -> Tensor:
    """t q in the dtype of q.

    Args:
        scale: of all logits, where none is learnt.
        learnt_MH: a scale of each member and head, or (M, 1) of each member.
        rows: ``row_scale`` at the places of the queries, (T, 1) or (T, H), or for each of the rows, (N, T, 1 or H).
    """
    if learnt_MH is None and rows is None:
        return q_NHTk * scale if scale != 1 else q_NHTk
    from physlm.models.module import per_row
    from physlm.models.parts.recurrent import widened

    wide = widened(q_NHTk)
    if learnt_MH is not None:
        wide = wide * per_row(learnt_MH, len(q_NHTk))[..., None, None]
    elif scale != 1:
        wide = wide * scale
    if rows is not None:
        wide = wide * rows.mT[..., None]  # (H, T, 1), or beside the rows (N, H, Q, 1)
    return wide.to(q_NHTk.dtype)


def peak_weight(length: int, scale: float = 1.0, log_n: bool = False, high: float = 3.0, low: float = -2.0) -> float:
    """The largest weight of softmax over one ``high`` logit among ``length`` - 1 ``low`` ones.

    The logits are multiplied with ``scale``, and with ln n too where ``log_n``.  So the demonstration of arXiv
    2501.19399: softmax fades, ``peak_weight(n)``, and scalable softmax does not, ``peak_weight(n, 0.43, log_n=True)``.
    """
    gap = scale * (math.log(length) if log_n else 1.0) * (high - low)
    return 1 / (1 + (length - 1) * math.exp(-gap))
