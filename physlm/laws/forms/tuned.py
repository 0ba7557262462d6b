"""What is judged only where the rates that it rests on were found: a best rate at an end of its grid is no best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key
from physlm.laws.forms.extremes import Best, edge_of
from physlm.laws.forms.form import Form, part_of, setting_label, value_text
from physlm.laws.forms.guarded import Guarded

FULL = 0.99


@dataclass(frozen=True)
class Tuned(Guarded):
    """A form whose quantities are judged only where each of these bests lies inside of its grid.

    "Better than" and "as good as" are cheap against a model whose best rate was not among those that were tried.  Where
    such a best is at an end of its grid, or its grid has one value, the quantity says so, and where it agrees with what
    is asked it is not judged.  What disagrees is a miss, as in ``Learnt``, which this may be made of.  A share of
    ``FULL`` and more is a best wherever it lies: no other rate makes much more of it.

    Attributes:
        bests: of each those settings count that have the values of ``of``, where ``of`` has them.
    """

    of: Form
    bests: tuple[Best, ...]

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why those of its settings ``keys`` are not judged for which a best rate, or anything learnt, is missing."""
        keys = list(keys)
        found = super().unjudged(table, keys)
        for best in self.bests:
            shared = [key for key in self.keys if key in best.keys]
            for setting, (value, grid) in best.best(table).items():
                edge = "" if _is_full(best, grid[value,]) else edge_of(value, [one for (one,) in grid])
                place = part_of(setting, best.keys, shared)
                for key in keys if edge else ():
                    if key not in found and part_of(key, self.keys, shared) == place:
                        found[key] = _why(best, setting, value, f"{edge} of {len(grid)}")
        return found

    def note(self) -> str:
        """When it is judged."""
        return (f"{self.of.note()} It is judged where the best of {', '.join(best.name for best in self.bests)} is "
f"inside of its grid, or a share of {FULL:g} and more.")


def _is_full(best: Best, found: Interval) -> bool:
    """Whether next to nothing is left to be better."""
    return best.share and (found.value <= 1 - FULL if best.lowest else found.value >= FULL)


def _why(best: Best, setting: Key, value: object, edge: str) -> str:
    """Why what rests on this best is not judged."""
    name = best.over.rpartition(".")[2].replace("_", " ")
    return (f"{cells.named(best.name, setting_label(best.keys, setting))} is best at the {name} {value_text(value)}, "
            f"the {edge}: a better one may lie outside")
