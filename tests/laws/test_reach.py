"""How far a curve stays up: planted crossings, their intervals, and both ends of the setting."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest

from physlm.errors import UserError
from physlm.laws.forms import Arrival, Minus, Ratio, Reach, Shares, laws
from physlm.laws.forms.reach import crossing


@pytest.mark.parametrize(("values", "where"), [
    ((1.0, 0.75, 0.25, 0.0), 2 * 2**0.5), ((1.0, 0.5, 0.0, 0.0), 2.0), ((0.4, 0.9, 0.9, 0.9), 0.0),
    ((0.9, 0.8, 0.7, 0.6), 8.0), ((1.0, 0.4, 1.0, 1.0), 2 ** (5 / 6)),
])  # fmt: skip
def test_where_a_curve_first_falls_below_a_half(values: tuple[float, ...], where: float) -> None:
    assert crossing((1, 2, 4, 8), values, 0.5) == pytest.approx(where)


def table() -> object:
    truth = {"canon": (1.0, 0.9, 0.7, 0.3), "none": (0.8, 0.2, 0.1, 0.0)}
    return planted.table(planted.share({"run": local, "model.local": local}, f"answer/k={k}", p, 400)
                         for local, values in truth.items() for k, p in zip((1, 2, 4, 8), values, strict=True))


def test_its_interval_is_that_of_the_ends_of_the_curve() -> None:
    answer = Shares("answer", ("model.local", "at.k"))
    reach = Reach("reach", answer, "k", 0.5)
    found, curve = reach.cells(table()), answer.cells(table())
    assert found["canon",].value == pytest.approx(4 * 2**0.5) and found["none",].value == pytest.approx(2**0.5)
    for end in ("lo", "hi"):
        ends = [getattr(curve["canon", k], end) for k in (1, 2, 4, 8)]
        assert getattr(found["canon",], end) == pytest.approx(crossing((1, 2, 4, 8), ends, 0.5))
    assert found["canon",].lo < found["canon",].value < found["canon",].hi and found["canon",].n == 1600


def test_a_reach_of_nothing_has_a_least_value_and_says_so() -> None:
    """Below a half from k = 1 on: 0, which nothing can be divided by, or as much as was asked first, an upper bound."""
    truth = {"canon": (1.0, 0.9, 0.8, 0.7), "none": (0.1, 0.1, 0.0, 0.0), "some": (0.9, 0.3, 0.1, 0.0)}
    rows = planted.table(planted.share({"run": local, "model.local": local}, f"answer/k={k}", p, 400)
                         for local, values in truth.items() for k, p in zip((1, 2, 4, 8), values, strict=True))
    answer = Shares("answer", ("model.local", "at.k"))
    plain, least = Reach("reach", answer, "k", 0.5), Reach("reach", answer, "k", 0.5, least=1.0)
    assert plain.cells(rows)["none",].value == 0.0 and least.cells(rows)["none",].value == 1.0
    assert least.cells(rows)["some",] == plain.cells(rows)["some",] and least.cells(rows)["none",].lo == 1.0
    lower, upper = ("reach is at least 8, the last k: a lower bound",
                    "reach is below k = 1: taken as 1, an upper bound")
    assert least.remarks(rows) == {("canon",): lower, ("none",): upper} and plain.remarks(rows) == {("canon",): lower}
    assert "; 1 where the first is below that;" in least.note() and "where the first" not in plain.note()

    def of(local: str, least: float) -> Reach:
        return Reach(local, Shares("answer", ("at.k",), {"model.local": local}), "k", 0.5, least=least)

    assert laws(Ratio("farther", of("canon", 0.0), of("none", 0.0)))(rows).get("farther") is None
    farther = laws(Ratio("farther", of("canon", 0.0), of("none", 1.0)))(rows).get("farther")
    assert farther is not None and (farther.value, farther.lo, farther.hi) == (8.0, 8.0, 8.0)
    assert farther.remark == f"{lower}; {upper}".replace("reach", "canon", 1).replace("reach", "none")


def test_reaches_are_compared_and_their_settings_checked() -> None:
    one, other = (Reach(local, Shares("answer", ("at.k",), {"model.local": local}), "k", 0.5)
                  for local in ("canon", "none"))
    law = laws(Ratio("farther", one, other))(table())
    assert law.get("farther").value == pytest.approx(4.0)  # type: ignore[union-attr]
    for form in (Reach, Arrival):
        with pytest.raises(UserError, match="hops"):
            form("reach", Shares("answer", ("at.k",)), "hops", 0.5)


def test_where_a_rising_curve_first_reaches_a_half() -> None:
    """At 1, 2, 4, 8 steps: between two of them, at the first, and the last where it never does."""
    truth = {"late": (0.0, 0.25, 0.75, 1.0), "soon": (0.6, 0.7, 0.8, 0.9), "never": (0.0, 0.1, 0.2, 0.3)}
    rows = planted.table(planted.share({"run": local, "model.local": local}, f"answer/step={step}", p, 400)
                         for local, values in truth.items() for step, p in zip((1, 2, 4, 8), values, strict=True))
    arrival = Arrival("arrival", Shares("answer", ("model.local", "at.step")), "step", 0.5, "steps")
    found = arrival.cells(rows)
    assert {key: one.value for (key,), one in found.items()} == pytest.approx(
        {"late": 2 * 2**0.5, "soon": 1.0, "never": 8.0})  # fmt: skip
    assert found["late",].lo < found["late",].value < found["late",].hi and "at least 0.5" in arrival.note()
    curve = arrival.of.cells(rows)
    earliest = [curve["late", step].hi for step in (1, 2, 4, 8)]
    share = (0.5 - earliest[1]) / (earliest[2] - earliest[1])
    assert found["late",].lo == pytest.approx(2 ** (1 + share)), "of the upper ends"


def test_an_arrival_before_the_first_or_after_the_last_is_a_bound_and_says_so() -> None:
    """So is a difference or a ratio of two; the last one is that of the table, whatever the tier."""
    truth = {"late": (0.0, 0.25, 0.75, 1.0), "soon": (0.6, 0.7, 0.8, 0.9), "never": (0.0, 0.1, 0.2, 0.3)}
    rows = planted.table(planted.share({"run": local, "model.local": local}, f"answer/step={step}", p, 400)
                         for local, values in truth.items() for step, p in zip((1, 2, 4, 8), values, strict=True))
    first, last = "is at most 1, the first step: an upper bound", "is more than {}, the last step: a lower bound"

    def of(local: str) -> Arrival:
        return Arrival(local, Shares("answer", ("at.step",), {"model.local": local}), "step", 0.5, "steps")

    both = Arrival("arrival", Shares("answer", ("model.local", "at.step")), "step", 0.5, "steps")
    assert both.remarks(rows) == {("soon",): f"arrival {first}", ("never",): f"arrival {last.format(8)}"}
    assert of("never").remarks(rows[rows["at.step"].astype(int) < 8]) == {(): f"never {last.format(4)}"}
    law = laws(Minus("fewer", of("never"), of("soon"), independent=True), Ratio("times", of("never"), of("late")),
               Minus("earlier", of("late"), replace(of("late"), name="again"), independent=True))(rows)
    assert {one.name: one.remark for one in law.quantities} == {
        "fewer": f"never {last.format(8)}; soon {first}", "times": f"never {last.format(8)}", "earlier": ""}
