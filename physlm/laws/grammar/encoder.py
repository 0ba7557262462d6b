"""Decoders against bidirectional encoders: the levels near the root (arXiv 2305.13673, result 5).

An encoder fills in single hidden tokens, for which the nearby tokens suffice; it need not know the levels near the
root.  ``deep_gap`` is taken at the probed level nearest to the root, against the best encoder in the table.
"""

from __future__ import annotations

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import measured_runs, named
from physlm.laws.grammar.probing import last_layer
from physlm.laws.grammar.settings import decoders, encoders, with_settings
from physlm.laws.law import Law, Quantity, gives

# The base of the rows behind each name: boundaries are rare near the root, so that accuracy must be balanced there.
BASES = {"ancestor": "ancestor", "boundary": "boundary_balanced"}
NOTES = (
    *cells.NOTES,
    (
        "ancestor@model/level=l: accuracy of the linear probe (mask full, last layer); boundary@...: balanced "
        "accuracy, 0.5 for a constant answer."
    ),
    (
        "deep_gap: decoder minus encoder at the probed level nearest to the root (the first that all of them have), "
        "errors in quadrature; with several encoders the least gap, with an interval that knows it is a minimum."
    ),
)


def compared_models(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with the column ``setting``: ``decoder`` (rotary where there is one), or ``encoder-rope`` and so on.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(table)
    causal = decoders(table)
    if (causal["model.position"] == "rope").any():
        causal = causal[causal["model.position"] == "rope"]
    table = pd.concat([causal.assign(model="decoder"), (other := encoders(table)).assign(model=other["variant"])])
    several = table["grammar"].nunique() > 1
    table["setting"] = [f"{grammar}/{model}" if several else model
                        for grammar, model in zip(table["grammar"], table["model"], strict=True)]
    return table


@gives("deep_gap", "ancestor", "boundary")
def encoder_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``deep_gap@ancestor``, ``deep_gap@boundary`` (balanced), and for every
    encoder ``deep_gap@ancestor/encoder-rope``; ``ancestor@decoder/level=l``, ``boundary@encoder-rope/level=l``.  With
    several grammars: ``deep_gap@cfg3f/ancestor``.

    Raises:
        UserError: columns are missing.
    """
    table = compared_models(table)
    several = table["grammar"].nunique() > 1
    quantities: list[Quantity] = []
    deep: dict[str, int] = {}
    for name, base in BASES.items():
        found = last_layer(table, base, "full")
        for grammar in sorted(table["grammar"].unique()):
            at = grammar if several else ""
            own = {(str(s).removeprefix(f"{at}/"), int(str(level))): one for (s, level), one in found.items()
                   if not several or str(s).startswith(f"{at}/")}
            level, gaps = _gaps(own)
            if gaps:
                deep[named(name, at)] = level
                quantities.append(Quantity.of(named("deep_gap", at, name), interval.least(list(gaps.values()))))
                quantities += [Quantity.of(named("deep_gap", at, name, model), gap) for model, gap in gaps.items()]
        quantities += [Quantity.of(named(name, str(s), f"level={level}"), one) for (s, level), one in found.items()]
    return Law(tuple(quantities), {"runs": measured_runs(table, ["setting"], quantities), "deep_level": deep,
                                   "notes": list(NOTES)})


def _gaps(found: dict[tuple[str, int], Interval]) -> tuple[int, dict[str, Interval]]:
    """The level nearest to the root that all models have, and decoder minus encoder there, by encoder."""
    models = list(dict.fromkeys(model for model, _ in found))
    levels = [{level for model, level in found if model == one} for one in models]
    common = set.intersection(*levels) if levels else set()
    if "decoder" not in models or len(models) < 2 or not common:
        return 0, {}
    level = min(common)
    return level, {model: interval.difference(found["decoder", level], found[model, level], independent=True)
                   for model in models if model != "decoder"}
