"""Bits of knowledge: exact where the truth is planted, nothing where there is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from capacities import BIOD, BIOS, CPU, LN2, PARAMS, TASKS, attributes, rows_of, table
from torch import Tensor

from physlm.config import override
from physlm.errors import NotFiniteError
from physlm.measures.capacity import capacity_parts, capacity_rows, measure
from physlm.measures.losses import PersonLosses, TokenLosses, lookup_losses, model_losses, person_losses
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig, BiographyConfig
from physlm.tasks.biography.pools import load_pools
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population


@pytest.fixture(scope="module", params=TASKS, ids=lambda config: config.kind)
def task(request: pytest.FixtureRequest) -> BiographyTask:
    return request.param.build()


# ---- Planted knowledge: nothing, everything, half of the people, half of the facts


def test_the_uniform_oracle_knows_nothing(task: BiographyTask) -> None:
    """Exactly 0 bits, no part of it clamped."""
    terms = task.information_terms
    nobody = torch.zeros(terms.people, dtype=torch.bool)
    # with p3 = ln(T^L / D) the strings are as costly as if they were unknown
    losses = person_losses(task, lookup_losses(task, nobody), CPU)._replace(
        first_N=torch.full((terms.people,), attributes(task) * terms.chunk_bits * LN2, dtype=torch.double)
    )
    rows = {row.quantity: row for row in capacity_rows(terms, losses, attributes(task), PARAMS)}
    scale = 1e-12 * terms.information()["total"]
    for name in ("bits_signed", "bits", "bits_name", "bits_value", "bits_diversity"):
        assert abs(rows[name].value) < scale, name
        assert abs(rows[name].lo) < scale and abs(rows[name].hi) < scale
    assert rows["bits_per_param"].value == pytest.approx(0.0, abs=scale)


def test_who_knows_the_strings_but_nobody_has_only_the_diversity() -> None:
    """p3 = ln D then: the strings of the attributes are knowledge, K D (log2(T^L / D) - log2 D) bits by the formula."""
    for alphabet, chunk_tokens, diversity in ((7, 2, 7), (16, 3, 9), (4, 2, 16)):
        config = dataclasses.replace(BIOD, diversity=diversity, chunk_tokens=chunk_tokens, alphabet=alphabet)
        task = config.build()
        rows = table(task, lookup_losses(task, torch.zeros(48, dtype=torch.bool)), known_strings=False)
        strings = config.attributes * diversity * (chunk_tokens * math.log2(alphabet) - 2 * math.log2(diversity))
        assert rows["value1_nats"].value == pytest.approx(math.log(diversity))
        assert rows["bits_diversity"].value == pytest.approx(strings, abs=1e-9)
        assert rows["bits"].value == pytest.approx(max(0.0, strings), abs=1e-9)


def test_what_a_diverged_model_knows_is_no_number(task: BiographyTask) -> None:
    """One person's nats that are not finite spoil every mean: no row is written, and no part of the formula is 0."""
    terms = task.information_terms
    for bad in (math.nan, math.inf):
        nats = torch.zeros(terms.people, dtype=torch.double)
        for part in range(3):
            parts = [nats.clone() for _ in range(3)]
            parts[part][1] = bad
            with pytest.raises(NotFiniteError, match="nats of a person"):
                rows_of(terms, *parts)
            means = [np.array(one.mean().item()) for one in parts]
            with np.errstate(invalid="ignore"):  # 0 chunks times infinity
                assert math.isnan(capacity_parts(terms, *means)["bits"])


def test_who_knows_all_has_all_the_information(task: BiographyTask) -> None:
    terms = task.information_terms
    rows = table(task, lookup_losses(task, torch.ones(terms.people, dtype=torch.bool)))
    information = terms.information()
    for part in ("name", "value", "diversity"):
        assert rows[f"bits_{part}"].value == pytest.approx(information[part], rel=1e-9)
    for name in ("bits", "bits_signed", "bits_max"):
        assert rows[name].value == pytest.approx(information["total"], rel=1e-9)
        assert rows[name].lo == pytest.approx(rows[name].hi, rel=1e-9), "everybody is known alike"
        assert rows[name].n == terms.people and rows[name].unit == "bits"
    assert rows["bits_per_param"].value == pytest.approx(information["total"] / PARAMS, rel=1e-9)
    assert rows["bits_per_param"].unit == "bits/parameter"


