"""How a mixture of experts shares out the tokens of training (arXiv 2101.03961, section 2.2).

    expert_load     layer=3 expert=busiest   share of the assignments that go to the expert with the most; 1 / E is even
    .. expert=idlest                         to the one with the fewest
    expert_dropped  layer=3                  share of the assignments that exceed an expert's capacity

Blocks are counted from 0, those without experts left out.  Where tokens pass a block's experts several times, by a
chain of experts or by layers that are looped, each pass has rows of its own, ``pass=0`` the first; the passes of a
chain are within those of a loop.  A model without any is one expert in each block, which takes every token: one expert
is the dense MLP bit for bit (``physlm.models.parts.moe``).  Measured as training does it, capacity, biases and all, on
the batches that would have come next; intervals are over rows.  The busiest expert is the one that is so on these rows:
with few rows its share is a little high.

Shape letters: R rows, T positions, N = B T tokens of a batch, k choices, E experts.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.finite import check_finite
from physlm.measures.intervals import share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.block import Block
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.moe import MoE, Routing
from physlm.models.parts.part import Where
from physlm.tasks.rows import Rows
from physlm.training.config import RunSpec

BATCHES = 8


class Shares(NamedTuple):
    """Of each row's assignments: which share goes to each expert, and which is dropped; float64."""

    load_RE: Tensor
    dropped_R: Tensor


def check(spec: RunSpec) -> None:
    """Refuse runs without MLPs, and encoders, whose inputs are hidden in another way."""
    if all(mlp.empty for mlp in spec.model.mlps):
        raise UserError("measure expert_load: got model.mlp none, expected moe, or another MLP, in some layer")
    if not spec.model.causal:
        raise UserError("measure expert_load: got model.causal false, expected true")


def measure(run: Trained) -> list[Row]:
    """Busiest and idlest expert, and what is dropped, in each block that has experts, or any MLP."""
    rows: list[Row] = []
    found = mean_shares(run.spec, run.ready(run.model), BATCHES)
    for (layer, number), (load_RE, dropped_R) in found.items():
        where = {"layer": layer} | ({"pass": number} if (layer, 1) in found else {})
        part, count = run.spec.model.mlps[layer], len(dropped_R)
        choices = part.top_k if isinstance(part, MoE) else 1
        each_R = np.full(count, float(run.spec.task.row_tokens * choices))  # assignments
        loads = share(load_RE.T.cpu().numpy() * each_R, each_R)
        for name, expert in (("busiest", loads.value.argmax()), ("idlest", loads.value.argmin())):
            rows.append(loads.row("expert_load", count, (int(expert),), where={**where, "expert": name}))
        dropped = share(dropped_R.cpu().numpy() * each_R, each_R)
        rows.append(dropped.row("expert_dropped", count, where=where))
    return rows


@torch.no_grad()
def mean_shares(spec: RunSpec, model: Decoder, batches: int) -> dict[tuple[int, int], Shares]:
    """By block and pass, of ``batches`` batches of training from the end of the schedule on; ``model`` is left as it
    is."""
    model = copy.deepcopy(model).train()
    device, rows = model.embedding.weight.device, spec.train.batch_rows
    task = spec.task.build().to(device)
    mlps = spec.model.mlps
    mixed = any(isinstance(mlp, MoE) for mlp in mlps)
    found: dict[int, list[Shares]] = {
        i: [] for i, mlp in enumerate(mlps) if (isinstance(mlp, MoE) if mixed else not mlp.empty)}
    for layer, seen in found.items():
        block = model.blocks[layer]
        assert isinstance(block, Block) and block.mlp is not None
        block.mlp.register_forward_pre_hook(lambda w, given, seen=seen: seen.extend(_shares(w, *given[:2])))
    for batch in range(batches):
        index_R = (spec.steps + batch) * rows + torch.arange(rows, device=device)
        drawn: Rows = task.rows(index_R, "train", spec.train.seed)
        model.hidden(drawn.inputs_RT[None])
    passes = {layer: len(seen) // batches for layer, seen in found.items()}  # each batch has the same
    return {(layer, number): Shares(*(torch.cat(parts) for parts in zip(*seen[number :: passes[layer]], strict=True)))
            for layer, seen in found.items() for number in range(passes[layer])}


def _shares(w: Weights, x_1RTd: Tensor, where: Where) -> list[Shares]:
    """Of each pass of a chain, from the input of the block's experts."""
    part, (_, rows, positions, _) = w.part, x_1RTd.shape
    check_finite(x_1RTd, "activations before experts")
    if not isinstance(part, MoE):  # one expert, which never has too many
        return [Shares(torch.ones(rows, 1, dtype=torch.float64), torch.zeros(rows, dtype=torch.float64))]
    if part.chain == 1:
        return [_shares_of(part, part.route(w, x_1RTd.flatten(1, 2)), rows, positions)]
    # later passes read what earlier ones give; of a copy, as reading moves the biases
    _, _, routings = part.passes(copy.deepcopy(w), x_1RTd, where)
    return [_shares_of(part, routing, rows, positions) for routing in routings]


def _shares_of(part: MoE, routing: Routing, rows: int, positions: int) -> Shares:
    ranked = routing.ranked
    expert_RA = ranked.expert_MA.view(rows, -1)
    over_RA = ranked.rank_MA.view(rows, -1) >= part.capacity_of(rows * positions)
    load_RE = torch.stack([(expert_RA == e).double().mean(1) for e in range(part.experts)], 1)
    return Shares(load_RE, over_RA.double().mean(1))
