"""What a tier will cost, before it is started: runs, populations, tokens, FLOPs, and a predicted time.

    seconds = max(FLOPs / S, steps * t)     for each population, FLOPs over all members: 6 per weight and token, and
                                            attention's (physlm.models.counting)

with S the speed that a model of width d sustains, and t the time that the smallest step takes.  Narrow models move more
memory per FLOP and are slower:

    H200    S = 550 TFLOP/s * d / (d + 500)       62 at d = 64, 333 at d = 768        t = 0.2 ms
    other   the same, scaled by its bf16 peak over the H200's                         t = 0.2 ms
    CPU     S = 40 GFLOP/s * d / (d + 64) a core                                      t = 2 ms

ASSUMPTIONS, not promises: the first line is a fit, within 15 %, to a plain compiled GPT with CUDA graphs and a
vocabulary of 4096 on an H200 (25.9, 13.2, 4.4 and 0.71 million tokens/s at 2 x 64, 4 x 128, 8 x 256 and 12 x 768);
the CPU's and t are rules of thumb.  Measuring, and the fixed costs of starting, are left out.  Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from physlm.lab.env import cpu_cores, gpu_name
from physlm.lab.planner import MAX_MEMBERS, Population, group
from physlm.models.counting import parameter_counts, training_flops
from physlm.tasks.catalogue import vocabulary_for
from physlm.training.config import RunSpec

REFERENCE_GPU = "NVIDIA H200"
GPU_STEP, CPU_STEP = 0.2e-3, 2e-3  # seconds
# dense bf16 tensor-core peak in TFLOP/s, from the makers' data sheets, by the word in the driver's name
PEAK_TFLOPS = {"B200": 2250.0, "H200": 989.0, "H100": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0,
               "L40S": 362.0, "A40": 150.0, "A10": 125.0, "L4": 121.0, "V100": 125.0, "T4": 65.0,
               "4090": 165.0, "3090": 71.0}


@dataclass(frozen=True)
class Cost:
    """The predicted cost of a list of runs.

    Attributes:
        runs, populations: how many, and into how many populations they are grouped.
        tokens: trained on, over all runs.
        flops: of training, forward and backward.
        smallest, largest: parameters (used embedding rows only) of the smallest and the largest model.
        seconds: predicted training time by device name.
    """

    runs: int
    populations: int
    tokens: int
    flops: float
    smallest: int
    largest: int
    seconds: dict[str, float]


def cost_of(specs: Sequence[RunSpec], members: int = MAX_MEMBERS) -> Cost:
    """Predict what ``specs`` will cost on this machine and on the reference GPU."""
    populations = group(specs, members)
    work = [_Work.of(population) for population in populations]
    cores = cpu_cores()
    seconds = {f"{cores} CPU cores": sum(max(w.flops / cpu_speed(w.width, cores), w.steps * CPU_STEP) for w in work)}
    for name in dict.fromkeys(filter(None, (gpu_name(), REFERENCE_GPU))):
        if (peak := peak_tflops(name)) is not None:
            seconds[f"one {name}"] = sum(max(w.flops / gpu_speed(w.width, peak), w.steps * GPU_STEP) for w in work)
    sizes = [w.params for w in work]
    return Cost(len(specs), len(populations), sum(spec.tokens for spec in specs), sum(w.flops for w in work),
                min(sizes), max(sizes), seconds)


@dataclass(frozen=True)
class _Work:
    """What one population amounts to."""

    width: int
    params: int
    steps: int
    flops: float

    @classmethod
    def of(cls, population: Population) -> _Work:
        spec = population.members[0]
        vocabulary = len(vocabulary_for(spec.task))
        flops = training_flops(spec.model, vocabulary, spec.task.row_tokens) * spec.tokens * len(population.members)
        return cls(spec.model.width, parameter_counts(spec.model, vocabulary)["params_used"], spec.steps, flops)


def gpu_speed(width: int, peak: float) -> float:
    """FLOP/s that a model of ``width`` sustains on a GPU of ``peak`` TFLOP/s."""
    return 550e12 * width / (width + 500) * peak / PEAK_TFLOPS["H200"]


def cpu_speed(width: int, cores: int) -> float:
    """FLOP/s that a model of ``width`` sustains on ``cores`` CPU cores, in float32."""
    return 40e9 * cores * width / (width + 64)


def peak_tflops(name: str) -> float | None:
    """The bf16 peak of a GPU by name; None if it is not in the table."""
    return next((PEAK_TFLOPS[word] for word in re.split(r"[\s-]+", name.upper()) if word in PEAK_TFLOPS), None)


def describe(cost: Cost) -> list[str]:
    """The cost in lines for people."""
    times = ", ".join(f"{duration(seconds)} on {device}" for device, seconds in cost.seconds.items())
    return [
        f"{cost.runs} runs in {cost.populations} populations, {cost.smallest:,} to {cost.largest:,} parameters",
        f"{amount(cost.tokens)} tokens, {cost.flops:.2g} FLOPs",
        f"training time predicted, give or take a factor of two: {times}",
    ]


def amount(count: float) -> str:
    """``950``, ``36.9K``, ``114M``, ``1.2B``, ``12T``: three digits."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.0f}{unit}" if count >= 100 * size else f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``, ``12 days``."""
    if seconds < 1:
        return "under 1 s"
    for size, unit in ((86_400.0 * 2, "days"), (3_600.0 * 2, "h"), (120.0, "min")):
        if seconds >= size:
            value = seconds / {"days": 86_400.0, "h": 3_600.0, "min": 60.0}[unit]
            return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"
