"""Training: killed and resumed it ends with the same bits; a population is its members trained alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import untimed
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.storage import load_tensors, save_tensors
from physlm.tasks.biography.config import BioDConfig
from physlm.tasks.rows import IGNORE
from physlm.training import batches, loop
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.loop import train_population
from physlm.training.schedule import schedule
from physlm.training.step import Population, check_members

CPU = torch.device("cpu")
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
TRAIN = TrainConfig(exposures=10, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32")
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)  # 15 steps
# one that shares its data with the first, one with another order of the same people, one with other people
MEMBERS = [
    SPEC,
    override(SPEC, ["train.learning_rate=3e-3", "train.weight_decay=0.3"]),
    override(SPEC, ["train.seed=1"]),
    override(SPEC, ["task.seed=1"]),
]


class Killed(BaseException):
    """Stands for the death of the process: nothing in the loop catches it."""


class Log:
    """The lines of a log, cut back when training resumes, and by themselves their times; dies at line ``die_at``."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.times: list[dict[str, float]] = []
        self.rewinds: list[int] = []
        self.die_at = -1

    def __call__(self, line: dict[str, Any]) -> None:
        if len(self.lines) == self.die_at:
            raise Killed
        self.lines.append(untimed(line))
        self.times.append({name: line[name] for name in loop.TIMES})

    def rewind(self, step: int) -> None:
        self.rewinds.append(step)
        self.lines = [line for line in self.lines if line["step"] <= step]


def train(
    specs: Sequence[RunSpec], checkpoint: Path, log: Log | None = None, seconds: float = 60.0
) -> list[dict[str, Tensor]]:
    log = log or Log()
    models = train_population(specs, CPU, checkpoint=checkpoint, log=log, rewind=log.rewind,
                              checkpoint_seconds=seconds, progress=False)  # fmt: skip
    assert all(isinstance(model, Decoder) and model.members == 1 for model in models)
    return [{name: value.clone() for name, value in model.state_dict().items()} for model in models]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())


def spec_with(precision: str) -> list[RunSpec]:
    return [override(spec, [f"train.precision={precision}"]) for spec in MEMBERS]


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


