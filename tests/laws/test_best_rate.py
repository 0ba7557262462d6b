"""Planted truth: of runs that differ in their rate the one that answers best is kept, setting by setting."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from planted import share, table

from physlm.config import content_hash
from physlm.lab import results
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.best_rate import at_best_rate, figure_at_best_rate, law_at_best_rate
from physlm.laws.law import Law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

BY = ("augmentation",)
# held-out answers by biographies, rate and seed; the best rates are 1e-4 and 3e-5
TRUTH = {("single", 3e-5): (0.2, 0.2), ("single", 1e-4): (0.3, 0.5), ("multi5", 3e-5): (0.9, 0.8),
         ("multi5", 1e-4): (0.95, 0.1)}  # fmt: skip


def run(name: str, rate: float, seed: int) -> dict[str, Any]:
    start = RunSpec(BioSConfig(1000, questions=True, **augmentation(name)), ModelConfig(), TrainConfig(seed=seed))
    spec = RunSpec(QuestionsConfig(1000), ModelConfig(), TrainConfig(learning_rate=rate, seed=seed), start)
    return {"run": content_hash(spec), **results.settings_of(spec)}


@pytest.fixture
def planted() -> pd.DataFrame:
    """Answers about people asked in training and what is recalled are best at the other rate, and must not count."""
    found = [share(run(name, rate, seed), f"recall/attribute={attribute}", 1.0 - p, 500)
             for (name, rate), seeds in TRUTH.items() for seed, p in enumerate(seeds)
             for attribute in ("major", "employer")]  # fmt: skip
    for (name, rate), seeds in TRUTH.items():
        for seed, p in enumerate(seeds):
            one = run(name, rate, seed)
            for kind, shift in (("major", 0.02), ("employer", -0.02)):
                found += [share(one, f"answer/kind={kind}/half=test", p + shift, 500),
                          share(one, f"answer/kind={kind}/half=train", 1.0 - p, 500)]  # fmt: skip
    return table(found)


def test_each_setting_keeps_the_rate_that_answers_best(planted: pd.DataFrame) -> None:
    kept, best = at_best_rate(planted, BY)
    assert best == {"single": 1e-4, "multi5": 3e-5}
    assert set(kept["run"]) == {run(name, rate, seed)["run"] for name, rate in best.items() for seed in (0, 1)}
    assert len(kept) == len(planted) / 2 and list(kept.columns) == list(planted.columns)


@pytest.mark.parametrize("shuffle", range(8))
def test_the_order_of_the_rows_means_nothing(planted: pd.DataFrame, shuffle: int) -> None:
    _, best = at_best_rate(planted.sample(frac=1.0, random_state=shuffle), BY)
    assert best == {"single": 1e-4, "multi5": 3e-5}


def test_the_law_is_that_of_the_kept_runs_and_says_so(planted: pd.DataFrame) -> None:
    law = law_at_best_rate(BY, answers_law(BY))(planted)
    for name, p in (("single", 0.4), ("multi5", 0.85)):
        found = law.get(f"answer@{name}")
        assert found is not None and found.value == pytest.approx(p)
    assert law.quantities == answers_law(BY)(at_best_rate(planted, BY)[0]).quantities
    assert law.details["rates"] == {"multi5": 3e-5, "single": 1e-4}
    assert "Best of the learning rates 3e-05, 0.0001" in law.details["notes"][-1]
    assert Law.from_dict(law.to_dict()) == law


def test_the_figure_sees_the_kept_runs(planted: pd.DataFrame) -> None:
    seen = []

    def figure(table: pd.DataFrame, law: Law) -> Figure:
        seen.append(table)
        return Figure()

    figure_at_best_rate(BY, figure)(planted, Law(()))
    pd.testing.assert_frame_equal(seen[0], at_best_rate(planted, BY)[0])


def test_one_rate_is_the_best_of_one(planted: pd.DataFrame) -> None:
    one = planted[planted["train.learning_rate"] == 1e-4].reset_index(drop=True)
    kept, best = at_best_rate(one, BY)
    pd.testing.assert_frame_equal(kept, one)
    assert set(best.values()) == {1e-4}
