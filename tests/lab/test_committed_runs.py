"""Committed runs keep their names: the tasks that are read from their tables have the old hashes, and their claims plan
runs of these names, so that no change of a default, a field or a claim leaves finished runs unfound."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from physlm.config import content_hash, from_dict
from physlm.lab import results
from physlm.lab.experiment import load_experiment
from physlm.lab.store import Store
from physlm.tasks.config import TaskConfig

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
TABLES = sorted(RESULTS.glob("*/measures.csv"))
# the hash of the sorted hashes of all tasks of a table; later tables need not be here
HASHES = {
    "p1_attention": "feea196ddd21", "p1_boundaries": "feea196ddd21", "p1_encoder": "feea196ddd21",
    "p1_generation": "a02d1f9f21c3", "p1_implicit": "38332446f2e2", "p1_positions": "feea196ddd21",
    "p1_probing": "feea196ddd21", "p1_robustness": "c5cbb3955bd0", "p31_augmentation": "6660c5456159",
    "p31_batch": "4afd421df33e", "p31_celebrity": "046e54aaf75e", "p31_encoder": "4afd421df33e",
    "p31_extraction": "db9bdfc40b61", "p31_layers": "4afd421df33e", "p31_paraphrase": "998303cdbde0",
    "p31_probing": "2feb5c914aa8", "p32_classification": "2adf1b446d91", "p32_comparison": "665753d5ed23",
    "p32_inverse": "6d8486393360", "p32_manipulation": "508bddfa4e8c", "p32_retrieval": "9cb16489d927",
    "p32_reversed": "e5b5415ea169", "p32_two_hop": "3c174612c5ed", "p33_capacity": "e5e4b08dfd2a",
}  # fmt: skip

# How many runs of a table its claim no longer plans: p1_positions was run before models had parts, the others were
# designed anew and are to be run again.  A count may change only where a claim is to be run again, and its results say
# so; it leaves this table with the results of the new runs.
NO_LONGER_PLANNED = {"p1_positions": 12, "p33_capacity": 72, "p41_mano": 18}


def tasks_of(row: dict[str, Any]) -> Iterator[TaskConfig]:
    """The task of a run, and those of the runs that it begins with, from the cells of one row.

    Cells of other kinds of runs are empty, which makes floats of whole numbers.
    """
    prefix = ""
    while isinstance(kind := row.get(f"{prefix}task.kind"), str) and kind:
        plain: dict[str, Any] = {}
        for name, value in row.items():
            if not name.startswith(f"{prefix}task.") or value == "" or (isinstance(value, float) and math.isnan(value)):
                continue
            *path, last = name.removeprefix(f"{prefix}task.").split(".")
            place = plain
            for step in path:
                place = place.setdefault(step, {})
            whole = isinstance(value, float) and value.is_integer()
            place[last] = json.loads(value) if isinstance(value, str) and value.startswith("[") else (
                int(value) if whole else value)
        yield from_dict(TaskConfig.of_kind(kind), plain)
        prefix += "start."


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_tasks_of_committed_runs_keep_their_names_and_hashes(path: Path) -> None:
    table = results.read_table(path).drop_duplicates("run")
    hashes = set()
    for row in table.to_dict("records"):
        own, *starts = tasks_of({str(name): value for name, value in row.items()})
        assert str(row["run"]).startswith(f"{own.slug}-")
        hashes |= {content_hash(task) for task in (own, *starts)}
    assert content_hash(sorted(hashes)) == HASHES.get(path.parent.name, content_hash(sorted(hashes)))


def test_there_are_committed_tables() -> None:
    assert {path.parent.name for path in TABLES} >= set(HASHES) and len(HASHES) > 20


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_committed_runs_are_runs_of_their_claims(path: Path, tmp_path: Path) -> None:
    """A name ends with the hash of the whole run and of all that it begins with: task, model, training."""
    claim = path.parent.name
    tier, _ = results.read_law(path.parent)
    planned = {Store(tmp_path).run(spec).name for spec in load_experiment(claim, ROOT / "experiments").specs(tier)}
    lost = sorted(set(results.read_table(path)["run"].unique()) - planned)
    assert len(lost) == NO_LONGER_PLANNED.get(claim, 0), (
        f"physlm run {claim} --tier {tier} would train {len(lost)} committed runs again, under other names: {lost[:5]}")
