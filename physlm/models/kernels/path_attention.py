"""The scores and reads of PaTH, see ``physlm.models.recurrences.path_read``, without a table of scores.

A query meets the keys of its own chunk by scores that are given, and those of the chunks before it, the nearest first,
as they stand at the end of their chunk: on its way to the next it passes all reflections of one, X <- X P.  Backward, a
query goes the same way and leaves what it was at each chunk; then back, the gradient with it, and leaves that too.  A
second kernel, for each chunk of keys, sums over all queries what they left.  Products with values are of 16 bits, the
others of TF32.

Shapes: R rows of all heads, n chunks of C positions, h width of a head, of keys as of values; C and h are powers of two
from 16 up.  c, what has faded, (R, n C), or nothing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from physlm.models.kernels.tf32 import dot

WARPS = 4


@triton.jit
def _at(ptr, number, rows: tl.constexpr, columns: tl.constexpr):
    """Pointers to a matrix (rows, columns) among others."""
    own = tl.arange(0, rows)[:, None] * columns + tl.arange(0, columns)[None, :]
    return ptr + number.to(tl.int64) * rows * columns + own


@triton.jit
def _fades(scores, faded_ptr, queries, keys, C: tl.constexpr, FADES: tl.constexpr):
    """Scores of a chunk of queries for one of keys with c_i - c_j."""
    if FADES:
        place = tl.arange(0, C)
        own = tl.load(faded_ptr + queries.to(tl.int64) * C + place)
        scores += own[:, None] - tl.load(faded_ptr + keys.to(tl.int64) * C + place)[None, :]
    return scores


@triton.jit
def _turn(chunks):
    """Row and chunk of a program: the last chunks, which meet most keys, begin first."""
    row = tl.program_id(0) % (tl.num_programs(0) // chunks)
    return row, chunks - 1 - tl.program_id(0) // (tl.num_programs(0) // chunks)


@triton.jit
def _forward_kernel(
    within_ptr, queries_ptr, keys_ptr, through_ptr, values_ptr, faded_ptr, out_ptr, total_ptr, chunks,
    C: tl.constexpr, h: tl.constexpr, FADES: tl.constexpr,
):  # fmt: skip
    row, i = _turn(chunks)
    number = row * chunks + i
    scores = _fades(tl.load(_at(within_ptr, number, C, C)), faded_ptr, number, number, C, FADES)
    most = tl.max(scores, 1)
    weights = tl.exp(scores - most[:, None])
    total = tl.sum(weights, 1)
    values = tl.load(_at(values_ptr, number, C, h))
    found = tl.dot(weights.to(values.dtype), values)
    x = tl.load(_at(queries_ptr, number, C, h))
    for back in range(0, i):
        other = number - 1 - back
        scores = _fades(dot(x, tl.trans(tl.load(_at(keys_ptr, other, C, h)))), faded_ptr, number, other, C, FADES)
        above = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - above[:, None])
        less = tl.exp(most - above)
        total = total * less + tl.sum(weights, 1)
        values = tl.load(_at(values_ptr, other, C, h))
        found = found * less[:, None] + tl.dot(weights.to(values.dtype), values)
        most = above
        x = dot(x, tl.load(_at(through_ptr, other, h, h)))
    tl.store(_at(out_ptr, number, C, h), (found / total[:, None]).to(out_ptr.dtype.element_ty))
    tl.store(total_ptr + number.to(tl.int64) * C + tl.arange(0, C), most + tl.log(total))


def forward(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What is read, (R, n, C, h) in the dtype of values, and the logarithm of each softmax's total, (R, n, C)."""
    rows, chunks, chunk, width = values.shape
    out, total = torch.empty_like(values), within.new_empty(rows, chunks, chunk)
    _forward_kernel[(rows * chunks,)](within, queries, keys, through, values, within if faded is None else faded, out,
                                      total, chunks, **_constants(chunk, width, faded))  # fmt: skip
    return out, total


def _constants(chunk: int, width: int, faded: Tensor | None) -> dict[str, int]:
    # without stages that overlap, whose buffers would leave a processor one program at a time
    return {"C": chunk, "h": width, "FADES": faded is not None, "num_warps": WARPS, "num_stages": 1}


# ---- Backward


@triton.jit
def _gradient(weights, grad, values, spread):
    """d / d scores of a softmax's weights, p (g V^T - sum of g o)."""
    return weights * (tl.dot(grad, tl.trans(values)).to(tl.float32) - spread[:, None])