def same_models(a: Sequence[dict[str, Tensor]], b: Sequence[dict[str, Tensor]]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


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


@pytest.mark.parametrize("ahead", [1, 4, 7])
def test_sampling_ahead_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """How many steps are sampled at once, and where in such a stretch training resumes, is not seen."""
    whole = train(MEMBERS[1:3], tmp_path / "whole")
    monkeypatch.setattr(batches, "AHEAD_STEPS", ahead)
    log = Log()
    log.die_at = 2 * 9  # of two lines a step
    with pytest.raises(Killed):
        train(MEMBERS[1:3], tmp_path / "cut", log, seconds=0.0)
    log.die_at = -1
    assert same_models(train(MEMBERS[1:3], tmp_path / "cut", log), whole)
    assert log.rewinds == [0, 9]


def test_the_log_says_what_was_trained(tmp_path: Path) -> None:
    """Each line's loss is the mean over the steps since the line before; tokens are those of one member."""
    log = Log()
    train(MEMBERS[:2], tmp_path / "c", log)
    population = Population(MEMBERS[:2], CPU, window=SPEC.steps)
    while population.step < SPEC.steps:
        population.advance()
    for member in (0, 1):
        lines = [line for line in log.lines if line["member"] == member]
        assert [line["step"] for line in lines] == list(range(1, SPEC.steps + 1))
        assert [line["tokens"] for line in lines] == [t * 4 * 36 for t in range(1, SPEC.steps + 1)]
        assert lines[-1]["tokens"] == SPEC.tokens
        mean = sum(line["loss"] for line in lines) / SPEC.steps
        assert mean == pytest.approx(population.recent_losses(SPEC.steps)["loss"][member].item(), rel=1e-6)
    # before it has learned anything a model spends about ln V nats on each word
    first = [line["loss"] for line in log.lines if line["step"] == 1]
    words = population.model.vocabulary
    assert first == pytest.approx([math.log(words)] * 2, rel=0.1)


def test_the_log_tells_rate_norm_and_speed_of_each_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm is that of the gradient by which the last step before the line was made."""
    monkeypatch.setattr(loop, "LOGS", 5)
    log, clock = Log(), iter(range(100))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    train(MEMBERS[:2], tmp_path / "c", log)
    population, norms = Population(MEMBERS[:2], CPU), []
    for step in range(SPEC.steps):
        inputs, targets = population.sample(step)
        scored = (targets[0] != IGNORE).sum((1, 2))
        loss = population.losses(inputs[0], targets[0], scored)["loss"].sum()
        gradients = torch.autograd.grad(loss, list(population.model.parameters()))
        norms.append(torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt().tolist())
        population.advance()
    rates = schedule(TRAIN, SPEC.steps)
    assert [line["step"] for line in log.lines] == [3, 3, 6, 6, 9, 9, 12, 12, 15, 15]
    for line, times in zip(log.lines, log.times, strict=True):
        last, member = line["step"] - 1, line["member"]
        assert line["gradient_norm"] == pytest.approx(norms[last][member], rel=1e-4)
        assert line["learning_rate"] == pytest.approx(MEMBERS[member].train.learning_rate * float(rates[last]))
        assert times == {"seconds": 1.0, "tokens_per_second": 3 * 4 * 36}
    assert len({line["gradient_norm"] for line in log.lines}) == 10


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


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_members_equal_the_same_runs_alone(tmp_path: Path, precision: str) -> None:
    """Exactly the same data; the same weights but for the order in which sums are rounded."""
    specs = spec_with(precision)
    together = Population(specs, CPU)
    inputs, targets = together.sample(3, steps=2)
    for m, spec in enumerate(specs):
        alone = Population([spec], CPU)
        for mine, shared in zip(alone.sample(3, steps=2), (inputs, targets), strict=True):
            assert mine[:, 0].equal(shared[:, m])
        for name, value in alone.model_of(0).state_dict().items():
            assert value.equal(together.model_of(m).state_dict()[name]), "the same weights to start from"
    trained = train(specs, tmp_path / "together")
    start = together.model_of(0).state_dict()
    for m, spec in enumerate(specs):
        (alone_state,) = train([spec], tmp_path / f"alone{m}")
        # in bfloat16 one rounding that falls the other way is 2^-8 of a weight of about 0.1
        tolerance = 1e-4 if precision == "float32" else 5e-3
        for name, value in alone_state.items():
            torch.testing.assert_close(trained[m][name], value, atol=tolerance, rtol=tolerance)
    moved = max((trained[0][name] - value).abs().max().item() for name, value in start.items())
    assert moved > 0.05, "far more than the tolerance"


def test_seeds_give_other_data_and_other_weights() -> None:
    population = Population(MEMBERS, CPU)
    inputs, targets = population.sample(0)
    assert inputs.shape == targets.shape == (1, 4, 4, 36)
    first, rates, order, people = inputs[0]
    assert first.equal(rates), "learning rate and decay do not touch the data"
    assert not first.equal(order), "train.seed decides the order"
    assert not first.equal(people), "task.seed decides the people"
    weights = [population.model_of(m).state_dict()["embedding.weight"] for m in range(4)]
    assert weights[0].equal(weights[1]) and weights[0].equal(weights[3]), "weights depend on train.seed alone"
    assert not weights[0].allclose(weights[2], atol=1e-3)

    def names(member: int) -> set[tuple[int, ...]]:
        """First three words after each separator, over a whole epoch."""
        ids = torch.cat([population.sample(t)[0][0, member] for t in range(2)])
        rows, starts = ((ids == 0) & (ids.roll(-1, 1) != 0)).nonzero(as_tuple=True)
        return {tuple(ids[r, s + 1 : s + 4].tolist()) for r, s in zip(rows, starts, strict=True) if s + 4 <= 36}

    assert names(0) == names(2) and len(names(0)) == TASK.people
    assert names(0) != names(3)


def test_every_target_is_the_next_input() -> None:
    inputs, targets = Population(MEMBERS[:1], CPU).sample(5, steps=3)
    scored = targets[..., :-1] != IGNORE
    assert targets[..., :-1][scored].equal(inputs[..., 1:][scored]) and scored.float().mean() > 0.5


@pytest.mark.parametrize("change", [
    "model.layers=2", "model.width=16", "model.norm=rmsnorm", "train.exposures=9", "train.batch_rows=5",
    "train.precision=bf16", "train.warmup_steps=3", "task.people=13", "task.row_tokens=40",
])  # fmt: skip
def test_other_shapes_are_no_members(tmp_path: Path, change: str) -> None:
    other = override(SPEC, [change])
    for refuse in (lambda: check_members([SPEC, other]), lambda: train([SPEC, other], tmp_path / "c")):
        with pytest.raises(UserError, match="may differ in task.seed, train.learning_rate"):
            refuse()
    check_members(MEMBERS)
    assert not (tmp_path / "c").exists()


def test_an_empty_population_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one run"):
        train([], tmp_path / "c")


def test_losses_go_down_and_the_same_seed_repeats(tmp_path: Path) -> None:
    spec = override(SPEC, ["train.exposures=40"])  # 60 steps
    log, again = Log(), Log()
    first = train([spec], tmp_path / "a", log)
    assert same_models(first, train([spec], tmp_path / "b", again)) and log.lines == again.lines
    losses = [line["loss"] for line in log.lines]
    assert losses[-1] < 0.6 * losses[0], losses
    other = train([override(spec, ["train.seed=1"])], tmp_path / "c")
    assert not same_models(first, other)


def test_a_learning_rate_of_zero_trains_nothing(tmp_path: Path) -> None:
    """The control: what the other tests see is training."""
    frozen = override(SPEC, ["train.learning_rate=0"])
    (state,) = train([frozen], tmp_path / "c")
    assert same(state, dict(Population([SPEC], CPU).model_of(0).state_dict()))


def test_a_member_that_diverges_harms_nobody(tmp_path: Path) -> None:
    """Who trains beside it ends with the bits that it has beside a member that learns."""
    wild, sane = override(SPEC, ["train.learning_rate=1e30"]), SPEC
    log = Log()
    lost, kept = train([wild, sane], tmp_path / "one", log)
    assert all(math.isfinite(line["loss"]) for line in log.lines if line["member"] == 1)
    assert [line["loss"] for line in log.lines if line["member"] == 0][1:] == [None] * (SPEC.steps - 1)
    assert log.lines[-1]["step"] == SPEC.steps
    assert not all(value.isfinite().all() for value in lost.values())
    assert same(kept, train([MEMBERS[1], sane], tmp_path / "two")[1])


def test_when_all_members_have_diverged_there_is_nothing_to_go_on_for(tmp_path: Path) -> None:
    wild, log = override(SPEC, ["train.learning_rate=1e30"]), Log()
    states = train([wild, override(wild, ["train.seed=1"])], tmp_path / "all", log)
    assert not any(all(value.isfinite().all() for value in state.values()) for state in states)
    assert [line["step"] for line in log.lines] == [1, 1, 2, 2] and not (tmp_path / "all").exists()


def test_a_loss_may_become_finite_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the weights are finite, nothing is lost but the number: all members go on to the end."""
    whole, log = train(MEMBERS[:2], tmp_path / "whole"), Log()
    read = Population.recent_losses
    monkeypatch.setattr(Population, "recent_losses", lambda self, count: {
        name: loss_M * (torch.nan if self.step == 4 else 1.0) for name, loss_M in read(self, count).items()})
    states = train(MEMBERS[:2], tmp_path / "again", log)
    assert all(same(state, other) for state, other in zip(states, whole, strict=True))
    assert [line["step"] for line in log.lines if line["loss"] is None] == [4, 4]
    assert log.lines[-1]["step"] == SPEC.steps and log.lines[-1]["loss"] is not None


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
