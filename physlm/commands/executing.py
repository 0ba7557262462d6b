"""Options of ``physlm run`` that say where its jobs are done: by whom, how many at once, and a machine's share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physlm.commands.options import choose_device
from physlm.config import unknown_key
from physlm.errors import UserError, shown

if TYPE_CHECKING:
    from physlm.lab.executors.contract import Executor
    from physlm.lab.shards import Shard
    from physlm.lab.trackers import Trackers

EXECUTORS = ("local", "ray", "slurm")

DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="Default: GPUs, where the executor has any.")
]
ProcessesOption = Annotated[
    int | None,
    typer.Option("--processes", min=1, max=1024, metavar="N",
                 help="Jobs at work at once: each trains a population or measures a run, on a GPU of its own, or where "
                      "there are more than GPUs on one that several share, memory too. Default: local 1, ray one a GPU "
                      "(or a CPU), slurm 8."),
]
ExecutorOption = Annotated[
    str,
    typer.Option("--executor", metavar="|".join(EXECUTORS),
                 help="Who does the jobs: processes here; tasks of a Ray cluster, a new one on this machine or the one "
                      "at --ray-address; jobs of Slurm. The same runs with the same results.",
                 autocompletion=lambda: list(EXECUTORS)),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="HOST:PORT|auto",
                 help="Join this Ray cluster; otherwise one is started here."),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE",
                 help="An option of sbatch: partition=gpu, account=us, time=600 (minutes), mem=64GB, ...; "
                      "cluster=local tries it with processes of this machine. May be given several times."),
]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N",
                 help="Train only part I of N, for machines that share nothing: the same N on each, then copy all run "
                      "folders into one and report with --finished-only."),
]
DataParallelOption = Annotated[
    bool, typer.Option("--data-parallel", help="Under torchrun: all its processes train each run together, each on its "
                                               "share of the rows of a step.")
]
MpsOption = Annotated[
    bool, typer.Option("--mps", help="Processes that share a GPU use it at the same time, by CUDA's Multi-Process "
                                     "Service, and not in turns. physlm bench sharing says what that gains.")
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option("--track", metavar="TRACKER[,..]", help="Copy the curves of training to tensorboard, wandb (offline) "
                                                         "or trackio; may be given several times.")
]
TrackDirOption = Annotated[
    Path | None, typer.Option("--track-dir", metavar="DIR", help="Where. Default: tracking/ in the folder of runs.")
]


@dataclass(frozen=True)
class Where:
    """What was asked for; nothing is started before it is needed."""

    name: str
    device: str | None
    processes: int | None
    ray_address: str | None
    slurm: Sequence[str]
    shard: str | None = None
    data_parallel: bool = False
    mps: bool = False
    track: Sequence[str] = ()
    track_dir: Path | None = None
    trains: bool = True  # not so with --finished-only

    def check(self) -> None:
        """Refuse what contradicts itself, before anything is begun."""
        self._check_executor()
        self._check_trackers()
        self._check_share()

    def _check_executor(self) -> None:
        if self.name not in EXECUTORS:
            raise UserError(unknown_key("--executor", self.name, EXECUTORS))
        for option, given, its in (("--ray-address", self.ray_address, "ray"), ("--slurm", self.slurm, "slurm")):
            if given and self.name != its:
                raise UserError(f"{option}: got it with --executor {self.name}, expected --executor {its}")
        if self.mps and (self.name != "local" or self.data_parallel or not self.trains):
            raise UserError("--mps: got --executor, --data-parallel or --finished-only beside it; expected none of "
                            "them: it is for --processes of this machine")
        for text in self.slurm:
            if not all(text.partition("=")):
                raise UserError(f"--slurm: got {shown(text)}, expected KEY=VALUE")

    def _check_trackers(self) -> None:
        names = self.trackers(Path()).names
        if self.track_dir is not None and not names:
            raise UserError("--track-dir: got it without --track, which names what is kept there; expected both")
        if names and not self.trains:
            raise UserError("--track: got it with --finished-only, which trains nothing; expected one of them")

    def _check_share(self) -> None:
        """Under torchrun there is one job at a time, which all processes do together."""
        alone = (self.name, self.processes or 1, self.shard, self.trains) == ("local", 1, None, True)
        if self.data_parallel and not alone:
            raise UserError("--data-parallel: got --processes, --executor, --shard or --finished-only beside it; "
                            "expected none of them: torchrun says how many processes train")
        if self.shard is not None and not self.trains:
            raise UserError("--shard: got it with --finished-only, which trains nothing; expected one of them")
        self.part()

    def trackers(self, runs: Path) -> Trackers:
        """Those that get a copy of the curves.  ``runs``: the folder of runs."""
        from physlm.lab.trackers import Trackers

        return Trackers.asked(self.track, self.track_dir or runs / "tracking")

    def part(self) -> Shard | None:
        """The part of the runs that is trained here, where not all are."""
        from physlm.lab.shards import Shard

        return None if self.shard is None else Shard.read(self.shard)

    def executor(self, ranks: int | None = None) -> Executor:
        """Start, or join, what was asked for; under torchrun ``ranks`` processes train each run together."""
        from physlm.lab.executors.local import Local
        from physlm.lab.executors.ray import Ray
        from physlm.lab.executors.slurm import Slurm

        if self.name == "ray":
            return Ray.connect(self.ray_address, self.device, self.processes)
        if self.name == "slurm":
            given = dict(text.split("=", 1) for text in self.slurm)
            return Slurm.of(given, self.device, self.processes)
        processes = self.processes or 1
        return Local(choose_device(self.device, processes), processes, ranks, self.mps).checked()
