"""What ``physlm run`` does once it knows what is asked for: announce, train and measure, and report.  Free of torch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from physlm.commands.executing import Where
from physlm.commands.options import text_table
from physlm.commands.tables import paragraph, quantity_table
from physlm.errors import UserError, counted
from physlm.laws.diverged import diverged_runs, diverged_sentence

if TYPE_CHECKING:
    from physlm.lab.experiment import Experiment
    from physlm.lab.parallel import Leader
    from physlm.lab.results import Finding
    from physlm.lab.run import Run
    from physlm.lab.shards import Shard
    from physlm.lab.store import Store
    from physlm.measures.measure import AnyMeasure
    from physlm.training.config import RunSpec

FITTED_ROWS = 40  # of a law's quantities on the screen; some laws have hundreds
DIVERGED_ROWS = 20  # of the runs that diverged


@dataclass(frozen=True)
class Asked:
    """What ``physlm run`` was asked for.

    Attributes:
        settings: changes of all runs, ``--set``.
        specs: the runs of the tier, by the name of the claim.
        chosen: those of them that are trained, ``--only``.
        store: of the runs.
        results: the folder of results.
        where: by whom, and whether anything is trained at all.
        members: most runs that train together.
        yes: tier paper starts without asking.
        known: the folder of results whose runs count as finished, ``--from-results``; None where none does.
        leader: of the processes of torchrun that train each run together.
    """

    claims: Sequence[Experiment]
    tier: str
    settings: Sequence[str]
    specs: Mapping[str, list[RunSpec]]
    chosen: Mapping[str, list[RunSpec]]
    store: Store
    results: Path
    where: Where
    members: int
    yes: bool
    known: Path | None = None
    leader: Leader | None = None

    def command(self, claims: Sequence[Experiment]) -> str:
        """The command that runs these of its claims."""
        changed = [word for text in self.settings for word in ("--set", text)]
        return shlex.join(["physlm", "run", *(claim.name for claim in claims), "--tier", self.tier, *changed])


def train_shard(asked: Asked, shard: Shard) -> None:
    """Train and measure what one machine of several holds, and say how to go on; nothing is reported from a part."""
    from physlm.lab.shards import describe, divided

    _restore(asked)
    together = _together(asked.claims, asked.chosen)
    mine = divided(list(together), shard.of)[shard.number - 1]
    print("\n".join(describe(shard, mine, list(together))))
    if mine:
        _announce(asked, mine)
        _sweep(asked, {spec: together[spec] for spec in mine})
    runs = counted(len(mine), "finished run")
    print("", *paragraph(f"shard {shard} is done, {runs} in {asked.store.root}. When all {shard.of} shards are, copy "
                         "their run folders into one folder of runs and report with"),
          f"    {asked.command(asked.claims)} --finished-only", sep="\n")


def train_and_report(asked: Asked) -> None:
    """Train and measure the runs of all claims together, then report on each claim; or report alone, of what is
    finished."""
    trains, several = asked.where.trains, len(asked.claims) > 1
    _restore(asked)
    if trains:
        _announce(asked, list(chain(*asked.chosen.values())))
        if several:
            _sweep(asked, _together(asked.claims, asked.chosen))
    done: list[tuple[list[Run], tuple[str, ...]]] = []
    for claim in asked.claims:
        planned, chosen = asked.specs[claim.name], asked.chosen[claim.name]
        if trains:
            finished = _sweep(asked, {spec: claim.asked(spec) for spec in chosen})
        if not trains or len(chosen) < len(planned):
            finished = _finished(claim, planned, asked.store)
        _report(asked, claim, finished)
        done.append((finished, claim.measure_names))
    if several:
        print(f"\nall {len(asked.claims)} claims: {_time(*done)}")


def _restore(asked: Asked) -> None:
    """Take the runs that committed results know from there, and say how many these are."""
    if asked.known is None:
        return
    from physlm.lab.restore import restore
    from physlm.measures.measure import name_of

    wanted = {spec: list(map(name_of, measures)) for spec, measures in _together(asked.claims, asked.specs).items()}
    claims = {claim.name: claim.measure_names for claim in asked.claims}
    made = restore(wanted, asked.store, asked.known, claims, asked.where.trains)
    print(f"{counted(len(made), 'run')} taken from {asked.known}, without weights")


def _announce(asked: Asked, specs: Sequence[RunSpec]) -> None:
    """Print what will be trained and what it will cost; ask before tier paper."""
    from physlm.lab import cost

    store, specs = asked.store, list(dict.fromkeys(specs))
    todo = [spec for spec in specs if not store.run(spec).finished()]
    for claim in asked.claims:
        print("\n".join(paragraph(f"{claim.name}, tier {asked.tier}: {claim.claim}")))
    if len(todo) < len(specs):
        print(f"{len(specs) - len(todo)} of {len(specs)} runs are finished in {store.root}")
    if diverged := sum(store.run(spec).diverged() is not None for spec in specs):
        print(f"{diverged} of them diverged and {'is' if diverged == 1 else 'are'} left out")
    if not todo:
        if asked.where.track:
            print("note: --track: all runs are finished, and finished runs are not copied to a tracker",
                  file=sys.stderr)
        return
    costs = cost.cost_of(todo, asked.members, lambda spec: store.run(spec).trained())
    print("\n".join(line for text in cost.describe(costs) for line in paragraph(text)), flush=True)
    if asked.tier != "paper" or asked.yes:
        return
    if not sys.stdin.isatty():
        raise UserError("tier paper: give --yes to start it at the cost above")
    if not typer.confirm("Start?"):
        raise UserError("tier paper: not started")


def _finished(claim: Experiment, specs: Sequence[RunSpec], store: Store) -> list[Run]:
    """The runs that need nothing more, without touching the others."""
    finished = [run for run in map(store.run, specs) if run.has(claim.asked_names(run.spec))]
    if not finished:
        raise UserError(f"--finished-only: none of the {len(specs)} runs is finished in {store.root}; run without it")
    return finished


def _together(
    claims: Sequence[Experiment], specs: Mapping[str, list[RunSpec]]
) -> dict[RunSpec, tuple[AnyMeasure, ...]]:
    """The runs of claims, by the name of the claim, each with the measures of all claims that it belongs to."""
    wanted: dict[RunSpec, tuple[AnyMeasure, ...]] = {}
    for claim in claims:
        for spec in specs[claim.name]:
            wanted[spec] = tuple(dict.fromkeys((*wanted.get(spec, ()), *claim.asked(spec))))
    return wanted


def _sweep(asked: Asked, measures: dict[RunSpec, tuple[AnyMeasure, ...]]) -> list[Run]:
    """Train these runs and take these measures of them."""
    from physlm.lab.sweep import sweep

    where, store, leader = asked.where, asked.store, asked.leader
    executor = where.executor(leader.ranks.count if leader else None)
    return sweep(list(measures), measures, store, executor.device, members=asked.members, executor=executor,
                 track=where.trackers(store.root), train=leader.train if leader else None)


def _report(asked: Asked, claim: Experiment, finished: list[Run]) -> None:
    """From finished runs to tables on the screen and files in a folder of results, or beside the runs."""
    from physlm.lab.results import find, results_folder, write_finding
    from physlm.laws.verdict import by_asked

    target = results_folder(claim.name, asked.tier, asked.results, asked.store.root, bool(asked.settings))
    finding = find(claim, asked.tier, finished)
    _print_runs(finding)
    _print_law(finding)
    print("\n" + quantity_table(finding.verdicts, by_asked(claim.expect)))
    try:
        figure = write_finding(finding, target, finished, asked.command([claim]),
                               planned=len(asked.specs[claim.name]))
    except UserError as error:
        runs = counted(len(finished), "finished run")
        raise UserError(f"{error}; {finished[0].path.parent} keeps {runs}, so the "
                        "same command with another --results will only write") from error
    print(f"\ntime     {_time((finished, claim.measure_names))}")
    print(f"results  {target}\nfigure   {figure}")


def _time(*claims: tuple[list[Run], tuple[str, ...]]) -> str:
    """What runs and measures of claims took, each process counted by itself."""
    from physlm.lab.environments import damaged_times, spent

    training, measuring = (seconds / 60 for seconds in spent(*claims).values())
    text = f"{training:.1f} minutes of training, shared runs included once, and {measuring:.1f} of measuring"
    damages = damaged_times(*claims)
    if not damages:
        return text
    return f"{text}; {counted(len(damages), 'time')} {'is' if len(damages) == 1 else 'are'} not counted: {damages[0]}"


def _print_runs(finding: Finding) -> None:
    """One line a run: the settings in which the runs differ, and what was measured."""
    from physlm.laws.columns import labels, same_places

    table = finding.table
    table = table.assign(number=labels(table))
    measured = {same_places(name): name for name in dict.fromkeys(table["number"])}
    quantities = [measured[same_places(name)] for name in finding.experiment.columns if same_places(name) in measured]
    quantities = quantities or list(measured.values())
    settings = [column for column in table.columns
                if column.startswith(("task.", "train.")) and table[column].nunique(dropna=False) > 1]
    header = ["label", *settings, "params_used"]
    rows = []
    for _, group in table.groupby("run", sort=False):
        values = dict(zip(group["number"], group["value"], strict=True))
        rows.append([*(_plain(group.iloc[0][column]) for column in header), *(values.get(q) for q in quantities)])
    if rows:
        print("\n" + text_table([*(name.split(".")[-1] for name in header), *quantities], rows))
    if sentence := diverged_sentence(finding.law):
        print(f"\n{sentence}; smaller learning rates may help")
        diverged = diverged_runs(finding.law)
        for name, reason in list(diverged.items())[:DIVERGED_ROWS]:
            print(f"    {name}: {reason}")
        if len(diverged) > DIVERGED_ROWS:
            print(f"    ... and {len(diverged) - DIVERGED_ROWS} more, in VERDICT.md and law.json of the results")


def _print_law(finding: Finding) -> None:
    rows = [[q.name, q.value, f"{q.lo:.4g} to {q.hi:.4g}", q.unit, q.n, q.remark] for q in finding.law.quantities]
    if not rows:
        return
    print("\n" + text_table(["fitted", "value", "95 % interval", "unit", "n", ""], rows[:FITTED_ROWS]))
    if len(rows) > FITTED_ROWS:
        print(f"... and {len(rows) - FITTED_ROWS} more, in VERDICT.md and law.json of the results")


def _plain(value: Any) -> Any:
    """A numpy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
