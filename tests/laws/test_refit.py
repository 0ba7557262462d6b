"""Every committed law is the law of its committed table: refitted, it gives the numbers of law.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from physlm.lab.committed import committed_claims
from physlm.lab.experiment import load_experiment
from physlm.lab.results import read_finding
from physlm.laws.forms import Laws
from physlm.laws.law import Fit

ROOT = Path(__file__).parents[2]
CLAIMS = committed_claims(ROOT / "results")
PRECISION = 1e-12  # relative: sums in another order, on another machine, differ in their last bits


def same(ours: Any, committed: Any) -> bool:
    """Equal JSON values; numbers up to their last bits."""
    if isinstance(ours, dict) and isinstance(committed, dict):
        return ours.keys() == committed.keys() and all(same(ours[key], committed[key]) for key in ours)
    if isinstance(ours, list) and isinstance(committed, list):
        return len(ours) == len(committed) and all(map(same, ours, committed))
    if type(ours) is float and type(committed) in (int, float):
        return math.isclose(ours, committed, rel_tol=PRECISION, abs_tol=1e-15)
    return type(ours) is type(committed) and bool(ours == committed)


def test_there_are_committed_results() -> None:
    assert len(CLAIMS) >= 24


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_law_refitted_from_the_committed_table_has_the_committed_numbers(claim: str) -> None:
    experiment, folder = load_experiment(claim, ROOT / "experiments"), ROOT / "results" / claim
    committed = json.loads((folder / "law.json").read_text())
    table = read_finding(experiment, folder).table
    assert {type(unit) for unit in table["unit"]} == {str}, "1, too, which is that of a pure number"
    refitted = experiment.law(table).to_dict()
    numbers = [[(one["name"], one["unit"], one["n"]) for one in law["quantities"]] for law in (refitted, committed)]
    assert numbers[0] == numbers[1]
    for ours, wanted in zip(refitted["quantities"], committed["quantities"], strict=True):
        for part in ("value", "lo", "hi"):
            assert math.isclose(ours[part], wanted[part], rel_tol=PRECISION, abs_tol=1e-15), (ours, wanted)
    assert isinstance(experiment.law, Fit | Laws)
    assert {one["name"].partition("@")[0] for one in refitted["quantities"]} <= set(experiment.law.names)
    for part in committed["details"]:
        if part != "notes":
            assert same(refitted["details"][part], committed["details"][part]), part
