"""How well models write, by grammar: accuracy at both cuts, its learning curve, KL, and entropy beside the truth."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.grammar.curves import accuracy_bars, accuracy_curves, kl_curves
from physlm.figures.parts import Sheet, grid, heading, nothing, points, series_handle, signed
from physlm.laws.cells import cells, combine
from physlm.laws.grammar.generation import named_settings
from physlm.laws.law import Law

WIDE, HIGH = 4.7, 3.1


def generation_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``generation_law`` reads, and its law.

    Raises:
        UserError: columns are missing.
    """
    table = named_settings(table)
    series = sorted(table["setting"].unique(), key=_order)
    with style.style():
        sheet = Sheet(11.6, 9.15)
        boxes = [(0.75, 0.55), (6.55, 0.55), (0.75, 4.75), (6.55, 4.75)]
        panels = [sheet.axes(left, top, WIDE, HIGH) for left, top in boxes]
        _accuracy(panels[0], table, series)
        accuracy_curves(panels[1], table, "setting", series)
        heading(panels[1], "Learning", "accuracy from the larger cut")
        kl_curves(panels[2], table, "setting", series)
        heading(panels[2], "Distance from the truth", "KL of the next token")
        _entropy(panels[3], table, series, law)
        sheet.legend([series_handle(name, style.colour(i), style.marker(i)) for i, name in enumerate(series)],
                     top=8.47, columns=max(len(series), 1))
        sheet.caption("Bars: 95 % over sampled strings (with several seeds, over seeds too). Whole strings must parse; "
                      "temperature 1. Entropy: bits of a string, the model's own and the truth's.")
        return sheet.figure


def _order(name: str) -> tuple[int, str]:
    """The order of the paper: cfg3b, 3i, 3h, 3g, 3f; then by name."""
    known = ("cfg3b", "cfg3i", "cfg3h", "cfg3g", "cfg3f", "cfg3j", "cfg3k")
    first = name.split("/")[0]
    return known.index(first) if first in known else len(known), name


def _accuracy(axes: Axes, table: pd.DataFrame, series: list[str]) -> None:
    accuracy_bars(axes, table, "setting", series, "Completion accuracy")
    untrained = [one.value for one in combine(cells(table, "accuracy_untrained", ["cut"]), ["setting"], share=True
                                              ).values()] if len(cells(table, "accuracy_untrained", ["cut"])) else []
    if untrained:
        axes.text(0.99, 0.985, f"untrained: {100 * max(untrained):.2g} %", transform=axes.transAxes,
                  ha="right", va="top", fontsize=7, color=style.GREY)


def _entropy(axes: Axes, table: pd.DataFrame, series: list[str], law: Law) -> None:
    parts = {base: combine(cells(table, base), ["setting"]) for base in ("entropy_truth", "entropy_model")}
    drawn = 0
    for base, shift in (("entropy_truth", -0.13), ("entropy_model", 0.13)):
        for place, name in enumerate(series):
            one = parts[base].get((name,))
            if one is None:
                continue
            drawn += 1
            truth = base == "entropy_truth"
            points(axes, [place + shift], [one], "black" if truth else style.colour(place),
                   "_" if truth else style.marker(place), "none", **({"markersize": 11, "markeredgecolor": "black",
                                                                      "markeredgewidth": 1.6} if truth
                                                                     else {"markersize": 6}))
    for place, name in enumerate(series):
        gap = law.get(f"entropy_gap@{name}")
        one = parts["entropy_model"].get((name,))
        if gap is not None and one is not None:
            axes.annotate(signed(gap.value), (place + 0.13, one.value), xytext=(7, 0), textcoords="offset points",
                          ha="left", va="center", fontsize=7.5)
    if not drawn:
        return nothing(axes)
    axes.set(xlim=(-0.55, len(series) - 0.45), ylabel="bits/string")
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(series)))))
    axes.set_xticklabels(series)
    grid(axes)
    heading(axes, "Diversity", "entropy of the model's strings, beside the truth (–); numbers: their difference")
