"""Commands about results: figure, verify."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physlm import storage
from physlm.commands import completion
from physlm.commands.options import (
    ExperimentsOption,
    OptionalNameArgument,
    PartOption,
    ResultsOption,
    RunsOption,
    VerdictOption,
    command,
    named_experiment,
    note_not_loaded,
    of_part,
    results_to_read,
    wanted_verdict,
)
from physlm.commands.tables import ClaimLine, claim_table, paragraph, quantity_table
from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.lab.experiment import TIERS, experiment_names, full_name, load_experiment, stated_claim
from physlm.lab.folders import folder, is_installed, trusted
from physlm.laws.diverged import diverged_sentence

if TYPE_CHECKING:
    from physlm.lab.refits import Refits
    from physlm.lab.verify import Checked


@command
def figure(
    name: OptionalNameArgument = None,
    every: Annotated[bool, typer.Option("--all", help="Those of all claims with committed results.")] = False,
    tier: Annotated[str | None, typer.Option("--tier", metavar="TIER", help="Default: the largest that ran.",
                                             autocompletion=completion.tiers)] = None,
    runs: RunsOption = None,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Draw a claim's figure again, or those of all, from measures.csv and law.json alone; no GPU is needed.

    It replaces figure.png beside them; of the results that an installed package brought, NAME.png in the current
    folder is drawn.

    \b
    Examples:
      physlm figure p33_capacity
      physlm figure --all
    """
    from physlm.lab.committed import committed_claims
    from physlm.lab.results import latest_folder, redraw

    if every == (name is not None):
        raise UserError(f"figure: got {'a claim and --all' if every else 'no claim'}, expected a claim or --all")
    if tier is not None and (tier not in TIERS or every):
        raise UserError(unknown_key("tier", tier, () if every else TIERS))
    where, found, ran = folder("experiments", experiments), folder("results", results), folder("runs", runs)
    if every and not trusted(where, experiments):
        raise UserError(f"--all: {where} is not physlm's own, and all its files would be run; expected a claim, "
                        f"or --experiments {shlex.quote(str(where))} if you trust them")
    for one in committed_claims(found) if name is None else [name]:
        claim = load_experiment(one, where) if name is None else named_experiment(one, experiments)
        source = storage.beneath(found, one) if name is None else latest_folder(claim.name, tier, found, ran)
        target = Path(f"{claim.name}.png") if is_installed(source) else source / "figure.png"
        print(redraw(claim, source, target), flush=True)


