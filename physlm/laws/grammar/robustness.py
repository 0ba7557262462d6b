"""Corrupted prefixes: brittle after clean training, robust after noisy training (arXiv 2305.13673, results 11 to 13).

A true prefix has its tokens replaced at random; a model that continues it well ignores the mistakes.  Models are named
by their training data: ``clean``, or kind and share of perturbed strings, ``token=0.1``.
"""

from __future__ import annotations

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells, columns
from physlm.laws.cells import Key, combine, measured_runs, named
from physlm.laws.grammar.settings import with_settings
from physlm.laws.law import Law, Quantity, gives

COLUMNS = ("task.noise", "task.noise_fraction")
NOISES = ("token", "nonterminal", "permute")
PREFIXES = ("none", "clean", "corrupted")
GAIN_FRACTION, GAIN_TEMPERATURE = 0.1, 0.1
NOTES = (
    *cells.NOTES,
    (
        "corrupted@data/temperature=t: share of completions of corrupted prefixes that are right; data is clean, or "
        "the kind of noise and the share of perturbed training strings."
    ),
    (
        "drop: the clean model at temperature 1, accuracy after clean minus after corrupted prefixes (the same "
        "prefixes: half-widths are added up)."
    ),
    (
        "gain@noise: corrupted accuracy at temperature 0.1 of the model with 10 % perturbed strings minus that of the "
        "clean model, errors in quadrature; gain: the least over the kinds of noise, with an interval that knows it "
        "is a minimum."
    ),
)


def named_data(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column ``data`` (``clean``, ``token=0.1``), and ``setting`` where grammars or variants
    differ.

    Raises:
        UserError: columns are missing.
    """
    columns.require(table, COLUMNS)
    table = with_settings(table)
    table["data"] = [f"{noise}={float(fraction):g}" if noise != "none" and float(fraction) > 0 else "clean"
                     for noise, fraction in zip(*(table[c] for c in COLUMNS), strict=True)]
    return table


def accuracies(table: pd.DataFrame) -> dict[Key, Interval]:
    """Accuracy by (setting, data, prefix, temperature); a table of ``named_data``."""
    return combine(cells.cells(table, "accuracy", ["prefix", "temperature"]),
                   ["setting", "data", "prefix", "temperature"], share=True)


def data_order(names: list[str]) -> list[str]:
    """Clean first, then by kind of noise and rising share."""
    def place(name: str) -> tuple[int, float]:
        noise, _, share = name.partition("=")
        return (0, 0.0) if name == "clean" else (1 + NOISES.index(noise) if noise in NOISES else 9, float(share))

    return sorted(dict.fromkeys(names), key=place)


@gives("corrupted", "uncorrupted", "start", "drop", "gain")
def robustness_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``corrupted@clean/temperature=0.1``,
    ``corrupted@token=0.1/temperature=1`` and so on for all data and temperatures, ``uncorrupted@...`` (clean prefix)
    and ``start@...`` (no prefix) alike; ``drop`` (clean data, temperature 1, clean minus corrupted prefix); ``gain``
    and ``gain@token``, ``gain@nonterminal``, ``gain@permute`` (temperature 0.1, share 0.1).  With several grammars or
    variants: ``corrupted@cfg3f/clean/temperature=1``, ``gain@cfg3f``.

    Raises:
        UserError: columns are missing.
    """
    table = named_data(table)
    found = accuracies(table)
    quantities: list[Quantity] = []
    for setting in sorted({str(key[0]) for key in found}):
        own = {key[1:]: one for key, one in found.items() if key[0] == setting}
        quantities += _gains(own, setting)
        for name, prefix in (("corrupted", "corrupted"), ("uncorrupted", "clean"), ("start", "none")):
            for data in data_order([str(key[0]) for key in own]):
                quantities += [Quantity.of(named(name, setting, data, f"temperature={key[2]:g}"), one)
                               for key, one in own.items() if key[:2] == (data, prefix)]
    return Law(tuple(quantities), {"runs": measured_runs(table, ["setting", "data"], quantities),
                                   "notes": list(NOTES)})


def _gains(own: dict[Key, Interval], setting: str) -> list[Quantity]:
    """``drop`` and the gains of one setting, from accuracies by (data, prefix, temperature)."""
    quantities: list[Quantity] = []
    whole, broken = own.get(("clean", "clean", 1.0)), own.get(("clean", "corrupted", 1.0))
    if whole is not None and broken is not None:
        quantities.append(Quantity.of(named("drop", setting), interval.difference(whole, broken, independent=False)))
    base = own.get(("clean", "corrupted", GAIN_TEMPERATURE))
    gains = {noise: interval.difference(noisy, base, independent=True) for noise in NOISES if base is not None and (
        noisy := own.get((f"{noise}={GAIN_FRACTION:g}", "corrupted", GAIN_TEMPERATURE))) is not None}
    if gains:
        quantities.append(Quantity.of(named("gain", setting), interval.least(list(gains.values()))))
    return quantities + [Quantity.of(named("gain", setting, noise), gain) for noise, gain in gains.items()]
