"""Decoders against encoders, level by level: ancestors, and boundaries with balanced accuracy."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.parts import Sheet, grown, heading, interval, nothing, points, series_handle, share_axis
from physlm.laws.cells import named
from physlm.laws.grammar.encoder import BASES, compared_models
from physlm.laws.grammar.probing import control_by_level, last_layer
from physlm.laws.law import Law

WIDE, HIGH, ROW = 4.7, 3.3, 4.6
UNTRAINED = (0, (4, 2))


def encoder_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``encoder_law`` reads, and its law; one row of panels for each grammar.

    Raises:
        UserError: columns are missing.
    """
    table = compared_models(table)
    grammars, models = sorted(table["grammar"].unique()), sorted(table["model"].unique())
    with style.style():
        end = 0.55 + ROW * (len(grammars) - 1) + HIGH + 0.62
        sheet = Sheet(11.6, end + 0.6)
        for place, grammar in enumerate(grammars):
            own, at = table[table["grammar"] == grammar], grammar if len(grammars) > 1 else ""
            for column, (name, base) in enumerate(BASES.items()):
                axes = sheet.axes(0.75 + 5.8 * column, 0.55 + ROW * place, WIDE, HIGH)
                _panel(axes, own, base, models)
                gap = law.get(named("deep_gap", at, name))
                title = {"ancestor": "Ancestors", "boundary": "Boundaries (balanced accuracy)"}[name]
                level = law.details.get("deep_level", {}).get(named(name, at))
                heading(axes, title + (f", {at}" if at else ""),
                        f"decoder minus encoder at level {level}: {interval(gap)} points" if gap is not None else "")
        handles = [series_handle(model, style.colour(i), style.marker(i)) for i, model in enumerate(models)]
        handles.append(series_handle("untrained", style.GREY, "none", UNTRAINED))
        sheet.legend(handles, top=end, columns=len(handles))
        sheet.caption("Linear probe of the last layer, weights that depend on positions only. Levels count from 1, the "
                      "root. Bars: 95 % over sentences.")
        return sheet.figure


def _panel(axes: Axes, table: pd.DataFrame, base: str, models: list[str]) -> None:
    """One curve a model over the levels, and dashed that model before training."""
    drawn: set[int] = set()
    for place, model in enumerate(models):
        own = table[table["model"] == model].assign(setting="")
        for found, line, shade in ((control_by_level(own, base, "full", "untrained"), UNTRAINED, 0.8),
                                   (last_layer(own, base, "full"), "-", 1.0)):
            levels, values = grown(found, ("",))
            drawn |= set(levels)
            points(axes, [level + 0.05 * place for level in levels], values, style.colour(place),
                   style.marker(place) if line == "-" else "none", line, alpha=shade)
    if not drawn:
        return nothing(axes)
    if base.endswith("_balanced"):
        axes.axhline(0.5, color=style.GREY, linewidth=0.8, linestyle=(0, (1, 1.5)))
    axes.set(ylim=(-0.03, 1.04), ylabel="accuracy (%)", xlabel="level (1 = root)")
    axes.xaxis.set_major_locator(FixedLocator(sorted(drawn)))
    share_axis(axes)
