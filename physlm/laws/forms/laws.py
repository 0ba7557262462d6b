"""Forms put together to a law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.laws import cells
from physlm.laws.diverged import as_told
from physlm.laws.forms.form import Bare, Form, Hedged, Remarked, setting_label
from physlm.laws.forms.shares import Shares
from physlm.laws.law import Law, Quantity
from physlm.places import AT


@dataclass(frozen=True)
class Laws:
    """The law that gives the quantities of some forms; made by ``laws``."""

    forms: tuple[Form, ...]
    items: str
    notes: tuple[str, ...]
    details: tuple[Form, ...] = ()
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names before the ``@`` of all quantities that it can give."""
        return tuple(form.name for form in self.forms)

    def __call__(self, table: pd.DataFrame) -> Law:
        """The quantities that the table allows.

        Raises:
            UserError: a form names a column that is not there, or runs that it cannot average.
        """
        table = table if self.prepare is None else as_told(self.prepare(table), table)
        quantities = [one for form in self.forms for one in quantities_of(form, table)]
        notes = [*cells.notes(self.items), *(form.note() for form in self.forms), *self.notes]
        shares = next((form for form in self.forms if isinstance(form, Shares)), None)
        by = [name for name in (shares.columns if shares else ()) if not name.startswith(AT)]
        runs = cells.measured_runs(table, by, quantities) if by else {}
        values = {form.name: {setting_label(form.keys, key): one.value for key, one in form.cells(table).items()}
                  for form in self.details}
        return Law(tuple(quantities), {"runs": runs, **values, "notes": list(dict.fromkeys(notes))})

    def check(self, name: str, unit: str) -> None:
        """Refuse the name of a quantity that it never gives, or gives in another unit, whatever the table.

        Raises:
            UserError: no form has this name, or its settings are others; the nearest is named.
        """
        base, _, setting = name.partition("@")
        found = [form for form in self.forms if form.name == base]
        if not found:
            raise UserError(unknown_key("quantity", base, self.names))
        keys = tuple(part.partition("=")[0] for part in setting.split("/")) if setting else ()
        named = not any(isinstance(key, Bare) for form in found for key in form.keys)  # else a table has to say
        if named and keys not in [form.keys for form in found]:
            raise UserError(f"quantity {name}: got settings {', '.join(keys) or 'none'}, expected "
                            f"{' or '.join(', '.join(form.keys) or 'none' for form in found)}")
        if unit not in [form.unit for form in found]:
            raise UserError(f"quantity {name}: got unit {unit}, expected {found[0].unit}")


def laws(*forms: Form, items: str = "items", notes: Sequence[str] = (), details: Sequence[Form] = (),
         prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> Laws:
    """A law made of forms.

    Args:
        items: what n counts, for readers: ``questions``.
        notes: sentences for readers of the law, besides the forms' own.
        details: forms whose values are kept in the law's details, under their names, and not judged.
        prepare: makes columns that the forms name, such as ``setting``, and drops rows that do not count.
    """
    twice = [form.name for place, form in enumerate(forms) if form.name in [one.name for one in forms[:place]]]
    if twice:
        raise UserError(f"law: got two forms called {twice[0]!r}, expected a name for each; give called=...")
    return Laws(forms, items, tuple(notes), tuple(details), prepare)


def quantities_of(form: Form, table: pd.DataFrame) -> list[Quantity]:
    """The numbers of a form under their names."""
    remarks = form.remarks(table) if isinstance(form, Remarked) else {}
    found = form.cells(table)
    unjudged = form.unjudged(table, found) if isinstance(form, Hedged) else {}
    return [Quantity.of(cells.named(form.name, setting_label(form.keys, key)), one, form.unit, remarks.get(key, ""),
                        unjudged.get(key, ""))
            for key, one in found.items()]
