"""How much faster several processes train on one GPU than one, in turns and through CUDA's Multi-Process Service.

Each process trains a population of its own; counted are the tokens of all, data generation and optimiser included, from
the moment when the last of them has compiled and recorded its step.  What counts is the ratio to one process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

from physlm.errors import LostProcessError, UserError, counted
from physlm.lab.mps import has_mps, in_mps, mps
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from physlm.training.step import Population

TASK = BioSConfig(people=20_000, entries_per_row=1, row_tokens=60)  # as in the claims about capacity


class Case(NamedTuple):
    """What each process trains."""

    layers: int
    heads: int
    width: int
    rows: int
    members: int

    @property
    def title(self) -> str:
        """For readers: ``2 x 64, 4 members, 96 rows``."""
        return f"{self.layers} x {self.width}, {counted(self.members, 'member')}, {self.rows} rows"

    def specs(self, on_gpu: bool) -> list[RunSpec]:
        """The members, apart by their rates."""
        model = ModelConfig(self.layers, self.heads, self.width)
        train = TrainConfig(steps=1_000_000, batch_rows=self.rows, precision="bf16" if on_gpu else "float32")
        return [RunSpec(TASK, model, dataclasses.replace(train, learning_rate=1e-3 * (1 + i / 100)))
                for i in range(self.members)]  # fmt: skip


# Those of Part 3.3 at tier gpu: the batches of 1000 exposures, and those of 100; and the model of most other parts.
CASES = (Case(2, 4, 64, rows=960, members=2), Case(2, 4, 64, rows=108, members=4), Case(8, 8, 512, rows=48, members=1))
SMALL = (Case(2, 4, 64, rows=4, members=1),)


def bench_sharing(quick: bool = False, device: str | None = None) -> None:
    """Print a line for each case and number of processes."""
    import torch

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    counts = ((1, 3) if quick else (1, 2, 3, 4, 6)) if on_gpu else (1, 2)
    name = torch.cuda.get_device_name(place) if on_gpu else "CPU, one core each"
    ways = ["in turns", "through MPS"] if on_gpu and has_mps() else ["in turns"]
    print(f"{name}; torch {torch.__version__}; rows of {TASK.row_tokens} tokens; M tokens/s of all processes together")
    if on_gpu and in_mps():
        raise UserError("physlm bench sharing: the Multi-Process Service is running already; end it first, for "
                        "processes without it cannot be measured beside it: echo quit | nvidia-cuda-mps-control")
    if on_gpu and len(ways) == 1:
        print("nvidia-cuda-mps-control is not on the PATH: without the Multi-Process Service")
    print(f"{'case':>28} {'processes':>9}" + "".join(f" {way:>12} {'over one':>8}" for way in ways))
    for case in CASES if on_gpu else SMALL:
        one = 0.0
        for count in counts:
            line = f"{case.title:>28} {count:>9}"
            for way in ways:
                with mps() if way == "through MPS" else contextlib.nullcontext():
                    rate = tokens_a_second(case, place, count, 2.0 if quick else 5.0)
                one = one or rate
                line += f" {rate / 1e6:>12.2f} {rate / one:>8.3f}"
            print(line, flush=True)


def tokens_a_second(case: Case, device: torch.device, count: int, seconds: float) -> float:
    """Of ``count`` processes together, each with a population of this case, over so many seconds."""
    with _processes(case, device, count) as connections:
        try:
            for connection in connections:
                connection.recv()  # it is ready
            for connection in connections:
                connection.send(seconds)
            return sum(float(connection.recv()) for connection in connections)
        except EOFError:
            raise LostProcessError(f"one of the {count} processes of the bench died") from None


@contextlib.contextmanager
def _processes(case: Case, device: torch.device, count: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_train, args=(case, device, theirs)) for _, theirs in pairs]
    try:
        for process, (_, theirs) in zip(processes, pairs, strict=True):
            process.start()
            theirs.close()
        yield [ours for ours, _ in pairs]
        for process in processes:
            process.join(60)
    finally:
        for process in processes:
            if process.pid is not None:  # it was started
                process.kill()


def _train(case: Case, device: torch.device, connection: Connection) -> None:
    """What one process does: it says that it is ready, trains for as long as it is told, and sends its speed."""
    import torch

    from physlm.lab.bench import wait
    from physlm.training.step import Population

    torch.set_num_threads(1)
    population = Population(case.specs(device.type == "cuda"), device, window=16)
    at_once = population.batches.ahead  # whole blocks, or the making of rows would be counted too often or not at all
    with contextlib.closing(population):
        _advance(population, at_once)
        wait(device)
        connection.send("ready")
        seconds, steps = connection.recv(), 0
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            _advance(population, at_once)
            wait(device)
            steps += at_once
        spent = time.perf_counter() - begun
    connection.send(steps * case.rows * TASK.row_tokens * case.members / spent)


def _advance(population: Population, steps: int) -> None:
    for _ in range(steps):
        population.advance()
