"""The predicted cost adds up, and the speed formula is close to the measurements that it cites."""

from __future__ import annotations

import dataclasses

import pytest
from fakes import make_family, make_spec, make_specs
from positions import way

from physlm.lab import cost
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig


def test_costs_add_up() -> None:
    specs = make_specs()
    whole, parts = cost.cost_of(specs), [cost.cost_of([spec]) for spec in specs]
    assert whole.runs == 5 and whole.populations == 2 and cost.cost_of(specs, members=1).populations == 5
    assert whole.tokens == sum(spec.tokens for spec in specs)
    assert whole.flops == pytest.approx(sum(part.flops for part in parts))
    for device, seconds in whole.seconds.items():
        assert 0 < seconds <= sum(part.seconds[device] for part in parts) * (1 + 1e-9), "training together is no slower"
    sizes = [parameter_counts(spec.model, len(spec.task.vocabulary()))["params_used"] for spec in specs]
    assert (whole.smallest, whole.largest) == (min(sizes), max(sizes))


def test_runs_that_others_begin_with_are_counted_once() -> None:
    family = make_family()
    whole = cost.cost_of(family)
    first, second = family[0].start, family[2].start
    assert first is not None and second is not None and first in family and second not in family
    assert (whole.runs, whole.starts, whole.populations) == (6, 1, 3) and "(1 for others" in cost.describe(whole)[0]
    assert whole.tokens == sum(spec.tokens for spec in (*family, second))
    trained = cost.cost_of(family, trained=lambda spec: spec == second)
    assert (trained.runs, trained.starts) == (5, 0) and trained.tokens == whole.tokens - second.tokens
    assert "begin with" not in cost.describe(trained)[0]


def test_an_h200_is_always_predicted_and_every_line_is_printed() -> None:
    predicted = cost.cost_of([make_spec()])
    devices = " ".join(predicted.seconds)
    assert "H200" in devices and "CPU" in devices
    assert len(cost.describe(predicted)) == 3


@pytest.mark.parametrize(
    ("layers", "width", "million"), [(2, 64, 25.9), (4, 128, 13.2), (8, 256, 4.4), (12, 768, 0.71)]
)
def test_the_formula_fits_the_measured_speeds(layers: int, width: int, million: float) -> None:
    model = ModelConfig(layers=layers, heads=1, width=width, vocab_size=4096)
    flops = training_flops(model, 4096, 512)
    assert cost.gpu_speed(width, cost.PEAK_TFLOPS["H200"]) / flops == pytest.approx(million * 1e6, rel=0.25)


@pytest.mark.parametrize(("name", "peak"), [
    ("NVIDIA H200", 989.0), ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA GeForce RTX 4090", 165.0),
    ("NVIDIA A10", 125.0), ("NVIDIA RTX A4000", None), ("Some GPU", None),
])
def test_a_gpu_is_known_by_a_word_of_its_name(name: str, peak: float | None) -> None:
    assert cost.peak_tflops(name) == peak


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "under 1 s"), (3.2, "3 s"), (119, "119 s"), (600, "10 min"), (150, "2.5 min"), (5000, "83 min"),
    (9000, "2.5 h"), (1e6, "12 days"),
])
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert cost.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [
    (950, "950"), (36_864, "36.9K"), (114e6, "114M"), (1.234e9, "1.23B"), (12e12, "12T"), (999.6e6, "1000M"),
])
def test_amounts_are_readable(count: float, text: str) -> None:
    assert cost.amount(count) == text


def test_a_gpu_holds_as_many_members_as_its_memory() -> None:
    """8 x 512, rows of 96 x 512 tokens: activations of 168 KB a token, so that nine do not fit into 80 GB."""
    gigabyte = 1 << 30
    spec = RunSpec(BioSConfig(people=10_000, row_tokens=512), ModelConfig(layers=8, heads=8, width=512),
                   TrainConfig(exposures=540, batch_rows=96))
    assert 8 < cost.member_bytes(spec) / gigabyte < 10
    assert cost.members_in(80 * gigabyte, spec) == 7 and cost.members_in(140 * gigabyte, spec) == 13
    assert cost.members_in(gigabyte, spec) == 1, "even if it fails"
    train = dataclasses.replace(spec.train, precision="float32")
    assert cost.member_bytes(dataclasses.replace(spec, train=train)) > 1.8 * cost.member_bytes(spec)
    model = dataclasses.replace(spec.model, **way("relative", 512))
    assert cost.member_bytes(dataclasses.replace(spec, model=model)) > 1.5 * cost.member_bytes(spec)
