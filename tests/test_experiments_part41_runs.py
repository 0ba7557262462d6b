"""Runs of Part 4.1: what they cost, what they share, which grids they are, and which measures they take."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted_playground import CLAIMS, FOLDER, canon, kind_of

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.cost import cost_of
from physlm.lab.experiment import TIERS, load_experiment
from physlm.measures import answers
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec

MINUTES = {"p41_canon_places": 50, "p41_copy": 20, "p41_capo": 25, "p41_positions": 25, "p41_reasoning_depth": 25,
           "p41_mano": 25, "p41_lano": 45}  # fmt: skip
H100 = "one NVIDIA H100"


@pytest.mark.parametrize("name", MINUTES)
def test_a_claim_keeps_to_the_minutes_that_it_was_given(name: str) -> None:
    assert cost_of(CLAIMS[name].specs("gpu")).seconds[H100] < 60 * MINUTES[name]


@pytest.mark.parametrize(("kind", "minutes"), [("depo", 100), ("brevo", 100), ("grammar", 25), ("bioS", 25)])
def test_a_task_of_the_playground_keeps_to_its_minutes(kind: str, minutes: int) -> None:
    specs = [spec for spec in CLAIMS["p41_playground"].specs("gpu") if kind_of(spec) == kind]
    assert specs and cost_of(specs).seconds[H100] < 60 * minutes


def test_the_demonstration_keeps_to_six_minutes_of_two_cores() -> None:
    specs = {spec for name in ("p41_copy", "p41_playground") for spec in CLAIMS[name].specs("demo")}
    cost = cost_of(list(specs))
    assert next(seconds for device, seconds in cost.seconds.items() if "CPU" in device) < 360 * 2
    assert {kind_of(spec) for spec in specs} == {"copy", "mano", "depo"}


def test_the_published_numbers_of_tokens() -> None:
    lano = CLAIMS["p41_lano"].specs("gpu")
    assert {spec.tokens for spec in lano} == {4_915_200_000}, "100,000 steps of 96 windows of 512"
    copied = CLAIMS["p41_copy"].specs("gpu")
    assert {spec.steps * spec.train.batch_rows for spec in copied} == {50_000 * 32}
    rates = {spec.model.label: [(one.train.learning_rate, one.train.seed) for one in copied if one.model == spec.model]
             for spec in copied}
    larger = (5e-3, 1e-2, 2e-2, 4e-2)  # the largest published one, and more
    for spec in copied:
        tried = larger if canon(spec) else (1e-3, 2e-3, *larger)
        assert sorted(rates[spec.model.label]) == [(rate, seed) for rate in tried for seed in (1, 2, 3)]
    assert {spec.task for spec in copied} == {type(copied[0].task)()} and copied[0].task.row_tokens == 1024
    assert {spec.train.exposures for spec in CLAIMS["p41_capo"].specs("gpu")} == {100}


@pytest.mark.parametrize("tier", TIERS)
def test_the_playground_trains_nothing_that_other_claims_train_otherwise(tier: str) -> None:
    hashes = {name: set(map(content_hash, claim.specs(tier))) for name, claim in CLAIMS.items()}
    whole = hashes["p41_playground"]
    others = {content_hash(spec) for spec in CLAIMS["p41_mano"].specs(tier) if tier == "demo"  # without a quarter
              and spec.model.facts()["position"] == "rope0.25"}
    assert hashes["p41_mano"] - others <= whole and not others & whole
    assert whole & hashes["p41_copy"] and whole & hashes["p41_reasoning_depth"]
    assert (tier == "demo") != bool(whole & hashes["p41_capo"])
    assert hashes["p41_canon_places"] & hashes["p41_mano"]
    assert bool(hashes["p41_canon_places"] & hashes["p41_copy"]) == (tier != "gpu"), "where it copies fewer words"


def test_the_grid_of_tier_gpu_is_three_rates_of_a_seed_and_three_seeds_of_a_rate() -> None:
    for kind in ("depo", "brevo", "mano", "grammar"):
        specs = [spec for spec in CLAIMS["p41_playground"].specs("gpu") if kind_of(spec) == kind]
        by_model: dict[str, list[tuple[float, int]]] = {}
        for spec in specs:
            by_model.setdefault(spec.model.label, []).append((spec.train.learning_rate, spec.train.seed))
        assert len(by_model) == 6 and len({tuple(pairs) for pairs in by_model.values()}) == 1, kind
        (pairs, *_) = by_model.values()
        assert len({rate for rate, seed in pairs if seed == 1}) == 3 and len({seed for _, seed in pairs}) == 3
        assert len(pairs) == 5


def test_each_run_takes_the_measures_of_its_task() -> None:
    claim = CLAIMS["p41_playground"]
    asked = {kind_of(spec): claim.asked_names(spec) for spec in claim.specs("smoke")}
    assert asked == {"depo": ("answers", "forced"), "brevo": ("answers",), "mano": ("answers",), "copy": ("answers",),
                     "grammar": ("completion",), "bioS": ("capacity",)}  # fmt: skip
    assert CLAIMS["p41_mano"].asked_names(CLAIMS["p41_mano"].specs("smoke")[0]) == ("answers",)


@pytest.mark.parametrize("name", ["p4_length", "p4_finding_is_not_reasoning", "beyond_length"])
def test_a_changed_run_takes_the_measures_of_its_tier(name: str) -> None:
    """They are told by task and model, either of which a user may change."""
    claim = load_experiment(name, FOLDER)
    for tier in ("smoke", "demo", "gpu", "paper"):
        asked = [claim.asked(spec) for spec in claim.specs(tier)]
        for change in ("model.absolute=9999", "task.seed=5", "train.batch_rows=3"):
            assert [claim.asked(spec) for spec in claim.specs(tier, [change])] == asked
        assert all(set(claim.asked(spec)) <= set(claim.measures) for spec in claim.specs(tier, ["model.layers=12"]))
        assert all(claim.asked(spec) for spec in claim.specs(tier, ["model.layers=12", "task.seed=5"]))


def test_a_measure_that_the_claim_does_not_have_is_refused() -> None:
    claim = replace(CLAIMS["p41_mano"], measures_of=lambda spec: ("capacity",))
    with pytest.raises(UserError, match="got capacity for mano .*expected some of answers"):
        claim.asked(claim.specs("smoke")[0])


def test_capacities_are_means_over_as_many_seeds_at_one_rate() -> None:
    specs = CLAIMS["p41_capo"].specs("gpu")
    assert {spec.train.learning_rate for spec in specs} == {8e-3}
    by_model: dict[str, list[int]] = {}
    for spec in specs:
        by_model.setdefault(spec.model.label, []).append(spec.train.seed)
    assert {tuple(sorted(seeds)) for seeds in by_model.values()} == {tuple(range(6))} and len(by_model) == 20


def test_answers_are_also_asked_along_training_where_snapshots_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brevo at tier smoke: one snapshot at half of the steps, and of Mano, without snapshots, the end alone."""
    monkeypatch.setattr(answers, "QUESTIONS", {"cpu": 6})
    for kind, steps in (("brevo", [2]), ("mano", [])):
        spec = next(spec for spec in CLAIMS["p41_playground"].specs("smoke") if kind_of(spec) == kind)
        loaded: list[int] = []

        def load(step: int, spec: RunSpec = spec, loaded: list[int] = loaded) -> Decoder:
            loaded.append(step)
            return Decoder(spec.model, len(spec.task.vocabulary()), (0,))

        rows = answers.measure(Trained(spec, torch.device("cpu"), load))
        assert [row.where["step"] for row in rows if "step" in row.where] == steps
        assert sorted(set(loaded)) == [*steps, spec.steps]