@triton.jit
def _queries_kernel(
    within_ptr, queries_ptr, keys_ptr, through_ptr, values_ptr, faded_ptr, out_ptr, total_ptr, grad_ptr,
    for_within_ptr, for_queries_ptr, for_faded_ptr, met_ptr, left_ptr, spread_ptr, chunks,
    C: tl.constexpr, h: tl.constexpr, FADES: tl.constexpr,
):  # fmt: skip
    """d / d Q' and the scores within; what each query was at each chunk before (``met``), and the gradient that it
    brought back to there (``left``).

    Of c its part as a query's: the sum of a row of d / d scores, 0 but for rounding.  Without it what is rounded in o
    would stay in d / d c and, summed over all later tokens, grow with the row.
    """
    row, i = _turn(chunks)
    number = row * chunks + i
    place = number.to(tl.int64) * C + tl.arange(0, C)
    total = tl.load(total_ptr + place)
    grad = tl.load(_at(grad_ptr, number, C, h))
    spread = tl.sum(grad.to(tl.float32) * tl.load(_at(out_ptr, number, C, h)).to(tl.float32), 1)
    tl.store(spread_ptr + place, spread)
    scores = _fades(tl.load(_at(within_ptr, number, C, C)), faded_ptr, number, number, C, FADES)
    weights = tl.exp(scores - total[:, None])
    own = _gradient(weights, grad, tl.load(_at(values_ptr, number, C, h)), spread)
    tl.store(_at(for_within_ptr, number, C, C), own)
    for_faded = tl.sum(own, 1)
    x = tl.load(_at(queries_ptr, number, C, h))
    for back in range(0, i):
        tl.store(_at(met_ptr, number * chunks + i - 1 - back, C, h), x)
        x = dot(x, tl.load(_at(through_ptr, number - 1 - back, h, h)))
    tl.debug_barrier()  # what was left is read by other threads
    back_grad = tl.zeros([C, h], tl.float32)
    for j in range(0, i):
        other = row * chunks + j
        x = tl.load(_at(met_ptr, number * chunks + j, C, h))
        keys = tl.load(_at(keys_ptr, other, C, h))
        scores = _fades(dot(x, tl.trans(keys)), faded_ptr, number, other, C, FADES)
        weights = tl.exp(scores - total[:, None])
        g = _gradient(weights, grad, tl.load(_at(values_ptr, other, C, h)), spread)
        for_faded += tl.sum(g, 1)
        tl.store(_at(left_ptr, number * chunks + j, C, h), back_grad)
        back_grad = dot(g, keys) + dot(back_grad, tl.trans(tl.load(_at(through_ptr, other, h, h))))
    tl.store(_at(for_queries_ptr, number, C, h), back_grad)
    if FADES:
        tl.store(for_faded_ptr + place, for_faded)


@triton.jit
def _keys_kernel(
    within_ptr, keys_ptr, values_ptr, faded_ptr, total_ptr, grad_ptr, for_within_ptr, met_ptr, left_ptr, spread_ptr,
    for_keys_ptr, for_through_ptr, for_values_ptr, for_faded_ptr, chunks,
    C: tl.constexpr, h: tl.constexpr, FADES: tl.constexpr,
):  # fmt: skip
    """d / d K', P, V and c of a chunk of keys, summed over the queries after it."""
    row = tl.program_id(0) // chunks
    j = tl.program_id(0) % chunks
    number = row * chunks + j
    place = tl.arange(0, C)
    values = tl.load(_at(values_ptr, number, C, h))
    keys = tl.load(_at(keys_ptr, number, C, h))
    scores = _fades(tl.load(_at(within_ptr, number, C, C)), faded_ptr, number, number, C, FADES)
    weights = tl.exp(scores - tl.load(total_ptr + number.to(tl.int64) * C + place)[:, None])
    grad = tl.load(_at(grad_ptr, number, C, h))
    for_values = tl.dot(tl.trans(weights.to(values.dtype)), grad)
    for_faded = -tl.sum(tl.load(_at(for_within_ptr, number, C, C)), 0)
    for_keys = tl.zeros([C, h], tl.float32)
    for_through = tl.zeros([h, h], tl.float32)
    for i in range(j + 1, chunks):
        other = row * chunks + i
        x = tl.load(_at(met_ptr, other * chunks + j, C, h))
        grad = tl.load(_at(grad_ptr, other, C, h))
        scores = _fades(dot(x, tl.trans(keys)), faded_ptr, other, number, C, FADES)
        weights = tl.exp(scores - tl.load(total_ptr + other.to(tl.int64) * C + place)[:, None])
        g = _gradient(weights, grad, values, tl.load(spread_ptr + other.to(tl.int64) * C + place))
        for_values += tl.dot(tl.trans(weights.to(values.dtype)), grad)
        for_faded -= tl.sum(g, 0)
        for_keys += dot(tl.trans(g), x)
        for_through += dot(tl.trans(x), tl.load(_at(left_ptr, other * chunks + j, C, h)))
    tl.store(_at(for_keys_ptr, number, C, h), for_keys)
    tl.store(_at(for_through_ptr, number, h, h), for_through)
    tl.store(_at(for_values_ptr, number, C, h), for_values.to(for_values_ptr.dtype.element_ty))
    if FADES:  # beside what a query gave
        own_faded = for_faded_ptr + number.to(tl.int64) * C + place
        tl.store(own_faded, tl.load(own_faded) + for_faded)


def backward(
    within: Tensor, queries: Tensor, keys: Tensor, through: Tensor, values: Tensor, faded: Tensor | None, out: Tensor,
    total: Tensor, grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """d / d the scores within, Q', K', P, V and c; the last empty where nothing fades."""
    rows, chunks, chunk, width = values.shape
    for_within, for_queries, for_keys, for_through, for_values = (
        torch.empty_like(x) for x in (within, queries, keys, through, values))
    met, left = (queries.new_empty(rows, chunks, chunks, chunk, width) for _ in range(2))
    spread = torch.empty_like(total)
    for_faded = within.new_empty((0,)) if faded is None else torch.empty_like(faded)
    given, constants = within if faded is None else faded, _constants(chunk, width, faded)
    _queries_kernel[(rows * chunks,)](within, queries, keys, through, values, given, out, total, grad, for_within,
                                      for_queries, for_faded, met, left, spread, chunks, **constants)  # fmt: skip
    _keys_kernel[(rows * chunks,)](within, keys, values, given, total, grad, for_within, met, left, spread, for_keys,
                                   for_through, for_values, for_faded, chunks, **constants)  # fmt: skip
    return for_within, for_queries, for_keys, for_through, for_values, for_faded
