"""Tables for people: no line is longer than it may be, nothing is lost but what says so, words in place of names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from physlm.commands import tables, terminal
from physlm.commands.options import text_table
from physlm.commands.tables import ClaimLine, agreeing, asked_of, claim_table, quantity_table, shortened, worst_miss
from physlm.lab.committed import committed_claims, committed_expectations, committed_verdicts
from physlm.lab.experiment import stated_claim
from physlm.laws.law import Quantity
from physlm.laws.verdict import Expectation, bound, by_asked, judge, own_test, published, published_bound, words_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
LEAST = bound("least@layer=3/half=test", "at least", 0.9, "Figure 1", "ours", label="the least of all layers")
ABOUT = published("mean", 0.3, "Figure 2", slack=0.1, reason="read off")
MOST = own_test("most_of", "at most", 3.0, "why not")


def row(expectation: Expectation, value: float, lo: float, hi: float) -> dict[str, Any]:
    quantity = Quantity(expectation.quantity, value, lo, hi, 1000, expectation.unit)
    return {"claim": "p9_toy", "quantity": quantity.name, "published": expectation.published, "ours": value, "lo": lo,
            "hi": hi, "n": 1000, "unit": quantity.unit, "tier": "gpu", "verdict": judge(expectation, quantity)}


def line(*rows: dict[str, Any], expect: tuple[Expectation, ...] = (LEAST, ABOUT, MOST)) -> ClaimLine:
    return ClaimLine("p9_toy", "A claim that says much.", rows, by_asked(expect))


def committed() -> list[ClaimLine]:
    return [ClaimLine(name, stated_claim(name, ROOT / "experiments") or "", committed_verdicts(name, RESULTS),
                      by_asked(committed_expectations(name, RESULTS)))
            for name in committed_claims(RESULTS)]


@pytest.mark.parametrize("columns", [terminal.WIDTH, terminal.LEAST])
def test_committed_claims_fit_a_line_each(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "width", lambda: columns)
    claims = committed()
    text = claim_table(claims)
    assert len(text.splitlines()) == len(claims) + 2 and max(map(len, text.splitlines())) <= columns
    for one in claims:
        if columns == terminal.WIDTH:
            assert max(map(len, quantity_table(one.rows, one.expect).splitlines())) < 120, one.name
        assert one.sentence and not set("_@=") & set(worst_miss(one)), one.name


def test_every_quantity_and_number_stands_in_its_table() -> None:
    rows = [row(LEAST, 0.5, 0.4, 0.6), row(ABOUT, 0.35, 0.34, 0.36), row(MOST, 2.5, 2.0, 3.5)]
    text = quantity_table(rows, line().expect)
    for words in ("the least of all layers", "at least 0.9 *", "0.4 to 0.6", "not reproduced", "0.3 ± 0.1", "1,000",
                  "most of", "at most 3 ", "fails", tables.NOTE):
        assert words in text, words
    unjudged = quantity_table([{**rows[0], "verdict": "not judged"}], line().expect)
    assert tables.UNJUDGED in " ".join(unjudged.split()) and max(map(len, unjudged.splitlines())) <= terminal.WIDTH
    long = replace(LEAST, label="a label of many words " * 9)
    wrapped = quantity_table(rows[:1], by_asked([long]))
    assert wrapped.count("label") == 9 and max(map(len, wrapped.splitlines())) <= terminal.WIDTH
    unknown = quantity_table(rows, {})
    assert "least (layer 3, half test)" in unknown and tables.NOTE not in unknown


def test_a_quantity_that_is_held_against_two_numbers_has_both() -> None:
    two = (published("gain", 0.055, "Figure 7", slack=0.03, reason="seeds"), bound("gain", "at least", 0.0, "", "ours"))
    text = quantity_table([row(one, 0.05, 0.04, 0.06) for one in two], by_asked(two))
    assert "0.055 ± 0.03" in text and "at least 0 *" in text


def test_the_worst_miss_is_the_one_that_is_furthest_from_what_is_asked() -> None:
    near, far, held = row(LEAST, 0.89, 0.88, 0.895), row(ABOUT, 0.8, 0.7, 0.9), row(MOST, 1.0, 1.0, 1.0)
    assert worst_miss(line(near, far, held)) == "0.8, asked 0.3 ± 0.1: mean" and agreeing((near, far, held)) == "1 of 3"
    assert worst_miss(line(near, held)) == "0.89, asked ≥ 0.9: the least of all layers"
    assert worst_miss(line(row(LEAST, 0.95, 0.2, 0.99))) == "0.2 at worst, asked ≥ 0.9: the least of all layers"
    missing = {**far, "ours": None, "lo": None, "hi": None, "n": None, "verdict": "not run"}
    assert worst_miss(line(missing, near)).startswith("1 not measured; 0.89") and agreeing((missing, near)) == "0 of 1"
    assert worst_miss(line(missing)) == worst_miss(line()) == "not run" and agreeing((missing,)) == "-"
    assert worst_miss(line(held)) == ""
    assert worst_miss(line(near, far, expect=())) == "0.8, asked 0.3: mean", "of older files less is known"


def test_what_is_not_judged_counts_nowhere_and_is_told() -> None:
    held = row(MOST, 1.0, 1.0, 1.0)
    unlearnt = {**held, "verdict": "not judged"}
    assert agreeing((held, unlearnt)) == "1 of 1" and agreeing((unlearnt,)) == "-"
    assert worst_miss(line(unlearnt)) == "1 not judged"
    both, one = (" ".join(quantity_table(rows, by_asked([MOST])).split()) for rows in ([held, unlearnt], [held]))
    assert tables.UNJUDGED in both and tables.UNJUDGED not in one


@given(st.sampled_from((LEAST, ABOUT, MOST)), st.floats(-5, 5), st.floats(0, 3), st.floats(0, 3))
def test_what_agrees_misses_nothing(expectation: Expectation, value: float, below: float, above: float) -> None:
    lo, hi = value - below, value + above
    agrees = row(expectation, value, lo, hi)["verdict"] in ("reproduced", "holds")
    low, high = expectation.published - expectation.tolerance, expectation.published + expectation.tolerance
    assert agrees == {"at least": lo >= low, "at most": hi <= high, "about": lo <= high and hi >= low}[
        expectation.relation]
    assert (expectation.miss(lo, hi) == 0) == agrees and expectation.miss(lo - 1, hi + 1) >= 0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80), st.integers(4, 60))
def test_shortened_texts_fit_and_begin_alike(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most and (short == text or (short.endswith("…") and text.startswith(short[:-1])))
    assert short == text or len(text) > most


def test_slack_is_shown_on_the_side_where_it_counts() -> None:
    assert asked_of(published_bound("q", "at least", 0.8, "s", slack=0.05, reason="r")) == "at least 0.8 - 0.05"
    assert asked_of(published_bound("q", "at most", 0.8, "s", slack=0.05, reason="r")) == "at most 0.8 + 0.05"
    assert asked_of(LEAST) == "at least 0.9 *" and asked_of(LEAST, short=True) == "≥ 0.9"


def test_names_without_a_label_are_put_in_words() -> None:
    assert words_of("left@block") == "left (block)" and words_of("gain_by_op") == "gain by op"
    assert words_of("answer@hints/people<=2500/month_mod2") == "answer (hints, people up to 2500, month mod2)"
    assert LEAST.words == "the least of all layers" and MOST.words == "most of"


@given(st.lists(st.text("ab c", max_size=200), max_size=4).map("\n".join))
def test_folded_lines_fit_and_keep_their_words(text: str) -> None:
    lines = tables.folded(text).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= terminal.WIDTH or len(line.split()) == 1 for line in lines)


def test_a_line_that_goes_on_is_indented_further() -> None:
    first, second, last = tables.folded(f"  a = {'b + ' * 30}c\nend").split("\n")
    assert first.startswith("  a = b") and second.startswith("    + b") and last == "end"


# ---- Tables of any columns


def test_columns_that_fit_stand_side_by_side() -> None:
    assert text_table(["a", "b"], [["x", 1.0], ["yy", None]]).splitlines() == ["a   b", "--  -", "x   1", "yy  -"]


def test_columns_without_room_follow_below_behind_those_that_tell_rows_apart() -> None:
    header = ["label", "seed", *(f"answer_untrained/kind=length{i}/half=test" for i in range(4))]
    text = text_table(header, [["1-1x8", seed, *(seed + i / 8 for i in range(4))] for seed in (0, 1)])
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert max(map(len, text.splitlines())) <= terminal.WIDTH and len(blocks) == 2
    assert all(block[0].startswith("label  seed  answer") for block in blocks)
    assert all(block[3].split()[:2] == ["1-1x8", "1"] for block in blocks)
    assert [word for block in blocks for word in block[0].split()[2:]] == header[2:]
    assert [word for block in blocks for word in block[3].split()[2:]] == ["1", "1.125", "1.25", "1.375"]


@pytest.mark.parametrize("name", ["best@position=rope", "a_long_name" * 6, "a_long_name" * 9])
def test_words_at_the_end_go_on_in_further_lines(name: str) -> None:
    words = "best of 1: learning rate 0.01, the only one: a better one may lie outside of what was tried"
    text = text_table(["fitted", "value", ""], [[name, 0.25, words], ["other", 1.0, ""]])
    assert max(map(len, text.splitlines())) <= max(terminal.WIDTH, len(name) + 2 + 24)
    assert " ".join(text.replace(name, "").replace("0.25", "").split()).count("tried") == 1
    assert all(word in text for word in words.split()) and "other" in text


@given(st.lists(st.lists(st.text("abcd ", max_size=70), min_size=3, max_size=3), max_size=4))
def test_every_word_of_a_table_is_shown(rows: list[list[str]]) -> None:
    shown = text_table(["one", "two", "three"], rows).split()
    assert all(word in shown for row in rows for cell in row for word in cell.split())
