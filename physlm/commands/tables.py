"""Tables of claims and of their quantities for people: one line a claim, no line longer than the screen."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from physlm.commands.options import number, printable
from physlm.commands.terminal import width
from physlm.laws.verdict import ONE_SIDED, Expectation, asked_for, shortly, words_of

_GAP = "  "
BOUND_MARK = "*"  # behind a number that is our bound on what is published
UNJUDGED = ("not judged: nothing was learnt there, a best rate is an end of those tried, or the interval is too wide; "
            "VERDICT.md has the reason.")
NOTE = f"{BOUND_MARK} the number is our bound on what is published; what holds or fails is a test of our own."


@dataclass(frozen=True)
class ClaimLine:
    """What a list says of one claim.

    Attributes:
        name: of the experiment.
        sentence: what it claims; empty where that is not known.
        rows: its verdicts (``VERDICT_KEYS``); none where the claim has no results.
        expect: what its quantities were held against, as far as that is known.
    """

    name: str
    sentence: str
    rows: Sequence[Mapping[str, Any]]
    expect: Mapping[tuple[str, float], Expectation]


def claim_table(claims: Sequence[ClaimLine]) -> str:
    """Name, sentence in short, how many quantities agree, and the worst miss, a line each."""
    cells = [(one.name, printable(one.sentence), agreeing(one.rows), worst_miss(one)) for one in claims]
    names, counts = (max(len(line[i]) for line in [("claim", "", "agree"), *cells]) for i in (0, 2))
    room = width() - names - counts - 3 * len(_GAP)
    said = room * 9 // 20
    lines = [("claim", "says", "agree", "worst miss"), ("-" * names, "-" * said, "-" * counts, "-" * (room - said)),
             *cells]
    return "\n".join(_GAP.join((name.ljust(names), shortened(text, said).ljust(said), agree.ljust(counts),
                                shortened(worst, room - said))).rstrip() for name, text, agree, worst in lines)


def quantity_table(rows: Sequence[Mapping[str, Any]], expect: Mapping[tuple[str, float], Expectation]) -> str:
    """What was asked of each quantity, what was found, and whether the two agree; words go on in further lines."""
    header = ("quantity", "asked", "ours", "95 % interval", "n", "verdict")
    cells = []
    for row in rows:
        expectation = asked_for(row, expect)
        words = words_of(row["quantity"]) if expectation is None else expectation.words
        asked = number(row["published"]) if expectation is None else asked_of(expectation)
        unit = "" if row["unit"] == "1" else f" [{row['unit']}]"
        interval = "-" if row["lo"] is None else f"{row['lo']:.3g} to {row['hi']:.3g}"
        cells.append((words + unit, asked, number(row["ours"]), interval, number(row["n"]), row["verdict"]))
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(1, len(header))]
    room = max(20, min(width() - sum(widths) - len(widths) * len(_GAP), max(len(line[0]) for line in [header, *cells])))
    lines = []
    for line in [header, ("-" * room, *("-" * one for one in widths)), *cells]:
        first, *more = textwrap.wrap(line[0], room, subsequent_indent="  ") or [""]
        padded = [text.rjust(size) if right else text.ljust(size) for text, size, right in
                  zip(line[1:], widths, (False, True, False, True, False), strict=True)]
        lines += [_GAP.join([first.ljust(room), *padded]).rstrip(), *more]
    notes = [NOTE] * any(map(_is_bound, expect.values())) + [UNJUDGED] * any(
        row["verdict"] == "not judged" for row in rows)
    return "\n".join([*lines, *([""] if notes else []), *(line for note in notes for line in paragraph(note))])


def asked_of(expectation: Expectation, short: bool = False) -> str:
    """``at least 0.8``, with its slack ``at least 0.8 - 0.05``, in short ``≥ 0.8``; a bound of ours has a star."""
    value, slack = shortly(expectation.published), shortly(expectation.tolerance) if expectation.tolerance else ""
    if expectation.relation == "about":
        text = f"{value} ± {slack}" if slack else value
    else:
        sign = "-" if ONE_SIDED[expectation.relation] == "≥" else "+"
        relation = ONE_SIDED[expectation.relation] if short else expectation.relation
        text = f"{relation} {value}" + (f" {sign} {slack}" if slack and not short else "")
    return text if short or not _is_bound(expectation) else f"{text} {BOUND_MARK}"


def agreeing(rows: Sequence[Mapping[str, Any]]) -> str:
    """``6 of 9`` quantities that were judged; a dash where none was."""
    verdicts = [row["verdict"] for row in rows if row["verdict"] not in ("not run", "not judged")]
    return f"{sum(one in ('reproduced', 'holds') for one in verdicts)} of {len(verdicts)}" if verdicts else "-"


def worst_miss(claim: ClaimLine) -> str:
    """The quantity that is furthest from what is asked for, and how many were not measured or not judged."""
    missing = sum(row["verdict"] == "not run" for row in claim.rows)
    if missing == len(claim.rows):
        return "not run"
    unjudged = sum(row["verdict"] == "not judged" for row in claim.rows)
    texts = [f"{missing} not measured"] * bool(missing) + [f"{unjudged} not judged"] * bool(unjudged)
    missed = [row for row in claim.rows if row["verdict"] in ("not reproduced", "fails")]
    if missed:
        row = max(missed, key=lambda one: _miss(one, asked_for(one, claim.expect)))
        expectation = asked_for(row, claim.expect)
        words = words_of(row["quantity"]) if expectation is None else expectation.words
        asked = shortly(row["published"]) if expectation is None else asked_of(expectation, short=True)
        texts.append(f"{_missing_end(row, expectation)}, asked {asked}: {words}")
    return "; ".join(texts)


def paragraph(text: str) -> list[str]:
    """A text in lines that fit."""
    return textwrap.wrap(printable(text), width())


def folded(text: str) -> str:
    """A text whose lines stay where they are; those that do not fit go on in lines that are indented further."""
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines += textwrap.wrap(line, width(), subsequent_indent=indent, break_long_words=False,
                               break_on_hyphens=False) or [""]
    return "\n".join(lines)


def entry(name: str, text: str) -> list[str]:
    """``name`` and beside it a text, in lines that fit."""
    begin = f"{name:<7} "
    return textwrap.wrap(printable(text), width(), initial_indent=begin, subsequent_indent=" " * len(begin))


def shortened(text: str, most: int) -> str:
    """The text, or its whole words that fit, and an ellipsis."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    whole = cut.rsplit(" ", 1)[0] if " " in cut and text[most - 1] != " " else cut
    return (whole if len(whole) > most // 2 else cut).rstrip(" ,;:(") + "…"


def _is_bound(expectation: Expectation) -> bool:
    return expectation.kind == "bound"


def _missing_end(row: Mapping[str, Any], expectation: Expectation | None) -> str:
    """The number, or, where that is as asked for and its interval is not, the end of the interval that is not."""
    if expectation is None or expectation.miss(row["ours"], row["ours"]) > 0:
        return f"{row['ours']:.3g}"
    return f"{row['lo' if ONE_SIDED.get(expectation.relation) == '≥' else 'hi']:.3g} at worst"


def _miss(row: Mapping[str, Any], expectation: Expectation | None) -> float:
    if expectation is None:
        return float(abs(row["ours"] - row["published"]) / max(1.0, abs(row["published"])))
    return expectation.miss(row["lo"], row["hi"])
