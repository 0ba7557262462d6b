"""What bench mixers measures is what it says: every mixer once, beside attention, in models of one shape."""

from __future__ import annotations

import pytest
import torch

from physlm.errors import UserError
from physlm.lab import bench_mixers as bench
from physlm.lab.bench import Case
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Mixer


def test_all_mixers_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    timed: list[Case] = []

    def speeds(case: Case, place: torch.device, seconds: float) -> tuple[float, float]:
        timed.append(case)
        return (4.0, 100.0) if case.mixer == (Attention(),) else (3.0, 150.0)

    monkeypatch.setattr(bench, "speeds", speeds)
    bench.bench_mixers(device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert {case.mixer[0].kind for case in timed} == set(Mixer.kinds())
    assert len({case.mixer for case in timed}) == len(timed) == len(lines) - 2
    assert {(case.layers, case.heads, case.width, case.rows) for case in timed} == {(2, 2, 64, 4)}
    assert lines[2].split() == ["rope", f"{4 * 4 * 512:,}", "100", f"{2 * 2 * 64 * 512 * 4:,}"]
    line = next(line for line in lines if line.startswith("deltanet "))
    assert line.split() == ["deltanet", f"{3 * 4 * 512:,}", "0.75", "150", "1.50",
                            f"{2 * 4 * (64 * 64 // 2 + 3 * 192):,}"]  # fmt: skip


def test_what_is_asked_for_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    bench.bench_mixers(["linear"], quick=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["rope", "linear"]
    with pytest.raises(UserError, match="KIND: unknown name 'glaa'; did you mean 'gla'"):
        bench.bench_mixers(["glaa"], device="cpu")
