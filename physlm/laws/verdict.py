"""The verdict: what was published beside what we measured, and whether the two agree.

The judgement looks at the whole interval, not at the point: a claim of "at least 2" is reproduced only if even the
lower end of our interval reaches 2 (less the tolerance that was written down before the run).

Where the number that is published is itself the least or the most that may be true ("2 bits or more"), that question is
the wrong one: a world in which it is exactly 2 is asked to seem larger, and fails at any precision.  "not below 2" is
reproduced unless our interval excludes it, so that a world of 2 agrees and one that is lower by more than our interval
is wide does not.  So the wider the interval, the more agrees, and of fewer runs it is wider.  Such an expectation says
with how wide an interval it is judged at the most, which follows from the design of the runs, seeds above all; what
agrees with a wider one is not judged.  "About 2" is met more easily by a wider interval too, and may say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from physlm.errors import UserError, shown
from physlm.interval import NOTHING
from physlm.laws.diverged import diverged_runs, diverged_sentence
from physlm.laws.law import Law, Quantity

Verdict = Literal["reproduced", "not reproduced", "holds", "fails", "not judged", "not finished", "not run"]
Relation = Literal["at least", "at most", "about", "not below", "not above"]
Kind = Literal["published", "bound", "test"]
RELATIONS = ("at least", "at most", "about", "not below", "not above")
LENIENT = ("not below", "not above")  # which a wider interval meets more easily: they say with how wide a one
STRICT = ("at least", "at most")  # which a wider interval meets less easily; "about" lies between
ONE_SIDED = {"at least": "≥", "not below": "≥", "at most": "≤", "not above": "≤"}  # and their signs
KINDS = ("published", "bound", "test")


@dataclass(frozen=True)
class Expectation:
    """What a quantity is held against, fixed before the run; made by ``published``, ``bound`` or ``own_test``.

    Attributes:
        quantity: name of the law's quantity it speaks about.
        published: the value: the paper's, or our bound.
        relation: ``at least`` and ``at most`` ask the whole interval to be on one side, ``not below`` and ``not above``
            ask it to reach that side, ``about`` to reach what lies between two.
        tolerance: slack in the unit of the quantity.
        unit: must equal the quantity's unit.
        source: where in the paper; of a test of our own, what it is for.
        kind: ``published``: the paper states it. ``bound``: the paper states less, such as "about 0" or "far above",
            and the number that has to be reached is ours. ``test``: the paper says nothing of it; it is no
            reproduction, but holds or fails.
        reason: for the slack or for our bound.
        label: the quantity in words, for people: "most bits per parameter, 1000 exposures".
        widest: of ``not below`` and ``not above``, which have to have it, and of ``about``, which may: the width
            hi - lo, in the quantity's unit, of the widest interval with which agreement is judged.  None of the others.
    """

    quantity: str
    published: float
    relation: Relation
    tolerance: float
    unit: str
    source: str
    kind: Kind = "published"
    reason: str = ""
    label: str = ""
    widest: float | None = None

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise UserError(f"expectation {self.quantity}: got relation {self.relation!r}, expected one of {RELATIONS}")
        if self.kind not in KINDS:
            raise UserError(f"expectation {self.quantity}: got kind {self.kind!r}, expected one of {KINDS}")
        if not math.isfinite(self.published):
            raise UserError(f"expectation {self.quantity}: got published value {self.published}, expected a number")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(f"expectation {self.quantity}: got tolerance {self.tolerance}, expected at least 0")
        if self.kind == "published" and self.tolerance and not self.reason:
            raise UserError(f"expectation {self.quantity}: got a slack of {self.tolerance:g} without a reason, "
                            "expected one, such as 'the 95 % interval of the paper'")
        if self.relation in LENIENT if self.widest is None else not 0 < self.widest < math.inf:
            raise UserError(f"expectation {self.quantity}: got {self.relation!r} with widest {self.widest}, "
                            "expected a number above 0: the width of the widest interval with which it is judged")
        if self.widest is not None and self.relation in STRICT:
            raise UserError(f"expectation {self.quantity}: got widest {self.widest} with {self.relation!r}, expected it"
                            f" with {', '.join(map(repr, RELATIONS[2:]))} alone")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; ``widest`` is left out of those that have none."""
        return {name: value for name, value in asdict(self).items() if name != "widest" or value is not None}

    @classmethod
    def from_dict(cls, data: Any) -> Expectation:
        """What ``to_dict`` made of one.

        Raises:
            UserError: unknown or missing keys, a wrong type, or what no expectation can be.
        """
        names = {field.name: field.default is MISSING for field in fields(cls)}
        if not isinstance(data, dict) or set(data) - set(names) or {one for one in names if names[one]} - set(data):
            raise UserError(f"expectation: got {shown(data)}, expected an object with {', '.join(names)}")
        for name, value in data.items():
            allowed = (int, float) if name in ("published", "tolerance", "widest") else (str,)
            if type(value) not in allowed:
                raise UserError(f"expectation: {name}: got {shown(value)}, expected a {allowed[-1].__name__}")
        return cls(**data)

    @property
    def words(self) -> str:
        """The quantity for people: its label, or its name without the signs of ours."""
        return self.label or words_of(self.quantity)

    def miss(self, lo: float, hi: float) -> float:
        """How far an interval [lo, hi] is from what is asked for: 0 where they agree, else the gap between them.

        The gap is in the unit of the quantity, or, where more than 1 was published, a share of that.
        """
        low, high = self.region
        gap = {"at least": low - lo, "at most": hi - high}.get(self.relation, max(low - hi, lo - high))
        return max(0.0, gap) / max(1.0, abs(self.published))

    def unjudged(self, quantity: Quantity) -> str:
        """Why agreement of this quantity means nothing: its own reason, or that its interval is too wide; or empty."""
        width = quantity.hi - quantity.lo
        if quantity.unjudged or self.widest is None or width <= self.widest:
            return quantity.unjudged
        return (f"the interval is {width:.3g}{_unit(self.unit)} wide, wider than {self.widest:g}, up "
                f"to which {self.relation!r} is judged")

    @property
    def region(self) -> tuple[float, float]:
        """Where a number agrees; one side is open unless it is ``about``."""
        sign = ONE_SIDED.get(self.relation, "")
        return (-math.inf if sign == "≤" else self.published - self.tolerance,
                math.inf if sign == "≥" else self.published + self.tolerance)

    @property
    def wanted(self) -> str:
        """The published side of a table: ``at least 2 bits/parameter``, ``0.41 ± 0.2``, ``at most 0.1 (our bound)``."""
        mark = {"published": "", "bound": " (our bound)", "test": " (our test)"}[self.kind]
        unit = _unit(self.unit)
        if self.relation == "about":
            slack = f" ± {shortly(self.tolerance)}" if self.tolerance else ""
            return f"{shortly(self.published)}{slack}{unit}{mark}"
        slack = f" (tolerance {shortly(self.tolerance)})" if self.tolerance else ""
        return f"{self.relation} {shortly(self.published)}{unit}{slack}{mark}"

    @property
    def origin(self) -> str:
        """Source and reason in one text."""
        return "; ".join(part for part in (self.source, self.reason) if part)


