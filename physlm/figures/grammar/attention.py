"""Where attention goes: by distance; to ends of subtrees; from ends to ends; to the adjacent end; with controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from physlm import interval
from physlm.figures import style
from physlm.figures.parts import (
    SHARE,
    SIGNED,
    Sheet,
    grid,
    heading,
    heat,
    level_colours,
    minus,
    nothing,
    points,
    series_handle,
)
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, combine, named
from physlm.laws.grammar.attention import KINDS, attention_cells
from physlm.laws.grammar.settings import decoders, with_settings
from physlm.laws.law import Law

WIDE, HIGH, ROW = 4.7, 3.1, 8.5
CONTROLS = {"_shuffled": ("trees of other sentences", (0, (4, 2))), "_untrained": ("untrained model", (0, (1, 1.5)))}
PER_MILLE = 1000.0


def attention_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``attention_law`` reads, and its law; two rows of panels for each setting.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(decoders(table))
    settings = sorted(table["setting"].unique())
    with style.style():
        end = 0.6 + ROW * (len(settings) - 1) + 4.2 + HIGH + 0.68
        sheet = Sheet(11.6, end + 0.75)
        colours = level_colours(sorted({int(str(key[0])) for key in attention_cells(table, "to_end")}))
        for place, setting in enumerate(settings):
            own, top = table[table["setting"] == setting], 0.6 + ROW * place
            _by_distance(sheet.axes(0.85, top, WIDE - 0.1, HIGH), own, str(setting))
            _by_shift(sheet.axes(6.65, top, WIDE, HIGH), own, law, str(setting), colours)
            _end_to_end(sheet, top + 4.2, own, law, str(setting))
            _by_adjacency(sheet.axes(6.65, top + 4.2, WIDE, HIGH), own, law, str(setting), colours)
        handles = [series_handle(f"level {level}", shade, "o") for level, shade in colours.items()]
        handles.append(series_handle("mean", "black", "s"))
        handles += [series_handle(f"mean, {name}", style.GREY, "none", line) for name, line in CONTROLS.values()]
        sheet.legend(handles, top=end, columns=len(handles))
        sheet.caption("Residual: attention minus its mean at the same distance, mean over layers and heads, in "
                      "thousandths. Levels count from 1, the root; in the last panel the level of the end that is "
                      "looked at.\nBars: 95 % over sentences. Beyond the controls: minus the larger of the two, the "
                      "same with the trees of other sentences and of an untrained model.")
        return sheet.figure


def _by_distance(axes: Axes, table: pd.DataFrame, setting: str) -> None:
    """Rows: heads, layer by layer; columns: distances."""
    heading(axes, "Attention by distance" + (f", {setting}" if setting else ""), "mean weight; each row is a head")
    found = combine(cells.cells(table, "by_distance", ["layer", "head", "distance"]), ["layer", "head", "distance"])
    if not found:
        return nothing(axes)
    heads = sorted({(int(str(key[0])), int(str(key[1]))) for key in found})
    distances = sorted({int(str(key[2])) for key in found})
    values = np.array([[one.value if (one := found.get((*head, p))) else np.nan for p in distances] for head in heads])
    # Heads that look nearby have weights a hundred times those of heads that spread them: a root shows both.
    mesh = axes.pcolormesh(np.arange(len(distances) + 1) - 0.5 + distances[0], np.arange(len(heads) + 1), values,
                           cmap=SHARE, norm=PowerNorm(0.4, 0.0, max(float(np.nanmax(values)), 1e-9)))
    bar = axes.figure.colorbar(mesh, ax=axes, location="right", fraction=0.04, pad=0.02, aspect=24)
    bar.set_ticks(_root_ticks(float(np.nanmax(values))))
    bar.ax.tick_params(labelsize=7.5, length=2, color=style.GREY)
    bar.outline.set_visible(False)
    layers = sorted({layer for layer, _ in heads})
    starts = [next(i for i, head in enumerate(heads) if head[0] == layer) for layer in layers]
    for start in starts[1:]:
        axes.axhline(start, color="white", linewidth=1.2)
    ends = [*starts[1:], len(heads)]
    axes.set(ylim=(len(heads), 0), xlabel="distance (tokens)")
    axes.yaxis.set_major_locator(FixedLocator([(a + b) / 2.0 for a, b in zip(starts, ends, strict=True)]))
    axes.set_yticklabels([f"layer {layer}" for layer in layers])
    axes.tick_params(axis="y", length=0)


def _root_ticks(most: float) -> list[float]:
    """Ticks that stand well apart on a scale of roots: parts of the largest weight, rounded to one digit."""
    ticks = [float(f"{most * part:.0e}") for part in (0.01, 0.1, 0.3, 0.6)]
    return [0.0, *dict.fromkeys(tick for tick in ticks if 0.0 < tick <= most)]


def _by_shift(axes: Axes, table: pd.DataFrame, law: Law, setting: str, colours: dict[int, Any]) -> None:
    """Residual around the ends of subtrees, one curve a level of the end."""
    peak = law.get(named("peak_at_zero", setting, "any"))
    heading(axes, "To the ends of subtrees", _found("peak beyond the controls", peak))
    parts = {kind: attention_cells(table, "to_end", kind) for kind in KINDS}
    if not parts[""]:
        return nothing(axes)
    for level, shade in colours.items():
        own = sorted((int(str(key[1])), one) for key, one in parts[""].items() if key[0] == level)
        _line(axes, own, shade, "o")
    _means(axes, parts, lambda key: int(str(key[1])))
    axes.axvline(0, color=style.LIGHT, linewidth=0.8, zorder=0)
    axes.set(xlabel="position of the key, from the end of the subtree (tokens)", ylabel="residual (thousandths)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _by_adjacency(axes: Axes, table: pd.DataFrame, law: Law, setting: str, colours: dict[int, Any]) -> None:
    """Residual by r, one curve a level of the end that is looked at (mean over levels of the end that looks)."""
    decay = law.get(named("adjacent_decay", setting))
    heading(axes, "From end to end, by adjacency", _found("adjacent minus farther, beyond the controls", decay))
    parts = {kind: attention_cells(table, "adjacent", kind) for kind in KINDS}
    if not parts[""]:
        return nothing(axes)
    for level, shade in colours.items():
        own = _grouped({key: one for key, one in parts[""].items() if key[1] == level}, lambda key: int(str(key[2])))
        _line(axes, own, shade, "o")
    _means(axes, parts, lambda key: int(str(key[2])))
    axes.set(xlabel="r, in subtrees of that level (1: the adjacent one)", ylabel="residual (thousandths)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _end_to_end(sheet: Sheet, top: float, table: pd.DataFrame, law: Law, setting: str) -> None:
    """Residual by top of the key and top of the query; beside it the controls in the same colours."""
    parts = {kind: attention_cells(table, "end_to_end", kind) for kind in KINDS}
    levels = sorted({int(str(part)) for found in parts.values() for key in found for part in key})
    names = [str(level) for level in levels]
    most = max((abs(one.value) for found in parts.values() for one in found.values()), default=0.0) * PER_MILLE
    half = (HIGH - 0.62) / 2.0  # height of a control
    boxes = ((0.85, top, 2.75, HIGH), (4.05, top, 1.5, half), (4.05, top + HIGH - half, 1.5, half))
    for box, (kind, found) in zip(boxes, parts.items(), strict=True):
        axes = sheet.axes(*box)
        if kind:
            axes.set_title(CONTROLS[kind][0], loc="left", fontsize=8.6, pad=4)
        else:
            judged = law.get(named("end_to_end", setting))
            heading(axes, "From end to end", _found("beyond the controls", judged))
        if not found:
            nothing(axes)
            continue
        values = np.array([[one.value * PER_MILLE if (one := found.get((v, u))) else np.nan for u in levels]
                           for v in levels])
        heat(axes, values, names, names, -max(most, 1e-9), max(most, 1e-9), SIGNED,
             write=lambda value: _thousandths(value, most), size=5.6 if kind else 7.6)
        axes.tick_params(labelsize=7.0 if kind else 8.5)
        if not kind:
            axes.set(xlabel="level of the key's end", ylabel="level of the query's end")


def _found(text: str, one: Any) -> str:
    """What the law says, in thousandths."""
    if one is None:
        return ""
    most = PER_MILLE * max(abs(one.value), one.hi - one.lo) / 10.0
    value, lo, hi = (_thousandths(PER_MILLE * part, most) for part in (one.value, one.lo, one.hi))
    return f"{text}: {value} [{lo}, {hi}]"


def _thousandths(value: float, most: float) -> str:
    """As many decimals as show two digits of ``most``, at most four."""
    digits = min(max(1 - math.floor(math.log10(most)), 0), 4) if most > 0 else 1
    return minus(f"{round(value, digits) + 0.0:.{digits}f}")  # + 0.0: no minus before a zero


def _scaled(one: Interval) -> Interval:
    return Interval(one.value * PER_MILLE, one.lo * PER_MILLE, one.hi * PER_MILLE, one.n, one.runs)


def _line(axes: Axes, found: Sequence[tuple[int, Interval]], shade: Any, marker: str, line: Any = "-",
          **options: Any) -> None:
    points(axes, [x for x, _ in found], [_scaled(one) for _, one in found], shade, marker, line, **options)


def _grouped(found: dict[Key, Interval], place: Callable[[Key], int]) -> list[tuple[int, Interval]]:
    """Means over all cells of one place, rising."""
    places = sorted({place(key) for key in found})
    return [(x, interval.mean_of([one for key, one in found.items() if place(key) == x])) for x in places]


def _means(axes: Axes, parts: dict[str, dict[Key, Interval]], place: Callable[[Key], int]) -> None:
    """The mean over levels in black, and grey those of the controls."""
    for kind, found in parts.items():
        if found and kind:
            _line(axes, _grouped(found, place), style.GREY, "none", CONTROLS[kind][1], zorder=5)
        elif found:
            _line(axes, _grouped(found, place), "black", "s", zorder=6)
    axes.axhline(0, color=style.GREY, linewidth=0.7, zorder=0)
    grid(axes)
