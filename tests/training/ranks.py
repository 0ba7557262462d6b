"""Several processes that train together on the CPU: what each of them does, in a module that they can import."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from physlm.training import loop
from physlm.training.config import RunSpec
from physlm.training.parallel import ALONE, Ranks, joined

CPU = torch.device("cpu")
Say = Callable[[Any], None]


def together(count: int, folder: Path, do: Callable[..., None], *args: Any) -> list[Any]:
    """What ``do(ranks, say, *args)`` said in each of so many processes; raises where one of them failed."""
    context = multiprocessing.get_context("spawn")
    folder.mkdir(parents=True, exist_ok=True)
    meeting = f"file://{folder / 'meeting'}"
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=_one, args=(rank, count, meeting, send, do, args))
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


def _one(rank: int, count: int, meeting: str, send: Any, do: Callable[..., None], args: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    with joined(CPU, rank, count, meeting) as ranks:
        do(ranks, send.send, *args)


def train(
    ranks: Ranks, say: Say, specs: Sequence[RunSpec], checkpoint: Path, initial: Any = None, stop: int = 0,
) -> None:
    """Says the records and the weights; with ``stop`` each process ends, as if killed, once it has made so many steps,
    with a checkpoint at every log point before."""
    records: list[dict[str, Any]] = []
    rewinds: list[int] = []

    def log(record: dict[str, Any]) -> None:
        if stop and record["step"] > stop:
            raise KeyboardInterrupt
        records.append(record)

    try:
        models = loop.train_population(specs, CPU, checkpoint=checkpoint, log=log, rewind=rewinds.append,
                                       initial=initial, checkpoint_seconds=0.0, progress=False, ranks=ranks)
        states = [{name: value.numpy().copy() for name, value in model.state_dict().items()} for model in models]
    except KeyboardInterrupt:
        states = []
    say((records, rewinds, states))


def alone(specs: Sequence[RunSpec], checkpoint: Path, initial: Any = None) -> Any:
    """The same by this process."""
    said: list[Any] = []
    train(ALONE, said.append, specs, checkpoint, initial)
    return said[0]


def refuse(ranks: Ranks, say: Say, specs: Sequence[RunSpec], checkpoint: Path) -> None:
    """Says the error."""
    try:
        train(ranks, say, specs, checkpoint)
    except Exception as error:
        say(f"{type(error).__name__}: {error}")
