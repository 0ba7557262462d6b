"""The verdict: what was published beside what we measured, and whether the two agree.

The judgement looks at the whole interval, not at the point: a claim of "at least 2" is reproduced only if even the
lower end of our interval reaches 2 (less the tolerance that was written down before the run).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from physlm.errors import UserError
from physlm.laws.diverged import diverged_runs, diverged_sentence
from physlm.laws.law import Law, Quantity

Verdict = Literal["reproduced", "not reproduced", "not run"]
RELATIONS = ("at least", "at most", "about")


@dataclass(frozen=True)
class Expectation:
    """A published value, and what counts as finding it again.

    Attributes:
        quantity: name of the law's quantity it speaks about.
        published: the value in the paper.
        relation: ``at least`` and ``at most`` ask for one side, ``about`` for both.
        tolerance: slack in the unit of the quantity, fixed before the run.
        unit: must equal the quantity's unit.
        source: where in the paper.
    """

    quantity: str
    published: float
    relation: Literal["at least", "at most", "about"]
    tolerance: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise UserError(f"expectation {self.quantity}: got relation {self.relation!r}, expected one of {RELATIONS}")
        if not math.isfinite(self.published):
            raise UserError(f"expectation {self.quantity}: got published value {self.published}, expected a number")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(f"expectation {self.quantity}: got tolerance {self.tolerance}, expected at least 0")

    @property
    def wanted(self) -> str:
        """The published side of a table: ``at least 2 bits/parameter (tolerance 0.1)``."""
        return self._bound(_unit(self.unit))

    @property
    def wanted_number(self) -> str:
        """The same where the unit has a column of its own: ``at least 2 (tolerance 0.1)``."""
        return self._bound("")

    def _bound(self, unit: str) -> str:
        slack = f" (tolerance {self.tolerance:g})" if self.tolerance else ""
        return f"{self.relation} {self.published:g}{unit}{slack}"


def judge(expectation: Expectation, quantity: Quantity | None) -> Verdict:
    """Compare one published value with one interval [lo, hi].

    at least: reproduced iff lo >= published - tolerance; at most: iff hi <= published + tolerance;
    about: iff [lo, hi] meets [published - tolerance, published + tolerance].  No quantity: not run.

    Raises:
        UserError: the quantity is another one, or is in another unit, than the expectation's.
    """
    if quantity is None:
        return "not run"
    if (quantity.name, quantity.unit) != (expectation.quantity, expectation.unit):
        raise UserError(
            f"verdict: got {quantity.name} in {quantity.unit}, expected {expectation.quantity} in {expectation.unit}"
        )
    low, high = expectation.published - expectation.tolerance, expectation.published + expectation.tolerance
    if expectation.relation == "at least":
        holds = quantity.lo >= low
    elif expectation.relation == "at most":
        holds = quantity.hi <= high
    else:
        holds = quantity.lo <= high and quantity.hi >= low
    return "reproduced" if holds else "not reproduced"


def verdict_rows(
    claim: str, law: Law | None, expect: Sequence[Expectation], tier: str | None
) -> list[dict[str, Any]]:
    """One row per expectation, as ``physlm verify --json`` prints it.

    Args:
        claim: the experiment's name.
        law: None where the claim has not been run.
        tier: the tier that the law comes from.

    Returns:
        Dictionaries with the keys claim, quantity, published, ours, lo, hi, n, unit, tier, verdict.  ours, lo, hi
        and n are None for ``not run``.
    """
    rows = []
    for expectation in expect:
        found = law.get(expectation.quantity) if law is not None else None
        rows.append({
            "claim": claim,
            "quantity": expectation.quantity,
            "published": expectation.published,
            "ours": found.value if found else None,
            "lo": found.lo if found else None,
            "hi": found.hi if found else None,
            "n": found.n if found else None,
            "unit": expectation.unit,
            "tier": tier,
            "verdict": judge(expectation, found),
        })
    return rows


def verdict_markdown(
    name: str,
    claim: str,
    source: str,
    law: Law | None,
    expect: Sequence[Expectation],
    tier: str,
    redo: str,
    deviations: Sequence[str] = (),
) -> str:
    """The text of ``VERDICT.md``: claim, table of verdicts, other quantities, how to read them, deviations, redo.

    Args:
        name: the experiment's name.
        claim: its sentence.
        source: paper and figure.
        law: what the table came down to; None if not run.
        expect: the published values.
        tier: where the numbers come from.
        redo: the command that makes them again.
        deviations: how the run differs from the published one.

    ``law.details["notes"]``, a list of texts if present, says how to read the intervals; ``law.details["diverged"]``
    which runs diverged (``physlm.laws.diverged``).
    """
    details = law.details if law is not None else {}
    rows = verdict_rows(name, law, expect, tier)
    lines = [f"# {name}: {headline(rows)}", "", f"**Claim.** {claim}", "", f"**Source.** {source}", "",
             f"**Tier.** {tier}", ""]
    if sentence := diverged_sentence(law):
        lines += [f"**Diverged.** {sentence}:", "",
                  *(f"- `{run}`: {reason}" for run, reason in diverged_runs(law).items()), ""]
    lines += ["| quantity | published, or our reading of it | ours | 95 % interval | n | verdict | source |",
              "|---|---|---|---|---|---|---|"]
    for row, expectation in zip(rows, expect, strict=True):
        found = law.get(row["quantity"]) if law is not None else None
        lines.append(f"| {row['quantity']} | {expectation.wanted} | {_measured(found)} | {row['verdict']} "
                     f"| {expectation.source} |")
    judged = {expectation.quantity for expectation in expect}
    others = [quantity for quantity in (law.quantities if law is not None else ()) if quantity.name not in judged]
    if others:
        lines += ["", "Also measured:", "", "| quantity | ours | 95 % interval | n |", "|---|---|---|---|"]
        lines += [f"| {quantity.name} | {_measured(quantity)} |" for quantity in others]
    for title, texts in (("How to read the numbers", details.get("notes", ())),
                         ("Deviations from the published setting", deviations)):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    lines += ["", "## How to redo it", "", "```", *redo.strip().splitlines(), "```", ""]
    return "\n".join(lines)


def headline(rows: Sequence[dict[str, Any]]) -> Verdict:
    """One word for a whole claim: reproduced only if every quantity is, not run if none was judged."""
    verdicts = {row["verdict"] for row in rows}
    if "not reproduced" in verdicts:
        return "not reproduced"
    return "reproduced" if verdicts == {"reproduced"} else "not run"


def _measured(quantity: Quantity | None) -> str:
    if quantity is None:
        return "- | - | -"
    return f"{quantity.value:.4g}{_unit(quantity.unit)} | {quantity.lo:.4g} to {quantity.hi:.4g} | {quantity.n}"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"
