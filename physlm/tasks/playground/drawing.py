"""Draws that several tasks need: distinct numbers, numbers beside them, and places by a law without replacement.

They are pure functions of key and counter with the same bits on every device: integers, comparisons, and additions,
products and quotients of float64, which IEEE 754 rounds everywhere alike.  A logarithm or a power of a library is none
of these.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from physlm import rng

_TERMS = 9  # of the logarithm's series: the error is below 1e-9
_LOG_2 = math.log(2)
_ATTEMPT = 1 << 24  # counters of one attempt
_LEAST = 1e-300  # weight, where powers are too small for a number


def own_key(key: int, number_S: Tensor) -> Tensor:
    """The key of a row or text of its own, (S, 1), by its number: its draws are those of counters 0, 1, .."""
    return rng.bits(key, number_S)[..., None]


def text_numbers(index_R: Tensor, count: int) -> Tensor:
    """Numbers of ``count`` texts in each row, (R, count), that no texts of other rows have."""
    return index_R[:, None] * (1 << 24) + torch.arange(count, device=index_R.device)


def distinct(count: int, n: int, key_S1: Tensor) -> Tensor:
    """``count`` distinct numbers in 0 .. n-1 in random order by each key, (S, count); all orders are as likely.

    Where most of the n are drawn they are sorted by random bits.  Else numbers that a row has already are drawn again,
    which favours no number over another, so the law is exact.

    Raises:
        AssertionError: more numbers than there are.
    """
    assert count <= n < _ATTEMPT, f"got {count} distinct numbers below {n}"
    if n <= 4 * count:
        order = rng.bits(key_S1, torch.arange(n, device=key_S1.device)).sort(dim=-1, stable=True).indices
        return order[..., :count]
    counter_C, attempt = torch.arange(count, device=key_S1.device), 0
    drawn_SC = rng.below(n, key_S1, counter_C)
    found_SC, keys_S1 = drawn_SC.view(-1, count), key_S1.reshape(-1, 1)
    at_S = torch.arange(len(found_SC), device=key_S1.device)  # rows that may have a number twice
    while True:
        sorted_SC, order_SC = (found_SC[at_S] if attempt else found_SC).sort(dim=-1, stable=True)
        row_D, place_D = (sorted_SC[:, 1:] == sorted_SC[:, :-1]).nonzero(as_tuple=True)
        if not len(row_D):
            return drawn_SC
        attempt += 1
        again_D, column_D = at_S[row_D], order_SC[row_D, place_D + 1]
        found_SC[again_D, column_D] = rng.below(n, keys_S1[again_D, 0], column_D + attempt * _ATTEMPT)
        at_S = again_D.unique_consecutive()


def few_distinct(share_SC: Tensor, below_S1: Tensor) -> Tensor:
    """Distinct numbers below a bound of each row's own, (.., C), each uniform among those that are left; for few.

    Args:
        share_SC: uniform in (0, 1), of which number c takes one.
        below_S1: bounds, (.., 1); numbers beyond as many as that are of no use.
    """
    found: list[Tensor] = []
    taken: list[Tensor] = []  # the same, the least first
    for c in range(share_SC.shape[-1]):
        number_S = (share_SC[..., c] * (below_S1[..., 0] - c)).long()
        for taken_S in taken:  # the one of this rank among those that are not taken
            number_S = number_S + (number_S >= taken_S).long()
        found.append(number_S)
        for place, taken_S in enumerate(taken):
            taken[place], number_S = torch.minimum(taken_S, number_S), torch.maximum(taken_S, number_S)
        taken.append(number_S)
    return torch.stack(found, -1)


def beside(rank_SC: Tensor, taken_SU: Tensor) -> Tensor:
    """The numbers of these ranks, 0 for the least, among the numbers 0, 1, .. that are not taken; (S, C).

    A uniform rank is a uniform number beside the taken ones, whatever they are, without drawing again; and what is
    taken does not depend on how much is drawn beside it.

    Args:
        rank_SC: at least 0.
        taken_SU: distinct in each row, in any order.
    """
    sorted_SU = taken_SU.sort(dim=-1).values
    free_SU = sorted_SU - torch.arange(taken_SU.shape[-1], device=taken_SU.device)  # how many are free below each
    return rank_SC + torch.searchsorted(free_SU, rank_SC.contiguous(), right=True)


def exponential(key: int | Tensor, counter: Tensor) -> Tensor:
    """-log of uniform numbers in (0, 1), float64: log(m 2^e) = e log 2 + 2 artanh((m - 1) / (m + 1))."""
    mantissa, exponent = torch.frexp(rng.uniform(key, counter))
    share = (1.0 - mantissa) / (mantissa + 1.0)  # at most 1/3
    square = share * share
    series = torch.full_like(share, 2.0 / (2 * _TERMS - 1))
    for term in range(_TERMS - 1, 0, -1):
        series = series * square + 2.0 / (2 * term - 1)
    return series * share - exponent.double() * _LOG_2


@functools.cache
def power_weights(count: int, exponent: float) -> Tensor:
    """1, 2, .., count to a power, in parts of the largest of them; float64 on the CPU.

    Libraries round the last bit of a power as they like.  So 24 bits of it are kept, on which all of them agree:
    another device or machine has the same numbers.
    """
    largest = count if exponent > 0 else 1
    powers = (math.frexp(max((place / largest) ** exponent, _LEAST)) for place in range(1, count + 1))
    return torch.tensor([math.ldexp(round(mantissa * (1 << 24)), e - 24) for mantissa, e in powers], dtype=torch.double)


def weighted_places(count: int, weights: Tensor, key_S1: Tensor) -> Tensor:
    """``count`` distinct places of ``weights`` one after another, each in proportion to the weights of those not yet
    drawn, (S, count), in the order of drawing: the places whose exponential waiting times end first.

    Weights come from the host, so that they are the same on every device.

    Source: Efraimidis and Spirakis, Information Processing Letters 97, 2006.
    """
    waited = exponential(key_S1, torch.arange(len(weights), device=weights.device)) / weights
    return waited.topk(count, dim=-1, largest=False, sorted=True).indices
