"""What a tier will cost, before it is started: runs, populations, tokens, FLOPs, and a predicted time.

    seconds = start + steps (a + b layers) + FLOPs / S    for each population, FLOPs over all members: 6 per weight and
                                                          token, and attention's (physlm.models.counting)

with S the speed that a model of width d sustains, a + b layers what a step takes however small it is, and start what
compiling and capturing the step cost.  Narrow models move more memory per FLOP and are slower:

    H200    S = 132 TFLOP/s (d / 64)^0.4       132 at d = 64, 356 at d = 768    a = 0.2 ms, b = 0.09 ms    start = 15 s
    H100    0.9 of that, for its slower memory                                  the same
    other   the H200's, scaled by its bf16 peak                                 the same
    CPU     S = 40 GFLOP/s d / (d + 64) a core                                  a = 2 ms, b = 0            start = 0

Fitted to the tokens/s of docs/speed.md, and within 20 % of them: 2 x 64, 4 x 128, 8 x 256 and 12 x 768 on either GPU,
alone and as populations, with 96 and with 12 rows a step; Canon layers take as much more time as measured there.
Not fitted, and within 25 % (tests/lab/test_cost.py): the training of p41_mano, p31_probing and p32_classification.
The first design of p33_capacity took 982 s on an H200, measuring included; its training is predicted at 931.
Seven claims of Part 3.3, three processes on each H200 (83 populations, 1 to 6 narrow models, rows of 60 tokens), took
8,853 s, a third of which is 1.02 times the 2,906 predicted of one process: by claim 0.5 times, where populations are
many and short, so that start is too long for them once kernels are compiled, to 1.5 times, where they are few and big.
start, a and b of other GPUs, and the CPU's are rules of thumb.  Left out are measuring, and what processes that share a
GPU take from one another.

A member needs the memory of its activations, 42 bytes a token, layer and dimension in bfloat16 (measured: 8 x 512 took
168 KB a token on an H100).  Assumed: twice that in float32; what parts say that they keep beside these; 32 bytes a
parameter for weights, gradients, Adam's averages and what capturing the step copies.
Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from physlm.config import content_hash
from physlm.errors import counted
from physlm.lab.env import gpu_name
from physlm.lab.planner import MAX_MEMBERS, Population, group, with_starts
from physlm.machine import cpu_cores
from physlm.models.counting import branches, parameter_counts, training_flops
from physlm.training.config import RunSpec
from physlm.training.hardware import PEAK_TFLOPS, peak_tflops

REFERENCE_GPUS = ("NVIDIA H100", "NVIDIA H200")  # those that are predicted wherever one asks
REFERENCE_MEMORY = 80 << 30  # bytes of the smaller
SLOWER = {"H100": 0.9}  # than its peak says, beside the H200
GPU_STEP, GPU_LAYER_STEP, CPU_STEP = 0.2e-3, 0.09e-3, 2e-3  # seconds
LOCAL_MIXING = 1.0 / 0.842  # the time of a step with Canon layers over that without (docs/speed.md)
GPU_START = 15.0  # seconds a population
ACTIVATION_BYTES = {"bf16": 42, "float32": 84}
NUMBER_BYTES = {"bf16": 2, "float32": 4}  # of those that parts keep beside them
STATE_BYTES = 32
MEMORY_SHARE = 0.85  # of a GPU's memory; the rest is for batches sampled ahead, the context, and what others hold


@dataclass(frozen=True)
class Cost:
    """The predicted cost of a list of runs.

    Attributes:
        runs, populations: how many, and into how many populations they are grouped.
        starts: how many of the runs are trained only because others begin with them.
        tokens: trained on, over all runs.
        flops: of training, forward and backward.
        smallest, largest: parameters (used embedding rows only) of the smallest and the largest model.
        seconds: predicted training time by device name.
        memory: predicted bytes of the population that needs most while it trains, of those that fit into
            ``REFERENCE_MEMORY``.
    """

    runs: int
    populations: int
    starts: int
    tokens: int
    flops: float
    smallest: int
    largest: int
    seconds: dict[str, float]
    memory: int


def cost_of(
    specs: Sequence[RunSpec], members: int = MAX_MEMBERS, trained: Callable[[RunSpec], bool] = lambda spec: False
) -> Cost:
    """Predict what ``specs``, and the runs that they begin with, will cost on this machine and on the reference GPU.

    Args:
        members: most runs that train together.
        trained: whether the weights of a run are there, so that runs may begin with it at no cost.
    """
    runs = with_starts(specs, trained)
    populations = group(runs, members, fits=partial(members_in, REFERENCE_MEMORY))
    work = [_Work.of(population) for population in populations]
    cores = cpu_cores()
    seconds = {counted(cores, "CPU core"): sum(cpu_seconds(w, cores) for w in work)}
    for name in dict.fromkeys(filter(None, (gpu_name(), *REFERENCE_GPUS))):
        if (peak := peak_tflops(name)) is not None:
            seconds[f"one {name}"] = sum(gpu_seconds(w, peak * _slower(name)) for w in work)
    sizes = [w.params for w in work]
    starts = len(runs) - len({content_hash(spec) for spec in specs})
    return Cost(len(runs), len(populations), starts, sum(spec.tokens for spec in runs), sum(w.flops for w in work),
                min(sizes), max(sizes), seconds, max(w.memory for w in work))


@dataclass(frozen=True)
class _Work:
    """What one population amounts to."""

    width: int
    layers: int
    params: int
    steps: int
    flops: float
    slower: float
    memory: int

    @classmethod
    def of(cls, population: Population) -> _Work:
        spec = population.members[0]
        vocabulary = len(spec.task.vocabulary())
        flops = run_flops(spec) * len(population.members)
        params = parameter_counts(spec.model, vocabulary)["params_used"]
        return cls(spec.model.width, spec.model.depth, params, spec.steps, flops,
                   LOCAL_MIXING if spec.model.local else 1.0, member_bytes(spec) * len(population.members))


def run_flops(spec: RunSpec) -> float:
    """FLOPs of training a run, forward and backward, without the runs that it begins with."""
    return training_flops(spec.model, len(spec.task.vocabulary()), spec.task.row_tokens) * spec.tokens


def member_bytes(spec: RunSpec) -> int:
    """Memory that a run takes while it trains, about."""
    model, train = spec.model, spec.train
    tokens = train.batch_rows * spec.task.row_tokens
    blocks = sum(model.route.share(layer) for layer in model.order)  # those of all tokens
    needed = round(tokens * blocks * model.width * ACTIVATION_BYTES[train.precision])
    kept = round(sum(model.route.share(layer) * part.kept_numbers(model, spec.task.row_tokens)
                     for layer in model.order for part in (model.mixers[layer], model.mlps[layer])))
    kept += branches(model) * model.residual.kept_numbers(model, spec.task.row_tokens)
    tokens *= model.parallel.streams
    needed *= model.parallel.streams
    needed += tokens * kept * NUMBER_BYTES[train.precision]
    return needed + parameter_counts(model, len(spec.task.vocabulary()))["params_all"] * STATE_BYTES


def members_in(memory: int, spec: RunSpec) -> int:
    """How many runs of this shape train together on a GPU of so many bytes; at least one, which may fail."""
    return max(1, int(MEMORY_SHARE * memory) // member_bytes(spec))


def population_seconds(population: Population, *, on_gpu: bool) -> float:
    """Seconds that a population trains for, predicted for an H200 or for one CPU core."""
    work = _Work.of(population)
    return gpu_seconds(work, PEAK_TFLOPS["H200"]) if on_gpu else cpu_seconds(work, 1)


def cpu_seconds(work: _Work, cores: int) -> float:
    """Seconds that a population trains for on so many CPU cores."""
    return max(work.flops / cpu_speed(work.width, cores), work.steps * CPU_STEP)


def gpu_seconds(work: _Work, peak: float) -> float:
    """Seconds that a population trains for on a GPU of ``peak`` TFLOP/s, its start included."""
    return GPU_START + work.steps * gpu_step(work.layers) + work.slower * work.flops / gpu_speed(work.width, peak)


def gpu_step(layers: int) -> float:
    """Seconds that a step takes however little there is to compute: its kernels wait for one another."""
    return GPU_STEP + GPU_LAYER_STEP * layers


def gpu_speed(width: int, peak: float) -> float:
    """FLOP/s that a model of ``width`` sustains on a GPU of ``peak`` TFLOP/s."""
    return 132e12 * (width / 64) ** 0.4 * peak / PEAK_TFLOPS["H200"]


def _slower(name: str) -> float:
    """How much slower than its peak says a GPU is, beside the H200."""
    return next((factor for word, factor in SLOWER.items() if word in name.upper()), 1.0)


def cpu_speed(width: int, cores: int) -> float:
    """FLOP/s that a model of ``width`` sustains on ``cores`` CPU cores, in float32."""
    return 40e9 * cores * width / (width + 64)


def _gigabytes(memory: int) -> str:
    """To two digits, in plain figures: ``0.00085``, ``2.3``, ``850``."""
    return f"{float(f'{memory / 1e9:.2g}'):,.10g}"


def describe(cost: Cost) -> list[str]:
    """The cost in lines for readers."""
    times = ", ".join(f"{duration(seconds)} on {device}" for device, seconds in cost.seconds.items())
    starts = f" ({cost.starts} for others to begin with)" if cost.starts else ""
    runs, populations = counted(cost.runs, "run") + starts, counted(cost.populations, "population")
    sizes = f"{cost.smallest:,} to " * (cost.smallest < cost.largest) + f"{cost.largest:,}"
    return [
        f"{runs} in {populations}, {sizes} parameters",
        f"{amount(cost.tokens)} tokens, {cost.flops:.2g} FLOPs",
        f"training time predicted, by up to a half too long or too short: {times}",
        f"GPU memory predicted for the largest population: {_gigabytes(cost.memory)} GB",
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
