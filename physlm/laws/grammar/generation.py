"""How well models write: completion accuracy, KL, entropy and diversity by grammar (arXiv 2305.13673, result 1).

    accuracy       share of completions, sampled at temperature 1, that parse as a whole; from the start (cut 0) or
                   from the first tokens of a true string
    KL             KL(truth || model) of the next token, mean over the positions of true strings
    entropy gap    bits a string: the model's strings, minus the truth's
    distinct       different yields under each level, the model's over the truth's among as many subtrees
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, combine, measured_runs, named
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law, Quantity, gives

ENTROPY_NOTE = (
    "entropy_gap: bits/string of the model's strings minus those of true strings, errors in quadrature; below 0 the "
    "model's strings are less diverse than true ones."
)
NOTES = (
    *cells.NOTES,
    (
        "accuracy@grammar/cut=c: share of sampled completions (temperature 1) of which the whole string parses; cut "
        "is the number of tokens of a true string that are given."
    ),
    ENTROPY_NOTE,
    (
        "least_distinct_ratio@grammar: different yields among equally many subtrees, generated over true, the "
        "smallest over all levels."
    ),
)


def named_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of decoders, named by grammar, and by variant where there are several."""
    table = with_settings(decoders(table))
    if table["variant"].nunique() <= 1:
        table["setting"] = table["grammar"]
    return table


@gives("accuracy", "accuracy_untrained", "least_accuracy", "kl", "kl_untrained", "entropy_gap", "entropy_model",
       "entropy_truth", "least_distinct_ratio")
def generation_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them, for each setting g (grammar, and variant if there are several):
    ``accuracy@g/cut=c`` and ``accuracy_untrained@g/cut=c`` for every cut, and ``least_accuracy`` over all of them;
    ``kl@g``, ``kl_untrained@g`` (nats/token); ``entropy_gap@g``, ``entropy_model@g``, ``entropy_truth@g``
    (bits/string); ``least_distinct_ratio@g``.

    Raises:
        UserError: columns are missing.
    """
    table = named_settings(table)
    quantities: list[Quantity] = []
    for base in ("accuracy", "accuracy_untrained"):
        for (setting, cut), found in combine(cells.cells(table, base, ["cut"]), ["setting", "cut"], share=True).items():
            quantities.append(Quantity.of(named(base, str(setting), f"cut={cut}"), found))
    accuracies = combine(cells.cells(table, "accuracy", ["cut"]), ["setting", "cut"], share=True)
    if accuracies:
        quantities.append(Quantity.of("least_accuracy", interval.least(list(accuracies.values()), share=True)))
    for base in ("kl", "kl_untrained"):
        for (setting,), found in combine(cells.cells(table, base), ["setting"]).items():
            quantities.append(Quantity.of(named(base, str(setting)), found, "nats/token"))
    quantities += entropies(table, "setting")
    ratios = distinct_ratios(table)
    for setting in dict.fromkeys(key[0] for key in ratios):
        part = interval.least([found for key, found in ratios.items() if key[0] == setting])
        quantities.append(Quantity.of(named("least_distinct_ratio", str(setting)), part))
    details: dict[str, Any] = {
        "runs": measured_runs(table, ["setting"], quantities), "notes": [*NOTES, cells.LEAST_NOTE],
        "distinct_ratio": {f"{s}/level={level}": found.value for (s, level), found in ratios.items()},
    }
    return Law(tuple(quantities), details)


def entropies(table: pd.DataFrame, by: str) -> list[Quantity]:
    """``entropy_gap@g``, then ``entropy_model@g`` and ``entropy_truth@g`` (bits/string), g from the column ``by``."""
    model, truth = (combine(cells.cells(table, base), [by]) for base in ("entropy_model", "entropy_truth"))
    gaps = {key: interval.difference(one, truth[key], independent=True) for key, one in model.items() if key in truth}
    return [Quantity.of(named(base, str(key[0])), found, "bits/string")
            for base, byname in (("entropy_gap", gaps), ("entropy_model", model), ("entropy_truth", truth))
            for key, found in byname.items()]


def distinct_ratios(table: pd.DataFrame) -> dict[Key, Interval]:
    """Generated over true different yields, by (setting, level); the interval divides opposite ends."""
    made, true = (combine(cells.cells(table, base, ["level"]), ["setting", "level"])
                  for base in ("distinct", "distinct_truth"))
    result: dict[Key, Interval] = {}
    for key, a in made.items():
        b = true.get(key)
        if b is not None and b.lo > 0:
            result[key] = Interval(a.value / b.value, a.lo / b.hi, a.hi / b.lo, min(a.n, b.n), min(a.runs, b.runs))
    return result
