"""What the runs of a claim would have written, as a test makes it up, and the law of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import planted

from physlm.lab.experiment import Experiment
from physlm.lab.results import run_columns
from physlm.lab.run import Run
from physlm.laws.law import Law
from physlm.training.config import RunSpec

# the rows of a run, which has these settings under the names of a results table
Rows = Callable[[RunSpec, dict[str, Any]], Iterator[dict[str, Any]]]


def law_of(claim: Experiment, rows: Rows, tier: str = "gpu") -> tuple[Any, Law]:
    """The table of these rows of each run of the first seed, and its law: there are hundreds of runs."""
    found: list[dict[str, Any]] = []
    specs = claim.specs(tier)
    first = {spec.task.kind: min(one.train.seed for one in specs if one.task.kind == spec.task.kind) for spec in specs}
    for number, spec in enumerate(spec for spec in specs if spec.train.seed == first[spec.task.kind]):
        found += rows(spec, {"run": f"run{number}", **run_columns(Run(spec, Path(f"run{number}")))})
    table = planted.table(found)
    return table, claim.law(table)
