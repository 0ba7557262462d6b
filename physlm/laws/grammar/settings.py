"""Which model on which grammar a run is, under the names that laws and figures of Part 1 use for them."""

from __future__ import annotations

import hashlib

import pandas as pd

from physlm.laws.columns import require, truth

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
    table["variant"] = [VARIANTS.get(position, str(position)) if truth(causal) else f"encoder-{position}"
                        for position, causal in zip(table["model.position"], table["model.causal"], strict=True)]
    varying = [column for column in ("grammar", "variant") if table[column].nunique() > 1]
    table["setting"] = table[varying].agg("/".join, axis=1) if varying else ""
    return table


def decoders(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of causal models."""
    require(table, SETTINGS)
    return table[[truth(causal) for causal in table["model.causal"]]]


def encoders(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of bidirectional models."""
    require(table, SETTINGS)
    return table[[not truth(causal) for causal in table["model.causal"]]]
