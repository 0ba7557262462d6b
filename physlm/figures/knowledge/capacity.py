"""Learned bits against parameters, log-log: Figures 1a and 1b of arXiv 2404.05405, one panel per number of exposures.

Every dot is one size at its best learning rate (the mean over the seeds that it is judged on), faint dots are all other
runs, hollow dots the published models.  Dots along a slanted line hold equally many bits in each parameter; a dashed
level is all that a dataset of N people contains.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from physlm.errors import counted
from physlm.figures import style
from physlm.laws.knowledge.capacity_models import best_of_learning_rates, capacity_models
from physlm.laws.law import Law, Quantity

# Points of Figure 1a, parameters and bits in millions, by N; read off by a second source, not given in the paper.
PUBLISHED = {
    50_000: ((0.816, 1.40), (1.213, 2.16), (1.807, 2.85), (4.8, 2.92)),
    100_000: ((1.213, 2.59), (2.006, 3.86), (2.853, 5.21), (4.79, 5.73)),
    200_000: ((2.409, 5.57), (3.998, 8.58), (5.577, 10.6), (7.98, 11.2)),
    500_000: ((5.577, 15.2), (10.1, 22.0), (13.5, 26.7), (19.0, 27.5)),
    1_000_000: ((11.9, 32.3), (19.0, 42.2), (23.7, 51.1), (33.2, 54.1), (88.0, 54.4)),
}
PUBLISHED_EXPOSURES, PUBLISHED_TASK, PUBLISHED_MARKER = 1000, "bioS", "h"
GUIDES = ((2.0, (0, (6, 2))), (1.0, (0, (1, 1.6))))
LEGEND_ROW, CAPTION_ROW = 0.19, 0.147  # inches


def capacity_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table and the law fitted to it.

    Args:
        table: the long results table that ``capacity_law`` reads.
        law: its law; the fitted lines and the numbers above the panels come from it.

    Raises:
        UserError: the table is not one of capacity measurements.
    """
    models = capacity_models(table)
    best = best_of_learning_rates(models)
    beside = _published(models, best)
    exposures = sorted(models["exposures"].unique(), reverse=True)
    people = sorted(models["people"].unique())
    series = {n: i for i, n in enumerate(people)}
    with style.style():
        columns = 4 if len(exposures) > 1 else 2
        rows = math.ceil((len(people) + len(GUIDES) + 2 + (not beside.empty)) / columns)
        bottom = 0.56 + _below(rows, not beside.empty)
        figure, panels = style.panels(len(exposures), margin_top=0.62, margin_bottom=bottom)
        _limits(panels[0], models, best)
        for axes, repeats in zip(panels, exposures, strict=True):
            runs, sizes, theirs = (frame[frame["exposures"] == repeats] for frame in (models, best, beside))
            _panel(axes, runs, sizes, theirs, series, law)
        panels[0].set_ylabel("learned knowledge (bits)")
        for axes in panels[1:]:
            axes.tick_params(labelleft=False)
        tasks = " and ".join(sorted(set(models["task"])))
        _caption(figure, best, people, columns, rows, tasks, not beside.empty)
    return figure


