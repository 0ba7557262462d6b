"""The capacity claim's grid is what its comments say, and loads without torch."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from planted_capacities import planted_capacity

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.experiment import TIERS, Experiment, load_experiment
from physlm.laws.knowledge.capacity import AMPLE, OVERSIZED, UNSATURATED, capacity_law, published_ratio
from physlm.laws.verdict import verdict_rows
from physlm.models.counting import parameter_counts
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
BIOS_WORDS = 3_200  # about; the exact number moves no size across a limit that these tests use


@pytest.fixture(scope="module")
def claim() -> Experiment:
    return load_experiment("p33_capacity", FOLDER)


def dataset_bits_per_param(spec: RunSpec) -> float:
    """R^max, by the closed forms of arXiv 2404.05405, section 2."""
    task = spec.task
    if isinstance(task, BioSConfig):
        bits = task.people * (math.log2(1.6e8 / task.people) + 47.59)
        words = BIOS_WORDS
    else:
        assert isinstance(task, BioDConfig)
        bits = task.people * (math.log2(math.prod(task.name_pools) / task.people)
                              + task.attributes * task.chunks * math.log2(task.diversity))
        words = 7 + task.attributes + task.alphabet + sum(task.name_pools)
    return bits / parameter_counts(spec.model, words)["params_used"]


def test_loads_without_torch() -> None:
    code = ("import sys; from pathlib import Path; from physlm.lab.experiment import load_experiment; "
            f"e = load_experiment('p33_capacity', Path({str(FOLDER)!r})); "
            "[e.runs(tier) for tier in ('smoke', 'demo', 'gpu', 'paper')]; "
            "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("tier", TIERS)
def test_runs_are_all_different(claim: Experiment, tier: str) -> None:
    specs = claim.runs(tier)
    assert len({content_hash(spec) for spec in specs}) == len(specs) > 0


def test_an_unknown_tier_is_refused(claim: Experiment) -> None:
    with pytest.raises(UserError, match="unknown name 'gpuu'; did you mean 'gpu'"):
        claim.runs("gpuu")


def test_smoke_is_tiny(claim: Experiment) -> None:
    specs = claim.runs("smoke")
    assert sum(spec.tokens for spec in specs) < 100_000
    assert {spec.train.precision for spec in specs} == {"float32"}


def test_demo_has_enough_models_and_brackets_the_knee(claim: Experiment) -> None:
    for exposures in (1000, 100):
        specs = [spec for spec in claim.runs("demo") if spec.train.exposures == exposures]
        assert len(specs) >= 8
        assert len({spec.model for spec in specs}) >= 3
        ratios = [dataset_bits_per_param(spec) for spec in specs]
        assert max(ratios) >= UNSATURATED * published_ratio(1000)
        assert min(ratios) <= OVERSIZED * published_ratio(1000)


@pytest.mark.parametrize("exposures", [1000, 100])
@pytest.mark.parametrize("people", [5_000, 10_000, 20_000])
def test_gpu_grid_at_each_n(claim: Experiment, exposures: int, people: int) -> None:
    specs = [s for s in claim.runs("gpu") if (s.train.exposures, s.task.items) == (exposures, people)]
    sizes = {spec.model for spec in specs}
    assert len(sizes) >= 4
    for size in sizes:
        assert len({spec.train.learning_rate for spec in specs if spec.model == size}) >= 3
    ratios = [dataset_bits_per_param(spec) for spec in specs]
    reference = published_ratio(1000)
    assert max(ratios) >= 1.1 * UNSATURATED * reference
    assert min(ratios) <= (AMPLE if people == 20_000 else 0.9 * OVERSIZED) * reference
    assert any(0.7 * reference <= ratio <= 1.3 * reference for ratio in ratios)
    steps = {spec.steps for spec in specs}
    assert all(20_000 <= s <= 24_000 if exposures == 1000 else 7_000 <= s <= 12_000 for s in steps)


def test_heads_are_as_stated(claim: Experiment) -> None:
    """Tier paper has the published 64-wide heads, tier gpu 16-wide ones, so that its narrow layers have several."""
    assert {spec.model.head_width for spec in claim.runs("gpu")} == {16}
    assert all(spec.model.head_width == 64 for spec in claim.runs("paper"))


def test_paper_sizes_reach_from_below_the_knee_to_above_it(claim: Experiment) -> None:
    specs = [spec for spec in claim.runs("paper") if spec.train.exposures == 1000]
    for people in {spec.task.items for spec in specs}:
        ratios = [dataset_bits_per_param(spec) for spec in specs if spec.task.items == people]
        assert max(ratios) > UNSATURATED * published_ratio(1000)
        assert min(ratios) < AMPLE * published_ratio(1000)


def test_small_bioD_entries_fit_their_rows(claim: Experiment) -> None:
    for tier in ("smoke", "demo"):
        for spec in claim.runs(tier):
            task = spec.task
            assert isinstance(task, BioDConfig)
            sentence = 3 + task.chunks * (task.chunk_tokens + 1)
            entry = 1 + 3 + (task.attributes - 1) + 1 + task.attributes * sentence
            # a separator before each entry and one at the end; inputs and shifted targets together span T + 1 tokens
            assert task.entries_per_row * entry + 1 <= task.row_tokens + 1


@pytest.mark.parametrize(("ratio", "verdicts"), [
    (2.3, ["reproduced", "reproduced", "reproduced"]),
    (1.6, ["not reproduced", "not reproduced", "reproduced"]),
])
def test_verdicts_follow_a_planted_truth(claim: Experiment, ratio: float, verdicts: list[str]) -> None:
    law = capacity_law(planted_capacity(ratio=ratio, scatter=0.02), resamples=300)
    assert [row["verdict"] for row in verdict_rows(claim.name, law, claim.expect, "gpu")] == verdicts


def test_every_expected_quantity_is_one_that_the_law_can_give(claim: Experiment) -> None:
    law = capacity_law(planted_capacity(), resamples=10)
    for expectation in claim.expect:
        found = law.get(expectation.quantity)
        assert found is not None
        assert found.unit == expectation.unit
