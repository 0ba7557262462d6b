"""Causal softmax attention under a bias of distance, within a window or within chunks: what is in sight, and how.

Of whole rows, what is plain goes to the fastest kernel.  Chunks are rows of their own.  A window is cut into blocks of
queries, each with the keys of two blocks; a bias is written out, in blocks of queries where rows are long.  So neither
time nor memory of a window or of chunks grows with the square of the row.

    bias_mHW    b of each head at the distances i - j = 0, 1, .., as many as there are positions; None: 0
    window      each query sees so many keys, the last its own; 0: all before it
    chunk       each query sees the keys of its own chunk alone, [0, c), [c, 2 c), ..; 0: all before it

Shape letters: N = M B rows of all members, T positions, L positions of a state, Q tokens beside, H heads, k = d / H,
W distances; m = 1, or M where members have biases of their own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.parts.distances import seen, skew
from physlm.models.parts.part import Beside

QUERIES = 512  # of a block under a bias, in longer rows
LEAST_BLOCK = 64  # of a window
MOST_ROWS = (1 << 16) - 1  # of one call, chunks and blocks counted: a grid of CUDA has no more
WHOLE = 16  # keys: what kernels on GPUs want the rows of a mask to be multiples of


def attend(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None = None, window: int = 0, chunk: int = 0) -> Tensor:
    """softmax_j(q_i . k_j / sqrt(k) + b[i - j]) v_j over the keys j <= i in sight; all (N, H, T, k)."""
    positions = q.shape[2]
    if chunk and chunk < positions:
        return _in_chunks(q, k, v, bias_mHW, chunk)
    windowed = 0 < window < positions
    if bias_mHW is None and not windowed:
        return _kernel(q, k, v)
    block = max(LEAST_BLOCK, WHOLE * -(-window // WHOLE))
    if windowed and positions > 2 * block:
        return _in_blocks(q, k, v, bias_mHW, window, block)
    if more := -positions % WHOLE:  # no query sees what comes after it
        q, k, v = (F.pad(x, (0, 0, 0, more)) for x in (q, k, v))
        bias_mHW = None if bias_mHW is None else F.pad(bias_mHW, (0, more))
    if windowed:
        mixed = masked(q, k, v, _last_in_sight(bias_mHW, positions + more, positions + more, window, q))
    else:
        assert bias_mHW is not None
        mixed = _biased(q, k, v, bias_mHW)
    return mixed[:, :, :positions]


def scores_in_sight(scores_MBHTT: Tensor, bias_mHW: Tensor | None, window: int, chunk: int) -> Tensor:
    """Scores of all keys for all queries with the bias, -inf out of sight."""
    positions = scores_MBHTT.shape[-1]
    mask = _last_in_sight(bias_mHW, positions, positions, window, scores_MBHTT)
    if chunk:
        number = torch.arange(positions, device=mask.device) // chunk
        mask = _hide(mask, number[:, None] != number)
    mask = mask[:, None]
    return scores_MBHTT.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores_MBHTT + mask


def kept_in_sight(place_1: Tensor, keys_NHLk: Tensor, bias_mHW: Tensor | None, window: int, chunk: int) -> Tensor:
    """The mask of the next token, at ``place``: (1, 1, 1, L) whether it sees what is kept, or (m, H, 1, L) its bias.

    The position p is kept at p modulo L, so that a kept token is (place - its slot) modulo L before the next.
    """
    size = keys_NHLk.shape[2]
    if bias_mHW is None and not (window or chunk):
        return seen(size, place_1)[None, None, None]
    distance = (place_1 - torch.arange(size, device=place_1.device)) % size
    hidden = distance > (place_1 % chunk if chunk else place_1)
    if window:
        hidden = hidden | (distance >= window)
    if bias_mHW is None:
        return ~hidden[None, None, None]
    return _hide(bias_mHW.index_select(-1, distance).to(keys_NHLk.dtype), hidden)[:, :, None]


def beside_in_sight(
    where: Beside, members: int, keys_NHLk: Tensor, bias_mHW: Tensor | None, window: int, chunk: int
) -> Tensor:
    """The mask of tokens beside the rows for what is kept and for each other, (N, 1 or H, Q, L + Q)."""
    if bias_mHW is None and not (window or chunk):
        return where.seen
    places_BQ = where.places_BQ
    kept = torch.arange(keys_NHLk.shape[2] - places_BQ.shape[1], device=places_BQ.device)
    query, key = places_BQ[..., None], torch.cat((kept.expand(len(places_BQ), -1), places_BQ), 1)[:, None]
    mask = where.seen
    if bias_mHW is not None:
        biases = bias_mHW[..., (query - key).clamp_min(0)].transpose(1, 2)  # (m, B, H, Q, L + Q)
        biases = biases.expand(members, -1, -1, -1, -1).flatten(0, 1).to(keys_NHLk.dtype)
        mask = _hide(biases, ~mask)
    if window or chunk:
        far = query - key >= window if window else query // chunk != key // chunk
        mask = _hide(mask, far[:, None].repeat(members, 1, 1, 1))
    return mask


def _hide(mask: Tensor, hidden: Tensor) -> Tensor:
    """A mask with more out of sight: of what is seen, or of biases."""
    return mask & ~hidden if mask.dtype == torch.bool else mask.masked_fill(hidden, -torch.inf)


def _last_in_sight(bias_mHW: Tensor | None, queries: int, keys: int, window: int, like: Tensor) -> Tensor:
    """What is added to the scores of the last ``queries`` of ``keys`` positions, (m, H, queries, keys) in the dtype of
    ``like``, -inf out of sight; without a bias whether they are in sight, (1, 1, queries, keys)."""
    place = torch.arange(keys, device=like.device)
    distance = place[keys - queries :, None] - place
    hidden = distance < 0
    if window:
        hidden = hidden | (distance >= window)
    if bias_mHW is None:
        return ~hidden[None, None]
    # column c holds the distance keys - 1 - c, so that j = i - distance moves right with c
    columns = bias_mHW[..., :keys].flip(-1)[:, :, None].expand(-1, -1, queries, -1)
    return skew(columns, queries - 1, keys).to(like.dtype).masked_fill(hidden, -torch.inf)


def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention under a mask that all rows share, (1, .., queries, keys), or that the rows of each member share."""
    members = len(mask)
    if members == 1:
        return _kernel(q, k, v, mask)
    # members stand beside the heads, so that no mask is written out for each row
    q, k, v = (x.unflatten(0, (members, -1)).transpose(0, 1).flatten(1, 2) for x in (q, k, v))
    mixed = _kernel(q, k, v, mask.flatten(0, 1)[None])
    return mixed.unflatten(1, (members, -1)).transpose(0, 1).flatten(0, 1)


