"""The verdict looks at the whole interval, and its table says exactly what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from physlm.commands.tables import asked_of
from physlm.errors import UserError
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import (
    LENIENT,
    Expectation,
    Relation,
    bound,
    by_asked,
    headline,
    judge,
    own_test,
    published,
    published_bound,
    verdict_markdown,
    verdict_rows,
)

KEYS = ["claim", "quantity", "published", "ours", "lo", "hi", "n", "unit", "tier", "verdict"]


def expectation(relation: Relation = "at least", tolerance: float = 0.0, quantity: str = "peak",
                widest: float | None = None) -> Expectation:  # fmt: skip
    return Expectation(quantity, 2.0, relation, tolerance, "bits/parameter", "Figure 1a",
                       reason="as large as the paper's own", widest=0.125 if relation in LENIENT else widest)


def word(law: Law | None, expect: list[Expectation]) -> str:
    return headline(verdict_rows("c", law, expect, "gpu"), by_asked(expect))


def measured(lo: float, hi: float, name: str = "peak") -> Quantity:
    return Quantity(name, (lo + hi) / 2, lo, hi, 45, "bits/parameter")


@pytest.mark.parametrize(("relation", "tolerance", "lo", "hi", "verdict"), [
    ("at least", 0.0, 2.0, 2.2, "reproduced"),
    ("at least", 0.0, 1.99, 2.2, "not reproduced"),  # the point reaches 2, the lower end does not
    ("at least", 0.05, 1.96, 2.2, "reproduced"),
    ("at most", 0.0, 1.5, 2.0, "reproduced"),
    ("at most", 0.0, 1.5, 2.01, "not reproduced"),
    ("at most", 0.05, 1.5, 2.01, "reproduced"),
    ("about", 0.0, 1.9, 2.1, "reproduced"),
    ("about", 0.0, 2.01, 2.1, "not reproduced"),
    ("about", 0.0, 1.8, 1.99, "not reproduced"),
    ("about", 0.1, 1.8, 1.95, "reproduced"),
    ("about", 0.1, 1.8, 1.85, "not reproduced"),
    ("not below", 0.0, 1.9, 2.0, "reproduced"),  # it may be 2
    ("not below", 0.0, 1.9, 1.99, "not reproduced"),
    ("not below", 0.05, 1.9, 1.95, "reproduced"),
    ("not below", 0.0, 9.0, 9.1, "reproduced"),
    ("not above", 0.0, 2.0, 2.1, "reproduced"),
    ("not above", 0.0, 2.01, 2.1, "not reproduced"),
    ("not above", 0.05, 2.05, 2.1, "reproduced"),
    ("not above", 0.0, 0.1, 0.2, "reproduced"),
])
def test_judge(relation: Relation, tolerance: float, lo: float, hi: float, verdict: str) -> None:
    assert judge(expectation(relation, tolerance), measured(lo, hi)) == verdict


@pytest.mark.parametrize("relation", ["about", "at least"])
def test_what_is_asked_for_has_four_digits_and_whole_numbers_all_of_theirs(relation: Relation) -> None:
    for value, slack, text in ((63.95 / 62.67, 1 / 30, "1.02 {} 0.03333"), (20_000.0, 12_345.0, "20000 {} 12345")):
        asked = Expectation("peak", value, relation, slack, "1", "s", reason="r")
        number = text.format("±" if relation == "about" else "(tolerance") + ("" if relation == "about" else ")")
        assert asked.wanted == ("" if relation == "about" else "at least ") + number
        assert asked.published == value and asked_of(asked).endswith(text.format("±" if relation == "about" else "-"))


@pytest.mark.parametrize(("relation", "lo", "hi", "verdict"), [
    ("not below", 1.875, 2.0, "reproduced"), ("not below", 1.75, 2.0, "not judged"),
    ("not below", 3.0, 3.5, "not judged"),
    ("not below", 1.0, 1.9, "not reproduced"), ("not above", 2.0, 2.125, "reproduced"),
    ("not above", 2.0, 2.25, "not judged"), ("not above", 2.1, 3.0, "not reproduced"),
    ("about", 1.9375, 2.0625, "reproduced"), ("about", 1.5, 2.5, "not judged"), ("about", 2.0, 2.25, "not judged"),
    ("about", 1.0, 1.9, "not reproduced"), ("about", 2.1, 3.0, "not reproduced"),
])  # fmt: skip
def test_what_a_wide_interval_meets_more_easily_is_judged_up_to_a_width(relation: Relation, lo: float, hi: float,
                                                                        verdict: str) -> None:  # fmt: skip
    """What is excluded even by a wide one is a miss."""
    asked, law = expectation(relation, widest=0.125), Law((measured(lo, hi),))
    assert judge(asked, measured(lo, hi)) == word(law, [asked]) == verdict
    text = verdict_markdown("c", "A.", "s", law, [asked], "gpu", "physlm run c")
    told = (f"not judged: the interval is {hi - lo:.3g} bits/parameter wide, wider than 0.125, up "
            f"to which {relation!r} is judged")
    assert (told in text) == (verdict == "not judged")
    test = own_test("peak", relation, 2.0, "control", unit="bits/parameter", widest=0.125)
    assert judge(test, measured(lo, hi)) == {"reproduced": "holds", "not reproduced": "fails"}.get(verdict, verdict)


@pytest.mark.parametrize(("relation", "widest"), [("not below", None), ("not above", None), ("not below", 0.0),
                                                  ("not above", float("inf")), ("at least", 0.1), ("at most", 0.1),
                                                  ("about", 0.0), ("about", float("nan"))])  # fmt: skip
def test_a_widest_interval_belongs_to_what_it_would_help(relation: Relation, widest: float | None) -> None:
    with pytest.raises(UserError, match=f"expectation peak: got .*{relation}"):
        published_bound("peak", relation, 2.0, "Result 1", widest=widest)


def test_about_is_judged_with_any_interval_where_nothing_else_is_said() -> None:
    """As before it could say so: what was committed stays as it was judged."""
    for widest, verdict in ((None, "reproduced"), (0.125, "not judged")):
        one = published("peak", 2.0, "Figure 1a", slack=0.1, reason="ours", unit="bits/parameter", widest=widest)
        assert judge(one, measured(0.0, 9.0)) == verdict and one.widest == widest


@pytest.mark.parametrize(("relation", "widest"), [("at least", None), ("not below", None), ("about", None),
                                                  ("about", 0.5)])
def test_an_expectation_survives_json(relation: Relation, widest: float | None) -> None:
    one = expectation(relation, widest=widest)
    assert Expectation.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert ("widest" in one.to_dict()) == (one.widest is not None) == (relation in LENIENT or widest is not None)


def test_what_was_not_measured_was_not_run() -> None:
    assert judge(expectation(), None) == "not run"


def test_judging_another_quantity_or_unit_is_an_error() -> None:
    with pytest.raises(UserError, match="expected peak in bits/parameter"):
        judge(expectation(), measured(2.0, 2.1, name="line"))
    with pytest.raises(UserError, match="got peak in nats"):
        judge(expectation(), Quantity("peak", 2.0, 2.0, 2.0, 1, "nats"))


@pytest.mark.parametrize("change", [{"tolerance": -0.1}, {"tolerance": float("nan")}, {"published": float("inf")},
                                    {"relation": "above"}])
def test_an_expectation_is_checked(change: dict[str, object]) -> None:
    good = {"quantity": "peak", "published": 2.0, "relation": "at least", "tolerance": 0.0, "unit": "1", "source": "s"}
    with pytest.raises(UserError, match="expectation peak"):
        Expectation(**{**good, **change})  # type: ignore[arg-type]


def test_rows_have_exactly_the_published_keys_and_survive_json() -> None:
    law = Law((measured(2.0, 2.2),))
    rows = verdict_rows("p33", law, [expectation(), expectation(quantity="absent")], "gpu")
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert rows[0]["verdict"] == "reproduced"
    assert (rows[0]["lo"], rows[0]["hi"], rows[0]["n"], rows[0]["tier"]) == (2.0, 2.2, 45, "gpu")
    assert [rows[1][key] for key in ("ours", "lo", "hi", "n", "verdict")] == [None, None, None, None, "not run"]
    assert json.loads(json.dumps(rows)) == rows


def test_without_a_law_everything_is_not_run() -> None:
    rows = verdict_rows("p33", None, [expectation()], None)
    assert [row["verdict"] for row in rows] == ["not run"]
    assert headline(rows, by_asked([expectation()])) == "not run"


def test_one_failure_decides_the_headline_and_one_gap_keeps_it_open() -> None:
    law = Law((measured(2.0, 2.2), measured(1.0, 1.2, name="low")))
    good, bad, gap = expectation(), expectation(quantity="low"), expectation(quantity="absent")
    assert word(law, [good]) == "reproduced"
    assert word(law, [good, bad, gap]) == "not reproduced"
    assert word(law, [good, gap]) == "not finished"
    assert word(law, [gap]) == "not run", "nothing that was asked for was measured"


def test_a_test_of_our_own_holds_or_fails_and_is_never_reproduced() -> None:
    ours = own_test("peak", "at least", 2.0, "our control", unit="bits/parameter")
    assert [judge(ours, measured(lo, 2.4)) for lo in (2.0, 1.9)] == ["holds", "fails"]
    assert judge(ours, None) == "not run" and ours.wanted == "at least 2 bits/parameter (our test)"
    law, other = Law((measured(2.0, 2.2), measured(1.0, 1.2, name="low"))), expectation(quantity="low")
    assert word(law, [ours]) == "holds"
    low = own_test("low", "at least", 2.0, "our control", unit="bits/parameter")
    assert word(law, [low, ours]) == "fails"
    assert word(law, [expectation(), ours]) == "reproduced"
    assert word(law, [expectation(), low]) == "not reproduced", "its control fails"
    assert word(law, [other, ours]) == "not reproduced"
    assert word(law, [ours, expectation(quantity="absent")]) == "not finished"


def test_whose_tests_they_are_is_told_by_their_kind_also_of_what_was_not_judged_or_not_run() -> None:
    unlearnt = replace(measured(2.0, 2.2, name="unlearnt"), unjudged="nothing learnt")
    law = Law((measured(2.0, 2.2), measured(1.0, 1.2, name="low"), unlearnt))
    good, bad, guessed, gap = (own_test(name, "at least", 2.0, "our control", unit="bits/parameter")
                               for name in ("peak", "low", "unlearnt", "absent"))
    assert [row["verdict"] for row in verdict_rows("c", law, [bad, guessed, gap], "gpu")] == [
        "fails", "not judged", "not run"]  # fmt: skip
    assert word(law, [bad, guessed]) == word(law, [bad, gap]) == word(law, [good, bad, guessed, gap]) == "fails"
    assert word(law, [good, guessed]) == "not judged" and word(law, [gap]) == word(law, []) == "not run"
    assert word(law, [good, gap]) == word(law, [guessed, gap]) == word(law, [good, guessed, gap]) == "not finished"
    for other in (expectation(quantity="unlearnt"), expectation(quantity="absent")):  # published, and nothing is known
        assert word(law, [bad, other]) == "not reproduced"
    text = verdict_markdown("c", "A.", "s", law, [bad, guessed], "gpu", "physlm run c")
    assert text.startswith("# c: fails\n")


def test_expectations_say_whose_they_are() -> None:
    number = published("x", 0.41, "Figure 3", slack=0.02, reason="the interval of the paper")
    assert (number.relation, number.wanted) == ("about", "0.41 ± 0.02")
    assert number.origin == "Figure 3; the interval of the paper"
    assert [judge(number, Quantity("x", v, v - 0.01, v + 0.01, 9, "1")) for v in (0.38, 0.40, 0.44, 0.45)] == [
        "reproduced", "reproduced", "reproduced", "not reproduced"]
    statement = published_bound("x", "at least", 2.0, "Result 1", unit="bits")
    assert statement.wanted == "at least 2 bits" and statement.kind == "published"
    ours = bound("x", "at most", 0.1, "Figure 5: about 0", "10 % is our reading")
    assert ours.wanted == "at most 0.1 (our bound)" and ours.origin == "Figure 5: about 0; 10 % is our reading"
    for make in (lambda: published("x", 0.4, "Figure 3", slack=0.1, reason=""),
                 lambda: published_bound("x", "at least", 0.4, "Figure 3", slack=0.1)):
        with pytest.raises(UserError, match=r"slack of 0\.1 without a reason"):
            make()
    with pytest.raises(UserError, match="got kind 'guess'"):
        Expectation("x", 1.0, "at least", 0.0, "1", "s", kind="guess")  # type: ignore[arg-type]


def test_tables_say_what_an_interval_covers_what_to_know_of_a_number_and_what_was_left_out() -> None:
    peak = Quantity("peak", 2.1, 2.0, 2.2, 9, "bits/parameter", "items and seeds", "best of 3: rate 1, the largest")
    law = Law((peak, Quantity("sure", 1.0, 1.0, 1.0, 4, "1", "nothing")), {"not_finite": ["run-a: loss"]})
    text = verdict_markdown("p33", "c", "s", law, [expectation()], "gpu", "redo")
    assert "| 2.1 bits/parameter (best of 3: rate 1, the largest) | 2 to 2.2, over items and seeds | 9 |" in text
    assert "| sure | 1 | 1 to 1, exact | 4 |" in text
    assert "## Not finite, and left out\n\n- run-a: loss\n" in text
    assert Law.from_dict(law.to_dict()) == law
    plain = Law((measured(2.0, 2.2),)).to_dict()["quantities"][0]
    assert "covers" not in plain and "remark" not in plain


def test_markdown_says_claim_numbers_notes_deviations_and_how_to_redo() -> None:
    law = Law((measured(2.04, 2.36), measured(1.0, 1.2, name="line")),
              {"notes": ["best of 3"]})
    text = verdict_markdown("p33", "Two bits fit.", "arXiv", law, [expectation()], "gpu", "physlm run p33",
                            deviations=["words, not GPT-2 tokens"])
    assert text.startswith("# p33: reproduced\n")
    table = "| peak | at least 2 bits/parameter | 2.2 bits/parameter | 2.04 to 2.36 | 45 | reproduced |"
    for piece in ("Two bits fit.", "arXiv", table, "| line | 1.1 bits/parameter | 1 to 1.2 | 45 |", "- best of 3",
                  "- words, not GPT-2 tokens", "physlm run p33"):
        assert piece in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith(("| peak", "| quant"))}
    assert widths == {8, 5}


def test_markdown_without_a_law_still_stands() -> None:
    text = verdict_markdown("p33", "c", "s", None, [expectation()], "paper", "physlm run p33 --tier paper")
    assert "| peak | at least 2 bits/parameter | - | - | - | not run |" in text
    assert "Also measured" not in text


def test_verdicts_load_without_torch_pandas_or_matplotlib() -> None:
    code = ("import sys, physlm.laws.verdict; "
            "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
