"""Merged checkpoints: the identity of the source, planted quadratics, budgets of one run, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from physlm.config import override
from physlm.errors import UserError
from physlm.measures.measure import take
from physlm.measures.merged import WAYS, Merged, kept_for, merges
from physlm.measures.merging import decay_weights, merge_weights, merged_state
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.schedule import schedule
from physlm.training.step import Population

CPU = torch.device("cpu")
TASK = BioDConfig(people=12, attributes=2, diversity=4, chunk_tokens=1, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)  # fmt: skip
STEPS, ENDS = 40, (0.5, 1.0)
KEPT = kept_for(STEPS, ENDS, 0.2, 4)
TRAIN = TrainConfig(steps=STEPS, batch_rows=4, learning_rate=1e-2, warmup_steps=2, precision="float32", stable=1.0,
                    kept=KEPT)  # fmt: skip
TRUNK = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)


def weights_along(spec: RunSpec) -> dict[int, dict[str, Tensor]]:
    """The weights after every step."""
    population, found = Population([spec], CPU), {}
    while population.step < population.steps:
        population.advance()
        found[population.step] = {name: p.clone() for name, p in population.model_of(0).state_dict().items()}
    return found


@pytest.fixture(scope="module")
def along() -> dict[int, dict[str, Tensor]]:
    return weights_along(TRUNK)


def run_of(spec: RunSpec, along: Mapping[int, Mapping[str, Tensor]]) -> Trained:
    def load(step: int) -> Decoder:
        assert step in (*spec.kept_steps, spec.steps), "weights of no other step are there"
        model = Decoder(spec.model, len(spec.task.vocabulary()), (None,))
        model.load_state_dict(dict(along[step]))
        return model

    return Trained(spec, CPU, load)


@pytest.mark.parametrize("intervals", [1, 2, 8, 31])
@pytest.mark.parametrize("way", WAYS)
def test_weights_sum_to_one_and_stand_for_their_decay(way: str, intervals: int) -> None:
    decay = decay_weights(way, intervals)  # type: ignore[arg-type]
    weights = merge_weights(decay)
    assert len(weights) == intervals + 1 and sum(weights) == pytest.approx(1, abs=1e-12) and min(weights) > 0
    assert [sum(weights[i:]) for i in range(1, intervals + 1)] == pytest.approx(decay), "w_i = c_i + .. + c_k"
    assert decay == sorted(decay, reverse=True) and 0 < decay[-1] <= decay[0] < 1
    if way == "linear":
        assert weights == pytest.approx([1 / (intervals + 1)] * (intervals + 1)), "the mean"
    if way == "sqrt":
        n = intervals + 1
        assert weights == pytest.approx([math.sqrt((j + 1) / n) - math.sqrt(j / n) for j in range(n)])


@pytest.mark.parametrize("way", WAYS)
def test_the_identity_of_the_source_holds_for_stored_checkpoints(way: str, along: dict[int, dict[str, Tensor]]) -> None:
    """sum_j c_j x_j = x_0 + sum_i w_i (x_i - x_(i-1))."""
    steps = [step for step in (*KEPT, STEPS) if step >= 32]
    decay = decay_weights(way, len(steps) - 1)  # type: ignore[arg-type]
    merged = merged_state([along[step] for step in steps], merge_weights(decay))
    for name, value in merged.items():
        x = [along[step][name].double() for step in steps]
        right = x[0] + sum(w * (later - earlier) for w, later, earlier in zip(decay, x[1:], x[:-1], strict=True))
        torch.testing.assert_close(value, right.float(), rtol=0, atol=1e-7)
        assert value.dtype == along[STEPS][name].dtype and not value.equal(along[STEPS][name])


def test_one_checkpoint_is_itself_and_whole_numbers_are_the_last(along: dict[int, dict[str, Tensor]]) -> None:
    alone = merged_state([along[STEPS]], merge_weights([]))
    assert all(value.equal(along[STEPS][name]) for name, value in alone.items())
    counts = [{"count": torch.tensor([step])} for step in (1, 2)]
    assert merged_state(counts, [0.5, 0.5])["count"].tolist() == [2]
    equal = merged_state([along[STEPS]] * 5, merge_weights(decay_weights("sqrt", 4)))
    for name, value in equal.items():
        torch.testing.assert_close(value, along[STEPS][name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_of_a_linear_loss_merging_is_the_decay(way: str) -> None:
    """Gradients that do not depend on the weights, a checkpoint every 5 steps: both end at the same place."""
    generator, rate, every, k = torch.Generator().manual_seed(0), 0.1, 5, 6
    gradients = torch.randn(every * k, 3, dtype=torch.float64, generator=generator)
    decay = decay_weights(way, k)  # type: ignore[arg-type]
    x, stored = torch.ones(3, dtype=torch.float64), [torch.ones(3, dtype=torch.float64)]
    decayed = x.clone()
    for step, gradient in enumerate(gradients):
        x = x - rate * gradient
        decayed = decayed - rate * decay[step // every] * gradient
        if (step + 1) % every == 0:
            stored.append(x)
    merged = merged_state([{"x": one} for one in stored], merge_weights(decay))["x"]
    torch.testing.assert_close(merged, decayed, rtol=0, atol=1e-12)


def test_of_a_quadratic_merging_takes_the_noise_out_as_a_decay_does() -> None:
    """Planted: loss |x|^2 / 2 with noisy gradients, many runs of plain descent at a rate of 0.3; the excess loss is
    rate / (2 (2 - rate)) a dimension at a constant rate, and far less after merging or a decay over the same steps."""
    generator, rate, before, steps, every = torch.Generator().manual_seed(1), 0.3, 100, 200, 5
    noise = torch.randn(before + steps, 20_000, dtype=torch.float64, generator=generator)
    constant, decayed, stored = torch.zeros(20_000).double(), torch.zeros(20_000).double(), []
    rates = schedule(TrainConfig(stable=before / (before + steps), decay="sqrt", final_fraction=0.0, warmup_steps=0),
                     before + steps)  # fmt: skip
    for step in range(before + steps):
        constant = constant - rate * (constant + noise[step])
        decayed = decayed - rate * float(rates[step]) * (decayed + noise[step])
        if step + 1 >= before and (step + 1 - before) % every == 0:
            stored.append({"x": constant})

    def excess(x: Tensor) -> float:
        return float(x.square().mean() / 2)

    assert excess(constant) == pytest.approx(rate / (2 * (2 - rate)), rel=0.05)
    for way in WAYS:
        merged = merged_state(stored, merge_weights(decay_weights(way, len(stored) - 1)))["x"]
        assert excess(merged) < 0.15 * excess(constant)
        assert excess(merged) < 2 * excess(decayed)
    assert excess(decayed) < 0.15 * excess(constant)


def test_every_budget_of_a_run_is_measured_of_its_merged_weights(along: dict[int, dict[str, Tensor]]) -> None:
    run, measure = run_of(TRUNK, along), Merged(ends=ENDS, spans=(0.0, 0.1, 0.2), ways=("linear", "sqrt"))
    measure.check(TRUNK)
    rows = [row for row in take(measure, run) if row.quantity == "bits_signed"]
    places = [(row.where["step"], row.where["span"], row.where["way"], row.where["checkpoints"]) for row in rows]
    assert places == [(end, span, way, count) for end in (20, 40) for span, way, count in (
        (0.0, "none", 1), (0.1, "linear", 3), (0.1, "sqrt", 3), (0.2, "linear", 5), (0.2, "sqrt", 5))]
    (last,) = (row for row in take("capacity", run) if row.quantity == "bits_signed")
    by_hand = merged_state([along[step] for step in (16, 17, 18, 19, 20)], [0.2] * 5)
    mean_run = run_of(TRUNK, {**along, STEPS: by_hand})
    (mean,) = (row for row in take("capacity", mean_run) if row.quantity == "bits_signed")
    found = {place: row.value for place, row in zip(places, rows, strict=True)}
    assert found[40, 0.0, "none", 1] == last.value
    assert found[20, 0.2, "linear", 5] == pytest.approx(mean.value, rel=1e-6)
    assert len(set(found.values())) == len(found)
    assert take(measure, run) == take(measure, run), "the same numbers again"


def test_a_stable_run_is_what_every_decay_begins_with(along: dict[int, dict[str, Tensor]]) -> None:
    """The same data and the same rates: up to its decay a run of a smaller budget is the long one, bit for bit."""
    short = override(TRUNK, ["train.steps=20", "train.stable=0.8", "train.kept=[16]", "train.decay=sqrt"])
    there = weights_along(short)
    for step in (1, 10, 16):
        assert all(value.equal(along[step][name]) for name, value in there[step].items())
    assert not all(value.equal(along[20][name]) for name, value in there[20].items())


@pytest.mark.parametrize(("settings", "message"), [
    ({"ends": (0.0,)}, "ends: got 0.0, expected a share"), ({"spans": (1.0,)}, "spans: got 1.0, expected a share"),
    ({"ways": ("ema",)}, "ways: got 'ema', expected cosine, linear, sqrt"), ({"ways": ()}, "at least one, each once"),
    ({"ends": (1.0, 1.0)}, "ends: got .*each once"), ({"of": "capacities"}, "of: got 'capacities', expected one of"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Merged(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kept", "message"), [
    ((), "keeps weights after 40 steps, expected step 20 among them, 0.5 of all"),
    ((20,), "expected at least two in the last 0.2 of 20 steps"),
    ((16, 17, 20), "keeps weights after 16, 17, 20, 40 steps, expected equal distances in the last 0.2 of 20 steps"),
])  # fmt: skip
def test_runs_that_keep_too_little_are_refused_before_training(kept: tuple[int, ...], message: str) -> None:
    spec = dataclasses.replace(TRUNK, train=dataclasses.replace(TRUNK.train, kept=kept))
    with pytest.raises(UserError, match=message):
        Merged(ends=ENDS).check(spec)


def test_what_is_kept() -> None:
    assert KEPT == (16, 17, 18, 19, 20, 32, 34, 36, 38) and TRUNK.kept_steps == KEPT
    assert [merge.steps for merge in merges(Merged(spans=(0.2,), ways=("sqrt",)), TRUNK)] == [(32, 34, 36, 38, 40)]
    for kept, message in (((3, 2), "rising"), ((0,), "rising"), ((41,), "at most 40, the last step")):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(TRUNK, train=dataclasses.replace(TRUNK.train, kept=kept))
