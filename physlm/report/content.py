"""What the pages say of each claim, read from ``results/<claim>/`` and, where it may be run, from the claim's file.

Nothing is refitted here: the numbers are those of law.json, which ``physlm verify`` holds against measures.csv.
Without the claim's file the sentences are those of VERDICT.md.  Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physlm import storage
from physlm.errors import UserError
from physlm.lab.committed import committed_claims, committed_expectations, committed_verdicts, planned_runs
from physlm.lab.environments import read_environments
from physlm.lab.experiment import Experiment, part_name, part_of
from physlm.lab.results import read_law
from physlm.lab.verify import Checked
from physlm.laws.diverged import diverged_runs, diverged_sentence
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import Expectation, shortly, verdict_rows
from physlm.report.bars import Bar, interval_bar

# The subjects of the series; a part that is not here is called by its number alone.
PARTS = {
    "1": "How language models learn context-free grammars",
    "2": "Noise and shorter chains of thought",
    "2.1": "Grade-school mathematics and hidden reasoning",
    "2.2": "Learning from mistakes",
    "3.1": "Knowledge: storage and extraction",
    "3.2": "Knowledge: manipulation",
    "3.3": "Knowledge: bits per parameter",
    "4": "Long texts, and reasoning over them",
    "4.1": "Architectures and Canon layers",
    "beyond": "What mixers remember, and at what cost",
}
AGREES = ("reproduced", "holds")
DISAGREES = ("not reproduced", "fails")
ALSO = "also measured"  # stands in place of a verdict on what nobody expected anything of
_CURE = "restore it from git, or run the claim again: finished runs are not repeated"


@dataclass(frozen=True)
class Judged:
    """One quantity of which something was published or asked for.

    Attributes:
        words: the quantity for people; empty where nothing but its name is known.
        wanted: what it is held against, in words.
        origin: where in the paper, and the reason for a slack or a bound.
        ours: None where it was not measured.
        bar: None where there is nothing of ours to draw.
    """

    quantity: str
    words: str
    wanted: str
    origin: str
    ours: Quantity | None
    verdict: str
    bar: Bar | None


@dataclass(frozen=True)
class Claim:
    """One claim as its page shows it.

    Attributes:
        sentence: empty where neither its file nor VERDICT.md tells it.
        tier: None where it was not run.
        others: what was measured besides, controls among it.
        diverged: by the names of the runs that diverged, why.
        environments: as in env.json, what each of the different machines was, and how many runs it made.
        seconds: of training and measuring, where they were kept.
        untimed: how many runs these lack.
        figure: the file; None where there is none.
        experiment: None where the claim's file is not there or may not be run.
    """

    name: str
    part: str
    sentence: str
    source: str
    tier: str | None
    checked: Checked
    judged: tuple[Judged, ...]
    others: tuple[Quantity, ...] = ()
    found: str = ""
    notes: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    diverged_sentence: str = ""
    diverged: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[int, int] | None = None
    environments: tuple[Mapping[str, Any], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    untimed: int = 0
    figure: Path | None = None
    experiment: Experiment | None = None

    @property
    def ran(self) -> bool:
        """Whether it has results."""
        return self.tier is not None

    @property
    def verdict(self) -> str:
        """One word for the whole claim."""
        return self.checked.verdict

    @property
    def redo(self) -> str:
        """The command that makes its numbers again, or for the first time."""
        return f"physlm run {self.name} --tier {self.tier or 'gpu'}"


def read_claims(results: Path, experiments: Mapping[str, Experiment]) -> list[Claim]:
    """Every claim with committed results, and those of ``experiments`` that were not run; by part and name.

    Raises:
        UserError: there is no claim, or a file of its results is damaged.
    """
    committed = committed_claims(results)
    names = sorted({*committed, *experiments}, key=lambda name: (part_of(name), name))
    if not names:
        raise UserError(f"{results}: no results and no experiments here, expected at least one claim; give --results "
                        "DIR or --experiments DIR")
    return [_ran(name, experiments.get(name), results) if name in committed else _not_run(experiments[name])
            for name in names]


def parts(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims of each part, in order."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.part, []).append(claim)
    return found


def part_title(part: str) -> str:
    """What a part is about: its name where that is not known."""
    return PARTS.get(part, part_name(part))


def _not_run(experiment: Experiment) -> Claim:
    rows = verdict_rows(experiment.name, None, experiment.expect, None)
    return Claim(experiment.name, experiment.part, experiment.claim, experiment.source, None,
                 Checked(experiment.name, experiment, None, rows), _judged(rows, None, experiment.expect),
                 deviations=tuple(experiment.deviations), experiment=experiment)


def _ran(name: str, experiment: Experiment | None, results: Path) -> Claim:
    folder = storage.beneath(results, name)
    tier, law = read_law(folder)
    expect = () if experiment is None else experiment.expect
    committed = committed_expectations(name, results) if experiment is None else ()
    if experiment is None:
        told, rows = _told(folder / "VERDICT.md"), committed_verdicts(name, results)
    else:
        told = {"Claim": experiment.claim, "Source": experiment.source, "Found": experiment.found}
        rows = verdict_rows(name, law, expect, tier)
    asked = {row["quantity"] for row in rows}
    environments, seconds, untimed = _environment(folder / "env.json")
    figure = folder / "figure.png"
    return Claim(
        name, part_of(name), told.get("Claim", ""), told.get("Source", ""), tier,
        Checked(name, experiment, law, rows, committed=committed), _judged(rows, law, expect),
        others=tuple(one for one in law.quantities if one.name not in asked), found=told.get("Found", ""),
        notes=_texts(law, "notes"), not_finite=_texts(law, "not_finite"),
        deviations=() if experiment is None else tuple(experiment.deviations),
        diverged_sentence=diverged_sentence(law), diverged=diverged_runs(law), runs=planned_runs(folder),
        environments=environments, seconds=seconds, untimed=untimed,
        figure=figure if figure.exists() else None, experiment=experiment)


def _judged(rows: Sequence[dict[str, Any]], law: Law | None, expect: Sequence[Expectation]) -> tuple[Judged, ...]:
    """One a verdict; without the claim's expectations, the published values of law.json as they stand there."""
    judged = []
    for place, row in enumerate(rows):
        expectation = expect[place] if expect else None
        ours = law.get(row["quantity"]) if law is not None else None
        wanted = shortly(row["published"]) if expectation is None else expectation.wanted
        bar = None if ours is None else interval_bar(ours, row["published"], expectation, wanted)
        words, origin = ("", "") if expectation is None else (expectation.words, expectation.origin)
        judged.append(Judged(row["quantity"], words, wanted, origin, ours, row["verdict"], bar))
    return tuple(judged)


def _told(path: Path) -> dict[str, str]:
    """What VERDICT.md says of the claim: Claim, Source, Found; nothing where it is not there."""
    if not path.exists():
        return {}
    return dict(re.findall(r"^\*\*(Claim|Source|Found)\.\*\* (.+)$", storage.read_text(path, _CURE), re.MULTILINE))


def _texts(law: Law, key: str) -> tuple[str, ...]:
    found = law.details.get(key, ())
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) else ()


def _environment(path: Path) -> tuple[tuple[Mapping[str, Any], ...], Mapping[str, float], int]:
    """Machines, times, and of how many runs the time is not known; none where env.json is not there."""
    if not path.exists():
        return (), {}, 0
    told = read_environments(path, _CURE)
    return tuple(told["environments"]), told["seconds"], told["untimed"]
