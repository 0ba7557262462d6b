"""What is judged only where something was learnt: models that all guess agree with whatever says they are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Form, Remarked, check_keys, part_of


@dataclass(frozen=True)
class Learnt:
    """A form whose quantities are judged only where the best of the compared models learnt something.

    "No worse than", "no better than" and "as good as" are true of models that all guess.  So in each setting the best
    ``score`` of the models that are compared is looked at; if it is not ``least`` above that of the best constant
    answer, the quantity says "nothing learnt", and no verdict is given on it.

        Learnt(Contrast("none_over_rope", ANSWER, "position", "none", "rope"), ANSWER, 0.2, ANSWER.of("majority"))

    ``least`` is more than the slack of the expectation: else a difference could not be as large as what is refused.

    Attributes:
        of: what is judged.
        score: of the models that are compared: its settings that ``of`` has too have the values of ``of`` there.
        least: what the best one has at least, over the control or, without one, at all; above 0.
        control: the same of the best constant answer, or of a guess.
        among: settings of ``of`` over which models are compared: the score may have any value there.
    """

    of: Form
    score: Form
    least: float
    control: Form | None = None
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.least) and self.least > 0):
            raise UserError(f"{self.name}: least: got {self.least}, expected a number above 0")
        check_keys(self.name, "among", self.among, self.of.keys)
        if self.control is not None and self.control.keys != self.score.keys:
            raise UserError(f"{self.name}: got a control by {self.control.keys}, expected one by {self.score.keys}")

    @property
    def name(self) -> str:
        """That of the form."""
        return self.of.name

    @property
    def unit(self) -> str:
        """That of the form."""
        return self.of.unit

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of the form."""
        return self.of.keys

    def cells(self, table: pd.DataFrame) -> Cells:
        """Those of the form, judged or not."""
        return self.of.cells(table)

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Those of the form."""
        return self.of.remarks(table) if isinstance(self.of, Remarked) else {}

    def unjudged(self, table: pd.DataFrame) -> dict[Key, str]:
        """Why the settings in which nothing was learnt are not judged."""
        matched = [key for key in self.keys if key in self.score.keys and key not in self.among]
        scores: dict[Key, list[tuple[Interval, Interval | None]]] = {}
        controls = {} if self.control is None else self.control.cells(table)
        for key, one in self.score.cells(table).items():
            if self.control is None or key in controls:
                place = tuple(key[self.score.keys.index(name)] for name in matched)
                scores.setdefault(place, []).append((one, controls.get(key)))
        found = {}
        for key in self.of.cells(table):
            if why := self._why(scores.get(part_of(key, self.keys, matched), [])):
                found[key] = why
        return found

    def note(self) -> str:
        """When it is judged."""
        over = f"{self.least:g}" if self.control is None else f"{self.least:g} over {self.control.name}"
        return (f"{self.of.note()} Judged where the best {self.score.name} of the models compared is at least {over}; "
                "else nothing was learnt that could differ.")

    def _why(self, scores: list[tuple[Interval, Interval | None]]) -> str:
        """Why these models have learnt nothing; empty if the best of them has learnt something."""
        if not scores:
            return f"nothing learnt that was measured: no {self.score.name} of the models compared"
        best, control = max(scores, key=lambda pair: pair[0].value - (pair[1].value if pair[1] else 0.0))
        if best.value - (control.value if control else 0.0) >= self.least:
            return ""
        told = f"nothing learnt: the best of the models compared has {best.value:.3g}, "
        if control is None:
            return f"{told}asked was {self.least:g}"
        return f"{told}the best constant answer {control.value:.3g}, asked was {self.least:g} more"