@command
def verify(
    name: OptionalNameArgument = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects instead of a table.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the result tables in Markdown, by part.")] = False,
    part: PartOption = None,
    verdict: VerdictOption = None,
    into: Annotated[
        list[Path] | None,
        typer.Option("--into", metavar="FILE", help="Write the tables into this Markdown file, between the lines "
                     "<!-- table: part 3.3 --> and <!-- end of table -->; may be given several times."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write law.json and VERDICT.md again where they are not as refitted.")
    ] = False,
    refit: Annotated[
        bool, typer.Option("--refit", help="Refit every law, also those of which nothing has changed since the last "
                                           "time.")
    ] = False,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Say of every claim how many of its quantities agree with what was published; of NAME, each with its interval.

    Refits every law from measures.csv of the committed results, in half a minute. Where law.json says something else, a
    line says so and the exit code is 1. Claims without results are "not run". What a law came to is kept in
    ~/.cache/physlm and taken from there until its table, its experiment or physlm changes; a note says of how many.

    Laws stand in experiment files, which are code: they are run where they are physlm's own, where --experiments names
    their folder, or for the one claim that is named. Else law.json is taken at its word.

    \b
    Examples:
      physlm verify --part 3.1 --verdict "not reproduced"
      physlm verify p33_capacity
    """
    from physlm.lab import verify as verifying
    from physlm.lab.documents import text_with_places
    from physlm.lab.refits import Refits

    if into and (name, part, verdict, as_json, markdown) != (None, None, None, False, False):
        raise UserError("--into: got a claim, a part or another output beside it, expected files alone: their tables "
                        "are of all claims")
    found, where, wanted = results_to_read(results), folder("experiments", experiments), wanted_verdict(verdict)
    load = name is not None or trusted(where, experiments)
    for path in into or ():
        text_with_places(path)  # before half a minute of work
    _refuse_to_write(found if write else None, where if into and not load else None)
    known = experiment_names(where) if where.is_dir() else []
    checked, kept = _checked(name, part, Refits(where, found), known if load else (), refit or write)
    checked = [one for one in checked if wanted in (None, one.verdict)]
    _show(checked, where, detailed=name is not None, as_json=as_json, markdown=markdown, into=into)
    for one in checked:
        if write and one.law is not None:
            verifying.rewrite(one, found)
    _note_amiss(checked, known, where, load)
    if kept:
        claims, they = ("claim as it was", "it") if kept == 1 else ("claims as they were", "them")
        print(f"note: {kept} {claims} last refitted, since nothing of {they} has changed; --refit refits all",
              file=sys.stderr)
    if any(one.disagreements for one in checked) and not write:
        raise typer.Exit(1)


def _refuse_to_write(results: Path | None, not_trusted: Path | None) -> None:
    """Refuse to write into results of an installed package, and tables of experiments that may not be run."""
    if results is not None and is_installed(results):
        raise UserError(f"--write: {results} came with the installed package; expected --results DIR of your own")
    if not_trusted is not None:
        raise UserError(f"--into: {not_trusted} is not physlm's own, and all its files would be run; expected "
                        f"--experiments {shlex.quote(str(not_trusted))} if you trust them")


def _show(checked: Sequence[Checked], experiments: Path, detailed: bool, as_json: bool, markdown: bool,
          into: list[Path] | None) -> None:
    """In the form that was asked for."""
    from physlm.lab import verify as verifying

    if as_json:
        print(json.dumps([row for one in checked for row in one.rows], indent=2, allow_nan=False))
    elif markdown:
        print(verifying.markdown(checked))
    elif into:
        _write_tables(into, checked)
    elif detailed:
        print("\n\n".join(_details(one) for one in checked))
    else:
        _print_claims(checked, experiments)


def _note_amiss(checked: Sequence[Checked], known: Sequence[str], experiments: Path, load: bool) -> None:
    """Say where law.json disagrees with its table, and which could not be held against theirs.

    Args:
        known: the experiments that there are.
        load: whether they may be run.
    """
    for one in checked:
        for text in one.disagreements:
            print(f"{one.claim}: {text}", file=sys.stderr)
    alone = [one.claim for one in checked if one.experiment is None and (load or one.claim not in known)]
    if alone:  # one note: a folder of somebody else's experiments has none of ours
        print(*paragraph(f"note: {counted(len(alone), 'claim')} without an experiment file in {experiments}, whose "
                         f"law.json is taken at its word: {', '.join(alone)}"), sep="\n", file=sys.stderr)
    if known and not load:
        note_not_loaded(experiments, known, "law.json is taken at its word, and claims without results are not shown")


def _print_claims(checked: Sequence[Checked], experiments: Path) -> None:
    """One line a claim, how much agrees in all, and which runs diverged."""
    from physlm.lab import verify as verifying

    print(claim_table([
        ClaimLine(one.claim, one.experiment.claim if one.experiment else stated_claim(one.claim, experiments) or "",
                  one.rows, one.expect) for one in checked]))
    if not checked:
        print("\nno claim is as asked for")
        return
    print("", *paragraph(f"{verifying.agreement(checked)} physlm verify NAME shows those of one claim."), sep="\n")
    for one in checked:
        if sentence := diverged_sentence(one.law):
            print(f"{one.claim}: {sentence}")


def _details(one: Checked) -> str:
    """A claim: its verdict, its sentence, and every quantity."""
    from physlm.lab import verify as verifying

    tier = next((f", tier {row['tier']}" for row in one.rows if row["tier"]), "")
    lines = paragraph(f"{one.claim}{tier}: {one.verdict}. {verifying.agreement([one])}")
    if one.experiment is not None:
        lines += ["", *paragraph(one.experiment.claim), *paragraph(one.experiment.source)]
    lines += ["", quantity_table(one.rows, one.expect)]
    if sentence := diverged_sentence(one.law):
        lines += ["", *paragraph(f"{sentence}.")]
    return "\n".join(lines)


def _write_tables(files: list[Path], checked: Sequence[Checked]) -> None:
    """Write the tables of these files anew, all or none."""
    from physlm.lab.documents import with_tables

    for path, text in [(path, with_tables(path, checked)) for path in files]:
        with storage.output(path) as file:
            file.write(text.encode())
        print(path)


def _checked(
    name: str | None, part: str | None, refits: Refits, known: Sequence[str], refit: bool
) -> tuple[list[Checked], int]:
    """The claims that were asked for, and how many of them are as they were last refitted.

    Args:
        known: the experiments that may be run.
        refit: take none from an earlier time.
    """
    from physlm.lab.committed import committed_claims
    from physlm.lab.verify import check

    names = sorted({*committed_claims(refits.results), *known})
    checked: list[Checked] = []
    kept, note = 0, ""
    for claim in of_part(names if name is None else [full_name(name, names)], part):
        mine = claim in known
        found = refits.get(claim) if mine and not refit else None
        kept += found is not None
        if found is None:
            found = check(claim, load_experiment(claim, refits.experiments) if mine else None, refits.results)
            try:
                if mine and not note:
                    refits.put(found)
            except UserError as error:
                note = f"note: what was refitted is not kept: {error}"
        checked.append(found)
    if note:
        print(note, file=sys.stderr)
    return checked, kept
