"""Which token goes to which expert: places in groups of slots of a fixed size, so that all experts are one product.

Every token asks for k experts; each such wish is an assignment.  An expert's assignments are ranked in the order of
tokens (and of a token's wishes).  They fill groups of C slots, a table (M, G, C, d) whose shape depends on no number
that only the device knows; every group belongs to one expert.

    with a capacity   one group an expert, of C = capacity slots; an assignment of rank r >= C is dropped
    without           as many groups as an expert needs; Sum_e ceil(n_e / C) <= A / C + E of them, so none is dropped

Moving is by gathers both ways, forward and backward: no sum in an order that changes from one run to the next.

Shape letters: M members, N tokens, k choices, A = N k assignments (number n k + j), E experts, G groups, C slots a
group, S = G C, d width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

FEW, FEW_SLOTS, MANY_SLOTS = 4096, 16, 128  # without a capacity: slots of a group for few tokens, and for many


class Ranked(NamedTuple):
    """Assignments of every member.

    Attributes:
        expert_MA: the expert that is asked for.
        rank_MA: how many assignments of the same expert come before.
        load_ME: how many there are of each expert.
    """

    expert_MA: Tensor
    rank_MA: Tensor
    load_ME: Tensor


class Slots(NamedTuple):
    """Places of the assignments, and what the slots hold; where ``kept`` or ``filled`` is false the number is any.

    Attributes:
        groups: G.
        expert_MG: whose group it is; None: group e is that of expert e.
    """

    groups: int
    slot_MA: Tensor
    kept_MA: Tensor
    assignment_MS: Tensor
    filled_MS: Tensor
    expert_MG: Tensor | None = None

    def scattered(self, x_MAd: Tensor) -> Tensor:
        """Assignments in their slots, (M, G, C, d); 0 in empty slots."""
        y: Tensor = _Moved.apply(x_MAd, self.assignment_MS, self.filled_MS, self.slot_MA, self.kept_MA)
        return y.unflatten(1, (self.groups, -1))

    def gathered(self, y_MGCd: Tensor) -> Tensor:
        """What the slots hold, back at the assignments, (M, A, d); 0 for what was dropped."""
        x: Tensor = _Moved.apply(y_MGCd.flatten(1, 2), self.slot_MA, self.kept_MA, self.assignment_MS, self.filled_MS)
        return x


def best(scores_MNE: Tensor, count: int) -> Tensor:
    """The ``count`` experts of the highest scores, the highest first; of equal ones that of the lower number."""
    found = []
    for _ in range(count):
        found.append(scores_MNE.argmax(-1, keepdim=True))
        scores_MNE = scores_MNE.scatter(-1, found[-1], -torch.inf)
    return torch.cat(found, -1)


def ranked(chosen_MNk: Tensor, experts: int) -> Ranked:
    """Ranks and loads of what tokens chose."""
    expert_MA = chosen_MNk.flatten(1)
    # the axis that is summed along is the last one: a GPU sums along others one row after the other
    wanted_MEA = expert_MA[:, None] == torch.arange(experts, device=expert_MA.device)[:, None]
    upto_MEA = wanted_MEA.cumsum(-1, dtype=torch.int32)
    rank_MA = upto_MEA.gather(1, expert_MA[:, None])[:, 0] - 1
    return Ranked(expert_MA, rank_MA, upto_MEA[..., -1])


def limited(ranked: Ranked, capacity: int) -> Slots:
    """One group an expert; whatever exceeds the capacity is dropped."""
    experts = ranked.load_ME.shape[1]
    return _placed(ranked.expert_MA * capacity + ranked.rank_MA, ranked.rank_MA < capacity, experts, capacity)


def unlimited(ranked: Ranked) -> Slots:
    """As many groups as needed; nothing is dropped."""
    assignments, experts = ranked.expert_MA.shape[1], ranked.load_ME.shape[1]
    size = FEW_SLOTS if assignments < FEW else MANY_SLOTS
    groups = min(assignments, assignments // size + experts)
    ends_ME = ((ranked.load_ME + size - 1) // size).cumsum(-1)
    first_MA = (ends_ME - (ranked.load_ME + size - 1) // size).gather(1, ranked.expert_MA)
    number_G1 = torch.arange(groups, device=ends_ME.device)[:, None]
    expert_MG = (number_G1 >= ends_ME[:, None]).sum(-1).clamp(max=experts - 1)  # groups behind the last are empty
    slot_MA = first_MA * size + ranked.rank_MA
    return _placed(slot_MA, torch.ones_like(slot_MA, dtype=torch.bool), groups, size)._replace(expert_MG=expert_MG)


def _placed(slot_MA: Tensor, kept_MA: Tensor, groups: int, size: int) -> Slots:
    members, assignments = slot_MA.shape
    last = groups * size
    slot_MA = torch.where(kept_MA, slot_MA, last)  # one more slot, for what is dropped
    number_MA = torch.arange(assignments, device=slot_MA.device).expand(members, -1)
    held_MS = torch.full((members, last + 1), -1, device=slot_MA.device).scatter(1, slot_MA, number_MA)[:, :last]
    return Slots(groups, slot_MA.clamp(max=last - 1), kept_MA, held_MS.clamp(min=0), held_MS >= 0)


class _Moved(torch.autograd.Function):
    """y_t = x_to(t) where ``there``, else 0, and each x goes to one place at most: x_s = y_back(s) where ``here``."""

    @staticmethod
    def forward(ctx: Any, x_MSd: Tensor, to_MT: Tensor, there_MT: Tensor, back_MS: Tensor, here_MS: Tensor) -> Tensor:
        ctx.save_for_backward(back_MS, here_MS)
        return _picked(x_MSd, to_MT, there_MT)

    @staticmethod
    def backward(ctx: Any, grad_MTd: Tensor) -> tuple[Tensor, None, None, None, None]:
        back_MS, here_MS = ctx.saved_tensors
        return _picked(grad_MTd, back_MS, here_MS), None, None, None, None


def _picked(x_MSd: Tensor, to_MT: Tensor, there_MT: Tensor) -> Tensor:
    picked = x_MSd.gather(1, to_MT[..., None].expand(-1, -1, x_MSd.shape[-1]))
    return torch.where(there_MT[..., None], picked, 0)
