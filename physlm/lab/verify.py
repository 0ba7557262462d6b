"""Verdicts again from the committed tables: every law is refitted from ``measures.csv`` and held against ``law.json``.

    results/<claim>/measures.csv -> experiment.law -> verdicts, and what law.json says otherwise

Takes half a minute for all claims; ``physlm.lab.refits`` keeps what came out until one of the files changes.  Free of
torch, and of pandas until something is refitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.committed import (
    committed_claims,
    committed_expectations,
    committed_verdicts,
    planned_runs,
    table_file,
)
from physlm.lab.experiment import Experiment, part_name, part_of
from physlm.laws.diverged import diverged_runs, still_diverged
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import (
    Expectation,
    Verdict,
    asked_for,
    by_asked,
    headline,
    measured,
    verdict_rows,
    verdict_words,
)

if TYPE_CHECKING:
    from physlm.lab.results import Finding

PRECISION = 1e-9  # relative: sums in another order, on another machine, differ in their last bits


@dataclass(frozen=True)
class Statement:
    """What is kept of an experiment beside its refitted law, so that its file need not be run to print that.

    Attributes: as those of ``Experiment``.
    """

    claim: str
    source: str
    expect: tuple[Expectation, ...]


@dataclass(frozen=True)
class Checked:
    """What the committed results of one claim say.

    Attributes:
        experiment: None where its file is not there, or may not be run; then the verdicts are those of law.json, and
            nothing was refitted.
        law: refitted; None where the claim has no results, or could not be refitted.
        rows: the verdicts, one for each expectation.
        disagreements: what law.json says otherwise, a sentence each.
        committed: what law.json says was asked for, where there is no experiment.
    """

    claim: str
    experiment: Experiment | Statement | None
    law: Law | None
    rows: list[dict[str, Any]]
    disagreements: tuple[str, ...] = ()
    committed: tuple[Expectation, ...] = ()

    @property
    def expect(self) -> dict[tuple[str, float], Expectation]:
        """What each quantity is held against."""
        return by_asked(self.committed if self.experiment is None else self.experiment.expect)

    @property
    def verdict(self) -> Verdict:
        """One word for the whole claim."""
        return headline(self.rows, self.expect)


def check(claim: str, experiment: Experiment | None, results: Path) -> Checked:
    """Refit the law of one claim, if it has committed results.

    Raises:
        UserError: a file of its results is missing or damaged, or its law does not fit its table.
    """
    if claim not in committed_claims(results):
        assert experiment is not None, claim
        return Checked(claim, experiment, None, verdict_rows(claim, None, experiment.expect, None))
    committed = committed_verdicts(claim, results)
    if experiment is None:
        return Checked(claim, None, None, committed, committed=committed_expectations(claim, results))
    from physlm.lab.results import fit, read_finding  # they import pandas

    finding = read_finding(experiment, results / claim)
    try:
        law = still_diverged(fit(experiment, finding.table), finding.law)
    except UserError as error:
        raise UserError(f"{table_file(results / claim)}: {error}") from error
    again = replace(finding, law=law)
    found = [*_quantities(finding.law, again.law), *_verdicts(committed, again.verdicts)]
    finished, planned = planned_runs(results / claim)
    whole = finished == planned and not _earlier_design(experiment, finding, planned)
    if whole and not diverged_runs(finding.law):
        found += [f"{row['quantity']}: expected, but all runs of tier {finding.tier} give no such quantity"
                  for row in again.verdicts if row["ours"] is None]
    return Checked(claim, experiment, again.law, again.verdicts, tuple(found))


def rewrite(checked: Checked, results: Path) -> None:
    """Write law.json and VERDICT.md of a refitted claim again; numbers that agree stay as they are to the last bit.

    The verdict says so where the runs are those of an earlier design of the claim.
    """
    from physlm.lab.results import read_finding, write_law  # they import pandas

    assert isinstance(checked.experiment, Experiment) and checked.law is not None, checked.claim
    folder = results / checked.claim
    finding = read_finding(checked.experiment, folder)
    kept = {one.name: one for one in finding.law.quantities}
    quantities = tuple(
        replace(one, value=old.value, lo=old.lo, hi=old.hi) if (old := kept.get(one.name)) and _same(one, old) else one
        for one in checked.law.quantities)
    finding = replace(finding, law=replace(checked.law, quantities=quantities))
    finished, planned = planned_runs(folder)
    write_law(finding, folder, f"physlm run {checked.claim} --tier {finding.tier}", finished, planned,
              _earlier_design(checked.experiment, finding, planned))


def _earlier_design(experiment: Experiment, finding: Finding, planned: int) -> bool:
    """Whether the claim's tier has come to other runs since, in number or because none of the measured ones is among
    them; what is asked of these the old ones need not give."""
    hashes = set(map(content_hash, experiment.specs(finding.tier)))
    measured = {str(run).rpartition("-")[2] for run in finding.table["run"].unique()}  # names end with the hash
    return len(hashes) != planned or not hashes & measured


def markdown(checked: Sequence[Checked]) -> str:
    """The result tables of these claims in Markdown, part by part: how many quantities agree, the claims, the rows."""
    return "\n\n".join(f"## {part_name(part)}\n\n{section(claims)}" for part, claims in by_part(checked).items())


def by_part(checked: Iterable[Checked]) -> dict[str, list[Checked]]:
    """The claims of each part."""
    parts: dict[str, list[Checked]] = {}
    for one in checked:
        parts.setdefault(part_of(one.claim), []).append(one)
    return parts


def section(checked: Sequence[Checked]) -> str:
    """How many quantities of these claims agree, what the claims are, and a table of their quantities."""
    claims = [f"- `{one.claim}` ({one.verdict}): {one.experiment.claim}" for one in checked if one.experiment]
    return "\n\n".join(filter(None, [agreement(checked), "\n".join(claims), _table(checked)]))


def agreement(checked: Iterable[Checked]) -> str:
    """``50 of 58 quantities agree with what is published, or with our bound on it, 18 of 19 tests of our own hold.``"""
    (agree, theirs), (hold, ours), unjudged, missing = _counts(checked)
    parts = []
    if theirs:
        parts.append(f"{agree} of {theirs} quantities agree with what is published, or with our bound on it")
    if ours:
        parts.append(f"{hold} of {ours} tests of our own hold")
    if unjudged:
        parts.append(f"{unjudged} {'quantity is' if unjudged == 1 else 'quantities are'} not judged: where "
                     "nothing was learnt, a best rate is an end of those tried, or the interval is too wide")
    parts += [f"{missing} {'quantity was' if missing == 1 else 'quantities were'} not measured"] if missing else []
    return f"{', '.join(parts) or 'nothing was measured'}."


def score(checked: Iterable[Checked]) -> str:
    """``50 of 58, and 18 of 19 tests of our own``; nothing where nothing was measured."""
    (agree, theirs), (hold, ours), unjudged, missing = _counts(checked)
    parts = [f"{agree} of {theirs}"] * bool(theirs) + [f"{hold} of {ours} tests of our own"] * bool(ours)
    open_ = [f"{unjudged} not judged"] * bool(unjudged) + [f"{missing} not measured"] * bool(missing)
    return ", and ".join(parts) + (f" ({', '.join(open_)})" if parts and open_ else "")


def _counts(checked: Iterable[Checked]) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    """What is published: how much agrees, of how much; tests of our own: likewise; how much was not judged,
    and how much not measured."""
    verdicts = [row["verdict"] for one in checked for row in one.rows]
    theirs, ours = ((verdicts.count(yes), verdicts.count(yes) + verdicts.count(no))
                    for yes, no in (("reproduced", "not reproduced"), ("holds", "fails")))
    return theirs, ours, verdicts.count("not judged"), verdicts.count("not run")


def _table(checked: Iterable[Checked]) -> str:
    lines = ["| claim | quantity | published, or asked for | ours | 95 % interval | n | verdict |",
             "|---|---|---|---|---|---|---|"]
    for one in checked:
        for row in one.rows:
            found = None if one.law is None else one.law.get(row["quantity"])
            if found is None and row["ours"] is not None:
                found = Quantity(row["quantity"], row["ours"], row["lo"], row["hi"], row["n"], row["unit"])
            expectation = asked_for(row, one.expect)
            wanted = row["published"] if expectation is None else expectation.wanted
            lines.append(f"| {one.claim} | {row['quantity']} | {wanted} "
                         f"| {measured(found)} | {verdict_words(row['verdict'], found, expectation)} |")
    return "\n".join(lines)


def _quantities(committed: Law, refitted: Law) -> Iterable[str]:
    """A sentence for each quantity that is not the same in both."""
    old, new = ({one.name: one for one in law.quantities} for law in (committed, refitted))
    for name in dict.fromkeys((*old, *new)):
        ours, theirs = new.get(name), old.get(name)
        if ours is None or theirs is None:
            yield f"{name}: law.json {'has' if theirs else 'lacks'} it, measures.csv gives {_text(ours)}"
        elif not _same(ours, theirs):
            yield f"{name}: law.json says {_text(theirs)}, measures.csv gives {_text(ours)}"


def _same(one: Quantity, other: Quantity) -> bool:
    """Up to the last bits."""
    return (one.n, one.unit) == (other.n, other.unit) and all(
        math.isclose(getattr(one, part), getattr(other, part), rel_tol=PRECISION, abs_tol=1e-12)
        for part in ("value", "lo", "hi"))


def _verdicts(committed: Sequence[dict[str, Any]], refitted: Sequence[dict[str, Any]]) -> Iterable[str]:
    old, new = (dict(zip(_numbered(rows), rows, strict=True)) for rows in (committed, refitted))
    for key in dict.fromkeys((*old, *new)):
        words = [f"{row['verdict']} ({row['published']:g})" if (row := rows.get(key)) else "nothing"
                 for rows in (old, new)]
        if words[0] != words[1]:
            yield f"verdict of {key[0]}: law.json says {words[0]}, the claim and measures.csv give {words[1]}"


def _numbered(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """The quantity of each row, and how many rows before it are on the same one, which may be held against two."""
    names = [row["quantity"] for row in rows]
    return [(name, names[:place].count(name)) for place, name in enumerate(names)]


def _text(found: Quantity | None) -> str:
    if found is None:
        return "none"
    return f"{found.value:.6g} ({found.lo:.6g} to {found.hi:.6g}, n {found.n}) {found.unit}"


