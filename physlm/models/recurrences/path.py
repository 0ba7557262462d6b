"""PaTH: queries and keys that meet through a product of reflections, one a token (arXiv 2505.16381).

    s_ij = k_j^T H_(j+1) H_(j+2) .. H_i q_i  +  f_(j+1) + .. + f_i   for j <= i,   H_t = I - b_t w_t w_t^T

with f = 0, or what fades a token (PaTH-FoX).  Whole rows are read in chunks of C positions.  With Q, K, W (C, h) of a
chunk, D = diag(b), lower with the diagonal and below without,

    X = (I + below(D W W^T))^-1 D
    P = I - W^T X W                     all reflections of the chunk, the last first
    Q' = Q - lower(Q W^T) X W           queries back to the beginning of the chunk
    K' = K - (X below(W K^T))^T W       keys on to its end
    s within the chunk  = lower(Q K^T) - lower(Q W^T) X below(W K^T)
    s to all before     = Q' K~^T, with K~ all earlier keys as the chunk's beginning meets them

and after it K~ <- (K~ P^T, K'): the rule by which generation keeps its keys, a chunk at a time.  What chunks need is
made in ``recurrences.path_chunks``.  Only the scores of one chunk of queries are ever written out, and none where
kernels read them (``recurrences.path_read``).  Rows of more than ``GROUP`` queries are read in groups of so many;
nothing of what is within is kept for the backward pass, which reads it again: O(T GROUP) numbers a head meanwhile, else
O(T).

Shape letters: ``..`` any leading axes (members, rows, heads), T positions, n chunks of C positions, L keys before a
chunk, h width of a key, e width of a value.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from physlm.models.parts.recurrent import GROUP, chunk_of
from physlm.models.recurrences.chunks import in_chunks, in_rows, running, running_over_rows
from physlm.models.recurrences.matmul import matmul
from physlm.models.recurrences.path_chunks import chunk_pieces
from physlm.models.recurrences.path_read import read_prepared, reads_by_kernels


class Turned(NamedTuple):
    """The chunks of a row, (.., n, ..) each: scores within a chunk (C, C), Q' (C, h), K' (C, h) and P (h, h), and where
    it fades the sums of f from a chunk's beginning (C, 1)."""

    within: Tensor
    queries: Tensor
    keys: Tensor
    through: Tensor
    fade: Tensor | None


class CarriedKeys(NamedTuple):
    """Keys as the next query meets them, (.., L, h), and what has faded since each, (.., L, 1)."""

    keys: Tensor
    faded: Tensor | None


