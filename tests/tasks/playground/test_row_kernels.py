"""Compiled rows beside the obvious ones: a loop on a CPU writes the bits that tensors compute on every other device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.tasks import compiled_rng
from physlm.tasks.playground import drawing
from physlm.tasks.playground.copying import CopyConfig
from physlm.tasks.playground.cycles import CyclesConfig
from physlm.tasks.playground.haystack import WindowTask
from physlm.tasks.playground.needle import NeedleConfig
from physlm.tasks.rows import Rows

INDEX = torch.tensor([0, 1, 2, 5, 77, 1000, 2**20, 2**38, *range(3000, 3040)])
LARGE = 1 << 20
NEEDLES = (
    NeedleConfig(), NeedleConfig(252, 16), NeedleConfig(252, 16, 112, fewest=3), NeedleConfig(2, 0, 0, row_tokens=6),
    NeedleConfig(30, 6, 2, keys=3, values=1, fillers=1, row_tokens=40), NeedleConfig(220, 220, 99, row_tokens=300),
    NeedleConfig(60, 10, 29, "repeat", 5, 40, 50, 201, fewest=1), NeedleConfig(60, 20, 9, keys=38, row_tokens=333),
    NeedleConfig(28, 8, 1, fillers=LARGE, keys=LARGE, values=LARGE, row_tokens=63),
)  # fmt: skip
CYCLES = (
    CyclesConfig(), CyclesConfig(filler="words"), CyclesConfig(filler="repeat", fillers=3),
    CyclesConfig(filler="edges"), CyclesConfig(3, 1, 1, 3, 6, "words", 0.0, row_tokens=11),
    CyclesConfig(9, 4, 24, 1024, 924, share=0.9, row_tokens=1024),
    CyclesConfig(7, 3, 21, 47, 100, share=0.8, row_tokens=190), CyclesConfig(9, 4, 8, 37, 90, "words", 0.5),
    CyclesConfig(50, 2, 3, LARGE, 300, share=0.6, fillers=LARGE, row_tokens=700),
)  # fmt: skip
COPIES = (
    CopyConfig(), CopyConfig(63, 1024, 1, 128), CopyConfig(20, 20, row_tokens=42), CopyConfig(6, 9, 3, 64),
    CopyConfig(1, 1, row_tokens=4), CopyConfig(1, 5, row_tokens=9), CopyConfig(20, 25, 1, 300),
    CopyConfig(20, 20, 19, 301), CopyConfig(5, 5, row_tokens=37), CopyConfig(12, 49, 2, 100),
)  # fmt: skip
Obvious = Callable[..., Rows]


def of_copies(task: Any, index_R: Tensor, split: str, stream: int) -> Rows:
    config = task.config
    rows: Rows = task._rows(index_R, config.row_tokens, config.shortest or config.length, config.length, split, stream)
    return rows


CASES = [*((config, WindowTask.rows) for config in NEEDLES), *((config, of_copies) for config in COPIES),
         *((config, lambda task, *where: task._rows(*where)) for config in CYCLES)]  # fmt: skip


@pytest.mark.parametrize(("config", "obvious"), CASES, ids=[f"{config!r}" for config, _ in CASES])
def test_the_compiled_loop_writes_the_bits_of_the_tensors(config: Any, obvious: Obvious) -> None:
    task = config.build()
    for split, stream in (("train", 0), ("evaluation", 7)):
        rows, expected = task.rows(INDEX, split, stream), obvious(task, INDEX, split, stream)
        assert rows.inputs_RT.equal(expected.inputs_RT) and rows.targets_RT.equal(expected.targets_RT)
        assert rows.inputs_RT.shape == (len(INDEX), config.row_tokens)
        assert bool((rows.targets_RT > 0).any(-1).all())


@pytest.mark.parametrize(("count", "n"), [
    (1, 1), (9, 9), (9, 36), (9, 37), (12, 13), (13, 53), (40, 161), (300, 1201), (300, 1200), (500, 500), (3, LARGE),
])
def test_distinct_numbers_are_those_of_the_tensors(count: int, n: int) -> None:
    """By sorting and by drawing again, and fewer of them are the first ones of all."""
    memory = compiled_rng.work(n)
    for number in range(20):
        expected = drawing.distinct(count, n, torch.tensor([[number]]))[0].tolist()
        for wanted in {0, 1, count // 2, count}:
            found = torch.zeros(count, dtype=torch.long).numpy()
            compiled_rng.distinct(memory, found, wanted, count, n, compiled_rng.unsigned([number])[0])
            assert found[:wanted].tolist() == expected[:wanted] and not found[wanted:].any()


@pytest.mark.parametrize(("count", "bits"), [(0, 8), (1, 8), (12, 8), (13, 4), (13, 64), (500, 9), (500, 52),
                                             (500, 64)])  # fmt: skip
def test_sorting_is_stable_and_of_all_bits(count: int, bits: int) -> None:
    memory = compiled_rng.work(max(1, count))
    drawn = [int(x) for x in torch.randint(0, 1 << 62, (count,), generator=torch.Generator().manual_seed(count))]
    values = [(value << 2 | value & 3) >> (64 - bits) for value in drawn]
    memory.value[:count] = values
    compiled_rng.sort(memory, count, bits)
    assert memory.order[:count].tolist() == sorted(range(count), key=values.__getitem__)


def test_numbers_beside_others_are_those_of_the_tensors() -> None:
    taken, ranks = torch.tensor([3, 0, 9, 4]), torch.arange(20)
    free = (taken.sort().values - torch.arange(4)).numpy()
    found = [compiled_rng.beside(rank, free, len(free)) for rank in ranks.tolist()]
    assert found == drawing.beside(ranks[None], taken[None])[0].tolist()
    assert found == [number for number in range(24) if number not in {3, 0, 9, 4}]
