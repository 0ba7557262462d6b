"""Cross-entropy as attention over the vocabulary: the (tokens x vocabulary) matrix is never written out.

With hidden state h_n and table row E_v, the gradient of lse_n = log sum_v exp(h_n . E_v) with respect to h_n is
O_n = sum_v p_nv E_v: attention with queries h and keys = values = E.  So one flash-attention pass (arXiv 2205.14135)
over the vocabulary gives both the loss lse_n - h_n . E_t and its gradient O_n - E_t.  The table's gradient
sum_n (p_nv - [t_n = v]) h_n is a second pass with the roles exchanged, p recomputed from the saved lse.

For wide models the extra product of that second pass costs more than writing logits: ``wide`` does, for a chunk of
tokens at a time.

Shapes: M members, N tokens, C tokens of one chunk, V table rows, D width, S splits of the token axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@dataclass(frozen=True)
class Blocks:
    """How one kernel is cut into programs.

    Attributes:
        tokens, rows: the tile of the (tokens x table rows) matrix; ``tokens`` divides 128.
        warps, stages: warps of a program, depth of its load pipeline.
        resident: programs one processor holds at once, by registers; decides how finely the tokens are split.
    """

    tokens: int
    rows: int
    warps: int
    stages: int
    resident: int = 2

    @property
    def launch(self) -> dict[str, int]:
        """The launch options of triton."""
        return {"num_warps": self.warps, "num_stages": self.stages}


# By padded width: the fastest of a few tiles on an H200, at 49,152 tokens and 4,096 rows (12,288 x 3 and 3,100 at 32).
FORWARD: dict[int, Blocks] = {
    16: Blocks(64, 128, 4, 3),
    32: Blocks(64, 128, 4, 3),
    64: Blocks(64, 64, 4, 3),
    128: Blocks(64, 64, 4, 3),
    256: Blocks(128, 64, 8, 2),
}
TABLE: dict[int, Blocks] = {
    16: Blocks(64, 128, 4, 3, resident=4),
    32: Blocks(64, 128, 4, 3, resident=4),
    64: Blocks(64, 128, 4, 3, resident=2),
    128: Blocks(64, 64, 4, 3, resident=3),
    256: Blocks(64, 64, 4, 2, resident=2),
}
# float32 products run without tensor cores (tf32 would round): for tests, small tiles that compile fast.
FLOAT32 = Blocks(32, 32, 4, 1)
# The forward pass leaves its notes for backward padded to whole tiles of every kernel.
TOKEN_ALIGNMENT = 128
# Logits of one chunk of the wide path, in bytes: larger products outweigh keeping the logits in the cache (H200).
CHUNK_BYTES = 128 * 2**20
# Table rows of the wide path are padded to a multiple of this, which keeps every row of logits aligned.
ROW_ALIGNMENT = 64


@triton.jit
def _fold(hidden, keys, columns, V, top, total, mean, MASKED: tl.constexpr, GRADIENT: tl.constexpr):
    """Fold one block of table rows into the running maximum, sum and weighted sum of an online softmax (base 2)."""
    scores = tl.dot(hidden, tl.trans(keys), input_precision="ieee")
    if MASKED:
        scores = tl.where(columns[None, :] < V, scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1) * LOG2E)
    weights = tl.math.exp2(scores * LOG2E - new_top[:, None])
    shrink = tl.math.exp2(top - new_top)
    total = total * shrink + tl.sum(weights, 1)
    if GRADIENT:
        mean = tl.dot(weights.to(keys.dtype), keys, mean * shrink[:, None], input_precision="ieee")
    return new_top, total, mean


@triton.jit
def _forward_kernel(
    hidden_ptr, table_ptr, targets_ptr, nll_ptr, notes_ptr, grad_ptr, N, P, V, ignore,
    D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BV: tl.constexpr, TAIL: tl.constexpr,
    GRADIENT: tl.constexpr, Z: tl.constexpr,
):  # fmt: skip
    """One program: BN tokens of one member against the whole table."""
    member = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0).to(tl.int64) * BN
    first = member * N + start  # of all M * N tokens
    lane = tl.arange(0, BN)
    width = tl.arange(0, BD)
    inside = lane < N - start
    cell = lane[:, None] * D + width[None, :]
    cell_mask = inside[:, None] & (width[None, :] < D)
    table_ptr += member * V * D

    target = tl.load(targets_ptr + first + lane, mask=inside, other=ignore)
    scored = target != ignore
    answer_ptr = table_ptr + target[:, None] * D + width[None, :]
    answer_mask = scored[:, None] & (width[None, :] < D)
    hidden = tl.load(hidden_ptr + first * D + cell, mask=cell_mask, other=0.0)
    answer = tl.load(answer_ptr, mask=answer_mask, other=0.0)
    answer_score = tl.sum(hidden.to(tl.float32) * answer.to(tl.float32), 1)

    top = tl.full([BN], float("-inf"), tl.float32)
    total = tl.zeros([BN], tl.float32)
    mean = tl.zeros([BN, BD], tl.float32)
    columns = tl.arange(0, BV)
    whole = V // BV * BV
    if TAIL:  # V is no multiple of BV; the incomplete block goes first, so that nothing interrupts the pipelined loop
        key_mask = ((whole + columns)[:, None] < V) & (width[None, :] < D)
        keys = tl.load(table_ptr + (whole + columns)[:, None] * D + width[None, :], mask=key_mask, other=0.0)
        top, total, mean = _fold(hidden, keys, whole + columns, V, top, total, mean, True, GRADIENT)
    for block in range(0, whole, BV):
        key_ptr = table_ptr + (block + columns)[:, None] * D + width[None, :]
        if BD == D:
            keys = tl.load(key_ptr)
        else:
            keys = tl.load(key_ptr, mask=width[None, :] < D, other=0.0)
        top, total, mean = _fold(hidden, keys, block + columns, V, top, total, mean, False, GRADIENT)

    lse = top + tl.math.log2(total)
    nll = lse * LN2 - answer_score
    if Z > 0:
        nll += Z * (lse * LN2) * (lse * LN2)
    tl.store(nll_ptr + first + lane, tl.where(scored, nll, 0.0), mask=inside)
    if GRADIENT:
        # lse = +inf makes exp2(score - lse) vanish: ignored and padding tokens need no mask in backward.
        notes_ptr += member * 2 * P + start
        tl.store(notes_ptr + lane, tl.where(scored, lse, float("inf")))
        tl.store(notes_ptr + P + lane, tl.where(scored, target, -1).to(tl.float32))
        # Read a second time (from cache) rather than held in registers throughout the loop.
        answer = tl.load(answer_ptr, mask=answer_mask, other=0.0, eviction_policy="evict_last")
        mean = mean / total[:, None]
        if Z > 0:
            mean = mean * (1.0 + 2.0 * Z * LN2 * lse)[:, None]
        grad = tl.where(scored[:, None], mean - answer.to(tl.float32), 0.0)
        tl.store(grad_ptr + first * D + cell, grad.to(grad_ptr.dtype.element_ty), mask=cell_mask)


@triton.jit
def _table_kernel(
    hidden_ptr, table_ptr, notes_ptr, partial_ptr, N, P, V, split_tokens,
    D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BV: tl.constexpr, Z: tl.constexpr,
):  # fmt: skip
    """One program: BV table rows of one member against one split of the tokens."""
    member = tl.program_id(2).to(tl.int64)
    split = tl.program_id(1)
    first_row = tl.program_id(0) * BV
    rows = first_row + tl.arange(0, BV)
    width = tl.arange(0, BD)
    row_mask = (rows[:, None] < V) & (width[None, :] < D)
    row_cell = rows[:, None] * D + width[None, :]
    table = tl.load(table_ptr + member * V * D + row_cell, mask=row_mask, other=0.0)
    hidden_ptr += member * N * D
    notes_ptr += member * 2 * P
    # Row numbers as floats: exact up to 2^24, and lse and target can travel in one tensor.
    row_number = rows.to(tl.float32)[:, None]

    total = tl.zeros([BV, BD], tl.float32)
    for start in range(split * split_tokens, tl.minimum(N, (split + 1) * split_tokens), BN):
        tokens = start + tl.arange(0, BN)
        hidden_mask = (tokens < N)[:, None] & (width[None, :] < D)
        hidden = tl.load(
            hidden_ptr + tokens[:, None].to(tl.int64) * D + width[None, :], mask=hidden_mask, other=0.0
        )
        lse = tl.load(notes_ptr + tokens)
        target = tl.load(notes_ptr + P + tokens)
        scores = tl.dot(table, tl.trans(hidden), input_precision="ieee")
        weights = tl.math.exp2(scores * LOG2E - lse[None, :])
        if Z > 0:
            weights *= tl.where(lse == float("inf"), 1.0, 1.0 + 2.0 * Z * LN2 * lse)[None, :]
        weights = tl.where(row_number == target[None, :], weights - 1.0, weights)
        total = tl.dot(weights.to(hidden.dtype), hidden, total, input_precision="ieee")
    partial_ptr += (member * tl.num_programs(1) + split) * V * D
    tl.store(partial_ptr + row_cell, total, mask=row_mask)


@triton.jit
def _softmax_kernel(
    logits_ptr, targets_ptr, nll_ptr, squares_ptr, N, start, V, row_length, ignore, BLOCK: tl.constexpr,
    Z: tl.constexpr,
):  # fmt: skip
    """One program: one token's logits become softmax - one-hot, in place; padding columns become 0."""
    member = tl.program_id(1).to(tl.int64)
    token = member * N + start + tl.program_id(0)
    logits_ptr += (member * tl.num_programs(0) + tl.program_id(0)) * row_length
    target = tl.load(targets_ptr + token)
    scored = target != ignore
    columns = tl.arange(0, BLOCK)

    top = float("-inf")
    total = 0.0
    answer = 0.0
    for block in range(0, V, BLOCK):
        column = block + columns
        logits = tl.load(logits_ptr + column, mask=column < V, other=float("-inf")).to(tl.float32)
        answer += tl.sum(tl.where(column == target, logits, 0.0), 0)
        new_top = tl.maximum(top, tl.max(logits, 0) * LOG2E)
        total = total * tl.math.exp2(top - new_top) + tl.sum(tl.math.exp2(logits * LOG2E - new_top), 0)
        top = new_top
    lse = top + tl.math.log2(total)
    nll = lse * LN2 - answer
    stretch = 1.0
    if Z > 0:
        square = (lse * LN2) * (lse * LN2)
        nll += Z * square
        stretch = 1.0 + 2.0 * Z * LN2 * lse
        tl.store(squares_ptr + token, tl.where(scored, square, 0.0))
    tl.store(nll_ptr + token, tl.where(scored, nll, 0.0))

    for block in range(0, row_length, BLOCK):
        column = block + columns
        logits = tl.load(logits_ptr + column, mask=column < V, other=float("-inf")).to(tl.float32)
        softmax = tl.math.exp2(logits * LOG2E - lse)
        if Z > 0:
            softmax *= stretch
        grad = softmax - tl.where(column == target, 1.0, 0.0)
        grad = tl.where(scored, grad, 0.0)
        tl.store(logits_ptr + column, grad.to(logits_ptr.dtype.element_ty), mask=column < row_length)


