"""How fast this machine trains: tokens/s of the whole step, data generation and optimiser included.

The sizes are those of the usual small GPTs at vocabulary 4096 and 96 x 512 tokens a step, alone and as populations,
and a small batch of 12 x 512 alone and in a population of 32.  On a CPU the batches shrink so that the table takes a
minute.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from physlm.models.config import ModelConfig
from physlm.models.counting import training_flops
from physlm.tasks.biography.config import BioSConfig
from physlm.training.batches import AHEAD_TOKENS
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.hardware import peak_flops
from physlm.training.step import Population

VOCABULARY = 4096
TASK = BioSConfig(people=20_000)
SHAPES = ((2, 1, 64), (4, 2, 128), (8, 4, 256), (12, 12, 768))


@dataclass(frozen=True)
class Case:
    """One line of the table: a shape, the rows a step, the members."""

    layers: int
    heads: int
    width: int
    rows: int
    members: int


def cases(on_gpu: bool, quick: bool) -> list[Case]:
    """What is timed: all shapes at 96 rows, populations where tiny models leave a GPU idle, and the small batch."""
    if not on_gpu:
        return [Case(*shape, rows=4, members=members) for shape in SHAPES[:2] for members in (1, 4)]
    table = [Case(*shape, rows=96, members=1) for shape in SHAPES]
    table += [Case(4, 2, 128, rows=12, members=1), Case(4, 2, 128, rows=12, members=32)]
    return table if quick else [*table, *(Case(*shape, rows=96, members=4) for shape in SHAPES[:2])]


def time_step(case: Case, device: torch.device, seconds: float) -> tuple[float, float]:
    """(seconds until the first step was done, seconds a step after that)."""
    model = ModelConfig(case.layers, case.heads, case.width, vocab_size=VOCABULARY)
    train = TrainConfig(1000, case.rows, precision="bf16" if device.type == "cuda" else "float32")
    specs = [
        RunSpec(TASK, model, dataclasses.replace(train, learning_rate=1e-3 * (1 + i / 100)))
        for i in range(case.members)
    ]  # fmt: skip
    start = time.perf_counter()
    population = Population(specs, device, window=16)
    population.advance()
    wait(device)
    first = time.perf_counter() - start
    return first, _time(population.advance, device, seconds)


def time_data(device: torch.device, seconds: float) -> float:
    """Tokens a second of sampling alone, in blocks of the size that training samples at once; one core on a CPU."""
    task = TASK.build().to(device)
    rows = AHEAD_TOKENS[device.type] // TASK.row_tokens
    index = torch.arange(rows, device=device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return rows * TASK.row_tokens / _time(lambda: task.rows(index), device, seconds)
    finally:
        torch.set_num_threads(threads)


def bench_train(quick: bool = False, device: str | None = None) -> None:
    """Print the table, line by line as it is measured."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    seconds = 0.5 if quick else 2.0
    name = torch.cuda.get_device_name(place) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; vocabulary {VOCABULARY}; data generation and optimiser included")
    per_core = "" if on_gpu else " on one core"
    print(f"data generation alone{per_core}: {time_data(place, seconds) / 1e6:.1f}M tokens/s")
    columns = ("layers x width", "rows", "members", "ms/step", "M tokens/s", "MFU", "first step")
    print("{:>14} {:>5} {:>7} {:>9} {:>11} {:>6} {:>11}".format(*columns))
    for case in cases(on_gpu, quick):
        first, step = time_step(case, place, seconds)
        rate = case.members * case.rows * TASK.row_tokens / step
        model = ModelConfig(case.layers, case.heads, case.width, vocab_size=VOCABULARY)
        peak = peak_flops(place, "bf16" if on_gpu else "float32")
        used = rate * training_flops(model, VOCABULARY, TASK.row_tokens)
        utilisation = f"{used / peak:.1%}" if peak else "n/a"
        shape = f"{case.layers} x {case.width}"
        print(
            f"{shape:>14} {case.rows:>5} {case.members:>7} {step * 1e3:>9.2f} {rate / 1e6:>11.2f} {utilisation:>6}"
            f" {first:>9.1f} s", flush=True,
        )  # fmt: skip
        torch._dynamo.reset()


def _time(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Mean seconds a call, over enough calls to fill ``seconds``."""
    for _ in range(3):
        call()
    wait(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            call()
        wait(device)
        count += 5
    return (time.perf_counter() - start) / count


def wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
