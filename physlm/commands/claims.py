"""Commands about claims: list, show, run."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from physlm.commands.executing import (
    DataParallelOption,
    DeviceOption,
    ExecutorOption,
    MpsOption,
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
    results_to_read,
    wanted_verdict,
)
from physlm.commands.running import Asked, train_and_report, train_shard
from physlm.commands.tables import ClaimLine, claim_table, entry, paragraph
from physlm.errors import UserError
from physlm.lab.experiment import TIERS, experiment_names, part_name, stated_claim
from physlm.lab.folders import folder, is_installed, written_folder
from physlm.lab.planner import MAX_MEMBERS

MembersOption = Annotated[int, typer.Option("--members", min=1, metavar="N", help="Most runs that train together.")]


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

    where, found, wanted = folder("experiments", experiments), results_to_read(results), wanted_verdict(verdict)
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
    mps: MpsOption = False,
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
    from_results: Annotated[
        bool, typer.Option("--from-results", help="Runs whose numbers stand in the folder of results count as "
                                                  "finished, without weights: what was committed is not trained again.")
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
      physlm run p33_capacity --tier gpu --processes 8 --mps
      physlm run p33_capacity --tier gpu --executor slurm --slurm partition=gpu
      physlm run p33_capacity --tier gpu --shard 1/2
      physlm run p33_exposures --tier gpu --from-results
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
    store, target = Store(folder("runs", runs)), written_folder("results", results)
    where = Where(executor, device, processes, ray_address, slurm or (), shard, data_parallel, mps, track or (),
                  track_dir, trains=not finished_only)
    where.check()
    chosen = {name: selected(planned, only or ()) for name, planned in specs.items()}
    leader = None
    if data_parallel:
        leader = context.with_resource(of_torchrun(choose_device(device), list(chain(*chosen.values()))))
        if leader is None:
            return  # not the first process, and its work is done
    known = folder("results", results) if from_results else None
    asked = Asked(claims, tier, settings or (), specs, chosen, store, target, where, members, yes, known, leader)
    if (part := where.part()) is not None:
        train_shard(asked, part)
    else:
        train_and_report(asked)
