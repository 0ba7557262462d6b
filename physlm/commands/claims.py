"""Commands about claims: list, show, run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from physlm.commands.executing import (
    DataParallelOption,
    DeviceOption,
    ExecutorOption,
    ProcessesOption,
    RayAddressOption,
    ShardOption,
    SlurmOption,
    TrackDirOption,
    TrackOption,
    Where,
)
from physlm.commands.options import (
    ExperimentsOption,
    NameArgument,
    NamesArgument,
    PartOption,
    ResultsOption,
    RunsOption,
    SetOption,
    TierOption,
    VerdictOption,
    choose_device,
    command,
    named_experiment,
    of_part,
    text_table,
    wanted_verdict,
)
from physlm.commands.tables import ClaimLine, claim_table, entry, paragraph, quantity_table
from physlm.errors import UserError
from physlm.lab.experiment import TIERS, experiment_names, part_name, stated_claim
from physlm.lab.folders import folder, is_installed, written_folder
from physlm.lab.planner import MAX_MEMBERS
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

MembersOption = Annotated[int, typer.Option("--members", min=1, help="Most runs that train together.")]


@command
def list_claims(part: PartOption = None, verdict: VerdictOption = None, experiments: ExperimentsOption = None,
                results: ResultsOption = None) -> None:
    """List the claims, one a line: what it says, how many of its quantities agree, and the worst miss.

    What is found is that of the committed results; physlm verify refits it. Experiment files are read and not run:
    physlm show NAME runs the one that it names.

    \b
    Examples:
      physlm list --part 3.1
      physlm list --verdict "not reproduced"
    """
    from physlm.lab.committed import committed_claims, committed_expectations, committed_verdicts
    from physlm.laws.verdict import by_asked, headline

    where, found, wanted = folder("experiments", experiments), folder("results", results), wanted_verdict(verdict)
    names, committed = experiment_names(where), committed_claims(found)
    if not names:
        raise UserError(f"{where}: no experiment files here, expected at least one NAME.py; give --experiments DIR")
    lines = []
    for name in of_part(names, part):
        rows = committed_verdicts(name, found) if name in committed else []
        expect = by_asked(committed_expectations(name, found) if rows else ())
        if wanted in (None, headline(rows, expect)):
            lines.append(ClaimLine(name, stated_claim(name, where) or "", rows, expect))
    print(claim_table(lines))
    whose = "that came with physlm" if is_installed(found) else f"in {found}/"
    print("", *paragraph(f"{len(lines)} of {len(names)} claims, with the results {whose}. physlm show NAME says more "
                         "of one, physlm verify NAME what was found."), sep="\n")


@command
def show(name: NameArgument, experiments: ExperimentsOption = None, runs: RunsOption = None,
         members: MembersOption = MAX_MEMBERS) -> None:
    """Show a claim: its sentence, source, published values, and the predicted cost of each tier.

    \b
    Example:
      physlm show p33_capacity
    """
    from physlm.lab import cost
    from physlm.lab.store import Store

    shown, store = named_experiment(name, experiments), Store(folder("runs", runs))
    print(f"{shown.name}  ({part_name(shown.part)})\n")
    print("\n".join((*entry("claim", shown.claim), *entry("source", shown.source), "")))
    for one in shown.expect:
        name = f"; {one.quantity} in the law" if one.label else ""
        print("\n".join(entry("expect", f"{one.words}: {one.wanted}  ({one.origin}{name})")))
    for tier in TIERS:
        specs = shown.specs(tier)
        finished = sum(store.run(spec).finished() for spec in specs)
        lines = cost.describe(cost.cost_of(specs, members, lambda spec: store.run(spec).trained()))
        print("\n" + "\n".join(row for i, line in enumerate(lines) for row in entry("" if i else tier, line)))
        if finished:
            diverged = sum(store.run(spec).diverged() is not None for spec in specs)
            lost = f", {diverged} of them diverged" if diverged else ""
            print(f"        {finished} of the {len(specs)} runs are finished in {store.root}{lost}")
    print("\nThe times assume the speeds explained in physlm/lab/cost.py; physlm bench train measures them here.")


@command
def run(
    context: typer.Context,
    names: NamesArgument,
    tier: TierOption = "demo",
    settings: SetOption = None,
    runs: RunsOption = None,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
    device: DeviceOption = None,
    members: MembersOption = MAX_MEMBERS,
    processes: ProcessesOption = None,
    executor: ExecutorOption = "local",
    ray_address: RayAddressOption = None,
    slurm: SlurmOption = None,
    shard: ShardOption = None,
    data_parallel: DataParallelOption = False,
    track: TrackOption = None,
    track_dir: TrackDirOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start tier paper without asking.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="KEY=VALUE", help="Train only the runs with this setting; may be given several "
                                                         "times. The report is about all that are finished.")
    ] = None,
    finished_only: Annotated[
        bool, typer.Option("--finished-only", help="Train nothing: report on the runs that are finished so far.")
    ] = False,
) -> None:
    """Run claims at one tier, from data to verdict. Finished runs are not repeated; a killed one is resumed.

    The runs of several claims are trained and measured together, what they share once; reports come at the end, or
    before it, of what is finished, from the same command with --finished-only.

    \b
    Examples:
      physlm run p33_capacity --tier demo
      physlm run p31_extraction p31_probing --tier demo
      physlm run p33_capacity --tier demo --set train.exposures=50 --set model.layers=3
      physlm run p41_mano --tier gpu --only train.seed=1 --only model.position=rope
      physlm run p33_capacity --tier gpu --processes 8
      physlm run p33_capacity --tier gpu --executor slurm --slurm partition=gpu
      physlm run p33_capacity --tier gpu --shard 1/2
      torchrun --nproc-per-node 4 -m physlm run p33_capacity --tier paper --data-parallel --yes

    Settings changed with --set apply to every run of the tier, those of the model and of the people also to the runs
    that it begins with, whose others are start.train.exposures and so on; the results of tiers gpu and paper then go to
    runs/TIER-custom/, so that committed results never come from altered settings.

    Where physlm was installed as a package, runs/ and results/ are made in the current folder.
    """
    from physlm.lab.parallel import of_torchrun
    from physlm.lab.selection import selected
    from physlm.lab.store import Store

    claims = list({claim.name: claim for claim in (named_experiment(name, experiments) for name in names)}.values())
    specs = {claim.name: claim.specs(tier, settings or ()) for claim in claims}
    store, target_root = Store(folder("runs", runs)), written_folder("results", results)
    where = Where(executor, device, processes, ray_address, slurm or (), shard, data_parallel, track or (), track_dir,
                  trains=not finished_only)
    where.check()
    chosen = {name: selected(planned, only or ()) for name, planned in specs.items()}
    leader = None
    if data_parallel:
        planned = [spec for specs_of_one in chosen.values() for spec in specs_of_one]
        leader = context.with_resource(of_torchrun(choose_device(device), planned))
        if leader is None:
            return  # not the first process, and its work is done
    sweep = partial(_sweep, store=store, where=where, members=members, leader=leader)
    if (part := where.part()) is not None:
        _sweep_shard(part, claims, tier, chosen, store, members, yes, sweep, settings or ())
        return
    if not finished_only:
        _announce(claims, tier, [spec for claim in claims for spec in chosen[claim.name]], store, members, yes)
        if len(claims) > 1:
            together = _together(claims, chosen)
            sweep(list(together), together)
    done: list[tuple[list[Run], tuple[str, ...]]] = []
    for claim in claims:
        if not finished_only:
            finished = sweep(chosen[claim.name], {spec: claim.asked(spec) for spec in chosen[claim.name]})
        if finished_only or only:
            finished = _finished(claim, specs[claim.name], store)
        _report(claim, tier, finished, len(specs[claim.name]), target_root, store.root, settings or ())
        done.append((finished, claim.measure_names))
    if len(claims) > 1:
        print(f"\nall {len(claims)} claims: {_time(*done)}")


def _command(claims: list[Experiment], tier: str, settings: Sequence[str]) -> str:
    """The command that runs these claims."""
    changed = [word for text in settings for word in ("--set", text)]
    return shlex.join(["physlm", "run", *(claim.name for claim in claims), "--tier", tier, *changed])


def _sweep_shard(
    shard: Shard, claims: list[Experiment], tier: str, chosen: dict[str, list[RunSpec]], store: Store, members: int,
    yes: bool, sweep: Callable[..., list[Run]], settings: Sequence[str],
) -> None:
    """Train and measure what one machine of several holds, and say how to go on; nothing is reported from a part."""
    from physlm.lab.shards import describe, divided

    together = _together(claims, chosen)
    mine = divided(list(together), shard.of)[shard.number - 1]
    print("\n".join(describe(shard, mine, list(together))))
    if mine:
        _announce(claims, tier, mine, store, members, yes)
        sweep(mine, {spec: together[spec] for spec in mine})
    print(f"\nshard {shard} is done: {len(mine)} runs are finished in {store.root}. When all {shard.of} shards are, "
          f"copy their run folders into one folder of runs and report with\n"
          f"    {_command(claims, tier, settings)} --finished-only")


def _announce(
    claims: list[Experiment], tier: str, specs: list[RunSpec], store: Any, members: int, yes: bool
) -> None:
    """Print what will be trained and what it will cost; ask before tier paper."""
    from physlm.lab import cost

    specs = list(dict.fromkeys(specs))
    todo = [spec for spec in specs if not store.run(spec).finished()]
    for claim in claims:
        print(f"{claim.name}, tier {tier}: {claim.claim}")
    if len(todo) < len(specs):
        print(f"{len(specs) - len(todo)} of {len(specs)} runs are finished in {store.root}")
    if diverged := sum(store.run(spec).diverged() is not None for spec in specs):
        print(f"{diverged} of them diverged and are left out")
    if not todo:
        return
    print("\n".join(cost.describe(cost.cost_of(todo, members, lambda spec: store.run(spec).trained()))), flush=True)
    if tier != "paper" or yes:
        return
    if not sys.stdin.isatty():
        raise UserError("tier paper: give --yes to start it at the cost above")
    if not typer.confirm("Start?"):
        raise UserError("tier paper: not started")


def _finished(experiment: Experiment, specs: list[RunSpec], store: Any) -> list[Run]:
    """The runs that need nothing more, without touching the others."""
    finished = [run for run in map(store.run, specs) if run.has(experiment.asked_names(run.spec))]
    if not finished:
        raise UserError(f"--finished-only: none of the {len(specs)} runs is finished in {store.root}; run without it")
    return finished


def _together(claims: list[Experiment], specs: dict[str, list[RunSpec]]) -> dict[RunSpec, tuple[AnyMeasure, ...]]:
    """The runs of all claims, each with the measures of those that it belongs to."""
    wanted: dict[RunSpec, tuple[AnyMeasure, ...]] = {}
    for claim in claims:
        for spec in specs[claim.name]:
            wanted[spec] = tuple(dict.fromkeys((*wanted.get(spec, ()), *claim.asked(spec))))
    return wanted


def _sweep(
    specs: list[RunSpec], measures: dict[RunSpec, tuple[AnyMeasure, ...]], store: Store, where: Where, members: int,
    leader: Leader | None,
) -> list[Run]:
    from physlm.lab.sweep import sweep

    executor = where.executor(leader.ranks.count if leader else None)
    return sweep(specs, measures, store, executor.device, members=members, executor=executor,
                 track=where.trackers(store.root), train=leader.train if leader else None)


def _report(claim: Experiment, tier: str, finished: list[Run], planned: int, results: Path, runs: Path,
            settings: Sequence[str]) -> None:
    """From finished runs to tables on the screen and files in a folder of ``results`` or ``runs``."""
    from physlm.lab.results import find, results_folder, write_finding
    from physlm.laws.verdict import by_asked

    target, redo = results_folder(claim.name, tier, results, runs, bool(settings)), _command([claim], tier, settings)
    finding = find(claim, tier, finished)
    _print_runs(finding)
    _print_law(finding)
    print("\n" + quantity_table(finding.verdicts, by_asked(claim.expect)))
    try:
        figure = write_finding(finding, target, finished, redo, planned=planned)
    except UserError as error:
        raise UserError(f"{error}; all {len(finished)} runs are finished and kept in {finished[0].path.parent}, so the "
                        "same command with another --results will only write") from error
    print(f"\ntime     {_time((finished, claim.measure_names))}")
    print(f"results  {target}\nfigure   {figure}")


def _time(*claims: tuple[list[Run], tuple[str, ...]]) -> str:
    """What runs and measures of claims took, each process counted by itself."""
    from physlm.lab.results import damaged_times, spent

    training, measuring = (seconds / 60 for seconds in spent(*claims).values())
    text = f"{training:.1f} minutes of training, shared runs included once, and {measuring:.1f} of measuring"
    damages = damaged_times(*claims)
    return f"{text}; {len(damages)} times are not counted: {damages[0]}" if damages else text


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
