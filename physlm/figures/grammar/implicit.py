"""Embeddings of implicit grammars: how similar every word is to the words of every bag, words sorted by their bag."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from physlm.figures import style
from physlm.figures.parts import (
    SIGNED,
    Sheet,
    grid,
    heading,
    interval,
    nothing,
    points,
    series_handle,
    share_axis,
)
from physlm.laws.cells import cells, combine
from physlm.laws.grammar.implicit import named_bags
from physlm.laws.law import Law

STRIP, ROW, WIDE = 0.75, 1.65, 6.4
# Base of the rows -> name in the legend; the controls are their bases with _permuted.
TOLD = {"neighbours": "nearest words", "clusters": "clusters"}


def implicit_figure(table: pd.DataFrame, law: Law) -> Figure:
    """Draw the results table that ``implicit_law`` reads, and its law; one strip for each setting.

    Raises:
        UserError: columns are missing.
    """
    table = named_bags(table)
    settings = sorted(table["setting"].unique(), key=_order)
    with style.style():
        end = 0.4 + ROW * max(len(settings), 2)
        sheet = Sheet(11.9, end + 0.75)
        found = combine(cells(table, "similarity", ["word", "bag"]), ["setting", "word", "bag"])
        most = max((abs(one.value) for one in found.values()), default=1.0)
        mesh = None
        for place, setting in enumerate(settings):
            axes = sheet.axes(0.75, 0.65 + ROW * place, WIDE, STRIP)
            mesh = _strip(axes, table[table["setting"] == setting], law, str(setting), most)
        if mesh is not None:
            bar = sheet.figure.colorbar(mesh, cax=sheet.axes(0.75 + WIDE + 0.12, 0.65, 0.12, STRIP))
            bar.ax.tick_params(labelsize=7.5, length=2, color=style.GREY)
            bar.outline.set_visible(False)
        _told(sheet.axes(8.75, 0.65, 2.9, end - 0.65 - 0.65), table, [str(setting) for setting in settings])
        handles = [series_handle(name, style.colour(i), style.marker(i), "none")
                   for i, name in enumerate(TOLD.values())]
        handles.append(series_handle("bags dealt at random", style.GREY, "o", "none"))
        sheet.legend(handles, top=end + 0.1, columns=3)
        sheet.caption("Strips: mean cosine similarity of the embedding of a word (columns, sorted by bag and by it) to "
                      "those of the other words of a bag (rows). Settings: words-bags-weights. Gap: 95 % over words.")
        return sheet.figure


def _order(name: str) -> tuple[str, int, str]:
    start, _, bags = name.rpartition("/")
    words, _, rest = bags.partition("-")
    return start, int(words), rest


def _strip(axes: Axes, table: pd.DataFrame, law: Law, setting: str, most: float) -> QuadMesh | None:
    """Similarity of every word to every bag, words sorted by their bag and by their similarity to it."""
    parts = []
    for name, title in (("gap", "gap"), ("p_value", "p")):
        judged = law.get(f"{name}@{setting}")
        if judged is not None:
            parts.append(f"{title} {interval(judged, 1.0, 2)}" if name == "gap" else f"{title} = {judged.value:.2g}")
    heading(axes, setting, "within minus between bags: " + ", ".join(parts) if parts else "")
    found = combine(cells(table, "similarity", ["word", "bag"]), ["word", "bag"])
    own = {int(str(key[0])): int(one.value) for key, one in combine(cells(table, "bag", ["word"]), ["word"]).items()}
    bags = sorted({int(str(key[1])) for key in found})
    if not found or not own:
        nothing(axes)
        return None

    def place(word: int) -> tuple[int, float]:
        one = found.get((word, own[word]))
        return own[word], -one.value if one is not None else 0.0

    words = sorted(own, key=place)
    values = np.array([[one.value if (one := found.get((word, bag))) else np.nan for word in words] for bag in bags])
    mesh = axes.pcolormesh(values, cmap=SIGNED, norm=Normalize(-most, most))
    axes.set(ylim=(len(bags), 0), xlim=(0, len(words)))
    starts = [next(i for i, word in enumerate(words) if own[word] == bag) for bag in sorted(set(own.values()))]
    for start in starts[1:]:
        axes.axvline(start, color="black", linewidth=0.8)
    middles = [(a + b) / 2.0 for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]
    axes.xaxis.set_major_locator(FixedLocator(middles))
    axes.set_xticklabels([f"words of bag {bag}" for bag in sorted(set(own.values()))])
    axes.yaxis.set_major_locator(FixedLocator([i + 0.5 for i in range(len(bags))]))
    axes.set_yticklabels([f"bag {bag}" for bag in bags])
    axes.tick_params(length=0, labelsize=7.5)
    return mesh


def _told(axes: Axes, table: pd.DataFrame, settings: list[str]) -> None:
    """Shares of words whose bag the embeddings tell, with the controls."""
    heading(axes, "Bags told from embeddings", "share of words (%)")
    drawn = 0
    for i, base in enumerate(TOLD):
        for suffix, shade, marker in (("_permuted", style.GREY, "o"), ("", style.colour(i), style.marker(i))):
            found = combine(cells(table, base + suffix), ["setting"], share=True)
            known = [(place, found[name,]) for place, name in enumerate(settings) if (name,) in found]
            drawn += len(known)
            points(axes, [place + 0.16 * (i - 0.5) for place, _ in known], [one for _, one in known], shade, marker,
                   "none")
    if not drawn:
        return nothing(axes)
    axes.set(ylim=(-0.03, 1.04), xlim=(-0.6, len(settings) - 0.4))
    share_axis(axes)
    grid(axes)
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(settings)))))
    axes.set_xticklabels([name.rpartition("/")[2].replace("-", "\n") for name in settings])
    axes.tick_params(axis="x", labelsize=7.2)
