"""The claim of merged checkpoints: what merging closes is found, and merging that does nothing meets nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import planted
import pytest
from planted import verdicts
from planted_runs import Rows, law_of

from physlm.config import content_hash
from physlm.lab.cost import cost_of
from physlm.lab.experiment import load_experiment
from physlm.laws.law import Law
from physlm.measures.merged import Merged
from physlm.measures.merged import merges as merged_of
from physlm.training.config import RunSpec
from physlm.training.schedule import schedule

FOLDER = Path(__file__).parents[1] / "experiments"
CLAIM = load_experiment("beyond_merging", FOLDER)
Score = Callable[[str, str, float], float]  # by task, schedule, and share of the largest budget


def test_it_keeps_to_the_minutes_that_it_was_given() -> None:
    assert cost_of(CLAIM.specs("gpu")).seconds["one NVIDIA H100"] < 25 * 60


def test_runs_that_other_claims_have_are_theirs() -> None:
    """Another setting there would train them twice, and nobody would see it."""
    ours = set(map(content_hash, CLAIM.specs("gpu")))
    theirs = {content_hash(spec) for other in ("p41_mano", "p41_capo")
              for spec in load_experiment(other, FOLDER).specs("gpu")}
    assert len(ours & theirs) == 9


def merges(score: Score) -> Rows:
    def rows(spec: RunSpec, run: dict[str, Any]) -> Iterator[dict[str, Any]]:
        task = "mano" if spec.task.kind == "mano" else "capo"
        (measure,) = CLAIM.asked(spec)
        if isinstance(measure, Merged):
            for merge in merged_of(measure, spec):
                way = "constant" if not merge.span else f"{merge.way} {merge.span:g}"
                ending = "".join(f"/{name}={value}" for name, value in merge.places.items())
                yield from numbers(task, run, score(task, way, merge.steps[-1] / spec.steps), ending)
            return
        largest = {"capo": 200, "mano": 8000}[task]
        share = (spec.train.exposures if task == "capo" else spec.train.steps) / largest
        yield from numbers(task, run, score(task, "decay" if spec.train.stable else "cosine", share))
        for step in spec.snapshot_steps:  # of p41_mano's runs
            yield planted.share(run, f"answer/kind=length3/half=test/step={step}", 0.01, 2500)

    def numbers(task: str, run: dict[str, Any], value: float, ending: str = "") -> Iterator[dict[str, Any]]:
        if task == "capo":
            yield planted.number(run, f"bits_per_param{ending}", value, 20_000, "bits/parameter", 0.1)
            yield planted.number(run, f"bits_untrained{ending}", 0.0, 20_000, "bits")
            return
        for name, p in (("answer", value), ("answer_untrained", 0.0), ("majority", 0.07)):
            yield planted.share(run, f"{name}/kind=length3/half=test{ending}", p, 2500)

    return rows


KEPT_OF_DECAY = {"constant": 0.9, "cosine": 1.0, "decay": 1.0, "sqrt 0.2": 1.02, "linear 0.2": 1.01}


def merged_score(task: str, way: str, share: float) -> float:
    return (1.0 if task == "capo" else 0.6) * share**0.2 * KEPT_OF_DECAY.get(way, 0.5)


def test_what_merging_closes_of_the_gap_is_found() -> None:
    table, law = law_of(CLAIM, merges(merged_score))
    assert set(verdicts(CLAIM, law).values()) == {"reproduced", "holds"}, verdicts(CLAIM, law)
    for task in ("capo", "mano"):
        for way, name in (("sqrt 0.2", "merged_sqrt"), ("linear 0.2", "merged_mean"), ("constant", "constant")):
            found = law.get(f"{task}_kept@schedule={name}")
            assert found is not None and found.value == pytest.approx(KEPT_OF_DECAY[way], rel=1e-3)
        assert law.get(f"{task}_gap").value == pytest.approx(0.1, rel=1e-2)  # type: ignore[union-attr]
        assert law.get(f"{task}_closed@schedule=merged_sqrt").value == pytest.approx(1.2, rel=1e-2)  # type: ignore[union-attr]
        assert law.get(f"{task}_closed@schedule=merged_mean").value == pytest.approx(1.1, rel=1e-2)  # type: ignore[union-attr]
    budgets = {one.name.partition("budget=")[2] for one in law.quantities if one.name.startswith("mano@schedule=const")}
    assert budgets == {"4000", "6000", "8000"}
    CLAIM.figure(table, law)


SAYS_NOTHING = {"capo@schedule=decay/budget=100", "mano@schedule=decay/budget=8000", "untrained"}  # of merging


def met(law: Law) -> set[str]:
    return {name for name, verdict in verdicts(CLAIM, law).items() if verdict in ("reproduced", "holds")}


@pytest.mark.parametrize("behind", [0.75, 0.9, 0.94, 0.96, 0.9725, 0.98, 0.999, 1.0, 1.02])
def test_merging_that_does_nothing_meets_nothing(behind: float) -> None:
    """Merged models are the constant run's last: a gap, if there is one, is all that agrees, and that of a cosine."""

    def score(task: str, way: str, share: float) -> float:
        return merged_score(task, "decay", share) * (1.0 if way in ("decay", "cosine") else behind)

    gap = {f"{task}_{name}" for task in ("capo", "mano") for name in ("gap", "kept@schedule=cosine")}
    _, law = law_of(CLAIM, merges(score))
    assert met(law) == SAYS_NOTHING | (gap if behind < 0.95 else set())


def test_guesses_meet_nothing() -> None:
    _, law = law_of(CLAIM, merges(lambda task, way, share: 0.07))
    assert met(law) == {"untrained"}


def test_budgets_that_learnt_nothing_are_not_pooled_with_one_that_has() -> None:
    """At the two smaller budgets all guess, so all ratios are 1; at the largest merging keeps 0.88 as the constant."""

    def score(task: str, way: str, share: float) -> float:
        if share < 1:
            return 0.07
        return (1.0 if task == "capo" else 0.6) * (1.0 if way in ("decay", "cosine") else 0.88)

    _, law = law_of(CLAIM, merges(score))
    assert not {name for name in met(law) if "closed" in name or "ways" in name}
    for task in ("capo", "mano"):
        for name in ("merged_sqrt", "merged_mean"):
            assert law.get(f"{task}_kept@schedule={name}").value == pytest.approx(0.88)  # type: ignore[union-attr]
            closed = law.get(f"{task}_closed@schedule={name}")
            assert closed is not None and closed.value == pytest.approx(0.0, abs=1e-9)


def test_all_of_a_budget_begin_as_its_constant_run() -> None:
    """The same weights, data and rates up to the decay: seed, warm-up and steps' sizes are shared."""
    for tier in ("smoke", "demo", "gpu"):
        specs = CLAIM.specs(tier)
        for trunk in (spec for spec in specs if spec.train.stable == 1.0):
            decays = [spec for spec in specs if 0 < spec.train.stable < 1 and spec.task == trunk.task
                      and spec.train.seed == trunk.train.seed]  # fmt: skip
            assert len(decays) == 3 and all(spec.steps <= trunk.steps for spec in decays)
            for spec in decays:
                until = int(0.8 * spec.steps) - 1
                assert schedule(spec.train, spec.steps)[:until].equal(schedule(trunk.train, trunk.steps)[:until])
                assert (spec.train.batch_rows, spec.model) == (trunk.train.batch_rows, trunk.model)