def path_attention(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, fade: Tensor | None = None, chunk: int = 0,
    group: int = GROUP,
) -> Tensor:
    """softmax_j(s_ij) v_j over j <= i, (.., T, e) in the dtype of v; the scores in that of the others.

    Args:
        q, k: (.., T, h), float32 or float64.
        v: (.., T, e).
        w: (.., T, h), no longer than 1.
        beta: b, (.., T, 1), from 0 to 2.
        fade: f, (.., T, 1), at most 0; None: 0.
        chunk: C, a power of two from 16 up; 0: ``chunk_of`` T.
        group: queries that are read again in the backward pass of longer rows.
    """
    positions, chunk = q.shape[-2], chunk or chunk_of(q.shape[-2], "path")
    values, each = in_chunks(v, chunk), max(1, group // chunk)
    chunks = values.shape[-3]
    if chunks <= each and reads_by_kernels(in_chunks(q, chunk), values):
        pieces = chunk_pieces(*_cut(q, k, w, beta, chunk), v.dtype)
        faded = None if fade is None else in_chunks(running_over_rows(fade), chunk)
        return in_rows(read_prepared(*pieces, values, faded), positions)
    turned = _turned(q, k, w, beta, fade, chunk, v.dtype)
    if chunks <= each:
        return in_rows(_group(turned, values, 0, chunks), positions)
    found = [checkpoint(_group, turned, values, start, min(start + each, chunks), use_reentrant=False,
                        preserve_rng_state=False) for start in range(0, chunks, each)]  # fmt: skip
    return in_rows(torch.cat(found, -3), positions)


def path_scores(
    q: Tensor, k: Tensor, w: Tensor, beta: Tensor, fade: Tensor | None = None, chunk: int = 0
) -> tuple[Tensor, CarriedKeys]:
    """s (.., T, T), -inf for j > i, and all keys as a query after the last token meets them; for those who want to look
    at them."""
    positions, chunk = q.shape[-2], chunk or chunk_of(q.shape[-2], "path")
    turned = _turned(q, k, w, beta, fade, chunk)
    kept: CarriedKeys | None = None
    rows = []
    for c in range(turned.keys.shape[-3]):
        scores = _scores(turned, kept, c)
        rows.append(F.pad(scores, (0, turned.keys.shape[-3] * chunk - scores.shape[-1]), value=-torch.inf))
        kept = _moved(turned, kept, c)
    return torch.cat(rows, -2)[..., :positions, :positions], _first(kept, positions)


def path_keys(k: Tensor, w: Tensor, beta: Tensor, fade: Tensor | None = None, chunk: int = 0) -> CarriedKeys:
    """All keys as a query after the last token meets them."""
    turned = _turned(torch.zeros_like(k), k, w, beta, fade, chunk or chunk_of(k.shape[-2], "path"))
    return _first(_before(turned, turned.keys.shape[-3]), k.shape[-2])


def _first(kept: CarriedKeys | None, positions: int) -> CarriedKeys:
    """Without what a chunk was filled up with."""
    assert kept is not None, "a row has a token"
    return CarriedKeys(kept.keys[..., :positions, :], None if kept.faded is None else kept.faded[..., :positions, :])


def path_step(keys: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """The keys as the next token meets them, k_j - b (k_j . w) w: (.., L, h), of w (.., 1, h) and b (.., 1, 1)."""
    return keys - (keys @ w.mT) * (beta * w)


def _turned(
    q: Tensor, k: Tensor, w: Tensor, beta: Tensor, fade: Tensor | None, chunk: int, rounded: torch.dtype | None = None
) -> Turned:
    pieces = chunk_pieces(*_cut(q, k, w, beta, chunk), rounded)
    if fade is None:
        return Turned(*pieces, None)
    total = running(in_chunks(fade, chunk))
    return Turned(pieces[0] + (total - total.mT), *pieces[1:], total)


def _cut(q: Tensor, k: Tensor, w: Tensor, beta: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return in_chunks(q, chunk), in_chunks(k, chunk), in_chunks(w, chunk), in_chunks(beta, chunk)


def _scores(turned: Turned, kept: CarriedKeys | None, c: int, rounded: torch.dtype | None = None) -> Tensor:
    """Of the queries of a chunk for the keys before it and its own, (.., C, L + C)."""
    if kept is None:
        return turned.within[..., c, :, :]
    earlier = matmul(turned.queries[..., c, :, :], kept.keys.mT, rounded)
    if kept.faded is not None and turned.fade is not None:
        earlier = earlier + (turned.fade[..., c, :, :] + kept.faded.mT)
    return torch.cat((earlier, turned.within[..., c, :, :]), -1)


def _moved(turned: Turned, kept: CarriedKeys | None, c: int, rounded: torch.dtype | None = None) -> CarriedKeys:
    """The keys after a chunk, its own among them."""
    keys, faded = [turned.keys[..., c, :, :]], []
    if kept is not None:
        keys.insert(0, matmul(kept.keys, turned.through[..., c, :, :].mT, rounded))
    if turned.fade is not None:
        total = turned.fade[..., c, :, :]
        end = total[..., -1:, :]
        faded = [end - total]
        if kept is not None and kept.faded is not None:
            faded.insert(0, kept.faded + end)
    return CarriedKeys(torch.cat(keys, -2), torch.cat(faded, -2) if faded else None)


def _before(turned: Turned, chunks: int) -> CarriedKeys | None:
    """The keys of the first chunks after them, if any: each by one product with all reflections on its way."""
    if not chunks:
        return None
    onward, keys, faded = None, [], []
    later = None if turned.fade is None else torch.zeros_like(turned.fade[..., 0, :1, :])
    for c in reversed(range(chunks)):
        own, through = turned.keys[..., c, :, :], turned.through[..., c, :, :].mT
        keys.append(own if onward is None else own @ onward)
        onward = through if onward is None else through @ onward
        if later is not None and turned.fade is not None:
            total = turned.fade[..., c, :, :]
            faded.append(total[..., -1:, :] - total + later)
            later = later + total[..., -1:, :]
    return CarriedKeys(torch.cat(keys[::-1], -2), torch.cat(faded[::-1], -2) if faded else None)


def _group(turned: Turned, values: Tensor, start: int, end: int) -> Tensor:
    """What the queries of some chunks read, (.., end - start, C, e)."""
    kept, found = _before(turned, start), []
    for c in range(start, end):
        weight = _scores(turned, kept, c, values.dtype).softmax(-1).to(values.dtype)
        found.append(weight @ values[..., : c + 1, :, :].flatten(-3, -2))
        if c + 1 < end:
            kept = _moved(turned, kept, c, values.dtype)
    return torch.stack(found, -3)
