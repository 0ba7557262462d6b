"""Short rows: the bench sets the choice of kernels and gives it back, and says what it needs."""

from __future__ import annotations

import pytest
import torch

from physlm.errors import UserError
from physlm.lab import bench_rows as bench
from physlm.models import short_attention


def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="^physlm bench rows: found no GPU"):
        bench.bench_rows(quick=True)


def test_models_are_timed_without_kernels_and_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "time_training", lambda tasks, case, place, seconds: [float(short_attention.LONGEST)])
    found = [bench._speed(bench.MODELS[0], tokens, torch.device("cpu"), 0.0) for tokens in (0, bench.TASK.row_tokens)]
    assert found == [0.0, 60.0]


def test_both_ways_are_timed_of_the_same_rows_and_the_choice_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[int, tuple[int, ...]]] = []

    def both_ways(run, given, place, seconds):
        timed.append((short_attention.LONGEST, tuple(given[0].shape)))
        assert run(given[0]).shape == (*given[0].shape[:2], bench.WIDTH)
        return 1.0 + len(timed)

    before = short_attention.LONGEST
    monkeypatch.setattr(bench, "both_ways", both_ways)
    monkeypatch.setattr(bench, "TOKENS", 240)
    assert bench.times(60, 16, torch.device("cpu"), 0.0) == (2.0, 3.0)
    assert timed == [(0, (4, 60, 3, 4, 16)), (60, (4, 60, 3, 4, 16))] and before == short_attention.LONGEST
    with pytest.raises(ZeroDivisionError), bench.longest(7):
        raise ZeroDivisionError
    assert before == short_attention.LONGEST
