"""The command report."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physlm.commands.options import (
    ExperimentsOption,
    ResultsOption,
    RunsOption,
    command,
    folder,
    note_not_loaded,
    results_to_read,
)
from physlm.errors import counted
from physlm.lab.experiment import experiment_names, load_experiment
from physlm.lab.folders import trusted

if TYPE_CHECKING:
    from physlm.report.content import Claim
    from physlm.report.curves import Curves

DEFAULT = Path("report")


@command
def report(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")] = DEFAULT,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="Write one file, DIR/index.html, with figures and all in it.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
    runs: RunsOption = None,
) -> None:
    """Write the committed results as pages to look at: a wall of claims, a page a claim, all quantities, samples.

    The pages need no server and no network. Numbers are those of law.json; physlm verify holds them against their
    tables. Where the folders of a claim's runs are there, its page has their losses.

    \b
    Examples:
      physlm report --open
      physlm report --one-file --out /tmp/physlm
    """
    from physlm.report.build import Report, check_own, write_report
    from physlm.report.content import read_claims
    from physlm.report.samples import task_samples

    check_own(out)
    where = folder("experiments", experiments)
    known = experiment_names(where) if where.is_dir() else []
    load = trusted(where, experiments)
    if known and not load:
        note_not_loaded(where, known, "sentences are those of VERDICT.md, and claims without results are not shown")
    claims = read_claims(results_to_read(results),
                         {name: load_experiment(name, where) for name in known} if load else {})
    content = Report(claims, task_samples(), _curves(claims, folder("runs", runs)))
    index, size = write_report(content, out, one_file)
    print(f"{counted(len(claims), 'claim')}, {size / 1e6:.1f} MB: {index}")
    if show and not webbrowser.open(index.resolve().as_uri()):
        print("note: found no browser to open it with", file=sys.stderr)


def _curves(claims: list[Claim], runs: Path) -> dict[str, Curves]:
    """Of the claims whose runs are there."""
    from physlm.lab.store import Store
    from physlm.report.curves import curves_of

    if not runs.is_dir():
        return {}
    store = Store(runs)
    found = {claim.name: curves_of(claim.experiment, claim.tier, store) for claim in claims if claim.experiment}
    return {name: curves for name, curves in found.items() if curves is not None}
