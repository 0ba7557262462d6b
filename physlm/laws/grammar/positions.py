"""Which attention learns the grammar: five ways of knowing positions, at equal tokens (arXiv 2305.13673, result 1).

Differences of two variants are taken run by run where both have a run of the same seed, and then averaged.
"""

from __future__ import annotations

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells, columns
from physlm.laws.cells import combine, measured_runs, named
from physlm.laws.forms import quantities_of
from physlm.laws.grammar.generation import ENTROPY_NOTE, entropies
from physlm.laws.grammar.settings import VARIANTS, decoders, with_settings
from physlm.laws.law import Law, Quantity, gives

DIFFERENCES = {"rot_minus_rel": ("GPT_rot", "GPT_rel"), "rel_minus_abs": ("GPT_rel", "GPT"),
               "rot_minus_abs": ("GPT_rot", "GPT"), "pos_minus_abs": ("GPT_pos", "GPT"),
               "uni_minus_abs": ("GPT_uni", "GPT")}
ORDER = tuple(VARIANTS.values())
NOTES = (
    *cells.NOTES,
    "accuracy@variant: completion accuracy from the larger cut; accuracy_start@variant: from the empty prefix.",
    (
        "a_minus_b: difference of accuracies from the larger cut. Where both variants have runs of the same seeds, "
        "only those count, and the interval is over their differences; with one seed it holds the chance of the "
        "sampled strings alone, not that of training."
    ),
    ENTROPY_NOTE,
)


@gives("accuracy", "accuracy_start", "kl", "entropy_gap", "entropy_model", "entropy_truth", *DIFFERENCES)
def positions_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``accuracy@v`` (larger cut), ``accuracy_start@v`` (cut 0), ``kl@v``
    (nats/token) and ``entropy_gap@v``, ``entropy_model@v``, ``entropy_truth@v`` (bits/string) for v = GPT, GPT_rel,
    GPT_rot, GPT_pos, GPT_uni; ``rot_minus_rel``, ``rel_minus_abs``, ``rot_minus_abs``, ``pos_minus_abs``,
    ``uni_minus_abs``.  With several grammars: ``accuracy@cfg3f/v`` and ``rot_minus_rel@cfg3f``.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    several = table["grammar"].nunique() > 1
    accuracy = cells.cells(table, "accuracy", ["cut"])
    quantities: list[Quantity] = []
    cuts = {}
    for grammar, rows in accuracy.groupby("grammar", sort=True):
        at, cuts[str(grammar)] = (str(grammar) if several else ""), int(rows["cut"].max())
        last, start = rows[rows["cut"] == rows["cut"].max()], rows[rows["cut"] == 0]
        for base, part in (("accuracy", last), ("accuracy_start", start)):
            found = combine(part, ["variant"], share=True)
            quantities += [Quantity.of(named(base, at, v), found[v,]) for v in ORDER if (v,) in found]
        for name, (a, b) in DIFFERENCES.items():
            quantities += cells.quantity(named(name, at), _difference(last, a, b))
    table["place"] = table["grammar"] + "/" + table["variant"] if several else table["variant"]
    for (place,), kl in combine(cells.cells(table, "kl"), ["place"]).items():
        quantities.append(Quantity.of(named("kl", str(place)), kl, "nats/token"))
    quantities += [one for form in entropies("place") for one in quantities_of(form, table)]
    return Law(tuple(quantities), {"runs": measured_runs(table, ["grammar", "variant"], quantities),
                                   "larger_cut": cuts, "notes": list(NOTES)})


def _difference(rows: pd.DataFrame, a: str, b: str) -> Interval | None:
    """Accuracy of variant a minus that of b; by seed where they share seeds."""
    columns.require(rows, ["train.seed"])
    first, second = (combine(rows[rows["variant"] == v], ["train.seed"], share=True) for v in (a, b))
    if not first or not second:
        return None
    shared = [seed for seed in first if seed in second]
    if shared:
        return interval.mean_of_runs([interval.difference(first[s], second[s], independent=True) for s in shared])
    return interval.difference(interval.mean_of_runs(list(first.values()), share=True),
                            interval.mean_of_runs(list(second.values()), share=True), independent=True)
