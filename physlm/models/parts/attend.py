"""Causal softmax attention under a bias of distance, within a window or within chunks: what is in sight, and how.

Of whole rows, what is plain goes to the fastest kernel.  Chunks are rows of their own.  A window is cut into blocks of
queries, each with the keys of two blocks; a bias is written out, in blocks of queries where rows are long.  So neither
time nor memory of a window or of chunks grows with the square of the row.

    bias_mHW    b of each head at the distances i - j = 0, 1, .., as many as there are positions; None: 0
    window      each query sees so many keys, the last its own; 0: all before it
    chunk       each query sees the keys of its own chunk alone, [0, c), [c, 2 c), ..; 0: all before it
    sink        a logit s more joins the softmax of every query and has no value, so that weights need not add up to 1:
                o_i = Sum_j e^a_ij v_j / (e^s + Sum_j e^a_ij)

A sink is computed as a key before all others, in sight of every query, so that all kernels know it: ``with_sink`` gives
q, k and v channels more, in which a query holds its s, that key a 1 and all others zeros.

Shape letters: N = M B rows of all members, T positions, L positions of a state, Q tokens beside, H heads, k = d / H,
W distances; m = 1, or M where members have biases of their own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.parts.distances import seen, skew
from physlm.models.parts.part import Beside
from physlm.models.short_attention import is_short, short_attention

QUERIES = 512  # of a block under a bias, in longer rows
LEAST_BLOCK = 64  # of a window
MOST_ROWS = (1 << 16) - 1  # of one call, chunks and blocks counted: a grid of CUDA has no more
WHOLE = 16  # keys: what kernels on GPUs want the rows of a mask to be multiples of
_LEAST_SINK = -1e4  # what is below counts as this
_SINK = 8  # channels more of q, k and v with a sink: what these kernels want widths to be multiples of


def with_sink(q: Tensor, k: Tensor, v: Tensor, sink_NH11: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v with the channels of a sink, whose s is of each row and head of queries; see the top of this page."""
    # finite, as it is multiplied with zeros too
    logit = (sink_NH11.clamp(min=_LEAST_SINK) * q.shape[-1] ** 0.5).to(q.dtype).expand(*q.shape[:-1], 1)
    return F.pad(torch.cat((q, logit), -1), (0, _SINK - 1)), F.pad(k, (0, _SINK)), F.pad(v, (0, _SINK))


def without_sink(mixed: Tensor) -> Tensor:
    """What was mixed of values with the channels of a sink, without these."""
    return mixed[..., :-_SINK]


