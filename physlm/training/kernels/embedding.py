"""The gradient of an embedding table as a matrix product with one-hot rows, built in registers.

dTable_v = sum_n [id_n = v] dOut_n.  Scattering with atomics would add in a different order on each run; sorting costs
more than the product at the widths and vocabularies used here.  The one-hot matrix never exists in memory.

Shapes: M members, N tokens, V table rows, D width, S splits of the token axis.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from physlm.training.kernels.cross_entropy import Blocks, token_splits

# By the columns of one program: width padded to at least 64, the rows of a warp group's product, and at most 128.
EMBEDDING: dict[int, Blocks] = {
    64: Blocks(64, 128, 8, 3, resident=3),
    128: Blocks(64, 128, 8, 3, resident=2),
}
FLOAT32 = Blocks(32, 32, 4, 1)  # without tensor cores, for tests


@triton.jit
def _gradient_kernel(
    ids_ptr, grad_ptr, partial_ptr, N, V, split_tokens,
    D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """One program: BV x BD of one member's table gradient, from one split of the tokens."""
    member = tl.program_id(2).to(tl.int64)
    split = tl.program_id(1)
    width_blocks: tl.constexpr = (D + BD - 1) // BD
    rows = tl.program_id(0) // width_blocks * BV + tl.arange(0, BV)
    width = tl.program_id(0) % width_blocks * BD + tl.arange(0, BD)
    ids_ptr += member * N
    grad_ptr += member * N * D

    # Transposed, gradient^T x one-hot, so that both factors come from shared memory and the products run unbroken.
    total = tl.zeros([BD, BV], tl.float32)
    for start in range(split * split_tokens, tl.minimum(N, (split + 1) * split_tokens), BN):
        tokens = start + tl.arange(0, BN)
        inside = tokens < N
        ids = tl.load(ids_ptr + tokens, mask=inside, other=-1).to(tl.int32)
        grad = tl.load(
            grad_ptr + tokens[:, None].to(tl.int64) * D + width[None, :],
            mask=inside[:, None] & (width[None, :] < D), other=0.0,
        )  # fmt: skip
        one_hot = tl.where(ids[:, None] == rows[None, :], 1.0, 0.0).to(grad.dtype)
        total = tl.dot(tl.trans(grad), one_hot, total, input_precision="ieee")
    partial_ptr += (member * tl.num_programs(1) + split) * V * D
    mask = (rows[:, None] < V) & (width[None, :] < D)
    tl.store(partial_ptr + rows[:, None] * D + width[None, :], tl.trans(total), mask=mask)


def embedding_gradient(ids_MN: Tensor, grad_MND: Tensor, rows: int) -> Tensor:
    """sum_n [id_n = v] grad_n: (M, V, D) float32, V = ``rows``."""
    ids_MN, grad_MND = ids_MN.contiguous(), grad_MND.contiguous()
    members, tokens, width = grad_MND.shape
    columns = 64 if width <= 64 else 128
    blocks = EMBEDDING[columns]
    if grad_MND.dtype == torch.float32:
        columns, blocks = 32, FLOAT32
    table_blocks = triton.cdiv(rows, blocks.rows) * triton.cdiv(width, columns)
    token_blocks = triton.cdiv(tokens, blocks.tokens)
    splits = token_splits(members * table_blocks, token_blocks, blocks.resident, grad_MND.device)
    partial_MSVD = grad_MND.new_empty(members, splits, rows, width, dtype=torch.float32)
    _gradient_kernel[(table_blocks, splits, members)](
        ids_MN, grad_MND, partial_MSVD, tokens, rows, triton.cdiv(token_blocks, splits) * blocks.tokens,
        D=width, BD=columns, BN=blocks.tokens, BV=blocks.rows, **blocks.launch,
    )  # fmt: skip
    return partial_MSVD.sum(1) if splits > 1 else partial_MSVD.squeeze(1)
