"""Tables within Markdown files: written where they are marked, and nowhere else; marks that mark nothing are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_results import TOY

from physlm.errors import UserError
from physlm.lab.documents import with_tables
from physlm.lab.verify import Checked, markdown, score, section
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import own_test, verdict_rows

CLAIM = dataclasses.replace(TOY, expect=(*TOY.expect[:1], own_test("mean@8", "at least", 1e9, "too much", unit="bits")))
END = "<!-- end of table -->"


def found(value: float = 1.0, claim: str = "p33_toy") -> Checked:
    law = Law((Quantity("mean@8", value, value, value, 9, "bits"),))
    experiment = dataclasses.replace(CLAIM, name=claim)
    return Checked(claim, experiment, law, verdict_rows(claim, law, CLAIM.expect, "gpu"))


def page(folder: Path, text: str, name: str = "page.md") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_what_is_marked_is_written_and_all_else_is_left(tmp_path: Path) -> None:
    example = "    <!-- table: part 9.9 -->\n"
    text = f"# Title\n{example}\n<!-- table: part 3.3 -->\nold\n{END}\nbetween\n<!-- table: part 4.1 -->\n{END}"
    checked = [found(), found(claim="p41_toy")]
    once = with_tables(page(tmp_path, text), checked)
    for one in checked:
        assert f"\n\n{section([one])}\n\n{END}" in once and section([one]) in markdown(checked)
    assert once.startswith(f"# Title\n{example}") and "\nbetween\n" in once and "\nold\n" not in once
    assert with_tables(page(tmp_path, once), checked) == once
    assert with_tables(page(tmp_path, once), [found(-2.0), checked[1]]) != once


def test_a_claims_sentence_and_word_stand_above_its_rows() -> None:
    third = section([found()]).splitlines()[2]
    assert third == f"- `p33_toy` (not reproduced): {CLAIM.claim}", "a test of its own fails"


@pytest.mark.parametrize(("values", "text"), [
    ((), ""), ((1.0,), "1 of 1, and 0 of 1 tests of our own"), ((1.0, -1.0), "1 of 2, and 0 of 2 tests of our own"),
])  # fmt: skip
def test_the_score_counts_what_agrees(values: tuple[float, ...], text: str) -> None:
    checked = [found(value) for value in values]
    missing = Checked("p33_toy", CLAIM, None, verdict_rows("p33_toy", None, CLAIM.expect, None))
    assert score(checked) == text and score([*checked, missing]) == (f"{text} (2 not measured)" if text else "")


@pytest.mark.parametrize(("text", "message"), [
    ("nothing", "found no place for a table, or one without an end"),
    ("<!-- table: part 3.3 -->\n", "one without an end"),
    (f"<!-- table: part 3.3 -->\n<!-- table: part 3.3 -->\n{END}", "one without an end"),
    (f"<!-- table: part 3.4 -->\n{END}", r"page\.md: part: unknown name '3\.4'; did you mean '3\.3'"),
    (f"<!-- table: none*.md -->\n{END}", r"no pages none\*\.md"),
    (f"<!-- table: /etc/*.md -->\n{END}", r"no pages /etc/\*\.md"),
    (f"<!-- table: other.md -->\n{END}", r"other\.md: expected a first line '# Part 3\.3: question\?'"),
])  # fmt: skip
def test_marks_that_mark_nothing_are_named(text: str, message: str, tmp_path: Path) -> None:
    page(tmp_path, "# A title\n\nText.\n", "other.md")
    with pytest.raises(UserError, match=message):
        with_tables(page(tmp_path, text), [found()])


def test_a_missing_file_is_named_and_nobody_is_told_to_delete_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.md: cannot read: .*; expected a Markdown file"):
        with_tables(tmp_path / "none.md", [found()])
