"""Which claims can be compared, and their tables; see ``physlm.laws.compared``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from physlm import storage
from physlm.errors import UserError
from physlm.lab.committed import CURE, committed_claims, table_file
from physlm.lab.environments import speed_key
from physlm.lab.results import read_table, results_folder
from physlm.laws.columns import finite
from physlm.laws.compared import SPEED

STARTS = ("beyond_", "p41_")  # of the claims that compare mixers


def comparable(names: Sequence[str], wanted: Sequence[str] = ()) -> list[str]:
    """The claims that are compared: these, or those beyond the series and those of Part 4.1."""
    return [name for name in names if (name in wanted if wanted else name.startswith(STARTS))]


def tables_of(names: Sequence[str], tier: str, results: Path, runs: Path) -> dict[str, pd.DataFrame]:
    """The tables of the claims that have results of this tier, finite numbers alone, with a column of speeds: those on
    the device that has the speeds of most models, since speeds on several do not compare.

    Raises:
        UserError: a table or an env.json is damaged.
    """
    found: dict[str, pd.DataFrame] = {}
    speeds: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        folder = results_folder(name, tier, results, runs)
        if folder.parent == results and name not in committed_claims(results):
            continue
        if not (folder / "law.json").exists():
            continue
        table, _ = finite(read_table(table_file(folder)))
        if len(table):
            found[name], speeds[name] = table, _speeds(folder / "env.json")
    models = Counter[str]()
    for of_claim in speeds.values():
        models.update({device: len(kept) for device, kept in of_claim.items()})
    device = models.most_common(1)[0][0] if models else ""
    return {name: table.assign(**{SPEED: _of_rows(table, speeds[name].get(device, {}))})
            for name, table in found.items()}


def _speeds(path: Path) -> dict[str, dict[str, float]]:
    """Tokens trained on in a second, by device and ``speed_key``, as far as they were kept."""
    kept = storage.read_json(path, CURE).get("tokens_per_second", {}) if path.exists() else {}
    if not isinstance(kept, dict) or not all(
            isinstance(models, dict) and all(isinstance(value, int | float) for value in models.values())
            for models in kept.values()):
        raise UserError(f"{path}: tokens_per_second: expected numbers by device, and by task and model; {CURE}")
    return kept


def _of_rows(table: pd.DataFrame, kept: dict[str, float]) -> list[float | None]:
    """The speed of each row's model; None where it was not kept."""
    keys = [speed_key(str(kind), int(tokens), str(label)) for kind, tokens, label in zip(
        table["task.kind"], table["task.row_tokens"], table["label"], strict=True)]
    return [kept.get(key) for key in keys]
