"""Commands about results: figure, verify."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physlm import storage
from physlm.commands.options import (
    ExperimentsOption,
    ResultsOption,
    RunsOption,
    command,
    folder,
    note_not_loaded,
    number,
    text_table,
    trusted,
)
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.experiment import TIERS, experiment_names, load_experiment, part_of
from physlm.laws.diverged import diverged_sentence

if TYPE_CHECKING:
    from physlm.lab.experiment import Experiment
    from physlm.lab.verify import Checked


@command
def figure(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="An experiment; physlm list names them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those of all claims with committed results.")] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="TIER", help="Default: the largest that ran.")] = None,
    runs: RunsOption = None,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Draw a claim's figure again, or those of all, from measures.csv and law.json alone; no GPU is needed.

    \b
    Examples:
      physlm figure p33_capacity
      physlm figure --all
    """
    from physlm.lab.results import committed_claims, latest_folder, redraw

    if every == (name is not None):
        raise UserError(f"figure: got {'a claim and --all' if every else 'no claim'}, expected a claim or --all")
    if tier is not None and (tier not in TIERS or every):
        raise UserError(unknown_key("tier", tier, () if every else TIERS))
    where, found, ran = folder("experiments", experiments), folder("results", results), folder("runs", runs)
    if every and not trusted(where, experiments):
        raise UserError(f"--all: {where} is not physlm's own, and all its files would be run; expected a claim, "
                        f"or --experiments {shlex.quote(str(where))} if you trust them")
    for one in committed_claims(found) if name is None else [name]:
        experiment = load_experiment(one, where)
        target = storage.beneath(found, one) if name is None else latest_folder(one, tier, found, ran)
        print(redraw(experiment, target), flush=True)


@command
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One claim; all of them by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects instead of a table.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the result tables in Markdown, by part.")] = False,
    part: Annotated[str | None, typer.Option("--part", metavar="PART", help="Only claims of a part: 3.1.")] = None,
    into: Annotated[
        list[Path] | None,
        typer.Option("--into", metavar="FILE", help="Write the tables into this Markdown file, between the lines "
                     "<!-- table: part 3.3 --> and <!-- end of table -->; may be given several times."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write law.json and VERDICT.md again where they are not as refitted.")
    ] = False,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Say for every claim what was published, what we found with its 95 % interval, and whether they agree.

    Refits every law from measures.csv of the committed results, in seconds. Where law.json says something else, a line
    says so and the exit code is 1. Claims without results are "not run".

    Laws stand in experiment files, which are code: they are run where they are physlm's own, where --experiments names
    their folder, or for the one claim that is named. Else law.json is taken at its word.
    """
    from physlm.lab import verify as verifying

    if into and (name, part, as_json, markdown) != (None, None, False, False):
        raise UserError("--into: got a claim, a part or another output beside it, expected files alone: their tables "
                        "are of all claims")
    found, where = folder("results", results), folder("experiments", experiments)
    load = name is not None or trusted(where, experiments)
    if into and not load:
        raise UserError(f"--into: {where} is not physlm's own, and all its files would be run; expected "
                        f"--experiments {shlex.quote(str(where))} if you trust them")
    known = experiment_names(where) if where.is_dir() else []
    checked = _checked(name, part, found, where, known if load else ())
    if as_json:
        print(json.dumps([row for one in checked for row in one.rows], indent=2, allow_nan=False))
    elif markdown:
        print(verifying.markdown(checked))
    elif into:
        _write_tables(into, checked)
    else:
        rows = [row for one in checked for row in one.rows]
        print(verdict_table(rows, wanted([one.experiment for one in checked if one.experiment is not None])))
        print(f"\n{verifying.agreement(checked)}")
        for one in checked:
            if sentence := diverged_sentence(one.law):
                print(f"{one.claim}: {sentence}")
    for one in checked:
        if write and one.law is not None:
            verifying.rewrite(one, found)
        for text in one.disagreements:
            print(f"{one.claim}: {text}", file=sys.stderr)
        if one.experiment is None and (load or one.claim not in known):
            print(f"{one.claim}: no experiment file in {where}: its law.json is taken at its word", file=sys.stderr)
    if known and not load:
        note_not_loaded(where, known, "law.json is taken at its word, and claims without results are not shown")
    if any(one.disagreements for one in checked) and not write:
        raise typer.Exit(1)


def _write_tables(files: list[Path], checked: list[Checked]) -> None:
    """Write the tables of these files anew, all or none."""
    from physlm.lab.documents import with_tables

    for path, text in [(path, with_tables(path, checked)) for path in files]:
        with storage.output(path) as file:
            file.write(text.encode())
        print(path)


def _checked(
    name: str | None, part: str | None, results: Path, experiments: Path, known: Sequence[str]
) -> list[Checked]:
    """The claims that were asked for, refitted; of the experiments those of the names ``known`` may be run."""
    from physlm.lab.results import committed_claims
    from physlm.lab.verify import check

    names = sorted({*committed_claims(results), *known})
    if name is not None and name not in names:
        raise UserError(unknown_key("claim", name, names))
    checked = [check(claim, load_experiment(claim, experiments) if claim in known else None, results)
               for claim in (names if name is None else [name])]
    parts = [part_of(one.claim) for one in checked]
    if part is not None and part not in parts:
        raise UserError(unknown_key("part", part, parts))
    return [one for one, its in zip(checked, parts, strict=True) if part in (None, its)]


def wanted(experiments: list[Experiment]) -> dict[tuple[str, str], str]:
    """What each claim expects of each quantity, in words."""
    return {(claim.name, one.quantity): one.wanted_number for claim in experiments for one in claim.expect}


def verdict_table(rows: list[dict[str, Any]], wanted: dict[tuple[str, str], str]) -> str:
    """Verdicts as a plain table; ``wanted`` says what each quantity is held against."""
    header = ["claim", "quantity", "published", "ours", "95 % interval", "n", "unit", "tier", "verdict"]
    return text_table(header, [
        [row["claim"], row["quantity"], wanted.get((row["claim"], row["quantity"]), row["published"]), row["ours"],
         None if row["lo"] is None else f"{number(row['lo'])} to {number(row['hi'])}",
         row["n"], row["unit"], row["tier"], row["verdict"]]
        for row in rows
    ])
