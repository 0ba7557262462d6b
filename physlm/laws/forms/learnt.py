"""What is judged only where something was learnt: models that all guess agree with whatever says they are alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws.cells import Key
from physlm.laws.forms.contrasts import Contrast
from physlm.laws.forms.form import Form, check_keys, part_of
from physlm.laws.forms.guarded import Guarded


@dataclass(frozen=True)
class Learnt(Guarded):
    """A form whose quantities are judged only where the best of the compared models learnt something.

    "No worse than", "no better than" and "as good as" are true of models that all guess.  So in each setting the best
    ``score`` of the models that are compared is looked at; if it is not ``least`` above that of the best constant
    answer, the quantity says "nothing learnt", and where it agrees with what is asked it is not judged.  What disagrees
    ("at least 0.99") is a miss, learnt or not.  Of a contrast ``learnt`` makes one.

        Learnt(Above("above_constant", ANSWER, CONSTANT), ANSWER, 0.2, CONSTANT, among=("position", "local"))

    Where each model is compared with one and the same, ``base`` says which: of all models of the table one that has
    learnt would say nothing of a pair that has not.

        Learnt(Ratio("kept", BITS, BITS_OF_MHA), BITS, 0.3, base={"mixer": "mha"})

    ``least`` is more than the slack of the expectation: else a difference could not be as large as what is refused.

    Attributes:
        of: what is judged.
        score: of the models that are compared: its settings that ``of`` has too have the values of ``of`` there.
        least: what the best one has at least, over the control or, without one, at all; above 0.
        control: the same of the best constant answer, or of a guess.
        among: settings of ``of`` over which models are compared: the score may have any value there.
        base: settings of ``of`` and ``score``, and the values of the model that all others are compared with: the score
            is looked at there too.
    """

    of: Form
    score: Form
    least: float
    control: Form | None = None
    among: tuple[str, ...] = ()
    base: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.least) and self.least > 0):
            raise UserError(f"{self.name}: least: got {self.least}, expected a number above 0")
        check_keys(self.name, "among", self.among, self.of.keys)
        check_keys(self.name, "base", self.base, self._matched)
        control = self.score if self.control is None else self.control
        if (control.keys, control.unit) != (self.score.keys, self.score.unit):
            raise UserError(f"{self.name}: got a control by {control.keys} in {control.unit}, expected one by "
                            f"{self.score.keys} in {self.score.unit}")

    @property
    def _matched(self) -> list[str]:
        """Settings in which the score is that of the quantity that is judged, or of its base."""
        return [key for key in self.of.keys if key in self.score.keys and key not in self.among]

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why those of its settings ``keys`` are not judged in which nothing was learnt, or which the form leaves."""
        keys, matched = list(keys), self._matched
        scores: dict[Key, list[tuple[Interval, Interval | None]]] = {}
        controls = {} if self.control is None else self.control.cells(table)
        for key, one in self.score.cells(table).items():
            if self.control is None or key in controls:
                place = tuple(key[self.score.keys.index(name)] for name in matched)
                scores.setdefault(place, []).append((one, controls.get(key)))
        found = super().unjudged(table, keys)
        for key in keys:
            own = part_of(key, self.keys, matched)
            base = tuple(self.base.get(name, value) for name, value in zip(matched, own, strict=True))
            if why := self._why([one for place in dict.fromkeys((own, base)) for one in scores.get(place, [])]):
                found[key] = why
        return found

    def note(self) -> str:
        """When it is judged."""
        over = f"{self.least:g}" if self.control is None else f"{self.least:g} over {self.control.name}"
        return (f"{self.of.note()} It is judged where the best {self.score.name} of the models compared is at least "
                f"{over}; else nothing was learnt that could differ.")

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


def learnt(of: Contrast, least: float, control: str = "") -> Learnt:
    """A contrast that is judged where one of its two models has learnt something, by the numbers that it compares.

    Args:
        least: what the better one has at least, over the control or, without one, at all.
        control: the quantity of the best constant answer, at the same places.
    """
    column = of.of.columns[of.of.keys.index(of.along)]
    score = replace(of.of, where={**of.of.where, column: (of.plus, of.minus)})
    return Learnt(of, score, least, score.of(control) if control else None)
