"""Where the tree is kept: ancestors at the ends of subtrees, read from that position alone (``diagonal``) or from it
and its two neighbours (``tridiagonal``) (arXiv 2305.13673, result 5)."""

from __future__ import annotations

import pandas as pd

from physlm import interval
from physlm.laws import cells
from physlm.laws.cells import measured_runs, named
from physlm.laws.grammar.probing import gaps_to_control, last_layer
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law, Quantity, gives

MASKS = ("diagonal", "tridiagonal")
NOTES = (
    *cells.NOTES,
    (
        "ancestor@mask/level=l: accuracy of the probe (last layer) at the last token of each subtree of level l, "
        "reading that position alone (diagonal) or it and its neighbours (tridiagonal)."
    ),
    "gap_untrained@mask: the same minus that on the untrained model, the smallest over all levels.",
    cells.LEAST_NOTE,
    cells.CONTRAST_NOTE,
)


@gives("least_ancestor", "gap_untrained", "ancestor")
def boundaries_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them, for m = diagonal, tridiagonal: ``least_ancestor@m``,
    ``gap_untrained@m`` and ``ancestor@m/level=l``.  With several grammars or variants: ``least_ancestor@cfg3f/m``.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    quantities: list[Quantity] = []
    for mask in MASKS:
        levels, gaps = last_layer(table, "ancestor", mask), gaps_to_control(table, "ancestor", mask, "untrained")
        for name, found in (("least_ancestor", levels), ("gap_untrained", gaps)):
            for setting in dict.fromkeys(key[0] for key in found):
                part = interval.least([one for key, one in found.items() if key[0] == setting], share=True)
                quantities.append(Quantity.of(named(name, str(setting), mask), part))
        quantities += [Quantity.of(named("ancestor", str(s), mask, f"level={level}"), one)
                       for (s, level), one in levels.items()]
    return Law(tuple(quantities), {"runs": measured_runs(table, ["setting"], quantities), "notes": list(NOTES)})
