"""The names of iGSM problems, read from ``data/names.txt``: 4 categorisations of 4 layers of 5 groups of 20 items.

    School                      Classroom           Backpack              Stationery        a layer's category
    Academies, Colleges ...     Labs, Studios ...   Satchels, Totes ...   Pens, Rulers ...  its groups
    Maple Academy               Physics Lab         Beach Tote            Fountain Pen      an item

An item of a layer contains items of the next one ("The number of each Maple Academy's Physics Lab"); the category
stands for all items of a layer together ("each Maple Academy's Stationery").  A problem takes consecutive layers of
one categorisation and one group of each layer.

All names differ, also without regard to case, and none begins another one or stands inside it as whole words: a text
is read back in one way, and one name is replaced by another without touching a third.

Sizes: arXiv 2407.20311, whose lists hold 16 categories and about 100 items a category; the names are our own.
Free of torch.
"""

from __future__ import annotations

import importlib.resources
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A category and its items.

    Attributes:
        name: the category, as totals call it.
        groups: items of one kind each; the items of a problem's layer are all from one group.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Categorisation:
    """Four layers, from the containing to the contained."""

    layers: tuple[Layer, Layer, Layer, Layer]


def _sections(mark: str, text: str) -> list[str]:
    """What follows each ``mark`` at the start of a line, up to the next one."""
    return re.split(f"^{mark} ", text, flags=re.MULTILINE)[1:]


def _layer(section: str) -> Layer:
    name, *groups = section.split("\n")
    return Layer(name, tuple(tuple(group.split(", ")) for group in groups if group))


def _categorisation(section: str) -> Categorisation:
    first, second, third, fourth = map(_layer, _sections("-", section))
    return Categorisation((first, second, third, fourth))


_TEXT = importlib.resources.files(__package__).joinpath("data", "names.txt").read_text(encoding="utf-8")

CATEGORISATIONS: tuple[Categorisation, ...] = tuple(map(_categorisation, _sections("=", _TEXT)))
