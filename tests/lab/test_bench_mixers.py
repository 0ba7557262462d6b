"""What bench mixers measures is what it says: every mixer once, beside attention, in models of one shape."""

from __future__ import annotations

import pytest
import torch

from physlm.errors import UserError
from physlm.lab import bench_chunks
from physlm.lab import bench_mixers as bench
from physlm.lab.bench import Case
from physlm.models.parts.attention import Attention
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.nsa import NSA
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH
from physlm.models.parts.recurrent import CHUNKS
from physlm.models.parts.simplicial import Simplicial


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


def test_bounds_are_those_of_the_families() -> None:
    for mixer, least in ((Attention(window=64), 0.6), (GLA(), 0.6), (Mamba2(), 0.6), (Mamba2(levels=10), 0.4),
                         (DeltaNet(negative=True, steps=2), 0.4), (GatedDeltaNet(levels=10), 0.4), (PaTH(), 0.4),
                         (NSA(), None), (Simplicial(), None)):
        assert mixer in set(bench.mixers_of((), heads=4)) and bench.wanted(mixer) == least


def test_a_quick_table_ends_in_time_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]

    def speeds(case: Case, place: torch.device, seconds: float) -> tuple[float, float]:
        now[0] += 50
        return 1.0, 1.0

    monkeypatch.setattr(bench, "speeds", speeds)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bench.bench_mixers(["gla", "mamba2", "fox"], quick=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["rope", "gla", "gla_gatescalar", "mamba2"]
    assert lines[-1] == "left out, as 150 s are over; ask for them by name: mamba2, fox"
    bench.bench_mixers(["gla", "mamba2", "fox"], device="cpu")
    assert len(capsys.readouterr().out.splitlines()) == 2 + 7


def test_every_recurrence_is_timed_in_chunks_of_each_size(capsys: pytest.CaptureFixture[str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(bench_chunks, "SIZES", (8, 16, 64))
    monkeypatch.setattr(bench_chunks, "time_call", lambda call, place, seconds: call() or 0.5)
    bench_chunks.bench_chunks(quick=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    timed = bench_chunks._recurrences((1, 2, 32, 16), torch.device("cpu"))
    assert {line.core for line in timed} == set(CHUNKS)
    assert lines[1].split()[1:] == ["16", "64", "fastest", "now"]
    assert len(lines) == 2 + 7 + 1
    assert all(line.split()[-4:] == ["500.000", "500.000", "16", "64"] for line in lines[2:-1])
    assert lines[-1].endswith(f"CHUNKS = {dict.fromkeys(CHUNKS, 16)}")
    bench_chunks.bench_chunks(["path"], quick=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 1 + 1 and lines[2].startswith("path ") and lines[-1].endswith(f"{CHUNKS | {'path': 16}}")
    with pytest.raises(UserError, match="--chunks: unknown name 'deta'; did you mean 'delta'"):
        bench_chunks.bench_chunks(["deta"], device="cpu")


def test_the_size_of_a_core_loses_least_over_its_recurrences() -> None:
    """By ratios: a recurrence that takes ten times as long counts no more."""
    measured = {"delta": [{32: 1.0, 64: 1.2, 128: 2.0}, {32: 15.0, 64: 10.0, 128: 10.5}], "path": [{32: 2.0, 64: 1.0}]}
    assert bench_chunks.best_sizes(measured) == {"delta": 64, "path": 64}


def test_a_quick_table_of_chunks_ends_in_time(capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    now = [0.0]

    def both_ways(*given: object) -> float:
        now[0] += 30
        return 1.0

    monkeypatch.setattr(bench_chunks, "both_ways", both_ways)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bench_chunks.bench_chunks(quick=True, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:-2]] == ["decayed, by head", "decayed, levels"]
    assert lines[-2] == "left out, as 150 s are over; ask for them by name: channels, delta, path"