def _published(models: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """The published points that lie within the axes: exposures, people, params, bits; none beside another task."""
    found = pd.DataFrame([(PUBLISHED_EXPOSURES, people, params * 1e6, bits * 1e6)
                          for people, points in PUBLISHED.items() for params, bits in points],
                         columns=["exposures", "people", "params", "bits"])  # fmt: skip
    x_lo, x_hi, y_lo, y_hi = _bounds(models, best)
    shown = found["params"].between(x_lo, x_hi) & found["bits"].between(y_lo, y_hi)
    same = set(models["task"]) == {PUBLISHED_TASK} and (models["exposures"] == PUBLISHED_EXPOSURES).any()
    return found[shown & same]


def _bounds(models: pd.DataFrame, best: pd.DataFrame) -> tuple[float, float, float, float]:
    """Limits of parameters and bits: all best models, with room for labels; a hopeless learning rate may be outside."""
    x_lo, x_hi = models["params"].min() / 1.45, models["params"].max() * 1.5
    learned = best.loc[best["bits"] > 0, "bits"]
    top = best["bits_max"].max()
    floor = learned.min() if len(learned) else top / 10.0
    y_lo, y_hi = min(floor, best["bits_max"].min()) / 1.9, max(top, best["bits"].max()) * 1.45
    return x_lo, x_hi, y_lo, y_hi


def _limits(axes: Axes, models: pd.DataFrame, best: pd.DataFrame) -> None:
    """Shared limits and ticks."""
    x_lo, x_hi, y_lo, y_hi = _bounds(models, best)
    axes.set(xscale="log", yscale="log", xlim=(x_lo, x_hi), ylim=(y_lo, y_hi))
    for axis, lo, hi in ((axes.xaxis, x_lo, x_hi), (axes.yaxis, y_lo, y_hi)):
        style.log_axis(axis, lo, hi)


def _panel(axes: Axes, models: pd.DataFrame, best: pd.DataFrame, beside: pd.DataFrame, series: dict[int, int],
           law: Law) -> None:
    """One number of exposures."""
    repeats = int(best["exposures"].iloc[0])
    line = law.get(f"line_bits_per_param@{repeats}")
    axes.grid(True, color=style.LIGHT, linewidth=0.5)
    x = np.geomspace(*axes.get_xlim(), 200)
    for ratio, dashes in GUIDES:
        axes.plot(x, ratio * x, color=style.GREY, linewidth=1.0, linestyle=dashes, zorder=1.5)
    if line is not None:
        axes.fill_between(x, line.lo * x, line.hi * x, color="black", alpha=0.12, linewidth=0, zorder=1.4)
        axes.plot(x, line.value * x, color="black", linewidth=1.1, zorder=1.6)
    others = models[~models["run"].isin(best["run"])]
    obstacles = _obstacles(axes, models, best, line, beside)
    for n, group in beside.groupby("people"):
        shade = style.colour(series[n]) if n in series else style.GREY
        axes.plot(group["params"], group["bits"], PUBLISHED_MARKER, color=shade, markerfacecolor="none", markersize=7.0,
                  markeredgewidth=1.1, zorder=3.5)
    labels, boxes = [], []
    for n, group in best.groupby("people"):
        shade, shape = style.colour(series[n]), style.marker(series[n])
        level = group["bits_max"].iloc[0]
        axes.axhline(level, color=shade, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.85, zorder=1.7)
        text = f"all {style.plain_number(level, blank=True)}bit of N = {n:,}"
        boxes.append(style.name_level(axes, level, text, shade, obstacles))
        faint = others[(others["people"] == n) & (others["bits"] > 0)]
        axes.plot(faint["params"], faint["bits"], shape, color=shade, alpha=0.28, markersize=3.6,
                  markeredgewidth=0, zorder=3)
        shown = group[group["bits"] > 0]
        down, up = (shown["ratio"] - shown["lo"]) * shown["params"], (shown["hi"] - shown["ratio"]) * shown["params"]
        axes.errorbar(shown["params"], shown["bits"], yerr=np.clip([down, up], 0, None), fmt=shape, color=shade,
                      markersize=5.6, markeredgecolor="white", markeredgewidth=0.5, elinewidth=1.0, capsize=2.0,
                      zorder=4)
        labels += [style.Label(row.params, row.bits, row.label, shade) for row in shown.itertuples()]
    style.place_labels(axes, labels, obstacles, boxes=boxes)
    axes.set_xlabel("parameters (embedding rows in use included)")
    axes.set_title(counted(repeats, "exposure"), loc="left", fontweight="bold", pad=19)
    axes.annotate(_found(repeats, law), (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points",
                  fontsize=8.8)
    unseen = int((models["bits"] <= axes.get_ylim()[0]).sum())
    if unseen:
        axes.text(0.985, 0.015, f"{unseen} of {counted(len(models), 'run')} below the axis", transform=axes.transAxes,
                  ha="right", va="bottom", fontsize=7, color=style.GREY)


def _obstacles(axes: Axes, models: pd.DataFrame, best: pd.DataFrame, line: Quantity | None,
               beside: pd.DataFrame) -> NDArray[np.float64]:
    """What labels should not cover: markers (with their width), guide lines, the fitted line and the levels."""
    shown = models[models["bits"] > 0]
    dots = np.concatenate([frame[["params", "bits"]].to_numpy(dtype=float) for frame in (shown, beside)])
    pixels = axes.transData.transform(dots) if len(dots) else np.empty((0, 2))
    reach = 3.2 * axes.figure.dpi / 72.0
    rims = [pixels + reach * np.array(step) for step in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    around = axes.transData.inverted().transform(np.concatenate(rims)) if len(dots) else dots
    x = np.geomspace(*axes.get_xlim(), 400)
    ratios = [ratio for ratio, _ in GUIDES] + ([line.value] if line is not None else [])
    slanted = [np.stack([x, ratio * x], axis=1) for ratio in ratios]
    levels = [np.stack([x, np.full_like(x, level)], axis=1) for level in best["bits_max"].unique()]
    return np.concatenate([around, *slanted, *levels])


def _found(repeats: int, law: Law) -> str:
    """The peak (of one seed: the best run) and the line of one panel, with their intervals."""
    parts = []
    best = ("peak", "peak") if law.get(f"peak_bits_per_param@{repeats}") is not None else ("most", "best run")
    for name, word in (best, ("line", "line")):
        found = law.get(f"{name}_bits_per_param@{repeats}")
        if found is not None:
            parts.append(f"{word} {found.value:.2f} [{found.lo:.2f}, {found.hi:.2f}]")
    return ", ".join(parts) + " bits/parameter" if parts else ""


def _caption(figure: Figure, best: pd.DataFrame, people: list[int], columns: int, rows: int, tasks: str,
             beside: bool) -> None:
    """The legend under the panels, and what was done to the numbers."""
    handles = [
        Line2D([], [], color=style.colour(i), marker=style.marker(i), markersize=5.6, markeredgecolor="white",
               markeredgewidth=0.5, linestyle=(0, (4, 3)), linewidth=1.0, label=f"N = {n:,}")
        for i, n in enumerate(people)
    ]
    handles.append(Line2D([], [], color="black", linewidth=1.1, label="fitted line, 95 % band"))
    for ratio, dashes in GUIDES:
        name = f"{ratio:g} bit{'s' * (ratio > 1)}/parameter"
        handles.append(Line2D([], [], color=style.GREY, linewidth=1.0, linestyle=dashes, label=name))
    handles.append(Line2D([], [], color=style.GREY, alpha=0.4, marker="o", markersize=3.6, linestyle="none",
                          markeredgewidth=0, label="other runs"))
    if beside:
        handles.append(Line2D([], [], color=style.GREY, marker=PUBLISHED_MARKER, markersize=7.0, linestyle="none",
                              markerfacecolor="none", markeredgewidth=1.1, label="published"))
    height = figure.get_figheight()
    figure.legend(handles=handles, loc="upper center", ncols=columns, borderaxespad=0.0, columnspacing=1.8,
                  handlelength=2.6, bbox_to_anchor=(0.5, _below(rows, beside) / height))
    counts = sorted(set(best["learning_rates"]))
    rates = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    lines = [
        (f"{tasks}, best of {rates} learning rate{'s' * (counts[-1] > 1)} for each size, labels layers-heads "
         "(xw: heads of width w, else 64)"),
        "Bars: 95 %, over seeds where there are several. Dashed: all knowledge in the data of N people.",
        *["Hollow: arXiv 2404.05405, Figure 1a, read off by a second source; grey: N that we do not have."] * beside,
    ]
    figure.text(0.5, 0.12 / height, "\n".join(lines), ha="center", va="bottom", fontsize=7.5, color=style.GREY,
                linespacing=1.4)


def _below(rows: int, beside: bool) -> float:
    """Inches from the lower edge of the figure to the top of its legend."""
    return 0.17 + CAPTION_ROW * (2 + beside) + LEGEND_ROW * rows
