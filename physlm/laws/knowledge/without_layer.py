"""What is left of the answers when one part of one block adds nothing: the block, its attention, or its MLP.

    without@part/layer=i    share of held-out people answered although that part of block i (from 0) adds nothing
    left@part               the median of them over all layers, divided by the intact model's share
    left_most@part          the best of them, likewise: that some layer can go says little, since any may be idle

Where ``left`` is x, half of the layers or more can go, one at a time, and x of the answers or more stay.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import measured_runs
from physlm.laws.knowledge.answers import NOTES as ANSWER_NOTES
from physlm.laws.knowledge.answers import answers, means_over
from physlm.laws.knowledge.settings import with_settings
from physlm.laws.law import Law, Quantity, gives

PARTS = ("block", "attention", "mlp")
NOTES = (
    *ANSWER_NOTES[:2],
    (
        "without@part/layer=i: that part of block i (counted from 0) adds nothing; the mean over kinds of questions. "
        "without_median, without_least, without_most: the median, the smallest and the largest over all layers. The "
        "intervals of the last two know that they are the extremes of several (the far end: Bonferroni); that of the "
        "median is the median of the ends of Bonferroni intervals."
    ),
    (
        "left@part: without_median over intact; left_most@part: without_most over intact. Opposite ends are divided, "
        "since the damaged model is asked about some of the people that the intact one is asked about."
    ),
)


@gives("intact", "left", "left_most", "without", "without_median", "without_least", "without_most")
def without_layer_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them, for part = block, attention, mlp and each layer i: ``intact``,
    ``left@part``, ``left_most@part``, ``without_median@part``, ``without_least@part``, ``without_most@part``,
    ``without@part/layer=i``; means over kinds.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(table)
    intact, without = intact_and_without(table)
    quantities = cells.quantity("intact", intact)
    for part in PARTS:
        layers = without.get(part, {})
        if layers:
            found = list(layers.values())
            median, least, most = (of(found, share=True) for of in (interval.median, interval.least, interval.most))
            quantities += cells.quantity(f"left@{part}", _ratio(median, intact))
            quantities += cells.quantity(f"left_most@{part}", _ratio(most, intact))
            quantities.append(Quantity.of(f"without_median@{part}", median))
            quantities.append(Quantity.of(f"without_least@{part}", least))
            quantities.append(Quantity.of(f"without_most@{part}", most))
            quantities += [Quantity.of(f"without@{part}/layer={i}", one) for i, one in layers.items()]
    runs = measured_runs(table[table["quantity"] == "answer_without"], ["setting"], quantities)
    return Law(tuple(quantities), {"runs": runs, "notes": list(NOTES)})


def intact_and_without(table: pd.DataFrame) -> tuple[Interval | None, Mapping[str, Mapping[int, Interval]]]:
    """The share answered by the intact models, and without each part (by part and layer); from a table of
    ``with_settings``.  The runs and kinds of which no layer was left out do not count."""
    found = cells.cells(table, "answer_without", ["kind", "half", "layer", "part"])
    found = found[found["half"] == "test"]
    whole = answers(table, "answer")
    whole = whole[pd.MultiIndex.from_frame(whole[["run", "kind"]]).isin(
        pd.MultiIndex.from_frame(found[["run", "kind"]]))]
    without: dict[str, dict[int, Interval]] = {}
    for (part, layer), one in means_over(found, "kind", ["part", "layer"]).items():
        without.setdefault(str(part), {})[int(str(layer))] = one
    return next(iter(means_over(whole, "kind", ["half"]).values()), None), without


def _ratio(a: Interval, b: Interval | None) -> Interval | None:
    """a / b, opposite ends divided; None where b may be 0."""
    if b is None or b.lo <= 0:
        return None
    return Interval(a.value / b.value, a.lo / b.hi, a.hi / b.lo, min(a.n, b.n), min(a.runs, b.runs))
