"""Whether embeddings show the bags of implicit grammars (arXiv 2305.13673, result 10).

``gap`` is the mean cosine similarity of words that share a bag minus that of words that share none; ``neighbours`` and
``clusters`` are shares of words whose bag is told from the embeddings alone.
"""

from __future__ import annotations

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells, columns
from physlm.laws.cells import combine, measured_runs, named
from physlm.laws.grammar.settings import with_settings
from physlm.laws.law import Law, Quantity, gives

COLUMNS = ("task.bag_tokens", "task.bags", "task.bag_weights")
SHARES = ("neighbours", "clusters")
NOTES = (
    *cells.NOTES,
    "A setting is words-bags-weights, as 90-disjoint-uniform.",
    (
        "gap@setting: within-bag minus between-bag mean cosine similarity, bootstrap over words; gap_permuted: the "
        "97.5 % quantile with bags dealt at random; p_value: share of random deals with so large a gap, of several "
        "runs the largest, with the range over runs as its interval."
    ),
    (
        "neighbours@setting, clusters@setting: share of words whose bag the nearest words, or a clustering into as "
        "many groups as there are bags, tell; .._permuted: with bags dealt at random. least_..: the worst setting."
    ),
)


def named_bags(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of implicit grammars, with the column ``setting``: ``90-disjoint-uniform``, and the grammar or variant
    before it where the runs differ in these.

    Raises:
        UserError: columns are missing.
    """
    columns.require(table, COLUMNS)
    table = with_settings(table[table["task.bag_tokens"].astype(int) > 0])
    bags = [f"{words}-{bags}-{weights}" for words, bags, weights in zip(*(table[c] for c in COLUMNS), strict=True)]
    table["setting"] = [f"{setting}/{bag}" if setting else bag
                        for setting, bag in zip(table["setting"], bags, strict=True)]
    return table


@gives("gap", "gap_permuted", "gap_untrained", "p_value", "neighbours", "clusters", "neighbours_permuted",
       "clusters_permuted", "least_gap", "least_neighbours", "least_clusters", "largest_p_value")
def implicit_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them, for every setting s: ``gap@s``, ``gap_permuted@s``,
    ``gap_untrained@s``, ``p_value@s``, ``neighbours@s``, ``clusters@s``, ``neighbours_permuted@s``,
    ``clusters_permuted@s``; over all settings ``least_gap``, ``least_neighbours``, ``least_clusters`` and
    ``largest_p_value``.

    Raises:
        UserError: columns are missing.
    """
    table = named_bags(table)
    quantities: list[Quantity] = []
    for (setting,), before in combine(cells.cells(table, "gap_untrained"), ["setting"]).items():
        quantities.append(Quantity.of(named("gap_untrained", str(setting)), before))
    for base in ("gap", *SHARES):
        found = combine(cells.cells(table, base), ["setting"], share=base in SHARES)
        if found:
            quantities.append(Quantity.of(f"least_{base}", interval.least(list(found.values()), share=base in SHARES)))
        for name, parts in ((base, found), (f"{base}_permuted", combine(cells.cells(table, f"{base}_permuted"),
                                                                         ["setting"], share=base in SHARES))):
            quantities += [Quantity.of(named(name, str(s)), one) for (s,), one in parts.items()]
    p_values = _p_values(table)
    if p_values:
        worst = max(p_values.values(), key=lambda one: one.value)
        quantities.append(Quantity.of("largest_p_value", worst))
    quantities += [Quantity.of(named("p_value", setting), one) for setting, one in p_values.items()]
    return Law(tuple(quantities), {"runs": measured_runs(table, ["setting"], quantities), "notes": list(NOTES)})


def _p_values(table: pd.DataFrame) -> dict[str, Interval]:
    """The largest over the runs of each setting: a mean of p-values is none."""
    return {str(setting): Interval(float(rows["value"].max()), float(rows["value"].min()), float(rows["value"].max()),
                                   int(rows["n"].sum()), len(rows), "seeds")
            for setting, rows in cells.cells(table, "p_value").groupby("setting", sort=True)}
