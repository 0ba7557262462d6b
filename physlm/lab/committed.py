"""What the files of committed results say: which claims have results, their verdicts, what was asked for.

``law.json`` of ``results/<claim>/`` is written last, so a folder that has one is whole.  Results may come from
elsewhere: whatever is read here is checked before anybody prints it.  Free of pandas, so that lists are quick.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from physlm import storage
from physlm.errors import UserError
from physlm.lab.experiment import TIERS
from physlm.laws.verdict import Expectation, Verdict

VERDICT_KEYS = ("claim", "quantity", "published", "ours", "lo", "hi", "n", "unit", "tier", "verdict")
CURE = "restore it from git, or run the claim again: finished runs are not repeated"
BESIDE_THE_LAW = ("tier", "runs", "verdicts", "expect")  # what law.json holds besides the law


def committed_claims(results: Path) -> list[str]:
    """Names of the claims with a ``law.json`` under ``results``."""
    return sorted(path.parent.name for path in results.glob("*/law.json"))


def committed_verdicts(claim: str, results: Path) -> list[dict[str, Any]]:
    """The verdict rows in ``results/<claim>/law.json``, each with exactly the keys ``VERDICT_KEYS``.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = results / claim / "law.json"
    rows = law_file(storage.beneath(results, claim))["verdicts"]
    if not isinstance(rows, list) or any(not isinstance(row, dict) or set(row) != set(VERDICT_KEYS) for row in rows):
        raise UserError(f"{path}: verdicts: expected rows with the keys {', '.join(VERDICT_KEYS)}; {CURE}")
    for row in rows:
        wrong = next((key for key in VERDICT_KEYS if not _is_verdict(key, row[key], row, claim)), None)
        if wrong is not None:
            raise UserError(f"{path}: verdicts: {wrong}: got {reprlib.repr(row[wrong])}, expected what a verdict on "
                            f"{claim} has there; {CURE}")
    return [{key: row[key] for key in VERDICT_KEYS} for row in rows]


def _is_verdict(key: str, value: Any, row: dict[str, Any], claim: str) -> bool:
    """Whether a row of verdicts may have this value: tables of them go to terminals, as they stand."""
    allowed: dict[str, Sequence[str]] = {"claim": (claim,), "tier": TIERS, "verdict": get_args(Verdict)}
    if key in allowed:
        return value in allowed[key]
    if key in ("quantity", "unit"):
        return isinstance(value, str) and value.isprintable()
    if value is None:
        return key != "published" and row["ours"] is None
    return type(value) in ((int,) if key == "n" else (int, float))


def planned_runs(folder: Path) -> tuple[int, int]:
    """How many runs the results are about, and how many their tier has.

    Raises:
        UserError: law.json is missing or damaged.
    """
    runs = law_file(folder).get("runs")
    if not isinstance(runs, dict) or not all(isinstance(runs.get(key), int) for key in ("finished", "planned")):
        raise UserError(f"{folder / 'law.json'}: runs: expected how many are finished and planned, got {runs!r}; "
                        f"{CURE}")
    return runs["finished"], runs["planned"]


def law_file(folder: Path) -> dict[str, Any]:
    """The object in a folder's law.json, with at least the keys of a law, tier and verdicts.

    Raises:
        UserError: the file is missing or damaged.
    """
    data = storage.read_json(folder / "law.json", CURE)
    needed = ("quantities", "details", "tier", "verdicts")
    missing = [key for key in needed if not isinstance(data, dict) or key not in data]
    if missing:
        raise UserError(f"{folder / 'law.json'}: {missing[0]} is missing; {CURE}")
    if data["tier"] not in TIERS:
        raise UserError(f"{folder / 'law.json'}: tier: got {reprlib.repr(data['tier'])}, expected one of "
                        f"{', '.join(TIERS)}; {CURE}")
    return dict(data)


def committed_expectations(claim: str, results: Path) -> tuple[Expectation, ...]:
    """What the claim's quantities were held against when its results were written; nothing in older files.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = results / claim / "law.json"
    found = law_file(storage.beneath(results, claim)).get("expect", [])
    try:
        if not isinstance(found, list):
            raise UserError(f"expected a list, got {reprlib.repr(found)}")
        expect = tuple(map(Expectation.from_dict, found))
        for one in expect:
            if not all(text.isprintable() for text in (one.quantity, one.label, one.unit, one.source, one.reason)):
                raise UserError(f"{one.quantity!r}: got signs that cannot be printed")
    except UserError as error:
        raise UserError(f"{path}: expect: {error}; {CURE}") from error
    return expect


def table_file(folder: Path) -> Path:
    """Where the measures of a results folder are: ``measures.csv``, packed in those of an installed package."""
    path, packed = folder / "measures.csv", folder / "measures.csv.gz"
    return packed if packed.exists() and not path.exists() else path
