"""Every committed run is still called what it was called: the settings in its table give the hash in its name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from physlm.config import content_hash, from_dict
from physlm.lab import results
from physlm.training.config import RunSpec

RESULTS = Path(__file__).parents[2] / "results"
TABLES = sorted(RESULTS.glob("*/measures.csv"))


def spec_of(row: dict[str, Any], prefix: str = "", model: dict[str, Any] | None = None) -> dict[str, Any]:
    """A run's settings as nested tables, from the cells of one row; cells of other kinds of runs are empty."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        part, _, rest = name.removeprefix(prefix).partition(".")
        if not name.startswith(prefix) or part not in ("task", "model", "train"):
            continue
        if value == "" or (isinstance(value, float) and math.isnan(value)):
            continue
        place = plain.setdefault(part, {})
        *path, last = rest.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[last] = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    plain.setdefault("model", model)
    if row.get(f"{prefix}start.task.kind"):
        plain["start"] = spec_of(row, f"{prefix}start.", plain["model"])
    return plain


def whole(plain: dict[str, Any]) -> dict[str, Any]:
    """Numbers that a column with empty cells made floats are whole again."""
    def mend(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: mend(one) for name, one in value.items()}
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value

    return {name: mend(value) for name, value in plain.items()}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_committed_runs_keep_their_names(path: Path) -> None:
    table = results._read_table(path).drop_duplicates("run")
    assert len(table) > 0
    for row in table.to_dict("records"):
        spec = from_dict(RunSpec, whole(spec_of({str(name): value for name, value in row.items()})))
        assert f"{spec.slug}-{content_hash(spec)}" == row["run"]


def test_there_are_committed_tables() -> None:
    assert len(TABLES) > 20
