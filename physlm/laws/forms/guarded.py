"""What forms have in common whose numbers are those of another, and are judged only where something else holds."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from physlm.laws.cells import Key
from physlm.laws.forms.form import Cells, Hedged, OfOne, Remarked, shares_of


class Guarded(OfOne):
    """All that the form ``of`` says, under its name; a guard adds to ``unjudged`` and ``note``."""

    @property
    def name(self) -> str:
        """That of the form."""
        return self.of.name

    @property
    def share(self) -> bool:
        """As the form's are."""
        return shares_of(self.of)

    def cells(self, table: pd.DataFrame) -> Cells:
        """Those of the form, judged or not."""
        return self.of.cells(table)

    def remarks(self, table: pd.DataFrame) -> dict[Key, str]:
        """Those of the form."""
        return self.of.remarks(table) if isinstance(self.of, Remarked) else {}

    def unjudged(self, table: pd.DataFrame, keys: Iterable[Key]) -> dict[Key, str]:
        """Why those of its settings ``keys`` are not judged which the form leaves."""
        return self.of.unjudged(table, keys) if isinstance(self.of, Hedged) else {}
