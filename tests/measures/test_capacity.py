"""Bits of knowledge: exact where the truth is planted, nothing where there is none, never more than the data holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from physlm.config import override
from physlm.errors import NotFiniteError
from physlm.measures.capacity import capacity_parts, capacity_rows, measure
from physlm.measures.losses import PersonLosses, TokenLosses, lookup_losses, model_losses, person_losses
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig, BiographyConfig, BioSConfig
from physlm.tasks.biography.pools import load_pools
from physlm.tasks.information import InformationTerms
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
BIOS = BioSConfig(people=48)
# not one power of two among the sizes: what comes out exact does not do so by luck
BIOD = BioDConfig(people=48, attributes=3, chunks=2, diversity=11, chunk_tokens=2, alphabet=7, name_pools=(5, 6, 7))
TASKS = [BIOS, BIOD]
LN2 = math.log(2.0)
PARAMS = 1000


@pytest.fixture(scope="module", params=TASKS, ids=lambda config: config.kind)
def task(request: pytest.FixtureRequest) -> BiographyTask:
    return request.param.build()


def attributes(task: BiographyTask) -> int:
    return getattr(task.config, "attributes", 1)


def table(task: BiographyTask, losses: TokenLosses, known_strings: bool = True) -> dict[str, Row]:
    """The measure's rows; ``known_strings`` puts p3 to 0, as for a model that has every first chunk by heart."""
    found = person_losses(task, losses, CPU, texts=2)
    if known_strings:
        found = found._replace(first_N=torch.zeros_like(found.first_N))
    return {row.quantity: row for row in capacity_rows(task.information_terms, found, attributes(task), PARAMS)}


def rows_of(terms: InformationTerms, name: Any, value: Any, first: Any = 0.0) -> dict[str, Row]:
    """The measure's rows for planted nats of each person."""
    nats = (torch.as_tensor(x, dtype=torch.double).expand(terms.people) for x in (name, value, first))
    return {row.quantity: row for row in capacity_rows(terms, PersonLosses(*nats), 1, PARAMS)}


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


# ---- Clamping


def test_clamping_is_of_the_mean() -> None:
    """Noise around ln S is no knowledge: half of all models get 0 bits, the others about one standard error.

    Clamped person by person, each of the same models would have N times the mean of the lucky half of the noise.
    """
    terms = InformationTerms(people=400, names=10**6, value_bits=20.0)
    sigma = 3.0
    bits, person_by_person, signed, covered = [], [], [], 0
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(0.0, sigma, terms.people)
        value = 20.0 * LN2 + noise
        rows = rows_of(terms, math.log(terms.names), value)
        bits.append(rows["bits"].value)
        signed.append(rows["bits_signed"].value)
        covered += rows["bits"].lo <= 1e-9
        assert rows["bits"].value == pytest.approx(max(0.0, signed[-1]), abs=1e-6)
        person_by_person.append(np.maximum(20.0 - value / LN2, 0.0).sum())
    error = math.sqrt(terms.people) * sigma / LN2  # standard error of the sum, in bits
    assert abs(np.mean(signed)) < 3 * error / math.sqrt(60), "the planted truth is 0"
    # E max(0, x) of a normal x is 0.4 standard errors, and far inside each single interval
    assert np.mean(bits) == pytest.approx(0.4 * error, rel=0.4)
    assert covered >= 54, "the interval reaches down to 0 in about 97.5 of 100 models"
    wrong = 0.4 * terms.people * sigma / LN2
    assert np.mean(person_by_person) == pytest.approx(wrong, rel=0.1) and wrong > 15 * np.mean(bits)


def test_each_part_is_clamped_on_its_own() -> None:
    """A model that spends too much on names does not lose what it knows about values; the signed sum does."""
    terms = InformationTerms(people=10, names=1000, value_bits=8.0, chunks=4, chunk_bits=3.0)
    parts = capacity_parts(terms, *(np.asarray(x) for x in (math.log(1000) + 2 * LN2, 3.0 * LN2, 4.0 * LN2)))
    assert parts["bits_name"] == pytest.approx(-20.0)
    assert parts["bits_value"] == pytest.approx(50.0)
    assert parts["bits_diversity"] == pytest.approx(-4.0)
    assert parts["bits_signed"] == pytest.approx(26.0) and parts["bits"] == pytest.approx(50.0)