@pytest.mark.parametrize("part", [2, 3, 4])
def test_who_knows_a_part_of_the_people_has_that_part_of_the_bits(task: BiographyTask, part: int) -> None:
    terms = task.information_terms
    rows = table(task, lookup_losses(task, torch.arange(terms.people) % part == 0))
    information = terms.information()
    assert rows["bits_value"].value == pytest.approx(information["value"] / part, rel=1e-9)
    assert rows["bits_name"].value == pytest.approx(information["name"] / part, rel=1e-9)
    people = information["total"] - information["diversity"]  # strings are not people: they are all known here
    assert rows["bits"].value == pytest.approx(people / part + information["diversity"], rel=1e-9)
    assert rows["bits"].lo < rows["bits"].value < rows["bits"].hi, "who is known differs among resampled people"
    assert rows["value_nats"].value == pytest.approx((1 - 1 / part) * terms.value_bits * LN2, rel=1e-9)


def test_who_knows_some_attributes_has_their_bits() -> None:
    """Birth dates and employers by heart, everything else by its distribution."""
    task, pools = BIOS.build(), load_pools()
    options = {"gender": 2, "birth_city": len(pools.cities), "university": len(pools.universities),
               "major": len(pools.majors)}  # fmt: skip
    known_bits = math.log2(len(pools.months) * len(pools.days) * len(pools.years)) + math.log2(len(pools.employers))

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        roles = entries.roles_RW[:, 1:]
        nll = lookup_losses(task, torch.zeros(BIOS.people, dtype=torch.bool))(person_E, entries)
        nll = torch.where(roles == task.name_role, nll, 0.0)
        for role, size in options.items():
            here = roles == task.roles.index(role)
            nll = nll + here.double() * math.log(size) / here.sum(1, keepdim=True)
        # the employer's city follows from the employer: it is never counted, whatever a model spends on it
        return nll + 5.0 * (roles == task.roles.index("employer_city")).double()

    rows = table(task, losses)
    assert rows["bits"].value == pytest.approx(BIOS.people * known_bits, rel=1e-9)
    assert rows["bits_name"].value == pytest.approx(0.0, abs=1e-7)


def test_who_knows_half_of_the_attributes_has_half_of_the_value_bits() -> None:
    """bioD with four attributes, of which 2 and 4 are known; the number stands before each value in the text."""
    config = dataclasses.replace(BIOD, attributes=4)
    task = config.build()
    numbers = {task.vocabulary.id(str(a + 1)): a for a in range(4)}
    a_token = math.log(config.diversity) / config.chunk_tokens

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        nll = torch.zeros(entries.ids_RW.shape, dtype=torch.double)
        for e, (ids, roles) in enumerate(zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)):
            attribute = -1
            for w, (token, role) in enumerate(zip(ids, roles, strict=True)):
                attribute = numbers.get(token, attribute)
                if role in task.value_roles and attribute % 2 == 0:
                    nll[e, w] = a_token
                if role == task.name_role:
                    nll[e, w] = math.log(task.information_terms.people) / 3
        return nll[:, 1:]

    rows, information = table(task, losses), task.information_terms.information()
    assert rows["bits_value"].value == pytest.approx(information["value"] / 2, rel=1e-9)
    assert rows["bits_name"].value == pytest.approx(information["name"], rel=1e-9)
    half_first = table(task, losses, known_strings=False)
    assert half_first["value1_nats"].value == pytest.approx(math.log(config.diversity) / 2)


# ---- Controls: no knowledge, no bits


@pytest.mark.parametrize("config", TASKS, ids=lambda config: config.kind)
def test_an_untrained_model_has_no_bits(config: BiographyConfig) -> None:
    spec = RunSpec(config, ModelConfig(layers=1, heads=1, width=8), TrainConfig())
    model = Decoder(spec.model, len(config.vocabulary()), (7,))
    rows = {row.quantity: row for row in measure(Trained(spec, CPU, lambda step: model))}
    assert rows["bits_signed"].value < 0 and rows["bits_signed"].hi < 0
    for name in ("bits", "bits_per_param", "bits_untrained"):
        assert (rows[name].value, rows[name].lo, rows[name].hi) == (0.0, 0.0, 0.0)


