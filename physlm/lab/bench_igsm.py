"""How fast iGSM is made, checked and trained on, on this machine.

The first table: problems as token ids, on one core in processor time, on all cores by the clock; and solutions read and
checked on one core, the reading of their problems included.  Compilation is outside.

Below it: tokens/s of training on iGSM beside those on biographies in rows of the same length, with the same model and
as many tokens a step.  A model that never waits for problems trains as fast on them.  The two take turns.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from physlm.machine import cpu_cores
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from physlm.training.step import Population

SHOWN = ("med", "hard", "small8")
WANTED = 0.95  # of the speed on biographies, a bound of ours
VOCABULARY = 4096  # rows of the embedding, for either task
TRAINED = FAMILIES["med"]
BIOGRAPHIES = BioSConfig(people=20_000, row_tokens=TRAINED.row_tokens)


class Case(NamedTuple):
    """A model and the rows of a step."""

    model: ModelConfig
    rows: int

    @property
    def title(self) -> str:
        """For readers: ``4 x 128, 64 x 768 tokens a step``."""
        return f"{self.model.layers} x {self.model.width}, {self.rows} x {TRAINED.row_tokens} tokens a step"


CASES = {
    "cuda": Case(ModelConfig(layers=4, heads=2, width=128, vocab_size=VOCABULARY), rows=64),
    "cpu": Case(ModelConfig(layers=1, heads=1, width=16, vocab_size=VOCABULARY), rows=32),
}


def time_problems(config: IgsmConfig, threads: int, seconds: float) -> tuple[float, float]:
    """Problems and tokens a second, by the clock, on that many threads."""
    import numpy as np

    from physlm.tasks.igsm.kernel import problems

    problems(config, np.arange(16))
    batch, made, tokens, begun = 4096 * threads, 0, 0, time.perf_counter()
    while made == 0 or time.perf_counter() - begun < seconds:
        tokens += int(problems(config, np.arange(made, made + batch), "train", "bench", threads).lengths_N.sum())
        made += batch
    spent = time.perf_counter() - begun
    return made / spent, tokens / spent


def time_checker(config: IgsmConfig, count: int) -> float:
    """Solutions a second of processor time, each with its problem, from their texts."""
    import torch

    from physlm.tasks.igsm.checker import check

    task = config.build()
    parts = [text.more for text in task.texts(torch.arange(count))]
    problems = [part["prompt"].removeprefix("<bos> <problem> ").removesuffix(" <solution>") for part in parts]
    begun = time.process_time()
    verdicts = [check(problem, part["answer"], reader=task.reader, answer=True)
                for problem, part in zip(problems, parts, strict=True)]  # fmt: skip
    spent = time.process_time() - begun
    assert all(verdict.right for verdict in verdicts), "right solutions are what is timed"
    return count / spent


def time_training(tasks: Sequence[TaskConfig], case: Case, device: torch.device, seconds: float) -> list[float]:
    """Tokens a second of training on each task, in turns of whole blocks of rows, for ``seconds`` each or longer.

    A block is what is made at once (``physlm.training.batches``); a part of one would hold too much of the making of
    rows, or nothing of it.
    """
    from physlm.training.step import Population

    train = TrainConfig(steps=1_000_000, batch_rows=case.rows, precision="bf16" if device.type == "cuda" else "float32")
    populations = [Population([RunSpec(task, case.model, train)], device, window=16) for task in tasks]
    spent, done = [0.0] * len(tasks), [0] * len(tasks)
    try:
        if device.type == "cuda":
            for population in populations:  # to the end of the block in which the step is compiled and recorded
                _train_block(population, device)
        while min(spent) < seconds:
            for place, population in enumerate(populations):
                begun = time.perf_counter()
                done[place] += _train_block(population, device)
                spent[place] += time.perf_counter() - begun
    finally:
        for population in populations:
            population.close()
    return [steps * case.rows * task.row_tokens / time for steps, task, time in zip(done, tasks, spent, strict=True)]


def _train_block(population: Population, device: torch.device) -> int:
    """Steps to the end of a block, done when this returns."""
    from physlm.lab.bench import wait

    steps = population.batches.ahead - population.step % population.batches.ahead
    for _ in range(steps):
        population.advance()
    wait(device)
    return steps


def bench_igsm(quick: bool = False) -> None:
    """Print the table, line by line as it is measured, and how training compares."""
    import torch

    from physlm.tasks.igsm.kernel import problems_per_second

    seconds, checked = (0.2, 50) if quick else (3.0, 2000)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    print(f"{cpu_cores()} CPU cores{name}; torch {torch.__version__}")
    columns = ("family", "problems/s", "M tokens/s", f"on {cpu_cores()} cores", "M tokens/s", "checked/s")
    print("{:>8} {:>12} {:>11} {:>14} {:>11} {:>10}".format(*columns))
    for family in SHOWN:
        config = FAMILIES[family]
        one, every = problems_per_second(config, seconds), time_problems(config, cpu_cores(), seconds)
        print(f"{family:>8} {one[0]:>12,.0f} {one[1] / 1e6:>11.1f} {every[0]:>14,.0f} {every[1] / 1e6:>11.1f} "
              f"{time_checker(config, checked):>10,.0f}", flush=True)  # fmt: skip
    case = CASES[device.type]
    ours, plain = time_training((TRAINED, BIOGRAPHIES), case, device, seconds)
    print(f"training {case.title}, vocabulary {VOCABULARY}: {ours / 1e6:.3g} M tokens/s, on biographies "
          f"{plain / 1e6:.3g}; ratio {ours / plain:.3f}, wanted at least {WANTED}")  # fmt: skip
