"""How fast every task is sampled, verified and trained on, on this machine: one line a task, at its default settings.

    M tokens/s    rows made on one core, in processor time; by a task that samples on the device, on the CPU
    verified/s    texts read whole and found right on one core, where a task has a verifier (``has_verifier``);
                  ``bench grammar`` and ``bench igsm`` time the parser and the checker
    training      M tokens/s of a small model that learns the task
    ratio         of these over those on biographies, in rows of the same length: the same model, as many tokens a step,
                  in turns.  A model that never waits for rows trains as fast on any task.  On a GPU it is one model
                  for all tasks with rows of one length, since compiling takes longer than training on them

On a CPU the ratio says little: nearly all time is the model's, a smaller one, and few steps are timed.  There training
is in processor time too, as other work on the machine would count else, and the ratio is not judged.
Compilation is outside of all times.  The wanted speeds are bounds of ours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.bench_training import Case, time_few_steps, time_one_model
from physlm.machine import cpu_cores
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.config import TaskConfig

if TYPE_CHECKING:
    import torch

    from physlm.tasks.task import HostTask, VerifiedTask

STEP_TOKENS = {"cuda": 96 * 512, "cpu": 1 << 12}
SHAPES = {"cuda": (2, 1, 64), "cpu": (1, 1, 16)}  # layers, heads, width
VOCABULARY = 4096  # rows of the embedding, or the next multiple of it that a task needs


class Speeds(NamedTuple):
    """What is measured of a task; None where there is nothing to measure."""

    tokens: float
    verified: float | None
    training: float
    ratio: float


WANTED = {"tokens": 10e6, "verified": 10e3, "ratio": 0.9}


def biographies(row_tokens: int) -> BioSConfig:
    """What a task is compared with."""
    return BioSConfig(people=20_000, row_tokens=row_tokens)


def case_for(config: TaskConfig, device: str) -> Case:
    """The model that learns a task and the rows of a step."""
    layers, heads, width = SHAPES[device]
    vocabulary = -(-len(config.vocabulary()) // VOCABULARY) * VOCABULARY
    model = ModelConfig(layers=layers, heads=heads, width=width, vocab_size=vocabulary)
    return Case(model, max(1, STEP_TOKENS[device] // config.row_tokens))


def time_sampler(config: TaskConfig, seconds: float) -> float:
    """Tokens a second of processor time, in blocks of rows as large as training has them made on a CPU."""
    import numpy as np
    import torch

    from physlm.training.batches import AHEAD_TOKENS

    task, size = config.build(), max(1, AHEAD_TOKENS["cpu"] // config.row_tokens)
    threads, done, spent = torch.get_num_threads(), 0, 0.0
    torch.set_num_threads(1)
    try:
        while done <= size or spent < seconds:
            begun = time.process_time()
            if config.made_on_host:
                cast("HostTask", task).host_rows(np.arange(done, done + size), "train", 0)
            else:
                task.rows(torch.arange(done, done + size))
            if done:  # in the first block kernels are compiled
                spent += time.process_time() - begun
            done += size
    finally:
        torch.set_num_threads(threads)
    return (done - size) * config.row_tokens / spent


def time_verifier(config: TaskConfig, count: int) -> float | None:
    """Texts a second of processor time; None for a task that has no verifier."""
    import torch

    if not config.has_verifier:
        return None
    task = cast("VerifiedTask", config.build())
    texts = [[*text.ids, 0] for text in task.texts(torch.arange(count), "train")]
    begun = time.process_time()
    faults = [task.fault(ids) for ids in texts]
    spent = time.process_time() - begun
    assert not any(faults), "right texts are what is timed"
    return count / spent


class Training:
    """Tokens a second of training on each of some tasks, and on biographies."""

    def __init__(self, configs: Sequence[TaskConfig], device: torch.device, seconds: float):
        self._configs, self._device, self._seconds = tuple(configs), device, seconds
        self._found: dict[TaskConfig, tuple[float, float]] = {}

    def of(self, config: TaskConfig) -> tuple[float, float]:
        """Both; on a GPU they are measured of all tasks with such rows and as many words when the first is asked for.

        On a CPU only few steps are timed, of this task alone.
        """
        if config not in self._found:
            case, plain = case_for(config, self._device.type), biographies(config.row_tokens)
            if self._device.type == "cuda":
                alike = [one for one in self._configs if one.row_tokens == config.row_tokens and
                         case_for(one, self._device.type) == case]  # fmt: skip
                speeds = time_one_model((*alike, plain), case, self._device, self._seconds)
            else:
                alike, speeds = [config], time_few_steps((config, plain), case, 3)
            self._found |= {one: (speed, speeds[-1]) for one, speed in zip(alike, speeds, strict=False)}
        return self._found[config]


def measured(config: TaskConfig, seconds: float, texts: int, training: Training) -> Speeds:
    """All speeds of one task."""
    tokens, verified = time_sampler(config, seconds), time_verifier(config, texts)
    ours, plain = training.of(config)
    return Speeds(tokens, verified, ours, ours / plain)


def bench_tasks(kinds: Sequence[str] = (), quick: bool = False) -> None:
    """Print the table, line by line as it is measured, of tasks of these kinds (by default all), and what is slower
    than wanted.

    Raises:
        UserError: a kind that there is not.
    """
    import torch

    for kind in kinds:
        if kind not in TaskConfig.table:
            raise UserError(unknown_key("task", kind, tuple(TaskConfig.table)))
    seconds, texts = (0.2, 200) if quick else (1.0, 5000)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    layers, _, width = SHAPES[device.type]
    print(f"{cpu_cores()} CPU cores{name}; torch {torch.__version__}; training {layers} x {width}, "
          f"{STEP_TOKENS[device.type]:,} tokens a step, vocabulary {VOCABULARY} or more")  # fmt: skip
    print(f"{'task':>48} {'row':>5} {'M tokens/s':>11} {'verified/s':>11} {'training':>9} {'ratio':>6}")
    configs = {kind: TaskConfig.of_kind(kind)() for kind in kinds or TaskConfig.table}
    training = Training([one for one in configs.values() if all(getattr(one, name) for name in one.file_fields)],
                        device, seconds / 2)  # fmt: skip
    slow = []
    for kind, config in configs.items():
        if lacking := [name for name in config.file_fields if not getattr(config, name)]:
            print(f"{config.title:>48} {config.row_tokens:>5} not measured: by default there is no task.{lacking[0]}")
            continue
        found = measured(config, seconds, texts, training)
        verified = "-" if found.verified is None else f"{found.verified:,.0f}"
        print(f"{config.title:>48} {config.row_tokens:>5} {found.tokens / 1e6:>11.1f} {verified:>11} "
              f"{found.training / 1e6:>9.3g} {found.ratio:>6.3f}", flush=True)  # fmt: skip
        judged = [column for column in WANTED if column != "ratio" or device.type == "cuda"]
        slow += [f"{kind} {column}" for column in judged
                 if (speed := getattr(found, column)) is not None and speed < WANTED[column]]  # fmt: skip
    print(f"wanted at least: {WANTED['tokens'] / 1e6:.0f} M tokens/s, {WANTED['verified']:,.0f} verified/s, and on a "
          f"GPU a ratio of {WANTED['ratio']}; below: {', '.join(slow) or 'none'}")  # fmt: skip
