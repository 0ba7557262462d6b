"""Two GPUs train what one GPU trains, stopped and resumed on the other number."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "training"))

from ranks import together, trained

from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.parallel import ALONE, Ranks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")]
GPU = torch.device("cuda")
TASK = BioSConfig(people=200, entries_per_row=1, row_tokens=60)


def spec(precision: Any) -> RunSpec:
    train = TrainConfig(exposures=8, batch_rows=16, learning_rate=4e-3, precision=precision)
    return RunSpec(TASK, ModelConfig(layers=2, heads=2, width=64), train)


def train(ranks: Ranks, say: Any, specs: Sequence[RunSpec], folder: Path, names: Sequence[str], stop: int) -> None:
    """Each run from its checkpoint, if it has one; then the first again until a step."""
    said = [trained(ranks, [one], folder / name, device=GPU) for one, name in zip(specs, names, strict=True)]
    if stop:
        trained(ranks, specs[:1], folder / "stopped", stop=stop, device=GPU)
    say(said)


def test_two_gpus_train_what_one_trains(tmp_path: Path) -> None:
    """The loss of every log point to 1e-3, the graph in two halves and the sum of gradients between them."""
    specs = [spec("float32"), spec("bf16")]
    one = [trained(ALONE, [each], tmp_path / f"one{n}", device=GPU) for n, each in enumerate(specs)]
    two = together(2, tmp_path / "2", train, specs, tmp_path, ("two0", "two1"), 50, device=GPU)
    for first, other in zip(*two, strict=True):
        assert first[0] and [r["loss"] for r in first[0]] == [r["loss"] for r in other[0]], "both have the same sums"
        for name, value in first[2][0].items():
            assert (value == other[2][0][name]).all(), name
    for precision, here, there in zip(("float32", "bf16"), two[0], one, strict=True):
        assert [r["step"] for r in here[0]] == [r["step"] for r in there[0]]
        apart = max(abs(a["loss"] - b["loss"]) for a, b in zip(here[0], there[0], strict=True))
        print(f"{precision}: losses of two GPUs and one differ by at most {apart:.2e} nats")
        assert apart < (1e-3 if precision == "float32" else 2e-2)
        assert here[0][-1]["loss"] < here[0][0]["loss"] - 1
        assert abs(here[0][-1]["loss"] - there[0][-1]["loss"]) < (1e-3 if precision == "float32" else 5e-3)
    # stopped on two, it goes on with one
    records, rewinds, _ = trained(ALONE, specs[:1], tmp_path / "stopped", device=GPU)
    assert rewinds[0] > 0
    for record, expected in zip(records, one[0][0][-len(records):], strict=True):
        assert record["step"] == expected["step"] and abs(record["loss"] - expected["loss"]) < 1e-3
