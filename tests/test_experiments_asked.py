"""What claims of Part 4.1 and beyond ask of runs: of one task all the same, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from physlm.lab.experiment import TIERS, Experiment, experiment_names, load_experiment
from physlm.measures.measure import name_of
from physlm.measures.merged import Merged

FOLDER = Path(__file__).parents[1] / "experiments"
CLAIMS = {name: load_experiment(name, FOLDER) for name in experiment_names(FOLDER)
          if name.startswith(("p41", "beyond"))}
MIXED = [name for name, claim in CLAIMS.items() if claim.measures_of is not None and name != "beyond_length"]
# what says how well a task is done, written out; "answers" of Depo are asked beside it where they are drawn or stored
SCORES = {"depo": "forced", "brevo": "answers", "mano": "answers", "copy": "answers", "mixture": "answers",
          "grammar": "completion", "igsm": "solutions", "bioS": "capacity", "bioD": "capacity"}  # fmt: skip
BESIDE = {"p41_playground": {"answers"}, "p41_reasoning_depth": {"answers"}}


def asked(claim: Experiment) -> dict[str, set[str]]:
    """By kind of task, of all tiers; a measure of merged checkpoints is called by what it takes of them."""
    found: dict[str, set[str]] = {}
    for tier in TIERS:
        for spec in claim.specs(tier):
            found.setdefault(spec.task.kind, set()).update(
                one.of if isinstance(one, Merged) else name_of(one) for one in claim.asked(spec))
    return found


@pytest.mark.parametrize("name", MIXED)
def test_runs_of_a_task_are_asked_for_the_score_of_the_task(name: str) -> None:
    found = asked(CLAIMS[name])
    assert len(found) > 1, "of one task alone nothing has to be chosen"
    for kind, measures in found.items():
        assert measures - (BESIDE.get(name, set()) if kind == "depo" else set()) == {SCORES[kind]}, kind
    assert "depo" not in found or BESIDE.get(name, set()) <= found["depo"]


@pytest.mark.parametrize("name", CLAIMS)
def test_every_measure_of_a_claim_is_asked_of_some_run(name: str) -> None:
    claim = CLAIMS[name]
    assert set(claim.measures) == {one for tier in TIERS for spec in claim.specs(tier) for one in claim.asked(spec)}


def test_these_are_the_claims_with_several_tasks() -> None:
    assert {"p41_linear", "p41_playground", "p41_reasoning_depth", "beyond_conditional", "beyond_kv_budget",
            "beyond_loops", "beyond_merging"} == set(MIXED)
