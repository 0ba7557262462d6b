"""What is memorised is counted in bits, attribute by attribute, over the people whom nobody asked about."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures import memorised
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.bios import ROLES
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.people import value_counts
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.tasks.biography.questions import asked_people
from physlm.tasks.rows import Entries
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
PEOPLE, POOL = 60, 6
KINDS = ("birth_date", "major", "employer_city")
MODEL = ModelConfig(layers=1, heads=1, width=8)
TRAIN = TrainConfig(steps=1, batch_rows=2, precision="float32", warmup_steps=0)
BASE = RunSpec(BioSConfig(PEOPLE, questions=True, pool_size=POOL), MODEL, TRAIN)
SPEC = RunSpec(QuestionsConfig(PEOPLE, pool_size=POOL, ask=Ask(kinds=KINDS)), MODEL, TRAIN, BASE)
HELD_OUT = asked_people(QuestionsConfig(PEOPLE, pool_size=POOL, ask=Ask(kinds=KINDS, half="test")))


def run(spec: RunSpec = SPEC, there: bool = True) -> Trained:
    model = Decoder(spec.model, len(spec.task.vocabulary()), (0,))
    return Trained(spec, CPU, lambda step: model, load_start=(lambda: model) if there else None)


def oracle(known_N: Tensor, factor: float = 1.0) -> object:
    """Knows the values of some people by heart, and of the others the pools (times a factor)."""
    roles = {ROLES.index(kind): count for kind, count in value_counts(POOL).items()}

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        roles_EW = entries.roles_RW[:, 1:]
        nats = torch.zeros(roles_EW.shape, dtype=torch.float64)
        for role, count in roles.items():
            told = roles_EW == role
            each = torch.log(torch.tensor(float(count))) * (~known_N[person_E]) * factor
            nats += told * (each / told.sum(1))[:, None]
        return nats

    return lambda model: losses


def shares(monkeypatch: pytest.MonkeyPatch, losses: object) -> dict[str, float]:
    monkeypatch.setattr(memorised, "model_losses", losses)
    rows = [row for row in memorised.measure(run()) if row.quantity == "memorised"]
    assert {row.where["half"] for row in rows} == {"test"} and {row.n for row in rows} == {PEOPLE // 2}
    assert all(row.lo <= row.value <= row.hi for row in rows)
    return {str(row.where["kind"]): row.value for row in rows}


def test_knowing_a_share_of_the_held_out_people_is_that_share(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.zeros(PEOPLE, dtype=torch.bool)
    known[HELD_OUT[:12]] = True
    found = shares(monkeypatch, oracle(known))
    assert found == {"birth_date": pytest.approx(0.4, abs=1e-6), "major": pytest.approx(0.4, abs=1e-6)}, "no city"


def test_those_who_were_asked_about_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = torch.ones(PEOPLE, dtype=torch.bool)
    known[HELD_OUT] = False
    assert max(shares(monkeypatch, oracle(known)).values()) == pytest.approx(0.0, abs=1e-6)


def test_less_than_the_pool_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shares(monkeypatch, oracle(torch.zeros(PEOPLE, dtype=torch.bool), 3.0))
    assert set(found.values()) == {0.0}


def test_random_weights_hold_nothing_and_a_lost_start_has_no_rows() -> None:
    rows = memorised.measure(run())
    assert {row.quantity for row in rows} == {"memorised", "memorised_untrained"} and not any(row.value for row in rows)
    assert memorised.measure(run(there=False)) == []


def test_what_is_refused() -> None:
    for spec in (BASE, dataclasses.replace(SPEC, start=None), RunSpec(BioDConfig(10), MODEL, TRAIN)):
        with pytest.raises(UserError, match="measure memorised: got a run on"):
            memorised.check(spec)
