"""The command compare: on results of a checkout, on those of a small tier, and on none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from physlm.lab.experiment import load_experiment
from physlm.lab.results import find, results_folder, write_finding
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures import forced

ROOT = Path(__file__).parents[2]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The flip-flop claim at tier smoke."""
    monkeypatch.setattr(forced, "WINDOWS", {"cpu": 4})
    claim = load_experiment("beyond_flip_flop", ROOT / "experiments")
    runs = sweep(claim.specs("smoke"), claim.measures, Store(tmp_path), torch.device("cpu"), progress=False)
    folder = results_folder(claim.name, "smoke", tmp_path / "results", tmp_path)
    write_finding(find(claim, "smoke", runs), folder, runs, "redo")
    return tmp_path


def test_all_that_is_there_is_compared_and_what_is_missing_is_said(physlm: Call, small: Path) -> None:
    folders = ("--runs", str(small), "--results", str(small / "results"))
    code, out, err = physlm("compare", "--tier", "smoke", *folders, "--figure", str(small / "all.png"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) < 120
    head = next(line for line in lines if line.startswith("mixer"))
    assert head.split()[:5] == ["mixer", "params", "FLOPs", "state", "tok/s"]
    names = [line.split()[0] for line in lines[lines.index(head) + 2 :] if line][:3]
    assert names[0] == "RoPE" and set(names) == {"RoPE", "FoX", "PaTH"}
    missing = out.partition("Without results of this tier: ")[2]
    assert "p41_mano" in missing and "beyond_recall" in missing and "beyond_flip_flop" not in missing
    assert (small / "all.png").read_bytes()[:4] == b"\x89PNG"


def test_json_has_costs_and_intervals(physlm: Call, small: Path) -> None:
    folders = ("--runs", str(small), "--results", str(small / "results"))
    code, out, _ = physlm("compare", "beyond_flip_flop", "--tier", "smoke", "--json", *folders)
    found = json.loads(out)
    assert code == 0 and found["claims"] == ["beyond_flip_flop"] and found["missing"] == []
    assert [column["title"] for column in found["columns"]] == ["flip-flop, sparse"]
    for row in found["rows"]:
        (cell,) = row["cells"]
        assert cell["lo"] <= cell["value"] <= cell["hi"] and cell["state_bytes"] > 0
        assert all(value > 0 for value in row["cost_over_softmax"].values())
    assert found["rows"][0]["cost_over_softmax"]["params_used"] == 1.0


def test_committed_results_are_compared_by_themselves(physlm: Call) -> None:
    """Those of p41_mano are older than the column of states and the speeds: these are a dash."""
    code, out, err = physlm("compare", "p41_mano", "--results", str(ROOT / "results"))
    assert (code, err) == (0, "") and "Mano: questions answered, 6 x 256" in out
    rope = next(line for line in out.splitlines() if line.startswith("RoPE "))
    assert rope.split()[1:5] == ["1.00", "1.00", "-", "-"]


@pytest.mark.parametrize("claim", ["p31_extraction", "p2_noise"])
def test_a_claim_with_nothing_to_compare_is_refused_by_name(physlm: Call, claim: str) -> None:
    """Of one the table names no mixers, of the other no score is compared."""
    code, out, err = physlm("compare", claim, "--results", str(ROOT / "results"))
    assert (code, out) == (2, "") and err.startswith(f"error: compare: {claim}: found no answers, tokens or bits")


@pytest.mark.parametrize(("given", "told"), [
    (("beyond_flop",), "beyond_flip_flop"), (("--tier", "cpu"), "gpu"),
    (("beyond_recall", "--tier", "demo"), "physlm run beyond_recall --tier demo")])  # fmt: skip
def test_what_is_not_there_is_refused_by_name(physlm: Call, tmp_path: Path, given: tuple[str, ...], told: str) -> None:
    code, _, err = physlm("compare", *given, "--runs", str(tmp_path))
    assert code == 2 and told in err
