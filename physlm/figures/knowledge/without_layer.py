"""The deletion experiment: answers that are left when one part of one block adds nothing."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physlm.figures import style
from physlm.figures.parts import Sheet, heading, nothing, percent, points, series_handle, share_axis
from physlm.laws.knowledge.settings import with_settings
from physlm.laws.knowledge.without_layer import PARTS, intact_and_without
from physlm.laws.law import Law

NAMES = {"block": "block", "attention": "attention", "mlp": "MLP"}


def without_layer_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``without_layer_law`` reads, and its law.

    Raises:
        UserError: columns are missing.
    """
    intact, without = intact_and_without(with_settings(table))
    with style.style():
        sheet = Sheet(7.2, 5.0)
        axes = sheet.axes(0.75, 0.6, 6.1, 3.3)
        last = max((layer for layers in without.values() for layer in layers), default=0)
        for place, part in enumerate(PARTS):
            layers = without.get(part, {})
            shift = 0.005 * (last + 1) * (place - 1)  # so that intervals stand side by side
            points(axes, [layer + shift for layer in layers], list(layers.values()), style.colour(place),
                   style.marker(place))
        if intact is not None:
            axes.axhspan(intact.lo, intact.hi, color=style.LIGHT, alpha=0.7, linewidth=0, zorder=0)
            axes.axhline(intact.value, color="black", linewidth=1.2, zorder=1)
        if not without:
            axes.set_axis_off()
            nothing(axes)
        axes.set(ylim=(-0.03, 1.06), ylabel="answered (%)", xlabel="block, counted from 0")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(-0.4, last + 0.4)
        share_axis(axes)
        left = [f"{percent(found.value)} % ({NAMES[part]})" for part in PARTS
                if (found := law.get(f"left@{part}")) is not None]
        heading(axes, "Answers without one part of the model",
                f"the median layer leaves {', '.join(left)} of the intact model's answers" if left else "")
        handles = [series_handle(f"without {NAMES[part]}", style.colour(place), style.marker(place))
                   for place, part in enumerate(PARTS) if part in without]
        if intact is not None:
            handles.append(series_handle("intact", "black", "none"))
        sheet.legend(handles, top=4.4, columns=max(len(handles), 1))
        sheet.caption("People held out of all questions in training; mean over kinds of questions. Bars: 95 %.")
        return sheet.figure
