"""A measure as an object: for claims that bring their own, without a line in the package.  Free of torch.

    @dataclass(frozen=True)
    class Loss(Measure):
        kind: ClassVar[str] = "held_out_loss"
        quantities: ClassVar[tuple[str, ...]] = ("loss",)
        rows: int = 64

        def check(self, spec): ...                                  # refuse before anything is trained
        def __call__(self, run): return [Row("loss", ..., where={"split": "validation"})]

    Experiment(measures=(Loss(rows=256), "answers"), ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pkgutil import resolve_name
from typing import TYPE_CHECKING, ClassVar

from physlm.config import Family, content_hash, to_dict, unknown_key
from physlm.errors import UserError
from physlm.measures import CHECKS, MEASURES, QUANTITIES

if TYPE_CHECKING:
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.training.config import RunSpec


class Measure(Family):
    """A frozen config that is called with a trained run and returns its rows.

    Attributes:
        quantities: what its rows may be called; ``*`` stands for any text, and nothing for anything.
    """

    quantities: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """Under which its rows are kept in a run's folder: the kind, and a hash of the settings if any was changed."""
        plain = type(self)()
        return self.kind if to_dict(plain) == to_dict(self) else f"{self.kind}-{content_hash(self)}"

    def check(self, spec: RunSpec) -> None:
        """Raise UserError where it could not be taken of such a run; asked of every run before the first is trained."""

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run; at least one."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")


AnyMeasure = str | Measure  # a name in ``MEASURES``, or an object


def name_of(measure: AnyMeasure) -> str:
    """The name of a measure."""
    return measure if isinstance(measure, str) else measure.name


def take(measure: AnyMeasure, run: Trained) -> list[Row]:
    """The rows of one trained run.

    Raises:
        UserError: there is no measure of this name; the nearest is named.
    """
    if isinstance(measure, Measure):
        return measure(run)
    rows: list[Row] = resolve_name(_known(MEASURES, measure))(run)
    return rows


def check(measure: AnyMeasure, spec: RunSpec) -> None:
    """Refuse a run that the measure could not be taken of.

    Raises:
        UserError: it could not, or there is no measure of this name.
    """
    if isinstance(measure, Measure):
        measure.check(spec)
    elif _known(MEASURES, measure) and measure in CHECKS:
        resolve_name(CHECKS[measure])(spec)


def check_name(measure: AnyMeasure) -> None:
    """Refuse the name of a measure that there is not.

    Raises:
        UserError: see above; the nearest is named.
    """
    if isinstance(measure, str):
        _known(MEASURES, measure)


def check_quantity(measures: Sequence[AnyMeasure], quantity: str) -> None:
    """Refuse the name of a quantity that none of these measures returns, as far as they say what they return.

    Raises:
        UserError: see above.
    """
    known = [one.quantities if isinstance(one, Measure) else QUANTITIES.get(one, ()) for one in measures]
    if not all(known):
        return  # one of them does not say
    patterns = [pattern for quantities in known for pattern in quantities]
    if not any(fnmatchcase(quantity, pattern) for pattern in patterns):
        raise UserError(unknown_key("quantity", quantity, patterns))


def _known(table: dict[str, str], name: str) -> str:
    if name not in table:
        raise UserError(unknown_key("measure", name, table))
    return table[name]
