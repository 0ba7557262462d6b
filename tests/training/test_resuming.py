"""Training that was killed goes on to the same bits; a checkpoint that is none of it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import CPU, MEMBERS, SPEC, Killed, Log, same, same_models, spec_with, train
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.models.decoder import Decoder
from physlm.storage import load_tensors, save_tensors
from physlm.training import loop
from physlm.training.config import RunSpec
from physlm.training.loop import train_population
from physlm.training.step import Population


@pytest.mark.parametrize(("precision", "points"), [("float32", 5), ("bf16", 3)])
def test_killed_at_any_log_line_and_resumed(
    tmp_path: Path, precision: str, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, both moments and the log end as in a training that was never interrupted, bit for bit."""
    monkeypatch.setattr(loop, "LOGS", points)
    specs = spec_with(precision)[1:3]
    whole_log = Log()
    whole = train(specs, tmp_path / "whole", whole_log)
    state, metadata = load_tensors(tmp_path / "whole")
    every = SPEC.steps // points
    steps = range(every, SPEC.steps + 1, every)
    assert [(line["step"], line["member"]) for line in whole_log.lines] == [(t, m) for t in steps for m in (0, 1)]
    assert whole_log.rewinds == [0]
    for die_at in range(len(whole_log.lines)):
        checkpoint, log = tmp_path / f"{die_at}", Log()
        log.die_at = die_at
        with pytest.raises(Killed):
            train(specs, checkpoint, log, seconds=0.0)
        log.die_at = -1
        saved = die_at // 2 * every  # the last log point whose lines were all written
        assert checkpoint.exists() == (saved > 0)
        assert same_models(train(specs, checkpoint, log), whole), f"killed at line {die_at}"
        assert log.rewinds == [0, saved], "training went on from the checkpoint, not from the start"
        assert log.lines == whole_log.lines
        resumed, resumed_metadata = load_tensors(checkpoint)
        assert same(resumed, state) and resumed_metadata == metadata


def test_killed_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut twice, each time in place of a checkpoint, after the lines of its log point were written."""
    monkeypatch.setattr(loop, "LOGS", 15)
    whole_log, log, saves = Log(), Log(), [0]
    whole = train(MEMBERS, tmp_path / "whole", whole_log)

    def dying(path: Path, *rest: Any) -> None:
        saves[0] += 1
        if saves[0] in (5, 9):
            raise Killed
        save_tensors(path, *rest)

    monkeypatch.setattr(loop, "save_tensors", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            train(MEMBERS, tmp_path / "cut", log, seconds=0.0)
    assert same_models(train(MEMBERS, tmp_path / "cut", log, seconds=0.0), whole)
    assert log.rewinds == [0, 4, 7] and log.lines == whole_log.lines


def test_a_finished_checkpoint_trains_nothing(tmp_path: Path) -> None:
    log = Log()
    models = train(MEMBERS, tmp_path / "c", log)
    before = (tmp_path / "c").read_bytes()
    lines = list(log.lines)
    assert same_models(train(MEMBERS, tmp_path / "c", log), models)
    assert log.rewinds == [0, 15] and log.lines == lines and (tmp_path / "c").read_bytes() == before


@pytest.mark.parametrize("other", [
    [override(SPEC, ["train.seed=2"])],
    [override(SPEC, ["train.exposures=11"])],
    MEMBERS[1::-1],  # the same members in another order
    MEMBERS[:3],
], ids=["seed", "exposures", "order", "more"])  # fmt: skip
def test_a_foreign_checkpoint_is_refused(tmp_path: Path, other: list[RunSpec]) -> None:
    path = tmp_path / "c.safetensors"
    train(MEMBERS[:2], path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="belongs to other runs; delete it"):
        train(other, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "c.safetensors"
    train(MEMBERS[:2], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=r"c\.safetensors: .*delete this file"):
        train(MEMBERS[:2], path)


@pytest.mark.parametrize(("damage", "words"), [
    (lambda state: {name: value.double() for name, value in state.items()}, "float64, expected"),
    (lambda state: {name: value.repeat(2) if value.dim() else value for name, value in state.items()}, "expected"),
    (lambda state: {"step": state["step"]}, "got nothing, expected"),
    (lambda state: {name: value for name, value in state.items() if name != "step"}, "step: got nothing"),
    (lambda state: {**state, "step": state["step"] + 10**9}, "step: got 10000"),
    (lambda state: {**state, "step": -1 - state["step"]}, "step: got -"),
], ids=["double", "shape", "no weights", "no step", "later", "before"])  # fmt: skip
def test_a_checkpoint_of_another_form_is_refused(tmp_path: Path, damage: Any, words: str) -> None:
    path = tmp_path / "c.safetensors"
    train(MEMBERS[:2], path)
    state, metadata = load_tensors(path)
    save_tensors(path, damage(state), metadata)
    with pytest.raises(UserError, match=rf"c\.safetensors: .*{words}.*; delete this file"):
        train(MEMBERS[:2], path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"master": torch.zeros(3)})
    with pytest.raises(UserError, match="belongs to other runs"):
        train(MEMBERS[:2], path)
    path.write_text("not a checkpoint")
    with pytest.raises(UserError, match="safetensors"):
        train(MEMBERS[:2], path)


def test_snapshots_are_the_weights_along_the_way_killed_or_not(tmp_path: Path) -> None:
    spec = override(SPEC, ["train.snapshots=3"])
    assert spec.steps == 15 and spec.snapshot_steps == (1, 3, 7)
    kept: dict[int, list[dict[str, Tensor]]] = {}

    def keep(step: int, models: list[Decoder]) -> None:
        kept.setdefault(step, []).append(models[0].state_dict())

    log = Log()
    log.die_at = 4  # between the second snapshot and the third
    arguments: dict[str, Any] = dict(checkpoint=tmp_path / "c", snapshot=keep, checkpoint_seconds=0.0, progress=False)
    with pytest.raises(Killed):
        train_population([spec], CPU, log=log, rewind=log.rewind, **arguments)
    assert set(kept) == {1, 3}
    log.die_at = -1
    train_population([spec], CPU, log=log, rewind=log.rewind, **arguments)
    population = Population([spec], CPU)
    while population.step < spec.steps:
        population.advance()
        for state in kept.get(population.step, []):
            assert all(value.equal(state[name]) for name, value in population.model_of(0).state_dict().items())
    assert set(kept) == set(spec.snapshot_steps)


def test_a_slow_disk_is_written_to_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which a log point takes a second and writing a checkpoint ``cost`` seconds."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    cost, saves = 0.0, 0

    def save(*_: object) -> None:
        nonlocal saves
        saves, clock[0] = saves + 1, clock[0] + cost

    def log(line: dict[str, Any]) -> None:
        clock[0] += 1.0

    monkeypatch.setattr(loop, "_save", save)
    spec, counts = override(SPEC, ["train.exposures=1000"]), []  # 1500 steps, 100 log points
    for cost in (0.0, 0.1, 1.0):
        clock[0], saves = 0.0, 0
        train_population([spec], CPU, checkpoint=tmp_path / "c", log=log, checkpoint_seconds=5.0, progress=False)
        counts.append(saves)
        assert saves * cost <= loop.CHECKPOINT_SHARE * clock[0] + 2 * cost
    assert counts[0] == 20 and counts[1] >= 19 and counts[2] < 5
