"""Nats that a model spends on each part of each person's text.

Shape letters: N people, E entries of a batch, W positions, T = W - 1 predicted positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from physlm.models.cross_entropy import token_nll
from physlm.models.decoder import Decoder
from physlm.tasks.rows import IGNORE, Entries, training_rows
from physlm.tasks.task import BiographyTask

# (people, their labelled texts) -> nats for predicting each token from those before it, (E, W - 1)
TokenLosses = Callable[[Tensor, Entries], Tensor]


class PersonLosses(NamedTuple):
    """Nats summed over the tokens of each part of a text, float64, mean over the texts read: (N,) each.

    ``first_N`` is the sum over first chunks of values (bioD), zero where a task has none.
    """

    name_N: Tensor
    value_N: Tensor
    first_N: Tensor


def model_losses(model: Decoder) -> TokenLosses:
    """Token losses of a single model, each text read alone from its first separator."""

    def losses(_: Tensor, entries: Entries) -> Tensor:
        rows = training_rows(entries)
        hidden, _taps = model.hidden(rows.inputs_RT[None])
        shape = rows.targets_RT.shape
        nll = token_nll(hidden.flatten(1, 2), model.output_table, rows.targets_RT.reshape(1, -1), IGNORE)
        return nll.view(shape)

    return losses


def lookup_losses(task: BiographyTask, known_N: Tensor) -> TokenLosses:
    """The oracle that knows the name and the values of some people by heart and only the distribution of the others.

    A known person costs ln N for the name and nothing for the values; an unknown one ln N0 and ln S.  The total is
    spread evenly over the tokens of the part, which changes no sum.
    """
    terms = task.information_terms
    name = torch.log(torch.where(known_N, terms.people, terms.names).double())
    # float64 throughout: torch.where of two plain numbers would be float32
    value = (~known_N).double() * (terms.value_bits * math.log(2.0))

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        roles = entries.roles_RW[:, 1:]
        is_name = roles == task.name_role
        is_value = _any_role(roles, task.value_roles)
        per_name = name[person_E, None] / is_name.sum(1, keepdim=True)
        per_value = value[person_E, None] / is_value.sum(1, keepdim=True)
        return is_name * per_name + is_value * per_value

    return losses


@torch.no_grad()
def person_losses(
    task: BiographyTask, losses: TokenLosses, device: torch.device, texts: int = 1, batch: int = 2048,
    progress: bool = False,
) -> PersonLosses:
    """Read ``texts`` fresh texts (split "evaluation") of every person and sum the nats by part."""
    people = task.config.people
    total = torch.zeros(3, people, dtype=torch.float64, device=device)
    groups = ((task.name_role,), task.value_roles, task.first_chunk_roles)
    batches = [(draw, start) for draw in range(texts) for start in range(0, people, batch)]
    for draw, start in tqdm(batches, desc="reading every person", leave=False, disable=None if progress else True):
        person = torch.arange(start, min(start + batch, people), device=device)
        entries = task.entries(person, torch.full_like(person, draw))
        nll = losses(person, entries).double()
        roles = entries.roles_RW[:, 1:]
        for g, group in enumerate(groups):
            total[g, person] += torch.where(_any_role(roles, group), nll, 0.0).sum(1)
    return PersonLosses(*(total / texts).cpu())


def _any_role(roles: Tensor, group: tuple[int, ...]) -> Tensor:
    found = torch.zeros_like(roles, dtype=torch.bool)
    for role in group:
        found |= roles == role
    return found
