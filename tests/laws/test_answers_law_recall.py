"""What the law of questions says about recall: by group, of names, of an encoder's masked words, and its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted import Row, share, table

from physlm.config import content_hash
from physlm.lab import results
from physlm.lab.experiment import load_experiment
from physlm.laws.knowledge.answers import RECALLS, answers_law
from physlm.laws.law import Law
from physlm.laws.verdict import by_asked, headline, verdict_rows
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.kinds import RETRIEVAL
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
N = 500


def asked(causal: bool = True, **task: Any) -> dict[str, Any]:
    """The columns of a run on questions that begins with biographies."""
    base = BioSConfig(1000, texts=5, permute=1, questions=True, **task)
    model, train = ModelConfig(causal=causal), TrainConfig()
    questions = QuestionsConfig(1000, celebrities=base.celebrities)
    spec = RunSpec(questions, model, train, RunSpec(base, model, train))
    return {"run": content_hash(spec), **results.settings_of(spec), "steps": 10}


def by_attribute(run: dict[str, Any], base: str, p: float, n: int = N) -> list[Row]:
    """The first attribute 0.03 above the last, p on average."""
    return [share(run, f"{base}/attribute={name}", p + 0.03 * (i - 2.5) / 5, n) for i, name in enumerate(RETRIEVAL)]


def value(law: Law, name: str) -> float:
    found = law.get(name)
    assert found is not None, name
    assert found.lo < found.value < found.hi
    return found.value


def test_each_kind_of_recall_has_a_mean_of_its_own() -> None:
    run, numbers = asked(causal=False), dict(zip(RECALLS, (0.5, 0.6, 0.9, 0.3, 0.8, 0.05), strict=True))
    rows = [row for base, p in numbers.items() for row in by_attribute(run, base, p)]
    rows += [share(run, "recall_name", 0.7, N), share(run, "recall_name_first", 0.75, N)]
    law = answers_law(("way",))(table(rows))
    for base, p in numbers.items():
        assert value(law, f"{base}@encoder") == pytest.approx(p)
        parts = law.details["controls"][base]
        assert parts["encoder/employer"] - parts["encoder/birth_date"] == pytest.approx(
            0.03 * (RETRIEVAL.index("employer") - RETRIEVAL.index("birth_date")) / 5)
    assert value(law, "recall_name@encoder") == 0.7
    assert {q.name for q in law.quantities} == {f"{base}@encoder" for base in (*RECALLS, "recall_name")}
    assert all(any(word in note for note in law.details["notes"]) for word in ("recall_token", "recall_name"))


def test_runs_without_groups_names_or_masks_have_no_such_quantities() -> None:
    """The control: a decoder of forward biographies beside one that has them all."""
    plain, other = asked(), asked(causal=False, celebrities=300)
    rows = [*by_attribute(plain, "recall", 0.9), *by_attribute(other, "recall_others", 0.2), *by_attribute(
        other, "recall_token", 0.6)]
    law = answers_law(("way",))(table(rows))
    assert {q.name for q in law.quantities} == {"recall@finetuned", "recall_others@encoder", "recall_token@encoder"}


@pytest.mark.parametrize(("token", "verdict"), [(0.95, "reproduced"), (0.6, "not reproduced")])
def test_an_encoder_that_was_not_trained_enough_reproduces_nothing(token: float, verdict: str) -> None:
    """Both encoders answer as published; of one of them that says nothing, and the claim's page says so."""
    claim = load_experiment("p31_encoder", EXPERIMENTS)
    rows = by_attribute(encoder := asked(causal=False), "recall_token", token, n=2000)
    for run, low in ((encoder, 0.2), (asked(), 0.97)):
        for kind in RETRIEVAL:
            p = 0.9 if kind in ("birth_date", "major") and low < 0.5 else low
            rows.append(share(run, f"answer/kind={kind}/half=test", p, 2500))
    found = verdict_rows(claim.name, claim.law(table(rows)), claim.expect, "gpu")
    assert {row["verdict"] for row in found if row["quantity"] != "recall_token@encoder"} == {"reproduced"}
    assert headline(found, by_asked(claim.expect)) == verdict
    assert any("recall_token" in text and "below 0.9" in text for text in claim.deviations)
    assert any(e.quantity == "recall_token@encoder" and "control" in e.source for e in claim.expect)