def _kernel(q_NHTk: Tensor, k_NHLk: Tensor, v_NHLk: Tensor, mask_1HTL: Tensor | None = None) -> Tensor:
    """torch's attention under a mask, or without one causal; in pieces where there are too many rows for one call."""
    if len(q_NHTk) <= MOST_ROWS:
        return F.scaled_dot_product_attention(q_NHTk, k_NHLk, v_NHLk, mask_1HTL, is_causal=mask_1HTL is None)
    pieces = zip(*(x.split(MOST_ROWS) for x in (q_NHTk, k_NHLk, v_NHLk)), strict=True)
    return torch.cat([_kernel(q, k, v, mask_1HTL) for q, k, v in pieces])


def _biased(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor) -> Tensor:
    positions = q.shape[2]
    if positions <= QUERIES:
        return masked(q, k, v, _last_in_sight(bias_mHW, positions, positions, 0, q))
    parts = []
    for start in range(0, positions, QUERIES):
        end = min(start + QUERIES, positions)
        mask = _last_in_sight(bias_mHW, end - start, end, 0, q)
        parts.append(masked(q[:, :, start:end], k[:, :, :end], v[:, :, :end], mask))
    return torch.cat(parts, 2)


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None, chunk: int) -> Tensor:
    positions = q.shape[2]
    q, k, v = (_split(x, chunk).transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (N chunks, H, c, k)
    mixed = attend(q, k, v, bias_mHW)
    return mixed.unflatten(0, (-1, -(-positions // chunk))).transpose(1, 2).flatten(2, 3)[:, :, :positions]


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None, window: int, block: int) -> Tensor:
    """Blocks of at least the window: all that the queries of one see is in it and in the one before it."""
    positions = q.shape[2]
    first = attend(q[:, :, :block], k[:, :, :block], v[:, :, :block], bias_mHW, window)
    q, k, v = (_split(x, block) for x in (q, k, v))  # (N, H, blocks, s, k)
    k, v = (torch.cat((x[:, :, :-1], x[:, :, 1:]), 3).transpose(1, 2).flatten(0, 1) for x in (k, v))
    mask = _last_in_sight(bias_mHW, block, 2 * block, window, q)
    rest = masked(q[:, :, 1:].transpose(1, 2).flatten(0, 1), k, v, mask)
    rest = rest.unflatten(0, (-1, -(-positions // block) - 1)).transpose(1, 2).flatten(2, 3)
    return torch.cat((first, rest), 2)[:, :, :positions]


def _split(x_NHTk: Tensor, size: int) -> Tensor:
    """Pieces of so many positions, (N, H, pieces, size, k), the last one filled up with zeros."""
    return F.pad(x_NHTk, (0, 0, 0, -x_NHTk.shape[2] % size)).unflatten(2, (-1, size))
