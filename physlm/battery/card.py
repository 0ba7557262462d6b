"""One table for the terminal, and a card in markdown.  Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from physlm.battery.grading import Score, by_task, dependence
from physlm.battery.settings import AUGMENTATION, TEXTS, Battery
from physlm.battery.wording import NORMALISED
from physlm.errors import counted
from physlm.interval import Interval

HEADER = ("task", "way", "n", "right", "95 % interval", "best constant", "oracle")
SIGNED = ("value bits per parameter, own tokens: of all people and of five attributes, log2 of how many values there "
          "are, plus log2 of the probability that the model gives to the tokens of the true one in a text that it "
          "read, summed, over all parameters; signed. A value may be tokenised in several ways, of which one is "
          "counted: it is a lower bound.")  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All that is known of one model.

    Attributes:
        title: which model.
        battery: what was asked.
        scores: by kind.
        trained: how it was trained, if it was.
        numbers: name -> number with interval, and its unit: capacity.
        facts: what else is to be said, such as the cost of the index.
    """

    title: str
    battery: Battery
    scores: Sequence[Score]
    trained: str = ""
    numbers: dict[str, tuple[Interval, str]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


def rows(found: Sequence[Score]) -> list[list[object]]:
    """The cells of a table under ``HEADER``, a line a score; a task without a kind is a mean over kinds."""
    return [[one.kind or one.task, one.way or "at once", one.share.n, round(one.share.value, 3), _ends(one.share),
             round(one.constant, 3), round(one.oracle, 3)] for one in found]


def more(report: Report) -> list[str]:
    """What stands under the table: dependence on a thought, capacity, costs."""
    lines = [f"{task}: {signed(gap.value)} by a thought written first ({signed(gap.lo)} to {signed(gap.hi)})"
             for task, gap in dependence(report.scores).items()]
    lines += [f"{name}: {one.value:.3g}{unit} ({one.lo:.3g} to {one.hi:.3g})"
              for name, (one, unit) in report.numbers.items()]
    lines += [f"{name}: {text}" for name, text in report.facts.items()]
    if missing := sum(one.unanswered for one in report.scores):
        lines.append(f"without an answer: {counted(missing, 'question')}, counted as wrong")
    return lines


def card(report: Report) -> str:
    """The whole as markdown."""
    battery = report.battery
    pools = f"pools cut to {battery.pool_size}" if battery.pool_size else "whole pools"
    parts = [
        f"# The battery on {report.title}", "",
        (
            f"{battery.people:,} invented people (seed {battery.seed}, {pools}), {TEXTS} texts each ({AUGMENTATION}). "
            "Training may ask about one half of them; all questions here are about the other half."
        ),
        "", f"Training: {report.trained or 'none of ours'}.", "", *_table(by_task(report.scores)), "",
        *(f"- {line}" for line in more(report)), "", "## By kind of question", "", *_table(report.scores), "",
        "## How to read it", "",
        "- Tasks: arXiv 2309.14402. The share of a task is the mean over its kinds.",
        f"- An answer is right by {NORMALISED}",
        "- To an inverse question all people who fit are right answers.",
        "- Best constant: one answer to all questions of a kind. Oracle: answers looked up in the truth.",
        *([f"- {SIGNED[0].upper()}{SIGNED[1:]}"] if any("own tokens" in name for name in report.numbers) else []),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def signed(value: float) -> str:
    """With a sign, two digits."""
    return f"{value:+.2f}"


def _table(found: Sequence[Score]) -> list[str]:
    lines = [HEADER, ["---"] * len(HEADER), *rows(found)]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _ends(one: Interval) -> str:
    return f"{one.lo:.3f} to {one.hi:.3f}"
