"""Forms refuse what would agree with anything: themselves, other units, intervals cut off, settings without numbers."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from test_forms import ANSWER, BY, GAIN, TABLE, WHERE

from physlm.errors import UserError
from physlm.interval import Interval
from physlm.laws.forms import (
    Above,
    Best,
    Cells,
    Contrast,
    Learnt,
    Least,
    Minus,
    Most,
    Power,
    PowerLaw,
    RankCorrelation,
    Ratio,
    Reach,
    Shares,
    Steps,
)


def test_a_form_is_not_compared_with_itself_or_with_numbers_in_another_unit() -> None:
    """Such a comparison agrees with whatever is asked, or means nothing."""
    bits, again = Shares("bits", BY, WHERE, unit="bits", share=False), dataclasses.replace(ANSWER)
    for make, message in (
        (lambda: Contrast("gain", ANSWER, "canon", "", None), "got canon none on both sides"),
        (lambda: Above("above", ANSWER, again), "got answer on both sides"),
        (lambda: Minus("minus", ANSWER, again, independent=True), "got answer on both sides"),
        (lambda: Ratio("ratio", ANSWER, again), "got answer on both sides"),
        (lambda: Above("above", ANSWER, bits), "got a control by .* in bits, expected one by .* in 1"),
        (lambda: Learnt(GAIN, ANSWER, 0.1, bits), "got a control by .* in bits, expected one by .* in 1"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_only_intervals_of_shares_end_at_0_and_1() -> None:
    """Cut off, an interval of a gain about 0 would reach "at least 0", and one of bits above 1 "at most" its value."""
    bits = Shares("bits", BY, WHERE, unit="bits", share=False)
    best = Best("best", ANSWER, over="model.canon")
    assert all(Most("m", form).share for form in (ANSWER, Least("l", ANSWER), best, Power("p", ANSWER, 2)))
    assert not any(Most("m", form).share for form in (bits, GAIN, Ratio("r", ANSWER, Least("l", ANSWER)),
                                                      Least("l", GAIN)))
    with pytest.raises(UserError, match="share=True of numbers in bits"):
        Shares("bits", BY, WHERE, unit="bits")
    with pytest.raises(UserError, match="share=True of numbers in bits"):
        Most("m", bits, share=True)
    with pytest.raises(UserError, match="share=True of gain, which may be below 0"):
        Most("m", GAIN, share=True)
    losses: Cells = {("a",): Interval(0.01, -0.05, 0.07, 9), ("b",): Interval(-0.02, -0.08, 0.04, 9)}

    @dataclasses.dataclass(frozen=True)
    class Planted:
        name: str = "gain"
        unit: str = "1"
        keys: tuple[str, ...] = ("x",)

        def cells(self, table: pd.DataFrame) -> Cells:
            return losses

        def note(self) -> str:
            return ""

    assert Most("most", Planted()).cells(TABLE)[()].lo < 0


def test_settings_that_are_no_numbers_are_named() -> None:
    for form in (Reach("reach", ANSWER, "canon", 0.5), PowerLaw("power", ANSWER, "canon"),
                 Steps("step", ANSWER, "canon"), RankCorrelation("rank", ANSWER, "canon")):
        with pytest.raises(UserError, match="got canon '.*', expected a setting whose values are numbers"):
            form.cells(TABLE)
