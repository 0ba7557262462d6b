"""Several processes that train on one GPU: what the bench prints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from physlm.errors import LostProcessError
from physlm.lab import bench_sharing
from physlm.lab.experiment import load_experiment


def test_rows_are_those_of_the_claims_about_capacity() -> None:
    claim = load_experiment("p33_architectures_1000", Path(__file__).parents[2] / "experiments")
    assert {spec.task for spec in claim.specs("gpu")} == {bench_sharing.TASK}


def test_two_processes_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    bench_sharing.bench_sharing(quick=True, device="cpu")
    _, columns, *lines = capsys.readouterr().out.splitlines()
    assert columns.split() == ["case", "processes", "in", "turns", "over", "one"]
    (*_, one, speed, over_itself), (*_, two, both, over_one) = (line.split() for line in lines)
    assert (one, two, float(over_itself)) == ("1", "2", 1.0)
    assert float(speed) > 0 and float(both) > 0 and float(over_one) > 0


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(bench_sharing, "_train", os._exit)  # called with what it cannot take: the process ends
    with pytest.raises(LostProcessError, match="^one of the 2 processes of the bench died$"):
        bench_sharing.tokens_a_second(bench_sharing.SMALL[0], torch.device("cpu"), 2, 0.1)