def published(quantity: str, value: float, source: str, *, slack: float, reason: str, unit: str = "1",
              label: str = "", widest: float | None = None) -> Expectation:
    """A number of the paper, two-sided.

    Args:
        slack: how far ours may be from it: the paper's own uncertainty, or more, as ``reason`` says.
        widest: up to which width of ours agreement is judged; None: any.
    """
    return Expectation(quantity, value, "about", slack, unit, source, "published", reason, label, widest)


def published_bound(quantity: str, relation: Relation, value: float, source: str, *, slack: float = 0.0,
                    reason: str = "", unit: str = "1", label: str = "", widest: float | None = None) -> Expectation:
    """A statement of the paper that is one-sided itself: "at least 2 bits", "better than", "more than none".

    ``not below`` where it may be true with equality, as "2 bits" may, ``at least`` where it has to be shown.
    """
    return Expectation(quantity, value, relation, slack, unit, source, "published", reason, label, widest)


def bound(quantity: str, relation: Relation, value: float, source: str, reason: str, *, slack: float = 0.0,
          unit: str = "1", label: str = "", widest: float | None = None) -> Expectation:
    """A statement of the paper of which the number that has to be reached is ours."""
    return Expectation(quantity, value, relation, slack, unit, source, "bound", reason, label, widest)


