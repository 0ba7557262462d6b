"""Verdicts again from the committed tables: refitted, held against law.json, printed and written again."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes import CPU, FakeMeasure, FakeTrainer, load, make_spec, make_specs
from test_results import TOY

from physlm.errors import UserError
from physlm.lab import results, verify
from physlm.lab.experiment import TIERS, Experiment
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.laws.forms import Shares, laws
from physlm.laws.law import Fit, Law
from physlm.laws.verdict import own_test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of TOY, without the expectation that it does not measure."""
    runs = sweep(make_specs(), ("size",), Store(tmp_path / "runs"), CPU, progress=False, train=FakeTrainer(), load=load,
                 measure=FakeMeasure())
    results.write_finding(results.find(CLAIM, "gpu", runs), tmp_path / "results" / "p33_toy", runs, "redo")
    return tmp_path / "results"


CLAIM = dataclasses.replace(TOY, expect=TOY.expect[:1])


def changed(folder: Path, change: Any) -> None:
    path = folder / "p33_toy" / "law.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_whole_results_agree_with_themselves(folder: Path) -> None:
    found = verify.check("p33_toy", CLAIM, folder)
    assert found.disagreements == () and [row["verdict"] for row in found.rows] == ["reproduced"]
    before = {path.name: path.read_bytes() for path in (folder / "p33_toy").iterdir() if path.name != "VERDICT.md"}
    verify.rewrite(found, folder)
    assert {name: (folder / "p33_toy" / name).read_bytes() for name in before} == before
    assert "physlm run p33_toy --tier gpu" in (folder / "p33_toy" / "VERDICT.md").read_text()


def test_results_of_an_earlier_design_need_not_give_what_is_asked_of_todays(folder: Path) -> None:
    missing = dataclasses.replace(CLAIM, expect=TOY.expect)
    assert any("give no such quantity" in one for one in verify.check("p33_toy", missing, folder).disagreements)
    longer = dataclasses.replace(missing, runs=lambda tier: [*make_specs(), make_spec(seed=77)])
    found = verify.check("p33_toy", longer, folder)
    assert not any("give no such quantity" in one for one in found.disagreements)
    assert "not run" in [row["verdict"] for row in found.rows]
    verify.rewrite(found, folder)
    text = (folder / "p33_toy" / "VERDICT.md").read_text()
    assert f"{len(make_specs())} runs of an earlier design" in text and "# p33_toy: not run" in text


def test_as_many_other_runs_are_another_design_too(folder: Path) -> None:
    others = [make_spec(seed=70 + n) for n in range(len(make_specs()))]
    for runs, earlier in (((*others[:-1], *make_specs()[-1:]), False), (others, True)):
        today = dataclasses.replace(CLAIM, runs=dict.fromkeys(TIERS, runs).__getitem__)
        verify.rewrite(verify.check("p33_toy", today, folder), folder)
        assert ("of an earlier design" in (folder / "p33_toy" / "VERDICT.md").read_text()) == earlier


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda law: law["quantities"][0].update(value=law["quantities"][0]["value"] + 1e-3,
                                             hi=law["quantities"][0]["hi"] + 1),
     r"mean@8: law\.json says .*, measures\.csv gives"),
    (lambda law: law["quantities"][0].update(n=3), r"mean@8: law\.json says .*n 3"),
    (lambda law: law["quantities"][0].update(name="other@8"), r"other@8: law\.json has it, measures\.csv gives none"),
    (lambda law: law["quantities"].clear(), r"mean@8: law\.json lacks it, measures\.csv gives [0-9.]+"),
    (lambda law: law["verdicts"][0].update(verdict="not reproduced"),
     r"verdict of mean@8: law\.json says not reproduced \(0\), the claim and measures\.csv give reproduced"),
    (lambda law: law["verdicts"].clear(), r"verdict of mean@8: law\.json says nothing"),
])  # fmt: skip
def test_a_law_file_that_says_something_else_is_named_and_cured(folder: Path, change: Any, sentence: str) -> None:
    changed(folder, change)
    found = verify.check("p33_toy", CLAIM, folder)
    assert re.search(sentence, found.disagreements[0]), found.disagreements
    assert [row["verdict"] for row in found.rows] == ["reproduced"], "that of the table"
    verify.rewrite(found, folder)
    assert verify.check("p33_toy", CLAIM, folder).disagreements == ()


def test_a_quantity_that_is_held_against_two_numbers_has_two_verdicts(folder: Path) -> None:
    """Each is held against what law.json says of it, the first as well."""
    twice = dataclasses.replace(CLAIM, expect=(dataclasses.replace(CLAIM.expect[0], published=-1.0), *CLAIM.expect))
    verify.rewrite(verify.check("p33_toy", twice, folder), folder)
    assert verify.check("p33_toy", twice, folder).disagreements == ()
    changed(folder, lambda law: law["verdicts"][0].update(verdict="not reproduced"))
    found = verify.check("p33_toy", twice, folder)
    assert len(found.disagreements) == 1 and "law.json says not reproduced (-1)" in found.disagreements[0]


