"""The two ends of a language model, where its vocabulary meets its width: embedding, and cross-entropy of the logits.

``linear_cross_entropy`` computes  nll_m = sum_n [lse_v(h_mn . E_mv) - h_mn . E_m,target(mn)]  in nats over scored
tokens, for each member of a population, and in the same pass its gradient with respect to h; backward only scales it by
the upstream gradient (one number a member).  ``embedding`` is the gather at the other end; its gradient on CUDA is
torch's own sorting kernel.

Each has the obvious implementation, in this file, which runs anywhere; on CUDA devices Triton kernels
(``physlm.models.kernels``) compute the same in float16, bfloat16 and float32, without the whole (tokens x vocabulary)
logits, deterministically: the same inputs give the same bits on each run on the same device.  All are custom operators
of torch, so ``torch.compile`` sees opaque nodes and breaks no graph.

Shapes: M members, N tokens (in public functions any number of token axes), C tokens of a chunk, V table rows, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

# Widest model for which the fused kernels beat written-out logits on an H200; wider ones take the chunked path.
NARROW_WIDTH = 256
# Logits held at once by the obvious implementation: 1 MB in float32, within a processor core's cache; on CUDA, where
# it serves evaluation in float32, 512 MB, so that launches do not count.
CHUNK_LOGITS = 2**18
CHUNK_LOGITS_CUDA = 2**27
KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def linear_cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int = -1) -> Tensor:
    """Summed cross-entropy of the logits ``hidden @ table^T``, per member.

    nll_m = sum over n with targets_mn != ignore of  log sum_v exp(h_mn . E_mv) - h_mn . E_m,targets_mn.

    Args:
        hidden: (M, ..., D), float32 or bfloat16; products are accumulated in float32.
        table: (M, V, D), of the same dtype.
        targets: (M, ...), integers in [0, V) or ``ignore`` (not checked: that would wait for the device).
        ignore: marks tokens that are not scored; they add exactly 0 to the loss and to the gradients.

    Returns:
        nll: (M,) float32 (float64 for float64 inputs), nats summed over scored tokens; differentiable, with gradients
        in the dtype of the inputs.  Second derivatives are not defined.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    return linear_cross_entropy_z(hidden, table, targets, 0.0, ignore)[0]


def linear_cross_entropy_z(
    hidden: Tensor, table: Tensor, targets: Tensor, z: float, ignore: int = -1
) -> tuple[Tensor, Tensor]:
    """The same with the z-loss of arXiv 2204.02311: nll_m + z sum_n lse_mn^2 over scored tokens, differentiable.

    lse_mn = log sum_v exp(h_mn . E_mv), in nats.  Arguments else as in ``linear_cross_entropy``.

    Returns:
        (M,) that sum, and (M,) sum_n lse_mn^2 alone, without a gradient; meaningless for z = 0.
    """
    _check(hidden, table, targets)
    hidden_MND, targets_MN = hidden.flatten(1, -2), targets.flatten(1)
    losses: tuple[Tensor, ...] = (_narrow if _fused(hidden) else _whole)(hidden_MND, table, targets_MN, ignore, z)
    return losses[0], losses[1].detach()


def token_nll(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int = -1) -> Tensor:
    """Cross-entropy of each token, for evaluation: no gradient.

    Arguments as in ``linear_cross_entropy``.  Returns nll (M, ...) float32 in nats, of the shape of ``targets``,
    exactly 0 where ignored.  Logits are float32 at every width, also where training rounds them.
    """
    _check(hidden, table, targets)
    nll_MN = _token_nll(hidden.detach().flatten(1, -2), table.detach(), targets.flatten(1), ignore)
    return nll_MN.view(targets.shape)


def embedding(ids: Tensor, table: Tensor) -> Tensor:
    """out_mn = table_m,ids_mn: ids (M, ...) integers in [0, V), table (M, V, D) -> (M, ..., D).

    The gradient dTable_mv = sum over n with ids_mn = v of dOut_mn is summed in float32, in a fixed order.
    """
    if ids.dim() < 2 or table.dim() != 3 or ids.shape[0] != table.shape[0]:
        raise ValueError(
            f"embedding: got ids {tuple(ids.shape)}, table {tuple(table.shape)}; expected (M, ...) and (M, V, D)"
        )
    rows: Tensor = _Rows.apply(ids.flatten(1), table)
    return rows.view(*ids.shape, table.shape[-1])


