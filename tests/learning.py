"""What several tests do with a run: train it to its end, and read its table back from a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from physlm.lab import results
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec
from physlm.training.step import Population


def learn(spec: RunSpec, initial: Decoder | None = None) -> Decoder:
    """The model at the end of the run, trained here."""
    population = Population([spec], torch.device("cpu"), initial=None if initial is None else [initial.state_dict()])
    while population.step < population.steps:
        population.advance()
    return population.model_of(0)


def through_csv(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The table as ``physlm.lab`` writes and reads it; columns that it needs and this table lacks are lent to it."""
    lent = {name: 0 if numeric else "" for name, numeric in results._NEEDED.items() if name not in table}
    table.assign(**lent).to_csv(folder / "measures.csv", index=False, lineterminator="\n")
    return results.read_table(folder / "measures.csv").drop(columns=list(lent))
