"""The predicted cost adds up, and the speed formula is close to the measurements that it cites."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from fakes import make_family, make_spec, make_specs
from positions import way

from physlm.config import content_hash
from physlm.lab import cost
from physlm.lab.experiment import load_experiment
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.parts.canon import Canon
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.part import MLP
from physlm.models.parts.residual import Hyper
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


def test_both_reference_gpus_are_always_predicted_and_every_line_is_printed() -> None:
    predicted = cost.cost_of([make_spec()])
    devices = " ".join(predicted.seconds)
    assert "H100" in devices and "H200" in devices and "CPU" in devices
    assert len(cost.describe(predicted)) == 4


def test_streams_of_the_residual_path_are_counted_once_a_branch() -> None:
    """A layer without an MLP has one branch, in memory as in FLOPs."""
    spec = make_spec()

    def beyond(mlp: MLP) -> tuple[int, float]:
        one, four = (dataclasses.replace(spec, model=dataclasses.replace(
            spec.model, mlp=(mlp,), residual=Hyper(streams=streams))) for streams in (1, 4))  # fmt: skip
        sizes = [parameter_counts(each.model, len(spec.task.vocabulary()))["params_all"] for each in (one, four)]
        memory = cost.member_bytes(four) - cost.member_bytes(one) - (sizes[1] - sizes[0]) * cost.STATE_BYTES
        return memory, cost.run_flops(four) - cost.run_flops(one)

    with_mlp, without = beyond(Plain()), beyond(NoMLP())
    assert with_mlp[0] == 2 * without[0] > 0
    assert with_mlp[1] == pytest.approx(2 * without[1]) and without[1] > 0


def test_canon_layers_take_longer_and_no_more_flops() -> None:
    plain = make_spec()
    canon = dataclasses.replace(plain, model=dataclasses.replace(plain.model, local=(Canon(),)))
    works = [cost._Work.of(cost.Population((spec,))) for spec in (plain, canon)]
    assert works[1].slower > works[0].slower == 1.0
    large = [dataclasses.replace(works[0], flops=1e18, slower=one.slower) for one in works]
    without, with_canon = (cost.gpu_seconds(work, 989.0) for work in large)
    assert with_canon == pytest.approx(without * works[1].slower, rel=0.01)


def test_memory_is_that_of_the_largest_population_and_one_that_does_not_fit_is_split() -> None:
    wide = RunSpec(BioSConfig(people=10_000, row_tokens=512), ModelConfig(layers=8, heads=8, width=512),
                   TrainConfig(exposures=540, batch_rows=96))
    specs = [dataclasses.replace(wide, train=dataclasses.replace(wide.train, seed=seed)) for seed in range(10)]
    predicted = cost.cost_of([*specs, make_spec()])
    fits = cost.members_in(cost.REFERENCE_MEMORY, wide)
    assert 5 <= fits < 10 and predicted.populations == 2 + 1, "ten do not fit, five and five do"
    assert predicted.memory == 5 * cost.member_bytes(wide) < cost.REFERENCE_MEMORY
    assert f"{predicted.memory / 1e9:.2g} GB" in cost.describe(predicted)[-1]
    assert cost.cost_of(specs[:2]).memory == 2 * cost.member_bytes(wide)


@pytest.mark.parametrize(("layers", "width", "rows", "members", "h100", "h200"), [
    (2, 64, 96, 1, 35.9, 39.89), (2, 64, 96, 4, 45.1, 53.61), (4, 128, 96, 1, 12.9, 15.14),
    (4, 128, 96, 4, 14.3, 16.86), (8, 256, 96, 1, 3.72, 4.32), (12, 768, 96, 1, 0.67, 0.71),
    (4, 128, 12, 1, 6.11, 6.33), (4, 128, 12, 32, 14.0, 16.75),
])  # fmt: skip
def test_the_formula_fits_the_measured_speeds(
    layers: int, width: int, rows: int, members: int, h100: float, h200: float
) -> None:
    """Million tokens/s of docs/speed.md."""
    model = ModelConfig(layers=layers, heads=1, width=width, vocab_size=4096)
    spec = RunSpec(BioSConfig(people=20_000), model, TrainConfig(exposures=100_000, batch_rows=rows))
    work = cost._Work.of(cost.Population(tuple(
        dataclasses.replace(spec, train=dataclasses.replace(spec.train, seed=seed)) for seed in range(members))))
    flops = training_flops(model, 4096, 512) * members * spec.tokens
    for name, million in (("NVIDIA H100", h100), ("NVIDIA H200", h200)):
        peak = cost.PEAK_TFLOPS["H200"] * cost._slower(name)
        seconds = cost.gpu_seconds(dataclasses.replace(work, flops=flops), peak)
        assert members * spec.tokens / seconds == pytest.approx(million * 1e6, rel=0.2)


@pytest.mark.parametrize(("claim", "design"), [
    ("p41_mano", ("task.length=10", "train.steps=20000", "train.snapshots=0")),  # its results are of an earlier one
    ("p31_probing", ()), ("p32_classification", ())])  # fmt: skip
def test_predicted_times_are_those_that_committed_results_took(claim: str, design: tuple[str, ...]) -> None:
    root = Path(__file__).parents[2]
    found = json.loads((root / "results" / claim / "env.json").read_text())
    (device,) = {one["device_name"] for one in found["environments"]}
    table = pd.read_csv(root / "results" / claim / "measures.csv", usecols=["run"])
    finished = {name.rpartition("-")[2] for name in table["run"].unique()}
    planned = load_experiment(claim, root / "experiments").specs("gpu", design)
    specs = [spec for spec in planned if content_hash(spec) in finished]
    assert len(specs) == len(finished)
    seconds = cost.cost_of(specs).seconds
    (predicted,) = [value for name, value in seconds.items() if name.removeprefix("one ") in device]
    assert predicted == pytest.approx(found["seconds"]["training"], rel=0.3)


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


@pytest.mark.parametrize(("memory", "text"), [(850_000, "0.00085"), (2_340_000_000, "2.3"), (852_000_000_000, "850"),
                                              (1_249_000_000_000, "1,200"), (0, "0")])  # fmt: skip
def test_memory_is_told_in_plain_figures(memory: int, text: str) -> None:
    assert cost._gigabytes(memory) == text