def opened(before: int) -> int:
    """Keys that stand before those that are kept: so many of a prefix, filled up from the front to whole rows of a
    mask."""
    return WHOLE * -(-before // WHOLE)


def behind_prefix(
    q: Tensor, k: Tensor, v: Tensor, prefix: Tensor, whole: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values behind those of a prefix, (M, P, 2, n, c), of whose P streams the rows of a member are in turn.

    Args:
        whole: of whole rows, with as many queries more before the others, so that they stay causal; else keys are
            ``opened``, with zeros that no mask shows.
    """
    members, streams, _, count, _ = prefix.shape
    found = []
    for number, x in enumerate((k, v)):
        x = x.unflatten(0, (members, -1, streams))  # (M, B, P, G, L, k)
        first = prefix[:, :, number].unflatten(-1, (x.shape[3], -1)).transpose(2, 3)[:, None]  # (M, 1, P, G, n, k)
        if not whole:
            first = F.pad(first, (0, 0, opened(count) - count, 0))
        found.append(torch.cat((first.to(x.dtype).expand(-1, x.shape[1], -1, -1, -1, -1), x), 4).flatten(0, 2))
    return (F.pad(q, (0, 0, count, 0)) if whole else q), found[0], found[1]


def behind_mask(mask: Tensor, before: int) -> Tensor:
    """A mask of what is kept, (.., L), behind ``before`` keys that all see, and those that fill them up."""
    if not before:
        return mask
    first = torch.arange(opened(before), device=mask.device) >= opened(before) - before
    return torch.cat((first.expand(*mask.shape[:-1], -1), mask), -1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None = None, window: int = 0, chunk: int = 0, sink: bool = False
) -> Tensor:
    """softmax_j(q_i . k_j / sqrt(k) + b[i - j]) v_j over the keys j <= i in sight; all (N, H, T, k).

    Args:
        sink: they have the channels of one.
    """
    positions = q.shape[2]
    if chunk and chunk < positions:
        return _in_chunks(q, k, v, bias_mHW, chunk, sink)
    windowed = 0 < window < positions
    if bias_mHW is None and not windowed:
        return _kernel(q, k, v, None, sink)
    block = max(LEAST_BLOCK, WHOLE * -(-window // WHOLE))
    if windowed and positions > 2 * block:
        return _in_blocks(q, k, v, bias_mHW, window, block, sink)
    if more := -positions % WHOLE:  # no query sees what comes after it
        q, k, v = (F.pad(x, (0, 0, 0, more)) for x in (q, k, v))
        bias_mHW = None if bias_mHW is None else F.pad(bias_mHW, (0, more))
    if windowed:
        mixed = masked(q, k, v, _last_in_sight(bias_mHW, positions + more, positions + more, window, q), sink)
    else:
        assert bias_mHW is not None
        mixed = _biased(q, k, v, bias_mHW, sink)
    return mixed[:, :, :positions]


def everywhere(q: Tensor, k: Tensor, v: Tensor, sink: bool = False) -> Tensor:
    """The same over all keys, those after the query too."""
    if not sink:
        return F.scaled_dot_product_attention(q, k, v)
    return _kernel(q, k, v, torch.ones(1, 1, 1, k.shape[2], dtype=torch.bool, device=k.device), sink)


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


def among(chosen_MBT: Tensor) -> Tensor:
    """The mask of whole rows whose tokens see those before them that are chosen, and themselves, (N, 1, T, T)."""
    place = torch.arange(chosen_MBT.shape[-1], device=chosen_MBT.device)
    itself, before = place[:, None] == place, place[:, None] > place
    return (itself | before & chosen_MBT.flatten(0, 1)[:, None])[:, None]


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


def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, sink: bool = False) -> Tensor:
    """Attention under a mask that all rows share, (1, .., queries, keys), or that the rows of each member share."""
    members = len(mask)
    if members in (1, len(q)):
        return _kernel(q, k, v, mask, sink)
    # members stand beside the heads, so that no mask is written out for each row
    q, k, v = (x.unflatten(0, (members, -1)).transpose(0, 1).flatten(1, 2) for x in (q, k, v))
    mixed = _kernel(q, k, v, mask.flatten(0, 1)[None], sink)
    return mixed.unflatten(1, (members, -1)).transpose(0, 1).flatten(0, 1)


def _kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sink: bool) -> Tensor:
    """Attention under a mask (1 or N, .., T, L), or without one causal: of short rows by kernels of our own, of others
    by torch's; in pieces where there are too many rows for one call."""
    if mask is None and not sink and is_short(q, k, v):
        return short_attention(q, k, v)
    if len(q) > MOST_ROWS:
        pieces = [slice(start, start + MOST_ROWS) for start in range(0, len(q), MOST_ROWS)]
        masks = [mask if mask is None or len(mask) == 1 else mask[piece] for piece in pieces]
        return torch.cat([_kernel(q[piece], k[piece], v[piece], one, sink)
                          for piece, one in zip(pieces, masks, strict=True)])  # fmt: skip
    if not sink:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
    scale = (q.shape[-1] - _SINK) ** -0.5
    if mask is None:  # a query more before the others too, which sees the sink alone, so that the rows stay causal
        q, k, v = F.pad(q, (0, 0, 1, 0)), _opened(k, 1), F.pad(v, (0, 0, 1, 0))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)[:, :, 1:]
    hidden: float = False if mask.dtype == torch.bool else -torch.inf
    first = F.pad(torch.zeros_like(mask[..., :1]) if mask.is_floating_point() else torch.ones_like(mask[..., :1]),
                  (0, WHOLE - 1), value=hidden)  # fmt: skip
    k, v = _opened(k, WHOLE), F.pad(v, (0, 0, WHOLE, 0))
    return F.scaled_dot_product_attention(q, k, v, torch.cat((first, mask), -1), scale=scale)


def _opened(k: Tensor, count: int) -> Tensor:
    """Keys with ``count`` more before them, of which the first is the sink and the others zeros."""
    first = torch.zeros_like(k[:, :, :1]).expand(-1, -1, count, -1)
    at = torch.zeros(count, k.shape[-1], dtype=k.dtype, device=k.device)
    at[0, -_SINK] = 1
    return torch.cat((first + at, k), 2)


def _biased(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor, sink: bool) -> Tensor:
    positions = q.shape[2]
    if positions <= QUERIES:
        return masked(q, k, v, _last_in_sight(bias_mHW, positions, positions, 0, q), sink)
    parts = []
    for start in range(0, positions, QUERIES):
        end = min(start + QUERIES, positions)
        mask = _last_in_sight(bias_mHW, end - start, end, 0, q)
        parts.append(masked(q[:, :, start:end], k[:, :, :end], v[:, :, :end], mask, sink))
    return torch.cat(parts, 2)


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None, chunk: int, sink: bool) -> Tensor:
    positions = q.shape[2]
    q, k, v = (_split(x, chunk).transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (N chunks, H, c, k)
    mixed = attend(q, k, v, bias_mHW, sink=sink)
    return mixed.unflatten(0, (-1, -(-positions // chunk))).transpose(1, 2).flatten(2, 3)[:, :, :positions]


def _in_blocks(
    q: Tensor, k: Tensor, v: Tensor, bias_mHW: Tensor | None, window: int, block: int, sink: bool
) -> Tensor:
    """Blocks of at least the window: all that the queries of one see is in it and in the one before it."""
    positions = q.shape[2]
    first = attend(q[:, :, :block], k[:, :, :block], v[:, :, :block], bias_mHW, window, sink=sink)
    q, k, v = (_split(x, block) for x in (q, k, v))  # (N, H, blocks, s, k)
    k, v = (torch.cat((x[:, :, :-1], x[:, :, 1:]), 3).transpose(1, 2).flatten(0, 1) for x in (k, v))
    mask = _last_in_sight(bias_mHW, block, 2 * block, window, q)
    rest = masked(q[:, :, 1:].transpose(1, 2).flatten(0, 1), k, v, mask, sink)
    rest = rest.unflatten(0, (-1, -(-positions // block) - 1)).transpose(1, 2).flatten(2, 3)
    return torch.cat((first, rest), 2)[:, :, :positions]


def _split(x_NHTk: Tensor, size: int) -> Tensor:
    """Pieces of so many positions, (N, H, pieces, size, k), the last one filled up with zeros."""
    return F.pad(x_NHTk, (0, 0, 0, -x_NHTk.shape[2] % size)).unflatten(2, (-1, size))
