"""What the claims on rewritten biographies share: the base models of ``_part3`` that read bioR.

Rewrites are longer than the texts of bioS: eight are whole in a row of 512 tokens, where of nine one in 13 would be
cut.  A step has so many more rows that it has as many people.
"""

from __future__ import annotations

import dataclasses

from _part3 import base_run, mixed_run
from physlm.tasks.biography.config import BioSText
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

SINGLE, MULTI = "single+rewritten", "multi5+rewritten"
ENTRIES, ROWS = {"gpu": 8, "paper": 8}, {"gpu": 11, "paper": 108}

DEVIATIONS = (
    (
        "bioR is written by a grammar of surface forms (docs/bior.md), published by Llama-30B; bioR single is one "
        "rewrite of each person, bioR multi5 five. Published models of bioR have 12 layers, 20 heads and 1280 "
        "dimensions and 150,000 steps; ours are those of bioS, with 540 exposures."
    ),
    (
        "Tiers gpu and paper: eight rewrites in a row of 512 tokens (none of 160,000 was cut), 11 or 108 rows a "
        "step, so that an epoch has as many steps as of bioS. Tiers smoke and demo: two in a row of 130, of which "
        "0.2 % are cut."
    ),
)


def read_run(tier: str, name: str, celebrities: int = 0) -> RunSpec:
    """A model that reads rewrites."""
    return _whole(tier, base_run(tier, name, celebrities=celebrities))


def read_and_asked_run(tier: str, ask: Ask) -> RunSpec:
    """A model that reads one rewrite of each person and questions, from the beginning."""
    return _whole(tier, mixed_run(tier, SINGLE, ask))


def _whole(tier: str, spec: RunSpec) -> RunSpec:
    """The same run in rows that hold whole rewrites."""
    assert isinstance(spec.task, BioSText)
    task = dataclasses.replace(spec.task, entries_per_row=ENTRIES.get(tier, spec.task.entries_per_row))
    train = dataclasses.replace(spec.train, batch_rows=ROWS.get(tier, spec.train.batch_rows))
    return dataclasses.replace(spec, task=task, train=train)