WRONG: dict[str, Callable[[InformationTerms, PersonLosses], tuple[InformationTerms, PersonLosses]]] = {
    "more names": lambda terms, losses: (dataclasses.replace(terms, names=terms.names**2), losses),
    "more values": lambda terms, losses: (dataclasses.replace(terms, value_bits=4 * terms.value_bits), losses),
    "nats for bits": lambda terms, losses: (terms, PersonLosses(*(LN2 * nats for nats in losses))),
    "a mean over tokens": lambda terms, losses: (terms, losses._replace(name_N=losses.name_N / 3)),
}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_the_control_sees_a_wrong_ceiling(wrong: str | None) -> None:
    """Though no part counts less than 0: then random weights have bits."""
    model = Decoder(ModelConfig(layers=1, heads=1, width=8), len(BIOS.vocabulary()), (7,))
    task = BIOS.build()
    terms, losses = task.information_terms, person_losses(task, model_losses(model), CPU, texts=2)
    if wrong is not None:
        terms, losses = WRONG[wrong](terms, losses)
    bits = {row.quantity: row for row in capacity_rows(terms, losses, 1, PARAMS)}["bits"]
    assert bits.value == bits.hi == 0.0 if wrong is None else bits.lo > 0.0


def by_heart(task: BiographyTask, reads_for: Tensor) -> TokenLosses:
    """A model that knows the values of everybody, and is asked about ``reads_for[i]`` with the text of person i.

    It gives the values that it believes in all but a thousandth of the probability, and spreads that over all values.
    """
    everybody = torch.arange(task.config.people)
    entries = task.entries(everybody, torch.zeros_like(everybody))

    def values(entries: Entries) -> list[list[tuple[int, int]]]:
        """(role, word) of all value tokens; their order in the text is no knowledge."""
        return [sorted((r, i) for i, r in zip(ids, roles, strict=True) if r in task.value_roles)
                for ids, roles in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True)]  # fmt: skip

    memory = values(entries)
    uniform = 1e-3 * 2.0**-task.information_terms.value_bits

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        roles = entries.roles_RW[:, 1:]
        is_value = torch.isin(roles, torch.tensor(task.value_roles))
        right = torch.tensor([text == memory[int(reads_for[i])]
                              for i, text in zip(person_E.tolist(), values(entries), strict=True)])  # fmt: skip
        cost = -torch.log(torch.where(right, 1 - 1e-3, 0.0).double() + uniform)
        name = math.log(task.information_terms.people) / 3
        return is_value * (cost / is_value.sum(1))[:, None] + name * (roles == task.name_role)

    return losses


def test_the_bits_belong_to_the_people(task: BiographyTask) -> None:
    """The same model with its people exchanged: all the value bits are gone."""
    people = torch.arange(task.config.people)
    information = task.information_terms.information()["value"]
    right = table(task, by_heart(task, people))["bits_value"]
    assert right.value == pytest.approx(information, rel=1e-3)
    exchanged = table(task, by_heart(task, people.roll(1)))
    assert exchanged["bits_value"].hi < 0 and exchanged["bits_value"].value < -0.2 * information / task.config.people
    assert exchanged["bits"].value == pytest.approx(
        exchanged["bits_name"].value + exchanged["bits_diversity"].value, rel=1e-9
    ), "the value part counts as nothing"
    one_swap = people.clone()
    one_swap[[0, 1]] = people[[1, 0]]
    lost = 2 * (right.value / task.config.people + math.log2(1000))
    assert table(task, by_heart(task, one_swap))["bits_value"].value == pytest.approx(
        right.value - lost, abs=2.0
    ), "each wrong person costs its bits and the confidence it was wrong with"


# ---- A model that is really trained


def test_training_puts_the_bits_there() -> None:
    """Eight people by heart; the same model knows nothing of other people of the same kind."""
    task = BioDConfig(people=8, attributes=2, diversity=16, chunk_tokens=1, alphabet=16, name_pools=(8, 8, 8),
                      entries_per_row=2, row_tokens=40)  # fmt: skip
    train = TrainConfig(exposures=200, batch_rows=4, learning_rate=1e-2, precision="float32")
    spec = RunSpec(task, ModelConfig(layers=2, heads=1, width=32), train)
    population = Population([spec], CPU)
    while population.step < population.steps:
        population.advance()
    model = population.model_of(0)
    rows = {row.quantity: row for row in measure(Trained(spec, CPU, lambda step: model))}
    information = task.build().information_terms.information()["total"]
    assert rows["bits_max"].value == information == pytest.approx(8 * (math.log2(512 / 8) + 2 * 4))
    assert 0.6 * information < rows["bits"].value <= information
    assert rows["bits"].lo > 0.5 * information
    assert rows["bits_untrained"].value == 0.0
    params = parameter_counts(spec.model, len(task.vocabulary()))["params_used"]
    assert rows["bits_per_param"].value == pytest.approx(rows["bits"].value / params)
    other = override(spec, ["task.seed=1"])
    strangers = {row.quantity: row for row in measure(Trained(other, CPU, lambda step: model))}
    assert strangers["bits"].value < 0.05 * information
    assert strangers["bits_value"].hi < 0
