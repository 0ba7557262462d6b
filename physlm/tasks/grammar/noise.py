"""Perturbed strings: symbols or tokens drawn anew with a certain probability (arXiv 2305.13673, Results 11 to 13).

    token         2 1 3 1 3 ..   each token anew, uniformly among all terminals
    nonterminal   the symbols of the last level above the terminals anew, uniformly among that level
    permute       each of those symbols replaced by the next one of the level, in a circle

The replaced places and what comes there are pure functions of (key, number of the string, place).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from physlm import rng


class Noise(NamedTuple):
    """Replace each symbol with probability ``rate`` in the share ``fraction`` of all strings."""

    kind: Literal["nonterminal", "permute"]
    rate: float
    fraction: float


def perturbed(fraction: float, index_B: Tensor, key: int) -> Tensor:
    """Which strings of the stream ``key`` are perturbed, bool."""
    return rng.uniform(rng.key("perturbed", key), index_B) < fraction


def replace_symbols(noise: Noise, symbol_P: Tensor, size: int, perturbed_P: Tensor, state_P: Tensor) -> Tensor:
    """Symbols of a level of ``size`` symbols after the noise; ``state_P`` are 64 random bits for each."""
    hit_P = perturbed_P & (rng.uniform(rng.key("noise"), state_P) < noise.rate)
    if noise.kind == "permute":
        other_P = (symbol_P + 1) % size
    else:
        other_P = rng.below(size, rng.key("noise symbol"), state_P)
    return torch.where(hit_P, other_P, symbol_P)


def replace_tokens(tokens_N: Tensor, size: int, rate_N: Tensor | float, key: int, index_N: Tensor,
                   place_N: Tensor) -> Tensor:
    """Tokens 0 .. size - 1, each drawn anew with probability ``rate``, which may return the same; others stay.

    Args:
        index_N, place_N: the token's string and its place there, broadcast against ``tokens_N``; int64.
    """
    state_N = token_bits(rng.key("noise token", key), index_N, place_N)
    hit_N = (rng.uniform(0, state_N) < rate_N) & (tokens_N >= 0)
    return torch.where(hit_N, rng.below(size, rng.key("noise other"), state_N), tokens_N)


def token_bits(key: int, index_N: Tensor, place_N: Tensor) -> Tensor:
    """64 random bits for each place of each string."""
    return rng.bits(rng.bits(key, index_N), place_N)