def padded_width(width: int) -> int:
    """The next power of two, at least 16: the smallest tile side of a tensor-core product."""
    return max(16, triton.next_power_of_2(width))


def token_splits(programs: int, blocks: int, resident: int, device: torch.device) -> int:
    """Splits of the token axis that fill the device once: ``programs`` a split, ``blocks`` token blocks in all."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
    return max(1, min(blocks, processors * resident // programs))


def forward(
    hidden_MND: Tensor, table_MVD: Tensor, targets_MN: Tensor, ignore: int, gradient: bool, z: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """(nll_MN in nats, d nll / d hidden (M, N, D), notes for ``table_gradient``); without ``gradient`` two are empty.

    With ``z`` > 0, z lse^2 is part of the loss of each scored token.

    The notes (M, 2, P) float32, P = N padded, are lse in bits (+inf where not scored) and target (-1 where not scored).
    """
    hidden_MND, table_MVD, targets_MN = hidden_MND.contiguous(), table_MVD.contiguous(), targets_MN.contiguous()
    members, tokens, width = hidden_MND.shape
    rows = table_MVD.shape[1]
    blocks = FLOAT32 if hidden_MND.dtype == torch.float32 else FORWARD[padded_width(width)]
    nll_MN = hidden_MND.new_empty(members, tokens, dtype=torch.float32)
    notes_M2P = hidden_MND.new_empty(notes_shape(members, tokens) if gradient else (0,), dtype=torch.float32)
    grad_MND = hidden_MND.new_empty(hidden_MND.shape if gradient else (0,))
    padded = notes_shape(members, tokens)[-1]
    _forward_kernel[(padded // blocks.tokens, members)](
        hidden_MND, table_MVD, targets_MN, nll_MN, notes_M2P, grad_MND, tokens, padded, rows, ignore,
        D=width, BD=padded_width(width), BN=blocks.tokens, BV=blocks.rows,
        TAIL=rows % blocks.rows != 0, GRADIENT=gradient, Z=z, **blocks.launch,
    )  # fmt: skip
    return nll_MN, grad_MND, notes_M2P


def notes_shape(members: int, tokens: int) -> tuple[int, int, int]:
    """The shape of the notes that ``forward`` leaves for ``table_gradient``."""
    return members, 2, (tokens + TOKEN_ALIGNMENT - 1) // TOKEN_ALIGNMENT * TOKEN_ALIGNMENT


def squares(notes_M2P: Tensor) -> Tensor:
    """sum_n lse_n^2 in nats over scored tokens, (M,), from the notes of ``forward``."""
    lse_MP = notes_M2P[:, 0] * LN2.value
    return torch.where(lse_MP.isfinite(), lse_MP.square(), 0.0).sum(1)


def table_gradient(hidden_MND: Tensor, table_MVD: Tensor, notes_M2P: Tensor, z: float = 0.0) -> Tensor:
    """sum_n (p_nv (1 + 2 z lse_n) - [target_n = v]) h_n over scored tokens: (M, V, D) float32."""
    hidden_MND, table_MVD, notes_M2P = hidden_MND.contiguous(), table_MVD.contiguous(), notes_M2P.contiguous()
    members, tokens, width = hidden_MND.shape
    rows, padded = table_MVD.shape[1], notes_M2P.shape[2]
    blocks = FLOAT32 if hidden_MND.dtype == torch.float32 else TABLE[padded_width(width)]
    row_blocks, token_blocks = triton.cdiv(rows, blocks.rows), triton.cdiv(tokens, blocks.tokens)
    splits = token_splits(members * row_blocks, token_blocks, blocks.resident, hidden_MND.device)
    partial_MSVD = hidden_MND.new_empty(members, splits, rows, width, dtype=torch.float32)
    _table_kernel[(row_blocks, splits, members)](
        hidden_MND, table_MVD, notes_M2P, partial_MSVD, tokens, padded, rows,
        triton.cdiv(token_blocks, splits) * blocks.tokens,
        D=width, BD=padded_width(width), BN=blocks.tokens, BV=blocks.rows, Z=z, **blocks.launch,
    )  # fmt: skip
    return partial_MSVD.sum(1) if splits > 1 else partial_MSVD.squeeze(1)


def wide(
    hidden_MND: Tensor, table_MVD: Tensor, targets_MN: Tensor, ignore: int, z: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(nll_MN nats float32, d nll / d hidden (M, N, D), d nll / d table (M, V, D) float32, lse^2 (M, N)), in chunks of
    tokens.  With ``z`` > 0, z lse^2 is part of the loss of each scored token; else the last is not written."""
    targets_MN = targets_MN.contiguous()
    members, tokens, width = hidden_MND.shape
    rows = table_MVD.shape[1]
    padded_MVD = torch.nn.functional.pad(table_MVD, (0, 0, 0, -rows % ROW_ALIGNMENT))
    row_length = padded_MVD.shape[1]
    most = max(1, CHUNK_BYTES // (members * row_length * hidden_MND.element_size()))
    # Equal chunks, in whole tiles of 128 tokens.
    chunk = triton.cdiv(triton.cdiv(max(tokens, 1), triton.cdiv(max(tokens, 1), most)), 128) * 128
    nll_MN = hidden_MND.new_empty(members, tokens, dtype=torch.float32)
    squares_MN = hidden_MND.new_zeros(members, tokens if z else 1, dtype=torch.float32)
    grad_hidden_MND = hidden_MND.new_empty(members, tokens, width)
    grad_table_MVD = padded_MVD.new_zeros(padded_MVD.shape, dtype=torch.float32)
    for start in range(0, tokens, chunk):
        hidden_MCD = hidden_MND[:, start : start + chunk]
        logits_MCV = torch.bmm(hidden_MCD, padded_MVD.mT)
        _softmax_kernel[(hidden_MCD.shape[1], members)](
            logits_MCV, targets_MN, nll_MN, squares_MN, tokens, start, rows, row_length, ignore,
            BLOCK=min(4096, triton.next_power_of_2(row_length)), Z=z, num_warps=8,
        )  # fmt: skip
        grad_hidden_MND[:, start : start + chunk] = torch.bmm(logits_MCV, padded_MVD)
        # One chunk's sum is rounded to the compute dtype, the sum over chunks is not.
        grad_table_MVD.add_(torch.bmm(logits_MCV.mT, hidden_MCD))
    return nll_MN, grad_hidden_MND, grad_table_MVD[:, :rows].contiguous(), squares_MN
