"""Scores of PaTH: queries and keys that meet through a product of reflections, one a token (arXiv 2505.16381).

    s_ij = k_j^T H_(j+1) H_(j+2) .. H_i q_i   for j <= i,   H_t = I - b_t w_t w_t^T

Whole rows are read in chunks of C positions.  With Q, K, W (C, h) of a chunk, D = diag(b), lower with the diagonal and
below without,

    X = (I + below(D W W^T))^-1 D
    P = I - W^T X W                     all reflections of the chunk, the last first
    Q' = Q - lower(Q W^T) X W           queries back to the beginning of the chunk
    K' = K - (X below(W K^T))^T W       keys on to its end
    s within the chunk  = lower(Q K^T) - lower(Q W^T) X below(W K^T)
    s to a chunk before = Q' P .. P K'^T, with the P of the chunks between

so that all pairs of chunks of one distance are one product, and there are n - 1 distances.

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, n chunks of C positions, h width of a key.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.recurrences.chunks import above, chunk_of, in_chunks, in_rows
from physlm.models.recurrences.delta import unit_inverse


def path_scores(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, chunk: int = 0) -> tuple[Tensor, Tensor]:
    """s (.., T, T), 0 for j > i, and the keys as a query after the last token meets them, k_j^T H_(j+1) .. H_T,
    (.., T, h); in the dtype of the arguments: float32 or float64.

    Args:
        q, k: (.., T, h).
        w: (.., T, h), no longer than 1.
        beta: b, (.., T, 1), from 0 to 2.
        chunk: C, a power of two from 16 up; 0: ``chunk_of`` T.
    """
    positions = q.shape[-2]
    chunk = chunk or chunk_of(positions)
    q, k, w, beta = (in_chunks(x, chunk) for x in (q, k, w, beta))
    hidden, diagonal = above(chunk, 1, q.device), above(chunk, 0, q.device)
    inverse = unit_inverse(((beta * w) @ w.mT).masked_fill(diagonal, 0.0)) * beta.mT
    from_q = (q @ w.mT).masked_fill(hidden, 0.0) @ inverse
    to_k = (w @ k.mT).masked_fill(diagonal, 0.0)
    through = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device) - w.mT @ inverse @ w
    queries, keys = q - from_q @ w, k - (inverse @ to_k).mT @ w
    by_distance = [(q @ k.mT).masked_fill(hidden, 0.0) - from_q @ to_k]
    for distance in range(1, q.shape[-3]):
        if distance > 1:
            queries = queries[..., 1:, :, :] @ through[..., 1 : 1 - distance, :, :]
        else:
            queries = queries[..., 1:, :, :]
        by_distance.append(queries @ keys[..., :-distance, :, :].mT)
    return _assembled(by_distance)[..., :positions, :positions], in_rows(_at_the_end(keys, through), positions)


def path_step(keys: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """The keys as the next token meets them, k_j - b (k_j . w) w: (.., L, h), of w (.., 1, h) and b (.., 1, 1)."""
    return keys - (keys @ w.mT) * (beta * w)


def _at_the_end(keys: Tensor, through: Tensor) -> Tensor:
    """K' of each chunk through all chunks after it."""
    onward = torch.eye(through.shape[-1], dtype=through.dtype, device=through.device).expand_as(through[..., 0, :, :])
    found = []
    for c in reversed(range(keys.shape[-3])):
        found.append(keys[..., c, :, :] @ onward)
        onward = through[..., c, :, :].mT @ onward
    return torch.stack(found[::-1], -3)


def _assembled(by_distance: list[Tensor]) -> Tensor:
    """(.., n C, n C) of the blocks at each distance below the diagonal, (.., n - distance, C, C)."""
    chunks = by_distance[0].shape[-3]
    rows = []
    for b in range(chunks):
        row = torch.cat([by_distance[b - c][..., c, :, :] for c in range(b + 1)], -1)
        rows.append(F.pad(row, (0, (chunks - 1 - b) * row.shape[-2])))
    return torch.cat(rows, -2)
