"""Checkpoints of one run merged into one model, in the place of a decay of the learning rate (WSM, arXiv 2507.17634).

With the weights x_0 .. x_k of checkpoints at equal distances, and a decay that would scale what is learnt between
checkpoints i - 1 and i by w_i, 1 >= w_1 >= .. >= w_k >= 0 (Theorem 3.1 there),

    sum_j c_j x_j  =  x_0 + sum_i w_i (x_i - x_(i-1)),     c_k = w_k,   c_j = w_j - w_(j+1),   c_0 = 1 - w_1

So merging is the decay itself where updates do not depend on where the weights are, as with the gradients of a linear
loss; else it is near it.  With w_i = d(i / (k + 1)), d as in ``physlm.training.schedule``:

    linear   c_j = 1 / (k + 1), the mean
    sqrt     c_j = sqrt((j + 1) / (k + 1)) - sqrt(j / (k + 1))
    cosine   the same of (1 + cos) / 2

Each member is merged for itself, and the state of the optimiser is not merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from physlm.training.config import Decay
from physlm.training.schedule import decayed


def decay_weights(way: Decay, intervals: int) -> list[float]:
    """w_1 .. w_k: how much of what each interval learns a decay of this shape lets through."""
    u = torch.arange(1, intervals + 1, dtype=torch.float64) / (intervals + 1)
    return [float(weight) for weight in decayed(way, u)]


def merge_weights(decay: Sequence[float]) -> list[float]:
    """c_0 .. c_k of the decay weights w_1 .. w_k; they sum to 1."""
    above = [1.0, *decay]
    return [one - following for one, following in zip(above, [*decay, 0.0], strict=True)]


def merged_state(states: Iterable[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """sum_j c_j x_j, summed in float64 and rounded once to the dtype of each; of whole numbers the last ones.

    Args:
        states: of equal models, in the order of ``weights``; each is let go of before the next is asked for.
    """
    sums: dict[str, Tensor] = {}
    last: Mapping[str, Tensor] = {}
    for state, weight in zip(states, weights, strict=True):
        last = state
        for name, value in state.items():
            if value.is_floating_point():
                part = weight * value.double()
                sums[name] = part if name not in sums else sums[name] + part
    return {name: sums[name].to(value.dtype) if name in sums else value for name, value in last.items()}