# ---- Intervals


def test_the_interval_covers_the_planted_mean() -> None:
    """Skewed losses as a half-trained model has them: gamma with mean 6 nats."""
    terms = InformationTerms(people=150, names=10**5, value_bits=15.0)
    truth = {"value_nats": 6.0, "bits_value": 150 * (15.0 - 6.0 / LN2),
             "bits": 150 * (15.0 - 6.0 / LN2 + math.log2(10**5 / 150))}  # fmt: skip
    covered = dict.fromkeys(truth, 0)
    below = 0
    for seed in range(100):
        value = np.random.default_rng(seed).gamma(2.0, 3.0, terms.people)
        rows = rows_of(terms, math.log(terms.people), value)
        for name, planted in truth.items():
            assert rows[name].lo <= rows[name].value <= rows[name].hi
            covered[name] += rows[name].lo <= planted <= rows[name].hi
        below += rows["bits"].hi < truth["bits"]
    assert all(88 <= count <= 100 for count in covered.values()), covered
    assert below <= 8, "misses fall on both sides"


def test_the_interval_narrows_with_the_people() -> None:
    widths = []
    for people in (100, 400, 1600):
        terms = InformationTerms(people=people, names=10**6, value_bits=10.0)
        row = rows_of(terms, 0.0, np.random.default_rng(1).exponential(3.0, people))["value_nats"]
        widths.append(row.hi - row.lo)
        assert widths[-1] == pytest.approx(2 * 1.96 * 3.0 / math.sqrt(people), rel=0.35)
    assert widths[0] > widths[1] > widths[2]


# ---- Never more than there is


SHARES = st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12)


@given(SHARES, st.floats(1e-3, 1.0), st.data())
@settings(max_examples=40, deadline=None)
def test_no_model_has_more_bits_than_the_data(shares: list[float], mass: float, data: st.DataObject) -> None:
    """Any p_i >= 0 with sum p_i <= 1 over the names of the N people, and any probabilities of values and chunks.

    By the inequality of the means, mean(-ln p_i) >= ln N: no model can do better than to know who exists.
    """
    people = len(shares)
    name = -np.log(mass * np.array(shares) / sum(shares))
    nats = st.lists(st.floats(0.0, 20.0), min_size=people, max_size=people)
    value, first = data.draw(nats), data.draw(nats)
    terms = InformationTerms(people=people, names=5000, value_bits=9.5, chunks=6, chunk_bits=2.5)
    parts = capacity_parts(terms, *(np.asarray(np.mean(x)) for x in (name, value, first)))
    information, slack = terms.information(), 1e-9
    assert parts["bits"] <= information["total"] + slack
    assert parts["bits_signed"] <= parts["bits"] + slack
    for part in ("name", "value", "diversity"):
        assert parts[f"bits_{part}"] <= information[part] + slack


@given(st.integers(2, 40), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_mixtures_of_a_lookup_table_and_the_uniform_code(people: int, weight: float, sure: float) -> None:
    """Valid models between nothing and everything: their bits grow with the weight, from 0 to the information."""
    names, values = 10_000.0, 2.0**12
    terms = InformationTerms(people=people, names=int(names), value_bits=12.0)

    def bits(weight: float) -> float:
        name = -math.log(weight / people + (1 - weight) / names)
        value = -math.log(sure * weight + (1 - sure * weight) / values)
        return float(capacity_parts(terms, *(np.asarray(x) for x in (name, value, 0.0)))["bits"])

    slack = 1e-9 * people * 26
    assert -slack <= bits(0.0) <= slack
    assert bits(0.5 * weight) <= bits(weight) + slack <= terms.information()["total"] + 2 * slack


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
