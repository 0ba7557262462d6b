"""Five attention variants at equal tokens: accuracy, learning curves, KL, and the differences that the claim names."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.grammar.curves import accuracy_bars, accuracy_curves, kl_curves
from physlm.figures.parts import Sheet, heading, minus, nothing, series_handle, signed
from physlm.interval import Interval
from physlm.laws.cells import named
from physlm.laws.grammar.positions import DIFFERENCES, ORDER
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law

WIDE, HIGH, ROW = 4.7, 3.1, 8.4


def positions_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``positions_law`` reads, and its law; two rows of panels for each grammar.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    grammars = sorted(table["grammar"].unique())
    series = [name for name in ORDER if name in set(table["variant"])]
    with style.style():
        end = 0.55 + ROW * (len(grammars) - 1) + 4.2 + HIGH + 0.65
        sheet = Sheet(11.6, end + 0.6)
        for place, grammar in enumerate(grammars):
            own, top = table[table["grammar"] == grammar], 0.55 + ROW * place
            panels = [sheet.axes(left, top + down, WIDE, HIGH) for left, down in ((0.75, 0), (6.55, 0), (0.75, 4.2))]
            panels.append(sheet.axes(7.4, top + 4.2, WIDE - 0.85, HIGH))
            accuracy_bars(panels[0], own, "variant", series, f"Completion accuracy on {grammar}")
            accuracy_curves(panels[1], own, "variant", series)
            heading(panels[1], "Learning", "accuracy from the larger cut")
            kl_curves(panels[2], own, "variant", series)
            heading(panels[2], "Distance from the truth", "KL of the next token")
            _differences(panels[3], law, grammar if len(grammars) > 1 else "")
        sheet.legend([series_handle(name, style.colour(i), style.marker(i)) for i, name in enumerate(series)],
                     top=end, columns=max(len(series), 1))
        sheet.caption("Equal tokens and sizes of layers. Bars: 95 % over sampled strings (with several seeds, over "
                      "seeds too). Whole strings must parse; temperature 1.")
        return sheet.figure


def _differences(axes: Axes, law: Law, grammar: str) -> None:
    found = {name: law.get(named(name, grammar)) for name in DIFFERENCES}
    known = [(name, one) for name, one in found.items() if one is not None]
    if not known:
        return nothing(axes)
    for place, (_, one) in enumerate(known):
        part = Interval(one.value, one.lo, one.hi, one.n)
        axes.errorbar(one.value, place, xerr=[[part.down], [part.up]], color="black", marker="o", markersize=5,
                      elinewidth=1.1, capsize=2.5, linestyle="none")
        axes.annotate(signed(100 * one.value), (one.hi, place), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=7.8)
    axes.axvline(0.0, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(ylim=(len(known) - 0.5, -0.5), xlabel="difference in accuracy (percentage points)")
    axes.margins(x=0.15)
    axes.yaxis.set_major_locator(FixedLocator(list(range(len(known)))))
    axes.set_yticklabels([" – ".join(DIFFERENCES[name]) for name, _ in known])
    axes.xaxis.set_major_formatter(lambda value, _: minus(f"{100 * value:g}"))
    axes.grid(True, axis="x", color=style.LIGHT, linewidth=0.5)
    heading(axes, "Differences", "from the larger cut, paired by seed where seeds agree")
