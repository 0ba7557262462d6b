"""A task whose rows are made on the host, as fast or slow as a test wants, and what it was asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from physlm import rng
from physlm.models.config import ModelConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.rows import Rows, unpacked
from physlm.tasks.vocabulary import Vocabulary
from physlm.training.config import RunSpec, TrainConfig


@dataclass(frozen=True)
class NoiseConfig(TaskConfig):
    """Random words; about each fourth is no target."""

    kind: ClassVar[str] = "noise of tests"
    made_on_host: ClassVar[bool] = True
    words: int = 50
    row_tokens: int = 12
    seed: int = 0

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(f"w{i}" for i in range(self.words))

    def build(self) -> Noise:
        return Noise(self)


class Noise:
    """Remembers every call: the thread's name and the first and last number of the rows."""

    calls: ClassVar[list[tuple[str, int, int]]] = []
    hook: ClassVar[Callable[[int], None]] = staticmethod(lambda first: None)  # told the first number, may wait or raise

    def __init__(self, config: NoiseConfig, device: torch.device | str = "cpu"):
        self.config, self.vocabulary, self.device = config, config.vocabulary(), device

    def to(self, device: torch.device | str) -> Noise:
        return Noise(self.config, device)

    def host_rows(self, index_R: npt.NDArray[np.int64], split: str = "train", stream: int = 0) -> npt.NDArray[Any]:
        Noise.calls.append((threading.current_thread().name, int(index_R[0]), int(index_R[-1])))
        Noise.hook(int(index_R[0]))
        key = rng.key("noise", self.config.seed, split, stream)
        counter_RW = torch.from_numpy(index_R)[:, None] * 1000 + torch.arange(self.config.row_tokens + 1)
        ids_RW = rng.below(self.config.words, key, 2 * counter_RW)
        return torch.where(rng.uniform(key, 2 * counter_RW + 1) < 0.25, ~ids_RW, ids_RW).numpy()

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        return unpacked(torch.from_numpy(self.host_rows(index_R.cpu().numpy(), split, stream)).to(self.device))

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Any]:
        raise NotImplementedError


def spec(steps: int = 30, seed: int = 0, task_seed: int = 0, causal: bool = True, **task: int) -> RunSpec:
    """A run that reads it, four rows a step."""
    train = TrainConfig(steps=steps, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32", seed=seed)
    return RunSpec(NoiseConfig(seed=task_seed, **task), ModelConfig(layers=1, heads=1, width=8, causal=causal), train)


def makers() -> list[threading.Thread]:
    """Threads that make rows."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("rows-ahead")]


def wait_until(enough: Callable[[], bool], seconds: float = 60.0) -> None:
    """A bound against hangs alone."""
    end = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.001)
