"""Claims on length: tasks, training and lengths of both are one, so that their runs can be laid side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from physlm.lab.experiment import TIERS, load_experiment
from physlm.measures.length.accuracy import Length
from physlm.models.parts.attention import Attention
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
SCHEMES, MIXERS = (load_experiment(name, FOLDER) for name in ("p4_length", "beyond_length"))


def without_mixer(spec: RunSpec) -> RunSpec:
    return replace(spec, model=replace(spec.model, mixer=(Attention(),)), train=replace(spec.train, seed=0))


@pytest.mark.parametrize("tier", TIERS)
def test_runs_of_mixers_differ_from_those_of_schemes_in_the_mixer_alone(tier: str) -> None:
    """Of each task; three or four tasks of the larger tiers, one or two of the smaller ones, are in both."""
    ours, theirs = ({without_mixer(spec) for spec in claim.specs(tier)} for claim in (MIXERS, SCHEMES))
    assert ours < theirs
    kinds = [{spec.task.kind for spec in found} for found in (ours, theirs)]
    small = tier in ("smoke", "demo")
    assert kinds == ([{"needle"}, {"needle", "copy"}] if small else [{"copy", "mqar", "needle"},
                                                                     {"copy", "mqar", "needle", "depo"}])


@pytest.mark.parametrize("tier", TIERS)
def test_both_ask_as_many_questions_of_the_same_lengths(tier: str) -> None:
    found = set()
    for claim in (SCHEMES, MIXERS):
        for spec in claim.specs(tier):
            length = claim.asked(spec)[0]
            assert isinstance(length, Length)
            found.add((length.times, length.questions))
    assert len(found) == 1


@pytest.mark.parametrize(("tier", "number"), [("smoke", 4), ("demo", 4), ("gpu", 10), ("paper", 10)])
def test_the_small_tiers_have_few_schemes(tier: str, number: int) -> None:
    found = {spec.model.facts()["mixer"] for spec in SCHEMES.specs(tier)}
    assert len(found) == number and {"rope", "nope"} <= found
