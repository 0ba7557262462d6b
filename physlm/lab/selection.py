"""Runs of a tier by their settings: what ``physlm run --only KEY=VALUE`` trains."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Sequence
from typing import Any

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.results import settings_of
from physlm.training.config import RunSpec


def selected(specs: Sequence[RunSpec], only: Sequence[str]) -> list[RunSpec]:
    """The runs that have every one of these settings, in their order.

    Args:
        only: texts ``key=value``; keys as in a table of results, ``train.learning_rate`` or ``model.position``, and
            numbers as anybody writes them, ``5e-4`` or ``0.0005``.

    Raises:
        UserError: a text without ``=``, a setting that no run has, or settings that no run has together.
    """
    chosen = list(specs)
    for text in only:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UserError(f"--only: got {reprlib.repr(text)}, expected KEY=VALUE")
        known = dict.fromkeys(name for spec in specs for name in settings_of(spec))
        if key not in known:
            raise UserError(f"--only: {unknown_key('setting', key, known)}")
        found = {str(settings_of(spec).get(key)) for spec in chosen}
        chosen = [spec for spec in chosen if _is(settings_of(spec).get(key), value)]
        if not chosen:
            raise UserError(f"--only: {key}: got {reprlib.repr(value)}, expected {' or '.join(sorted(found))}, "
                            "which the runs have that are left")
    return chosen


def _is(setting: Any, text: str) -> bool:
    """Whether a setting is what this text says."""
    if isinstance(setting, int | float) and not isinstance(setting, bool):
        with contextlib.suppress(ValueError):
            return float(text) == setting
    return str(setting) == text
