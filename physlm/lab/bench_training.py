"""How fast a model trains on one task beside another: the same model, as many tokens a step, in turns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from physlm.models.config import ModelConfig
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from physlm.training.step import Population


class Case(NamedTuple):
    """A model and the rows of a step."""

    model: ModelConfig
    rows: int

    def title(self, row_tokens: int) -> str:
        """For readers: ``4 x 128, 64 x 768 tokens a step``."""
        return f"{self.model.layers} x {self.model.width}, {self.rows} x {row_tokens} tokens a step"


def time_training(tasks: Sequence[TaskConfig], case: Case, device: torch.device, seconds: float) -> list[float]:
    """Tokens a second of training on each task, in turns of whole blocks of rows, for ``seconds`` each or longer.

    A block is what is made at once (``physlm.training.batches``); a part of one would hold too much of the making of
    rows, or nothing of it.  The first block of a turn is not timed: CPU cores may have made it in the turn of another
    task, and a sampler of half the speed of training would seem to keep up.
    """
    from physlm.training.step import Population

    populations = [Population([_spec(task, case, device)], device, window=16) for task in tasks]
    spent, done = [0.0] * len(tasks), [0] * len(tasks)
    try:
        if device.type == "cuda":
            for population in populations:  # to the end of the block in which the step is compiled and recorded
                _train_block(population, device)
        while min(spent) < seconds:
            for place, population in enumerate(populations):
                _train_block(population, device)
                begun = time.perf_counter()
                done[place] += _train_block(population, device)
                spent[place] += time.perf_counter() - begun
    finally:
        for population in populations:
            population.close()
    return [steps * case.rows * task.row_tokens / time for steps, task, time in zip(done, tasks, spent, strict=True)]


def time_one_model(tasks: Sequence[TaskConfig], case: Case, device: torch.device, seconds: float) -> list[float]:
    """The same where one model is trained on all of these tasks in turns, so that it is compiled once; their rows have
    one length.  What a step takes does not depend on what is in the rows."""
    from physlm.training.step import Population

    widest = max(tasks, key=lambda task: len(task.vocabulary()))
    population = Population([_spec(widest, case, device)], device, window=16)
    built = [task.build().to(device) for task in tasks]
    spent, done = [0.0] * len(tasks), 0
    try:
        if device.type == "cuda":
            _train_block(population, device)  # as above
        while min(spent) < seconds:
            for place, task in enumerate(built):
                population.batches.turn_to(task)
                _train_block(population, device)
                begun = time.perf_counter()
                steps = _train_block(population, device)
                spent[place] += time.perf_counter() - begun
            done += steps
    finally:
        population.close()
    return [done * case.rows * task.row_tokens / time for task, time in zip(tasks, spent, strict=True)]


def _spec(task: TaskConfig, case: Case, device: torch.device) -> RunSpec:
    return RunSpec(task, case.model, TrainConfig(steps=1_000_000, batch_rows=case.rows,
                                                 precision="bf16" if device.type == "cuda" else "float32"))


def time_few_steps(tasks: Sequence[TaskConfig], case: Case, steps: int) -> list[float]:
    """Tokens a second of processor time on a CPU, where whole blocks take minutes: a block of rows is made, ``steps``
    steps are trained, and each of them bears its share of the making."""
    import torch

    from physlm.training.step import Population

    speeds = []
    for task in tasks:
        population = Population([_spec(task, case, torch.device("cpu"))], torch.device("cpu"))
        try:
            population.batches.prepare(0)  # kernels are compiled, buffers touched
            begun = time.process_time()
            population.batches.prepare(population.batches.ahead)
            made = time.process_time() - begun
            population.batches.prepare(0)
            population.advance()
            begun = time.process_time()
            for _ in range(steps):
                population.advance()
            step = (time.process_time() - begun) / steps + made / population.batches.ahead
        finally:
            population.close()
        speeds.append(case.rows * task.row_tokens / step)
    return speeds


def _train_block(population: Population, device: torch.device) -> int:
    """Steps to the end of a block, done when this returns."""
    from physlm.lab.bench import wait

    steps = population.batches.ahead - population.step % population.batches.ahead
    for _ in range(steps):
        population.advance()
    wait(device)
    return steps
