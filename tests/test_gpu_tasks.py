"""Whatever a task samples on a device has the same bits on a GPU as on the CPU, and each time.

Tasks are found by their kinds, with every way to sample that ``task_examples`` knows.  Rows of which a compiled loop
makes the same bits on the CPU are so compared with the tensors of the GPU (``tasks/playground/test_row_kernels.py``
compares the two on the CPU).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from task_examples import OTHERS, examples, kinds
from torch import Tensor

from physlm.errors import UserError
from physlm.tasks.config import SPLITS, TaskConfig

DEVICES = ("cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU")]))  # fmt: skip


def asked(config: TaskConfig) -> Iterator[dict[str, Any]]:
    """Every condition of which a measure asks this task: those of its settings, longer ones, filled windows."""
    yield from map(dict, config.conditions().values())
    if longer := config.longer(2):
        yield dict(longer)
    for share in (0.0, 0.3):
        try:
            yield from map(dict, config.filled(share).values())
        except UserError:  # this window has no room for so much
            continue


def sampled(config: TaskConfig, device: str) -> Iterator[tuple[str, Any]]:
    """All that this task samples on a device: rows, texts, questions, guesses, rows of answers."""
    task: Any = config.build().to(device)
    for split in SPLITS:
        for stream in (0, 7):
            for first in (0, 1000, 2**20):
                index = torch.arange(first, first + 24, device=device)
                yield f"rows {split} {stream} {first}", task.rows(index, split, stream)
    yield "texts", task.texts(torch.arange(9, device=device))
    for condition in asked(config):
        try:
            prompts = task.prompts(20, **condition)
        except UserError:  # beyond the words that there are
            continue
        yield f"prompts {condition}", prompts
        yield f"grades {condition}", task.grade(prompts, torch.cat((prompts.ids_BP, prompts.answers_BQ), 1))
        if config.guesses_from_text:
            yield f"guesses {condition}", task.guesses(prompts)
    if config.has_test_rows:
        yield "test rows", task.test_rows(8)


def same(here: Any, there: Any, device: str) -> bool:
    """Tensors of the device with the same bits, or anything else that is equal."""
    if isinstance(here, Tensor):
        return there.device.type == device and here.dtype == there.dtype and here.equal(there.cpu())
    if isinstance(here, tuple):
        return len(here) == len(there) and all(same(*pair, device) for pair in zip(here, there, strict=True))
    return bool(here == there)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", kinds())
def test_everything_sampled_on_a_device_has_the_bits_of_the_cpu(kind: str, device: str, tmp_path: Path) -> None:
    on_device = [config for config in examples(kind, tmp_path) if not config.made_on_host]
    if not on_device:
        pytest.skip(f"{kind} is made on the host")
    for config in on_device:
        for (name, here), (again, there) in zip(sampled(config, "cpu"), sampled(config, device), strict=True):
            assert name == again and same(here, there, device), f"{config}: {name}"


def test_other_ways_to_sample_are_of_tasks_that_there_are() -> None:
    assert set(OTHERS) <= set(kinds())
