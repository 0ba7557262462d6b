"""How much faster one model trains by several processes, each with a GPU, on the rows of one step.

The same model and the same rows a step on 1, 2, 4, .. GPUs, one after another in one call, data generation and
optimiser included; what counts is the ratio to one GPU.  On a CPU two processes with a core each check that it runs.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm.errors import LostProcessError
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from physlm.training.parallel import Ranks

VOCABULARY = 4096
TASK = BioSConfig(people=20_000)
WARM_UP = 8  # steps: what is compiled and recorded, and some more


def bench_parallel(quick: bool = False, device: str | None = None) -> None:
    """Print a line for each number of processes."""
    import torch

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    counts = [n for n in (1, 2, 4, 8) if n <= (torch.cuda.device_count() if on_gpu else 2)]
    model = ModelConfig(12, 12, 768, vocab_size=VOCABULARY) if on_gpu else ModelConfig(2, 1, 64, vocab_size=VOCABULARY)
    train = TrainConfig(steps=1_000_000, batch_rows=96 if on_gpu else 4, precision="bf16" if on_gpu else "float32")
    spec = RunSpec(TASK, model, train)
    name = torch.cuda.get_device_name(place) if on_gpu else "CPU, one core each"
    print(f"{name}; torch {torch.__version__}; {model.layers} x {model.width}, vocabulary {VOCABULARY}, "
          f"{train.batch_rows} x {TASK.row_tokens} tokens a step")
    print(f"{'processes':>9} {'ms/step':>9} {'M tokens/s':>11} {'over one':>9}")
    one = 0.0
    for count in counts:
        step = step_seconds(spec, place, count, 1.0 if quick else 5.0)
        rate = train.batch_rows * TASK.row_tokens / step
        one = one or rate
        print(f"{count:>9} {step * 1e3:>9.2f} {rate / 1e6:>11.3f} {rate / one:>9.3f}", flush=True)


def step_seconds(spec: RunSpec, device: torch.device, count: int, seconds: float) -> float:
    """Mean seconds of a step that so many processes make together, over about ``seconds``."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        receive, send = context.Pipe(duplex=False)
        meeting = (Path(folder) / "meeting").as_uri()
        processes = [context.Process(target=_bench, args=(spec, device, rank, count, meeting, seconds, send))
                     for rank in range(count)]
        for process in processes:
            process.start()
        send.close()
        try:
            return float(receive.recv())
        except EOFError:
            raise LostProcessError(f"one of the {count} processes of the bench died") from None
        finally:
            for process in processes:
                process.join(60)
                process.kill()


def _bench(spec: RunSpec, device: torch.device, rank: int, count: int, meeting: str, seconds: float, send: Any) -> None:
    """What one process does; the first sends the time of a step."""
    import torch

    from physlm.training.parallel import ALONE, joined

    torch.set_num_threads(1)
    if count == 1:
        send.send(_time([spec], device, ALONE, seconds))
        return
    with joined(device, rank, count, meeting) as ranks:
        step = _time([spec], device, ranks, seconds)
        if ranks.first:
            send.send(step)
    send.close()


def _time(specs: Sequence[RunSpec], device: torch.device, ranks: Ranks, seconds: float) -> float:
    from physlm.lab.bench import wait
    from physlm.training.step import Population

    population = Population(specs, device, window=16, ranks=ranks)

    def timed(steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            population.advance()
        wait(device)
        return (time.perf_counter() - begun) / steps

    timed(WARM_UP)
    steps = ranks.tell(max(WARM_UP, round(seconds / timed(WARM_UP))))  # as many in each
    step = timed(steps)
    population.close()
    return step
