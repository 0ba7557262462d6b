"""Training: killed and resumed it ends with the same bits; a population is its members trained alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_runs import CPU, MEMBERS, SPEC, TASK, TRAIN, Killed, Log, same, same_models, spec_with, train

from physlm.config import override
from physlm.errors import UserError
from physlm.tasks.rows import IGNORE
from physlm.training import batches, loop
from physlm.training.schedule import schedule
from physlm.training.step import Population, check_members


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