def own_test(quantity: str, relation: Relation, value: float, why: str, *, unit: str = "1",
             label: str = "", widest: float | None = None) -> Expectation:
    """A test of our own, of which the paper says nothing."""
    return Expectation(quantity, value, relation, 0.0, unit, why, "test", label=label, widest=widest)


def judge(expectation: Expectation, quantity: Quantity | None) -> Verdict:
    """Compare one value with one interval [lo, hi].

    at least: reproduced iff lo >= published - tolerance; at most: iff hi <= published + tolerance;
    about: iff [lo, hi] meets [published - tolerance, published + tolerance];
    not below: iff hi >= published - tolerance; not above: iff lo <= published + tolerance.
    A test of our own holds or fails by the same rule.  No quantity: not run.  One that agrees, and says itself that
    agreeing means nothing, since nothing was learnt or a best rate is an end of its grid: not judged.  Nor is one that
    agrees with an interval wider than the expectation's widest, if that has one.

    Raises:
        UserError: the quantity is another one, or is in another unit, than the expectation's.
    """
    if quantity is None:
        return "not run"
    if (quantity.name, quantity.unit) != (expectation.quantity, expectation.unit):
        raise UserError(
            f"verdict: got {quantity.name} in {quantity.unit}, expected {expectation.quantity} in {expectation.unit}"
        )
    agrees = expectation.miss(quantity.lo, quantity.hi) == 0
    if agrees and expectation.unjudged(quantity):
        return "not judged"
    if expectation.kind == "test":
        return "holds" if agrees else "fails"
    return "reproduced" if agrees else "not reproduced"


def by_asked(expect: Iterable[Expectation]) -> dict[tuple[str, float], Expectation]:
    """Each under its quantity and number, as a row of verdicts names them: one quantity may be held against two."""
    return {(one.quantity, one.published): one for one in expect}


def asked_for(row: Mapping[str, Any], expect: Mapping[tuple[str, float], Expectation]) -> Expectation | None:
    """What a row of verdicts was held against, of ``by_asked``; None where that is not known."""
    return expect.get((row["quantity"], row["published"]))


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
    found: str = "",
) -> str:
    """The text of ``VERDICT.md``: claim, what was found, verdicts, other quantities, how to read, deviations, redo.

    Args:
        name: the experiment's name.
        claim: its sentence.
        source: paper and figure.
        law: what the table came down to; None if not run.
        expect: the published values.
        tier: where the numbers come from.
        redo: the command that makes them again.
        deviations: how the run differs from the published one.
        found: what failed and why, in a sentence; nothing is judged by it.

    ``law.details["notes"]``, a list of texts if present, says how to read the intervals; ``["not_finite"]`` what was
    left out; ``["diverged"]`` which runs diverged (``physlm.laws.diverged``).
    """
    details = law.details if law is not None else {}
    rows = verdict_rows(name, law, expect, tier)
    lines = [f"# {name}: {headline(rows, by_asked(expect))}", "", f"**Claim.** {claim}", "",
             f"**Source.** {source}", "", f"**Tier.** {tier}", "", *([f"**Found.** {found}", ""] if found else [])]
    if sentence := diverged_sentence(law):
        lines += [f"**Diverged.** {sentence}:", "",
                  *(f"- `{run}`: {reason}" for run, reason in diverged_runs(law).items()), ""]
    lines += ["| quantity | published, or asked for | ours | 95 % interval | n | verdict | source |",
              "|---|---|---|---|---|---|---|"]
    for row, expectation in zip(rows, expect, strict=True):
        ours = law.get(row["quantity"]) if law is not None else None
        lines.append(f"| {row['quantity']} | {expectation.wanted} | {measured(ours)} "
                     f"| {verdict_words(row['verdict'], ours, expectation)} | {expectation.origin} |")
    judged = {expectation.quantity for expectation in expect}
    others = [quantity for quantity in (law.quantities if law is not None else ()) if quantity.name not in judged]
    if others:
        lines += ["", "Also measured:", "", "| quantity | ours | 95 % interval | n |", "|---|---|---|---|"]
        lines += [f"| {quantity.name} | {measured(quantity)} |" for quantity in others]
    for title, texts in (("Not finite, and left out", details.get("not_finite", ())),
                         ("How to read the numbers", details.get("notes", ())),
                         ("Deviations from the published setting", deviations)):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
    lines += ["", "## How to redo it", "", "```", *redo.strip().splitlines(), "```", ""]
    return "\n".join(lines)


