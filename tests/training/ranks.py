"""Several processes that train together: what each of them does, in a module that they can import."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from physlm.training import loop
from physlm.training.config import RunSpec
from physlm.training.parallel import ALONE, Ranks, joined

CPU = torch.device("cpu")
Say = Callable[[Any], None]


def together(
    count: int, folder: Path, do: Callable[..., None], *args: Any, device: torch.device = CPU
) -> list[Any]:
    """What ``do(ranks, say, *args)`` said in each of so many processes; raises where one of them failed."""
    context = multiprocessing.get_context("spawn")
    folder.mkdir(parents=True, exist_ok=True)
    meeting = f"file://{folder / 'meeting'}"
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=_one, args=(rank, count, meeting, send, device, do, args))
                 for rank, (_, send) in enumerate(pipes)]
    for process in processes:
        process.start()
    said = []
    for receive, send in pipes:
        send.close()
        try:
            said.append(receive.recv())
        except EOFError:
            said.append(None)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * count, said
    return said


def _one(
    rank: int, count: int, meeting: str, send: Any, device: torch.device, do: Callable[..., None], args: Sequence[Any]
) -> None:
    torch.set_num_threads(1)
    with joined(device, rank, count, meeting) as ranks:
        do(ranks, send.send, *args)


def train(
    ranks: Ranks, say: Say, folder: Path, cases: Mapping[str, Sequence[RunSpec]], initial: Mapping[str, Any],
    stops: Mapping[str, int] = {},
) -> None:
    """Train all cases, some again until a step and then on; of each say the records, the rewinds and the weights."""
    said = {name: trained(ranks, specs, folder / f"{number}", initial.get(name))
            for number, (name, specs) in enumerate(cases.items())}
    for name, step in stops.items():
        checkpoint = folder / "stopped"
        said[f"{name}, stopped"] = trained(ranks, cases[name], checkpoint, stop=step)
        if ranks.first:
            for copy in ("copy", "copy2"):
                shutil.copy(checkpoint, folder / f"stopped-{copy}")
        said[f"{name}, resumed"] = trained(ranks, cases[name], checkpoint)
    say(said)


def resume(ranks: Ranks, say: Say, specs: Sequence[RunSpec], checkpoint: Path) -> None:
    """Go on from a checkpoint, and say the same."""
    say(trained(ranks, specs, checkpoint))


def alone(specs: Sequence[RunSpec], checkpoint: Path) -> Any:
    """The same by this process."""
    return trained(ALONE, specs, checkpoint)


def trained(
    ranks: Ranks, specs: Sequence[RunSpec], checkpoint: Path, initial: Any = None, stop: int = 0,
    device: torch.device = CPU,
) -> tuple[list[dict[str, Any]], list[int], list[dict[str, Any]]]:
    """With a checkpoint at every log point; with ``stop`` each process leaves, as if killed, after so many steps."""
    records: list[dict[str, Any]] = []
    rewinds: list[int] = []

    def log(record: dict[str, Any]) -> None:
        if stop and record["step"] > stop:
            raise KeyboardInterrupt
        records.append(record)

    try:
        models = loop.train_population(specs, device, checkpoint=checkpoint, log=log, rewind=rewinds.append,
                                       initial=initial, checkpoint_seconds=0.0, progress=False, ranks=ranks)
    except KeyboardInterrupt:
        return records, rewinds, []
    states = [{name: value.numpy().copy() for name, value in model.state_dict().items()} for model in models]
    return records, rewinds, states
