"""What the battery shows: random models of two families learn to tell of people whom training never asks about, cannot
search by what they know, and are searched by an index of what they told."""

from __future__ import annotations

import json

import pytest
import tiny_causal
from extras import of_extra

from physlm.battery.settings import Battery
from physlm.tasks.biography.kinds import RETRIEVAL

of_extra("accelerate", "battery")
BATTERY = Battery(people=60, pool_size=8, kinds=(*RETRIEVAL, "all_to_full"))


@pytest.mark.parametrize(("family", "passes"), [("gpt2", 170), ("llama", 120)])  # learnt positions take longer
def test_knowledge_is_told_and_found_by_an_index_and_not_by_the_model(family, passes, physlm, tmp_path):
    """Smaller than the demonstration in docs/battery.md: 60 people, seven kinds of questions."""
    tiny_causal.save(family, BATTERY, tmp_path / "model")
    code, _, err = physlm(
        "battery", "--model", tmp_path / "model", "--finetune", "full", "--passes", passes, "--batch-rows", 5,
        "--row-tokens", 192, "--learning-rate", 4e-3, "--weight-decay", 0.1, "--people", BATTERY.people,
        "--pool-size", BATTERY.pool_size, *(part for kind in BATTERY.kinds for part in ("--kind", kind)),
        "--device", "cpu", "--out", tmp_path / "report")  # fmt: skip
    assert code == 0, err
    found = json.loads((tmp_path / "report" / "scores.json").read_text())["scores"]
    told = [one for one in found if one["task"] == "retrieval"]
    retrieval, constant = (sum(one[key]["value"] if key == "share" else one[key] for one in told) / len(told)
                           for key in ("share", "constant"))
    itself, index = (next(one["share"]["value"] for one in found if one["kind"] == "all_to_full" and one["way"] == way)
                     for way in ("", "index"))
    # the demonstration has 0.5 and 0.9; here the models are smaller, and the last bits of a machine move them
    assert retrieval >= constant + 0.3
    assert itself <= 0.05
    assert index >= 0.7 * retrieval