def shortly(number: float) -> str:
    """A number that was asked for, with at most four significant digits; from 10,000 on with six.

    >>> shortly(1.02042), shortly(0.3), shortly(20000.0)
    ('1.02', '0.3', '20000')
    """
    return f"{number:.4g}" if abs(number) < 10_000 else f"{number:g}"


def words_of(quantity: str) -> str:
    """A quantity's name without the signs of ours.

    >>> words_of("answer@hints/people<=2500/month_mod2")
    'answer (hints, people up to 2500, month mod2)'
    """
    name, _, places = quantity.partition("@")
    where = ", ".join(places.split("/")) if places else ""
    text = f"{name} ({where})" if where else name
    return text.replace("<=", " up to ").replace("=", " ").replace("_", " ")


def verdict_words(verdict: Verdict, quantity: Quantity | None, expectation: Expectation | None) -> str:
    """A verdict for people: with the reason, where a number was measured and is not judged.

    Args:
        expectation: what it was held against; None where that is not known.
    """
    if verdict != "not judged" or quantity is None:
        return verdict
    why = quantity.unjudged if expectation is None else expectation.unjudged(quantity)
    return f"{verdict}: {why}" if why else verdict


def headline(rows: Sequence[dict[str, Any]], expect: Mapping[tuple[str, float], Expectation]) -> Verdict:
    """One word for a whole claim.

    Reproduced only if everything that is published is, and all tests of our own hold; a claim of such tests alone
    holds or fails.  If nothing disagreed: not run if nothing was measured, not finished if only a part was, and not
    judged if all was measured and something of it says itself that agreeing means nothing.  No single row is not
    finished.

    Args:
        rows: the verdicts.
        expect: what they were held against (``by_asked``), which says of what was not run or not judged whether it is
            a test of our own.
    """
    verdicts = {row["verdict"] for row in rows}
    tests = all(_is_test(row, expect) for row in rows)
    if verdicts & {"not reproduced", "fails"}:
        return "fails" if tests else "not reproduced"
    if not verdicts - {"not run"}:
        return "not run"
    if "not run" in verdicts:
        return "not finished"
    if "not judged" in verdicts:
        return "not judged"
    return "holds" if tests else "reproduced"


def _is_test(row: Mapping[str, Any], expect: Mapping[tuple[str, float], Expectation]) -> bool:
    """Whether a row of verdicts is of a test of our own, which alone hold or fail."""
    if row["verdict"] in ("not judged", "not run"):
        asked = asked_for(row, expect)
        return asked is not None and asked.kind == "test"
    return row["verdict"] in ("holds", "fails")


def measured(quantity: Quantity | None) -> str:
    """Three cells of a markdown table: value, interval and what it covers, n."""
    if quantity is None:
        return "- | - | -"
    remark = f" ({quantity.remark})" if quantity.remark else ""
    covers = {"": "", NOTHING: ", exact"}.get(quantity.covers, f", over {quantity.covers}")
    return (f"{quantity.value:.4g}{_unit(quantity.unit)}{remark} | {quantity.lo:.4g} to {quantity.hi:.4g}{covers} "
            f"| {quantity.n}")


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"
