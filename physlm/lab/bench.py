"""How fast this machine trains: tokens/s of the whole step, data generation and optimiser included.

The sizes are those of the usual small GPTs at vocabulary 4096 and 96 x 512 tokens a step, alone and as populations,
and a small batch of 12 x 512 alone and in a population of 32.  Below it stands what parts cost: the speed of a model
with local mixing at all places over that of the same model without, training and generating.  On a CPU the batches
shrink so that the tables take two minutes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from physlm.errors import counted
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.counting import training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Local, Mixer
from physlm.tasks.biography.config import BioSConfig
from physlm.training.batches import AHEAD_TOKENS
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.hardware import peak_flops
from physlm.training.step import Population

T = TypeVar("T")
VOCABULARY = 4096
TASK = BioSConfig(people=20_000)
SHAPES = ((2, 1, 64), (4, 2, 128), (8, 4, 256), (12, 12, 768))


@dataclass(frozen=True)
class Case:
    """One line of the table: a shape, the rows a step, the members, local mixing, and the mixer."""

    layers: int
    heads: int
    width: int
    rows: int
    members: int
    local: tuple[Local, ...] = ()
    mixer: tuple[Mixer, ...] = (Attention(),)

    @property
    def model(self) -> ModelConfig:
        """The settings of the model."""
        return ModelConfig(self.layers, self.heads, self.width, mixer=self.mixer, local=self.local,
                           vocab_size=VOCABULARY)

    @property
    def title(self) -> str:
        """For readers: ``6 x 256``, ``6 x 256 canon``."""
        return " ".join((f"{self.layers} x {self.width}", *(part.label for part in self.local)))


def part_cases(on_gpu: bool) -> list[Case]:
    """The models whose cost of local mixing is told."""
    if not on_gpu:
        return [Case(2, 1, 64, rows=4, members=1)]
    return [Case(6, 8, 256, rows=64, members=3), Case(12, 12, 768, rows=96, members=1)]


def with_local(case: Case) -> list[Case]:
    """The same model with each kind of local mixing."""
    return [dataclasses.replace(case, local=(Local.of_kind(kind)(),)) for kind in Local.kinds()]


def cases(on_gpu: bool, quick: bool) -> list[Case]:
    """What is timed: all shapes at 96 rows, populations where tiny models leave a GPU idle, and the small batch."""
    if not on_gpu:
        return [Case(*shape, rows=4, members=members) for shape in SHAPES[:2] for members in (1, 4)]
    table = [Case(*shape, rows=96, members=1) for shape in SHAPES]
    table += [Case(4, 2, 128, rows=12, members=1), Case(4, 2, 128, rows=12, members=32)]
    return table if quick else [*table, *(Case(*shape, rows=96, members=4) for shape in SHAPES[:2])]


def time_step(case: Case, device: torch.device, seconds: float) -> tuple[float, float]:
    """(seconds until the first step was done, seconds a step after that)."""
    train = TrainConfig(1000, case.rows, precision="bf16" if device.type == "cuda" else "float32")
    specs = [
        RunSpec(TASK, case.model, dataclasses.replace(train, learning_rate=1e-3 * (1 + i / 100)))
        for i in range(case.members)
    ]  # fmt: skip
    start = time.perf_counter()
    population = Population(specs, device, window=16)
    population.advance()
    wait(device)
    first = time.perf_counter() - start
    return first, time_call(population.advance, device, seconds)


def time_data(device: torch.device, seconds: float) -> float:
    """Tokens a second of sampling alone, in blocks of the size that training samples at once; one core on a CPU."""
    task = TASK.build().to(device)
    rows = AHEAD_TOKENS[device.type] // TASK.row_tokens
    index = torch.arange(rows, device=device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return rows * TASK.row_tokens / time_call(lambda: task.rows(index), device, seconds)
    finally:
        torch.set_num_threads(threads)


def bench_train(quick: bool = False, device: str | None = None) -> None:
    """Print the table, line by line as it is measured."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    seconds = 0.5 if quick else 2.0
    name = torch.cuda.get_device_name(place) if on_gpu else f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    print(f"{name}; torch {torch.__version__}; vocabulary {VOCABULARY}; data generation and optimiser included")
    per_core = "" if on_gpu else " on one core"
    print(f"data generation alone{per_core}: {time_data(place, seconds) / 1e6:.1f}M tokens/s")
    columns = ("layers x width", "rows", "members", "ms/step", "M tokens/s", "MFU", "first step")
    print("{:>14} {:>5} {:>7} {:>9} {:>11} {:>6} {:>11}".format(*columns))
    for case in cases(on_gpu, quick):
        first, step = time_step(case, place, seconds)
        rate = case.members * case.rows * TASK.row_tokens / step
        peak = peak_flops(place, "bf16" if on_gpu else "float32")
        used = rate * training_flops(case.model, VOCABULARY, TASK.row_tokens)
        utilisation = f"{used / peak:.1%}" if peak else "n/a"
        print(
            f"{case.title:>14} {case.rows:>5} {case.members:>7} {step * 1e3:>9.2f} {rate / 1e6:>11.2f} {utilisation:>6}"
            f" {first:>9.1f} s", flush=True,
        )  # fmt: skip
        torch._dynamo.reset()
    _bench_parts(place, seconds)


def _bench_parts(place: torch.device, seconds: float) -> None:
    """What local mixing costs, in one table of ratios."""
    print("with a part over without it, tokens/s    training  generating")
    for case in part_cases(place.type == "cuda"):
        plain = speeds(case, place, seconds)
        for other in with_local(case):
            ratios = [ours / base for ours, base in zip(speeds(other, place, seconds), plain, strict=True)]
            print(f"{other.title:>28} x {case.members:<7} {ratios[0]:>10.3f} {ratios[1]:>11.3f}", flush=True)


def speeds(case: Case, place: torch.device, seconds: float) -> tuple[float, float]:
    """Steps a second of training, and tokens a second of generating 64 rows of 256 tokens for each member."""
    _, step = time_step(case, place, seconds)
    torch._dynamo.reset()
    model = Decoder(case.model, VOCABULARY, tuple(range(case.members))).to(place)
    model = model.in_bfloat16() if place.type == "cuda" else model
    prompts, tokens = torch.zeros(64, 1, dtype=torch.long, device=place), 256 if place.type == "cuda" else 32
    made = time_call(lambda: generate(model, prompts, tokens, end=VOCABULARY - 1), place, seconds, 1, 1)
    return 1 / step, 64 * case.members * tokens / made


def time_call(
    call: Callable[[], object], device: torch.device, seconds: float, warm_up: int = 3, at_once: int = 5
) -> float:
    """Mean seconds a call, over enough calls to fill ``seconds``: so many ``at_once``, after those to warm up."""
    for _ in range(warm_up):
        call()
    wait(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(at_once):
            call()
        wait(device)
        count += at_once
    return (time.perf_counter() - start) / count


def in_time(lines: Sequence[T], seconds: float | None, name: Callable[[T], str]) -> Iterator[T]:
    """One line of a table after the other until these seconds are over; then it is printed which are left out."""
    begun = time.monotonic()
    for place, line in enumerate(lines):
        if seconds is not None and time.monotonic() - begun > seconds:
            left = ", ".join(dict.fromkeys(map(name, lines[place:])))
            print(f"left out, as {seconds:.0f} s are over; ask for them by name: {left}", flush=True)
            return
        yield line


def wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