def _check(hidden: Tensor, table: Tensor, targets: Tensor) -> None:
    fits = table.dim() == 3 and targets.dim() >= 2 and hidden.shape[:-1] == targets.shape
    if not fits or (hidden.shape[0], hidden.shape[-1]) != (table.shape[0], table.shape[2]):
        raise ValueError(
            f"cross-entropy: got hidden {tuple(hidden.shape)}, table {tuple(table.shape)}, "
            f"targets {tuple(targets.shape)}; expected (M, ..., D), (M, V, D) and (M, ...)"
        )
    if hidden.dtype != table.dtype:
        raise ValueError(f"cross-entropy: got hidden {hidden.dtype}, table {table.dtype}; expected one dtype")


def _fused(hidden: Tensor) -> bool:
    # In float32, without tensor cores, a plain product is faster than the fused kernels.
    return hidden.is_cuda and hidden.shape[-1] <= NARROW_WIDTH and hidden.dtype in (torch.bfloat16, torch.float16)


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype sums are kept in: float32, or float64 if that is what came."""
    return torch.promote_types(dtype, torch.float32)


def _scaled(grad: Tensor, upstream_M: Tensor, dtype: torch.dtype) -> Tensor:
    """A gradient (M, rows, D) times its member's upstream gradient, rounded once."""
    return (grad * upstream_M[:, None, None]).to(dtype)


# ---- The obvious implementations


