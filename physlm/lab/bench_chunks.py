"""How fast every recurrence is in chunks of each size, alone, forward and backward, at the shape of ``bench mixers``.

The sizes in ``parts.recurrent.CHUNKS`` are chosen by this table.  On a GPU each is compiled and captured, as in
training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from physlm.lab.bench import TASK, time_call
from physlm.lab.bench_mixers import CASES, LEVELS, QUICK, machine_of, place_of
from physlm.models.parts.recurrent import chunk_of, unit
from physlm.models.recurrences.cores import CORES
from physlm.models.recurrences.levels import read_levels
from physlm.models.recurrences.path import path_attention
from physlm.training.captured import captured
from physlm.training.step import compiled

SIZES = (16, 32, 64, 128)
Run = Callable[..., Tensor]


def bench_chunks(quick: bool = False, device: str | None = None) -> None:
    """Print ms a layer, forward and backward, of each recurrence alone in chunks of each size, as they are measured."""
    place = place_of(device)
    case = (QUICK if quick else CASES)[place.type]
    shape = (case.rows, case.heads, TASK.row_tokens, case.width // case.heads)
    print(f"{machine_of(place)}; rows, heads, positions, width of a head: {', '.join(map(str, shape))}; ms a layer")
    print(f"{'recurrence':<20}" + "".join(f"{size:>9}" for size in SIZES) + f"{'fastest':>9} {'now':>5}")
    for name, (core, run, given) in _recurrences(shape, place).items():
        spent: list[float] = []
        print(f"{name:<20}", end="", flush=True)
        for size in SIZES:
            spent.append(1e3 * _both_ways(run, given, size, place, 0.05 if quick else 0.5))
            print(f"{spent[-1]:>9.3f}", end="", flush=True)
        print(f"{SIZES[spent.index(min(spent))]:>9} {chunk_of(shape[2], core):>5}", flush=True)


def _recurrences(shape: tuple[int, ...], place: torch.device) -> dict[str, tuple[str, Run, list[Tensor]]]:
    """By name: the core as ``CHUNKS`` has it, what to run on some tensors and with a size of chunk, and these."""
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
    return {
        "decayed, by head": ("decayed", rows("decayed"), [q, k, v, head]),
        "decayed, by channel": ("channels", rows("decayed"), [q, k, v, channels]),
        "decayed, levels": ("decayed", levels("decayed"), [share, q, k, v, head]),
        "delta": ("delta", rows("delta"), [q, k, v, beta, head]),
        "delta, two updates": ("delta", rows("delta"), [q, keys, values, double, head]),
        "delta, levels": ("delta", levels("delta"), [share, q, k, v, beta, head]),
        "path": ("path", path, [q, k, v, k, 2 * beta]),
    }  # fmt: skip


def _both_ways(run: Run, given: list[Tensor], chunk: int, place: torch.device, seconds: float) -> float:
    """Seconds of one forward and backward pass."""
    inputs = [x.clone().requires_grad_() for x in given]

    def call(*tensors: Tensor) -> Tensor:
        return run(*tensors, chunk=chunk).float().square().sum()

    once: Callable[..., Any] = compiled(call) if place.type == "cuda" else call

    def both() -> None:
        torch.autograd.grad(once(*inputs), inputs)

    spent = time_call(captured(both, list, place), place, seconds)
    torch._dynamo.reset()
    return spent
