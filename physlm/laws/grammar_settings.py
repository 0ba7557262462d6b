"""Which model on which grammar a run is, under the names that laws and figures of Part 1 use for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from physlm.laws.cells import require
from physlm.laws.law import Quantity

# model.position -> the name in arXiv 2305.13673.
VARIANTS = {"absolute": "GPT", "relative": "GPT_rel", "rope": "GPT_rot", "position_only": "GPT_pos",
            "uniform": "GPT_uni", "none": "GPT_none"}
SETTINGS = ("task.grammar", "model.position", "model.causal")


def grammar_name(source: str) -> str:
    """A published name as it is; for a grammar's text form ``grammar1a2b3c``, from its content."""
    return f"grammar{hashlib.sha256(source.encode()).hexdigest()[:6]}" if "->" in source else source


def with_settings(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns ``grammar``, ``variant`` (``GPT_rot``, or ``encoder-rope``) and ``setting``.

    ``setting`` joins with ``/`` those of the two in which the runs differ: "" where they are all alike, so that one
    model on one grammar needs no name.

    Raises:
        UserError: a column is missing.
    """
    require(table, SETTINGS)
    table = table.copy()
    table["grammar"] = table["task.grammar"].map(grammar_name)
    table["variant"] = [VARIANTS.get(position, str(position)) if _truth(causal) else f"encoder-{position}"
                        for position, causal in zip(table["model.position"], table["model.causal"], strict=True)]
    varying = [column for column in ("grammar", "variant") if table[column].nunique() > 1]
    table["setting"] = table[varying].agg("/".join, axis=1) if varying else ""
    return table


def decoders(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of causal models."""
    require(table, SETTINGS)
    return table[[_truth(causal) for causal in table["model.causal"]]]


def encoders(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of bidirectional models."""
    require(table, SETTINGS)
    return table[[not _truth(causal) for causal in table["model.causal"]]]


def named(base: str, *parts: str) -> str:
    """``base@first/second``, without the parts that are empty."""
    rest = "/".join(part for part in parts if part)
    return f"{base}@{rest}" if rest else base


def measured_runs(table: pd.DataFrame, by: Sequence[str], quantities: Sequence[Quantity]) -> dict[str, Any]:
    """For ``details``: how many runs each setting has, and in which settings those of one setting differ.

    Runs of one setting are averaged, which is right for seeds alone; ``differ_in`` shows where it was more.
    """
    if not quantities:
        return {}
    columns = [name for name in table.columns if name.startswith(("task.", "model.", "train.", "start."))]
    result = {}
    for key, group in table.drop_duplicates("run").groupby(list(by), sort=True):
        differ = [name for name in columns if group[name].astype(str).nunique() > 1]
        result["/".join(str(part) for part in key if part != "") or "all"] = {
            "runs": len(group), "differ_in": differ}
    return result


def _truth(value: object) -> bool:
    """A truth value that may have been read from a file as text."""
    return value is True or str(value).lower() == "true"