def _chunks(tokens: int, logits_per_token: int, on_gpu: bool) -> list[slice]:
    size = max(1, (CHUNK_LOGITS_CUDA if on_gpu else CHUNK_LOGITS) // max(1, logits_per_token))
    return [slice(start, start + size) for start in range(0, tokens, size)]


def reference_cross_entropy(
    hidden_MND: Tensor, table_MVD: Tensor, targets_MN: Tensor, ignore: int, z: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss_M, squares_M, d loss / d hidden in its dtype, d loss / d table in float32), in chunks of tokens to bound
    memory.

    loss = nll + z lse^2; d loss / d logits = softmax (1 + 2 z lse) - one-hot; the chain rule to hidden and table is one
    product each.
    """
    members, tokens, _ = hidden_MND.shape
    table = table_MVD.to(_accumulator(table_MVD.dtype))
    nll_M, squares_M = table.new_zeros(members), table.new_zeros(members)
    grad_hidden = hidden_MND.new_empty(hidden_MND.shape)
    grad_table = table.new_zeros(table.shape)
    for chunk in _chunks(tokens, members * table.shape[1], hidden_MND.is_cuda):
        hidden_MCD = hidden_MND[:, chunk].to(table.dtype)
        scored_MC1 = (targets_MN[:, chunk] != ignore).unsqueeze(-1)
        target_MC1 = targets_MN[:, chunk].unsqueeze(-1).long().where(scored_MC1, 0)
        logits = torch.bmm(hidden_MCD, table.mT)
        answer_MC1 = logits.gather(-1, target_MC1)
        top_MC1 = logits.amax(-1, keepdim=True)
        grad = logits.sub_(top_MC1).exp_()  # from here on in place: one (M, C, V) buffer
        total_MC1 = grad.sum(-1, keepdim=True)
        nll_M += (top_MC1 + total_MC1.log() - answer_MC1).where(scored_MC1, 0.0).sum((1, 2))
        scale_MC1 = total_MC1.reciprocal() * scored_MC1
        if z:
            lse_MC1 = top_MC1 + total_MC1.log()
            squares_M += lse_MC1.square().where(scored_MC1, 0.0).sum((1, 2))
            scale_MC1 = scale_MC1 * (1 + 2 * z * lse_MC1)
        grad.mul_(scale_MC1)
        grad.scatter_add_(-1, target_MC1, -scored_MC1.to(grad.dtype))
        grad_hidden[:, chunk] = torch.bmm(grad, table)
        grad_table.baddbmm_(grad.mT, hidden_MCD)
    return nll_M + z * squares_M if z else nll_M, squares_M, grad_hidden, grad_table


def reference_token_nll(hidden_MND: Tensor, table_MVD: Tensor, targets_MN: Tensor, ignore: int) -> Tensor:
    """logsumexp(logits) - logit of the target, (M, N), in chunks of tokens to bound memory."""
    members, tokens, _ = hidden_MND.shape
    table = table_MVD.to(_accumulator(table_MVD.dtype))
    nll_MN = table.new_empty(members, tokens)
    for chunk in _chunks(tokens, members * table.shape[1], hidden_MND.is_cuda):
        scored_MC = targets_MN[:, chunk] != ignore
        target_MC = targets_MN[:, chunk].long().where(scored_MC, 0)
        logits = torch.bmm(hidden_MND[:, chunk].to(table.dtype), table.mT)
        answer_MC = logits.gather(-1, target_MC.unsqueeze(-1)).squeeze(-1)
        nll_MN[:, chunk] = (logits.logsumexp(-1) - answer_MC).where(scored_MC, 0.0)
    return nll_MN


def reference_embedding_gradient(ids_MN: Tensor, grad_MND: Tensor, rows: int) -> Tensor:
    """sum_n [id_n = v] grad_n, (M, V, D) in float32."""
    members, _, width = grad_MND.shape
    total = grad_MND.new_zeros(members * rows, width, dtype=_accumulator(grad_MND.dtype))
    total.index_add_(0, _flat_ids(ids_MN, rows), grad_MND.reshape(-1, width).to(total.dtype))
    return total.view(members, rows, width)


def _flat_ids(ids_MN: Tensor, rows: int) -> Tensor:
    """Row numbers in the members' tables laid end to end, (M * N,)."""
    return (ids_MN + rows * torch.arange(ids_MN.shape[0], device=ids_MN.device).unsqueeze(1)).flatten()


# ---- Cross-entropy by the fused kernels: forward leaves notes (lse and target), backward computes the table's gradient


@custom_op(
    "physlm::narrow_cross_entropy",
    mutates_args=(),
    schema="(Tensor hidden, Tensor table, Tensor targets, int ignore, float z) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _narrow(
    hidden: Tensor, table: Tensor, targets: Tensor, ignore: int, z: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss_M, squares_M, d loss / d hidden, notes_M2P)."""
    from physlm.models.kernels import cross_entropy as kernels

    loss_MN, grad_hidden, notes = kernels.forward(hidden, table, targets, ignore, True, z)
    squares_M = kernels.squares(notes) if z else loss_MN.new_zeros(len(hidden))
    return loss_MN.sum(1), squares_M, grad_hidden, notes


@register_fake("physlm::narrow_cross_entropy")
def _(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int, z: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    members, tokens, width = hidden.shape
    padded = (tokens + 127) // 128 * 128  # TOKEN_ALIGNMENT of the kernels, which may not be importable here
    loss, squares, notes = (hidden.new_empty(size, dtype=torch.float32)
                            for size in ((members,), (members,), (members, 2, padded)))
    return loss, squares, hidden.new_empty(members, tokens, width), notes


@custom_op(
    "physlm::narrow_table_gradient",
    mutates_args=(),
    schema="(Tensor hidden, Tensor table, Tensor notes, float z) -> Tensor",
)
def _narrow_table_gradient(hidden: Tensor, table: Tensor, notes: Tensor, z: float) -> Tensor:
    """d loss / d table, (M, V, D) float32."""
    from physlm.models.kernels import cross_entropy as kernels

    return kernels.table_gradient(hidden, table, notes, z)


@register_fake("physlm::narrow_table_gradient")
def _(hidden: Tensor, table: Tensor, notes: Tensor, z: float) -> Tensor:
    return table.new_empty(table.shape, dtype=torch.float32)


def _narrow_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, table, _, _, ctx.z = inputs
    ctx.save_for_backward(hidden, table, output[2], output[3])
    ctx.set_materialize_grads(False)


def _narrow_backward(ctx: Any, upstream_M: Tensor, *unused: None) -> tuple[Tensor | None, ...]:
    hidden, table, grad_hidden, notes = ctx.saved_tensors
    grad_table = _narrow_table_gradient(hidden, table, notes, ctx.z)
    gradients = _scaled(grad_hidden, upstream_M, hidden.dtype), _scaled(grad_table, upstream_M, table.dtype)
    return (*gradients, None, None, None)


register_autograd("physlm::narrow_cross_entropy", _narrow_backward, setup_context=_narrow_setup)


# ---- Cross-entropy with both gradients computed in forward: the reference, and wide models on CUDA


@custom_op(
    "physlm::whole_cross_entropy",
    mutates_args=(),
    schema="(Tensor hidden, Tensor table, Tensor targets, int ignore, float z) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _whole(
    hidden: Tensor, table: Tensor, targets: Tensor, ignore: int, z: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss_M, squares_M, d loss / d hidden, d loss / d table in float32)."""
    if not hidden.is_cuda or hidden.dtype not in KERNEL_DTYPES:
        return reference_cross_entropy(hidden, table, targets, ignore, z)
    from physlm.models.kernels import cross_entropy as kernels

    loss_MN, grad_hidden, grad_table, squares_MN = kernels.wide(hidden, table, targets, ignore, z)
    return loss_MN.sum(1), squares_MN.sum(1), grad_hidden, grad_table


@register_fake("physlm::whole_cross_entropy")
def _(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int, z: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = _accumulator(hidden.dtype)
    loss, squares, grad_table = (
        hidden.new_empty(size, dtype=dtype) for size in (hidden.shape[:1], hidden.shape[:1], table.shape))
    return loss, squares, hidden.new_empty(hidden.shape), grad_table


def _whole_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.dtype = inputs[0].dtype
    ctx.save_for_backward(output[2], output[3])
    ctx.set_materialize_grads(False)


def _whole_backward(ctx: Any, upstream_M: Tensor, *unused: None) -> tuple[Tensor | None, ...]:
    grad_hidden, grad_table = ctx.saved_tensors
    gradients = _scaled(grad_hidden, upstream_M, ctx.dtype), _scaled(grad_table, upstream_M, ctx.dtype)
    return (*gradients, None, None, None)


register_autograd("physlm::whole_cross_entropy", _whole_backward, setup_context=_whole_setup)


@custom_op(
    "physlm::token_nll",
    mutates_args=(),
    schema="(Tensor hidden, Tensor table, Tensor targets, int ignore) -> Tensor",
)
def _token_nll(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int) -> Tensor:
    if not _fused(hidden):
        return reference_token_nll(hidden, table, targets, ignore)
    from physlm.models.kernels import cross_entropy as kernels

    return kernels.forward(hidden, table, targets, ignore, gradient=False)[0]


@register_fake("physlm::token_nll")
def _(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int) -> Tensor:
    return hidden.new_empty(hidden.shape[:2], dtype=_accumulator(hidden.dtype))


# ---- Embedding


@custom_op("physlm::embedding_gradient", mutates_args=(), schema="(Tensor ids, Tensor grad, SymInt rows) -> Tensor")
def _embedding_gradient(ids: Tensor, grad: Tensor, rows: int) -> Tensor:
    """(M, V, D) in the dtype of ``grad``, summed in float32; on CUDA by torch's own sorting kernel.

    Opaque to the compiler, which would otherwise put atomics in that kernel's place.
    """
    members, _, width = grad.shape
    if not grad.is_cuda:
        return reference_embedding_gradient(ids, grad, rows).to(grad.dtype)
    flat = grad.reshape(-1, width)
    total = torch.ops.aten.embedding_dense_backward(flat, _flat_ids(ids, rows), members * rows, -1, False)
    return total.view(members, rows, width)


@register_fake("physlm::embedding_gradient")
def _(ids: Tensor, grad: Tensor, rows: int) -> Tensor:
    return grad.new_empty(grad.shape[0], rows, grad.shape[-1])


class _Rows(torch.autograd.Function):
    """The gather stays visible to the compiler, which fuses it with what follows; only its gradient is a kernel."""

    @staticmethod
    def forward(ctx: Any, ids_MN: Tensor, table_MVD: Tensor) -> Tensor:
        ctx.save_for_backward(ids_MN)
        ctx.rows = table_MVD.shape[1]
        return table_MVD.flatten(0, 1)[_flat_ids(ids_MN, ctx.rows)].unflatten(0, ids_MN.shape)

    @staticmethod
    def backward(ctx: Any, grad_MND: Tensor) -> tuple[None, Tensor]:
        (ids_MN,) = ctx.saved_tensors
        return None, _embedding_gradient(ids_MN, grad_MND, ctx.rows)