def test_the_last_bits_of_a_number_are_no_disagreement_and_are_kept(folder: Path) -> None:
    law = results.read_finding(CLAIM, folder / "p33_toy").law.quantities[0]
    changed(folder, lambda data: data["quantities"][0].update(value=law.value * (1 + 1e-14)))
    found = verify.check("p33_toy", CLAIM, folder)
    assert found.disagreements == ()
    verify.rewrite(found, folder)
    assert results.read_finding(CLAIM, folder / "p33_toy").law.quantities[0].value == law.value * (1 + 1e-14)


def test_what_no_table_knows_is_kept(folder: Path) -> None:
    changed(folder, lambda law: law["details"].update(diverged={"a-run": "loss nan after step 3"}, stale=1))
    found = verify.check("p33_toy", CLAIM, folder)
    assert found.law is not None and found.law.details["diverged"] == {"a-run": "loss nan after step 3"}
    verify.rewrite(found, folder)
    details = results.read_finding(CLAIM, folder / "p33_toy").law.details
    assert "diverged" in details and "stale" not in details


def test_an_expectation_that_names_nothing_is_named_where_all_runs_are_there(folder: Path) -> None:
    found = verify.check("p33_toy", TOY, folder)
    assert any(text.startswith("other@8: expected, but all runs of tier gpu") for text in found.disagreements)
    changed(folder, lambda data: data["runs"].update(planned=99))
    assert not any("expected, but" in text for text in verify.check("p33_toy", TOY, folder).disagreements)


def test_a_claim_without_results_is_not_run_and_one_without_its_file_is_taken_at_its_word(folder: Path) -> None:
    assert [row["verdict"] for row in verify.check("p33_none", CLAIM, folder).rows] == ["not run"]
    found = verify.check("p33_toy", None, folder)
    assert found.law is None and [row["verdict"] for row in found.rows] == ["reproduced"]


def test_a_law_that_does_not_fit_the_table_names_the_file(folder: Path) -> None:
    def law(table: pd.DataFrame) -> Law:
        raise UserError("no such column")

    with pytest.raises(UserError, match=r"p33_toy/measures\.csv: no such column"):
        verify.check("p33_toy", dataclasses.replace(CLAIM, law=law), folder)


def test_markdown_has_a_table_a_part_and_counts_what_agrees(folder: Path) -> None:
    one = verify.check("p33_toy", CLAIM, folder)
    mine = own_test("mean@8", "at least", 1e9, "too much", unit="bits")
    other = verify.check("p33_toy", dataclasses.replace(CLAIM, expect=(mine,)), folder)
    missing = verify.check("p41_none", dataclasses.replace(CLAIM, name="p41_none"), folder)
    text = verify.markdown([one, dataclasses.replace(other, claim="p33_more"), missing])
    assert text.count("## Part 3.3\n") == text.count("## Part 4.1\n") == 1
    agree = "1 of 1 quantities agree with what is published, or with our bound on it, 0 of 1 tests of our own hold."
    assert agree in text and "1 quantity was not measured." in text
    assert "| p41_none | mean@8 | at least 0 bits | - | - | - | not run |" in text
    assert "at least 1e+09 bits (our test)" in text and "| fails |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {8}


def test_what_is_not_judged_is_counted_by_itself_and_says_why(folder: Path) -> None:
    one = verify.check("p33_toy", CLAIM, folder)
    (row,) = one.rows
    quantity = one.law.get(row["quantity"]) if one.law else None
    assert quantity is not None
    unlearnt = Law((dataclasses.replace(quantity, unjudged="nothing learnt: the best has 0.1"),))
    guessed = dataclasses.replace(one, law=unlearnt, rows=[{**row, "verdict": "not judged"}])
    assert verify.agreement([guessed]) == (
        "1 quantity is not judged: where nothing was learnt, a best rate is an end of those tried, or the interval is "
        "too wide.")
    assert verify.score([one, guessed]) == "1 of 1 (1 not judged)"
    assert "| not judged: nothing learnt: the best has 0.1 |" in verify.markdown([guessed])


def claim(**changes: Any) -> Experiment:
    form = laws(Shares("loss", ("train.seed",), unit="nats", share=False))
    return dataclasses.replace(CLAIM, **{"law": form, "expect": (), "measures": ("completion",), **changes})


@pytest.mark.parametrize(("changes", "message"), [
    ({"expect": (own_test("losses@seed=0", "at least", 0, "w", unit="nats"),)}, "'losses'; did you mean 'loss'"),
    ({"expect": (own_test("loss@rate=0", "at least", 0, "w", unit="nats"),)}, "got settings rate, expected seed"),
    ({"expect": (own_test("loss@seed=0", "at least", 0, "w"),)}, "got unit 1, expected nats"),
    ({"expect": (own_test("loss@seed=0", "at least", 0, "w", unit="nats"),) * 2}, "more than once"),
    ({"columns": ("acuracy/cut=0",)}, "unknown name 'acuracy'; did you mean 'accuracy'"),
    ({"measures": ("completion", "completion")}, "'completion' more than once"),
    ({"law": Fit(TOY.law, ("mean",)), "expect": (own_test("mena@8", "at least", 0, "w"),)},
     "'mena'; did you mean 'mean'"),
])  # fmt: skip
def test_names_that_name_nothing_are_errors_at_load(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"p33_toy: .*{message}"):
        claim(**changes).check()
    claim(columns=("accuracy/cut=0",), expect=(own_test("loss@seed=0", "at least", 0, "w", unit="nats"),)).check()
