"""How fast every recurrence is in chunks of each size, alone, forward and backward, at the shape of ``bench mixers``.

On a GPU each is compiled and captured, as in training.  The sizes in ``parts.recurrent.CHUNKS`` are chosen by this
table: its last line is what is to stand there, for each core the size that loses least against the fastest of each of
its recurrences.  A quick table leaves out chunks of 16, which take longest to compile, and begins no other line after
two and a half minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.bench import TASK, in_time, time_call
from physlm.lab.bench_mixers import CASES, LEVELS, QUICK, QUICK_SECONDS, machine_of, place_of
from physlm.models.parts.recurrent import CHUNKS, chunk_of, unit
from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.levels import read_levels
from physlm.models.recurrences.path import path_attention
from physlm.training.captured import captured
from physlm.training.step import compiled

SIZES = (16, 32, 64, 128)
Run = Callable[..., Tensor]


def bench_chunks(cores: Sequence[str] = (), quick: bool = False, device: str | None = None) -> None:
    """Print ms a layer, forward and backward, of each recurrence alone in chunks of each size, as they are measured.

    Args:
        cores: as ``CHUNKS`` has them; none: all.

    Raises:
        UserError: there is no such core.
    """
    for core in cores:
        if core not in CHUNKS:
            raise UserError(unknown_key("--chunks", core, CHUNKS))
    place, sizes = place_of(device), SIZES[1:] if quick else SIZES
    case = (QUICK if quick else CASES)[place.type]
    shape = (case.rows, case.heads, TASK.row_tokens, case.width // case.heads)
    print(f"{machine_of(place)}; rows, heads, positions, width of a head: {', '.join(map(str, shape))}; ms a layer")
    print(f"{'recurrence':<20}" + "".join(f"{size:>9}" for size in sizes) + f"{'fastest':>9} {'now':>5}", flush=True)
    lines = [line for line in _recurrences(shape, place) if not cores or line.core in cores]
    measured: dict[str, list[dict[int, float]]] = {}
    for line in in_time(lines, QUICK_SECONDS if quick else None, lambda line: line.core):
        spent = {}
        print(f"{line.name:<20}", end="", flush=True)
        for size in sizes:
            spent[size] = both_ways(partial(line.run, chunk=size), line.given, place, 0.05 if quick else 0.5)
            print(f"{1e3 * spent[size]:>9.3f}", end="", flush=True)
        measured.setdefault(line.core, []).append(spent)
        print(f"{min(spent, key=spent.__getitem__):>9} {chunk_of(shape[2], line.core):>5}", flush=True)
    print(f"by this, in physlm/models/parts/recurrent.py: CHUNKS = {CHUNKS | best_sizes(measured)}")


def best_sizes(measured: Mapping[str, Sequence[Mapping[int, float]]]) -> dict[str, int]:
    """Of each core the size whose time over the least is smallest in the mean over its recurrences.

    Args:
        measured: by core, of each of its recurrences the seconds by size.
    """
    return {core: min(lines[0], key=lambda size: sum(spent[size] / min(spent.values()) for spent in lines))
            for core, lines in measured.items()}  # fmt: skip


class Line(NamedTuple):
    """A recurrence by name, its core as ``CHUNKS`` has it, what to run with a size of chunk, and the tensors for it."""

    name: str
    core: str
    run: Run
    given: list[Tensor]


def _recurrences(shape: tuple[int, ...], place: torch.device) -> list[Line]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(place)

    rounded = torch.bfloat16 if place.type == "cuda" else torch.float32
    q, k, v, one = drawn(*shape), unit(drawn(*shape)), drawn(*shape), (*shape[:3], 1)
    head, channels, beta = -drawn(*one).square() / 9, -drawn(*shape).square() / 9, drawn(*one).sigmoid()
    share, twice = drawn(*shape[:3], LEVELS).square(), (*shape[:2], 2 * shape[2], shape[3])
    keys, values = unit(drawn(*twice)), drawn(*twice)

    def rows(core: str) -> Run:
        return lambda *given, chunk: CORES[core].rows(*given, chunk=chunk, rounded=rounded)[0]

    def levels(core: str) -> Run:
        def run(share: Tensor, *given: Tensor, chunk: int) -> Tensor:
            return read_levels(CORES[core].chunks(*given, chunk=chunk), share, shape[2], 0, rounded)[0]

        return run

    def path(q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, chunk: int) -> Tensor:
        return path_attention(q, k, v.to(rounded), w, beta, chunk=chunk)

    double = drawn(*twice[:3], 1).sigmoid()
    return [
        Line("decayed, by head", "decayed", rows("decayed"), [q, k, v, head]),
        Line("decayed, levels", "decayed", levels("decayed"), [share, q, k, v, head]),
        Line("decayed, by channel", "channels", rows("decayed"), [q, k, v, channels]),
        Line("delta", "delta", rows("delta"), [q, k, v, beta, head]),
        Line("delta, two updates", "delta", rows("delta"), [q, keys, values, double, head]),
        Line("delta, levels", "delta", levels("delta"), [share, q, k, v, beta, head]),
        Line("path", "path", path, [q, k, v, k, 2 * beta]),
    ]


def both_ways(run: Run, given: Sequence[Tensor], place: torch.device, seconds: float, wrapped: bool = True) -> float:
    """Seconds of one forward and backward pass of ``run(*given)``, captured on a GPU, and compiled there if
    ``wrapped``."""
    inputs = [x.detach().clone().requires_grad_() for x in given]

    def call(*tensors: Tensor) -> Tensor:
        return run(*tensors).float().square().sum()

    once: Callable[..., Any] = compiled(call) if wrapped and place.type == "cuda" else call

    def both() -> None:
        torch.autograd.grad(once(*inputs), inputs)

    spent = time_call(captured(both, list, place), place, seconds)
    torch._dynamo.reset()
    return spent
