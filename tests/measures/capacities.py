"""Planted nats of people as rows of the measure of capacity."""

from __future__ import annotations

import math
from typing import Any

import torch

from physlm.measures.capacity import capacity_rows
from physlm.measures.losses import PersonLosses, TokenLosses, person_losses
from physlm.measures.rows import Row
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.information import InformationTerms
from physlm.tasks.task import BiographyTask

CPU = torch.device("cpu")
BIOS = BioSConfig(people=48)
# not one power of two among the sizes: what comes out exact does not do so by luck
BIOD = BioDConfig(people=48, attributes=3, chunks=2, diversity=11, chunk_tokens=2, alphabet=7, name_pools=(5, 6, 7))
TASKS = [BIOS, BIOD]
LN2 = math.log(2.0)
PARAMS = 1000


def attributes(task: BiographyTask) -> int:
    return getattr(task.config, "attributes", 1)


def table(task: BiographyTask, losses: TokenLosses, known_strings: bool = True) -> dict[str, Row]:
    """The measure's rows; ``known_strings`` puts p3 to 0, as for a model that has every first chunk by heart."""
    found = person_losses(task, losses, CPU, texts=2)
    if known_strings:
        found = found._replace(first_N=torch.zeros_like(found.first_N))
    return {row.quantity: row for row in capacity_rows(task.information_terms, found, attributes(task), PARAMS)}


def rows_of(terms: InformationTerms, name: Any, value: Any, first: Any = 0.0) -> dict[str, Row]:
    """The measure's rows for planted nats of each person."""
    nats = (torch.as_tensor(x, dtype=torch.double).expand(terms.people) for x in (name, value, first))
    return {row.quantity: row for row in capacity_rows(terms, PersonLosses(*nats), 1, PARAMS)}
