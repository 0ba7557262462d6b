"""A law survives its JSON form unchanged, and refuses what is no law."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from physlm.errors import UserError
from physlm.laws.law import Law, Quantity

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def quantities(draw: st.DrawFn) -> Quantity:
    lo, value, hi = sorted((draw(FINITE), draw(FINITE), draw(FINITE)))
    return Quantity(draw(st.text(max_size=12)), value, lo, hi, draw(st.integers(1, 10**6)), draw(st.text(max_size=8)))


DETAILS = st.dictionaries(st.text(max_size=5), st.lists(st.one_of(FINITE, st.booleans(), st.none(), st.text())))


@given(st.lists(quantities(), max_size=4, unique_by=lambda q: q.name), DETAILS)
def test_round_trip_through_json_text(items: list[Quantity], details: dict[str, object]) -> None:
    law = Law(tuple(items), details)
    assert Law.from_dict(json.loads(json.dumps(law.to_dict()))) == law


def test_get_finds_by_name_or_says_none() -> None:
    law = Law((Quantity("a", 1.0, 0.5, 1.5, 3, "1"),))
    assert law.get("a") is law.quantities[0]
    assert law.get("b") is None


@pytest.mark.parametrize(("value", "lo", "hi", "n"), [
    (float("nan"), 0.0, 1.0, 1), (1.0, 0.0, float("inf"), 1), (2.0, 0.0, 1.0, 1), (-1.0, 0.0, 1.0, 1),
    (0.5, 0.0, 1.0, 0),
])
def test_a_quantity_is_a_finite_value_inside_its_interval(value: float, lo: float, hi: float, n: int) -> None:
    with pytest.raises(UserError, match="peak"):
        Quantity("peak", value, lo, hi, n, "1")


GOOD = {"name": "a", "value": 1.0, "lo": 0.5, "hi": 1.5, "n": 3, "unit": "1"}


@pytest.mark.parametrize(("data", "says"), [
    ([], "expected an object"),
    ({"quantities": []}, "law.details: missing"),
    ({"details": {}}, "law.quantities: missing"),
    ({"quantities": [], "details": {}, "detials": {}}, "detials"),
    ({"quantities": {}, "details": {}}, "expected a list"),
    ({"quantities": [], "details": []}, "expected an object"),
    ({"quantities": [{**GOOD, "value": "1"}], "details": {}}, r"law.quantities\[0\].value"),
    ({"quantities": [{**GOOD, "valeu": 1.0}], "details": {}}, "did you mean 'value'"),
    ({"quantities": [{k: v for k, v in GOOD.items() if k != "n"}], "details": {}}, r"law.quantities\[0\].n: missing"),
    ({"quantities": [GOOD, GOOD], "details": {}}, "more than once"),
])
def test_reading_is_strict_and_names_the_place(data: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Law.from_dict(data)


def test_details_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Law((), {"x": float("nan")}).to_dict()
