"""Bits of knowledge at their bounds: what is clamped, what an interval covers, and never more than the data holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from capacities import LN2, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from physlm.measures.capacity import capacity_parts
from physlm.tasks.information import InformationTerms

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
