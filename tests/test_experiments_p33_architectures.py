"""Architectures, mixtures and dense starts of Part 3.3: grids that can answer, laws that find what was planted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted import verdicts
from sheets import assert_inside_and_apart, legend, published

from physlm.config import content_hash
from physlm.figures import style
from physlm.lab.cost import cost_of
from physlm.lab.experiment import load_experiment
from physlm.lab.results import find, run_columns, write_finding
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.laws.columns import with_columns
from physlm.laws.knowledge.capacity import published_ratio
from physlm.models.counting import parameter_counts
from physlm.models.parts.moe import MoE
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
NAMES = ("p33_architectures_1000", "p33_architectures_100", "p33_moe", "p33_upcycling")
CLAIMS = {name: load_experiment(name, FOLDER) for name in NAMES}
WORDS, REFERENCE = 2_915, "one NVIDIA H200"
BITS_MAX = 20_000 * (math.log2(1.6e8 / 20_000) + 47.59)
Ratio = Callable[[RunSpec], float]


def params(spec: RunSpec) -> int:
    return parameter_counts(spec.model, WORDS)["params_used"]


def planted(specs: Sequence[RunSpec], ratio: Ratio, load: bool = False) -> pd.DataFrame:
    """The table that these runs would have given had they learnt ``ratio`` bits a parameter, none of it a chance."""
    rows: list[dict[str, Any]] = []
    for number, spec in enumerate(specs):
        columns = {"run": f"run{number}", **run_columns(Run(spec, Path(f"run{number}")))}
        value, count = ratio(spec), columns["params_used"]

        def add(quantity: str, value: float, unit: str, columns: dict[str, Any] = columns, **where: object) -> None:
            rows.append({**columns, **{f"at.{key}": text for key, text in where.items()}, "quantity": quantity,
                         "value": value, "lo": value, "hi": value, "n": 1000, "unit": unit})

        add("bits_per_param", value, "bits/parameter")
        add("bits", value * count, "bits")
        add("bits_max", BITS_MAX, "bits")
        for layer in range(spec.model.layers if load else 0):
            part = spec.model.mlps[layer]
            even = 1 / part.experts if isinstance(part, MoE) else 1.0
            add("expert_load", 1.5 * even, "1", layer=layer, expert="busiest")
            add("expert_load", 0.5 * even, "1", layer=layer, expert="idlest")
            add("expert_dropped", 0.02 * (even < 1), "1", layer=layer)
    return with_columns(pd.DataFrame(rows))


def rate_penalty(spec: RunSpec) -> float:
    """The rate 8e-3 is the best; others, and smaller models, hold a little less."""
    return (1.0 if spec.train.learning_rate == 8e-3 else 0.9) * (1.0 if spec.model.width >= 64 else 0.98)


# ---- Grids


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_takes_at_most_25_minutes_of_one_gpu(name: str) -> None:
    assert cost_of(CLAIMS[name].specs("gpu")).seconds[REFERENCE] < 25 * 60


def test_the_grids_are_those_that_were_agreed_on() -> None:
    counts = {name: len(CLAIMS[name].specs("gpu")) for name in NAMES}
    assert counts["p33_architectures_1000"] == 32, "eight architectures, two sizes, two rates"
    for name in NAMES[:2]:
        specs = CLAIMS[name].specs("gpu")
        assert len({(spec.model.layers, spec.model.width) for spec in specs}) == 2
        assert len({spec.train.learning_rate for spec in specs}) == 2
        assert {spec.task.items for spec in specs} == {20_000}


@pytest.mark.parametrize("name", NAMES[:3])
def test_no_model_that_is_to_be_filled_is_larger_than_its_data(name: str) -> None:
    """Every architecture has a size whose R^max is well above what such exposures were published to teach."""
    largest: dict[tuple[str, int], float] = {}
    for spec in CLAIMS[name].specs("gpu"):
        label = spec.model.label.split("-", 2)[2:]
        key = ("-".join(label), spec.train.exposures)
        largest[key] = max(largest.get(key, 0.0), BITS_MAX / params(spec) / published_ratio(spec.train.exposures))
        if any(isinstance(mlp, MoE) for mlp in spec.model.mlps):  # every size of a mixture
            assert BITS_MAX / params(spec) > 1.25 * published_ratio(spec.train.exposures)
    assert min(largest.values()) > 1.2


def test_mixtures_and_gpt_2_have_about_as_many_parameters_in_all() -> None:
    specs = CLAIMS["p33_moe"].specs("gpu")
    for exposures in (1000, 100):
        own = [spec for spec in specs if spec.train.exposures == exposures]
        dense, mixed = (sorted({params(spec) for spec in own if ("moe" in spec.model.label) == experts})
                        for experts in (False, True))
        assert mixed[0] > 0.5 * dense[0] and mixed[-1] < 1.6 * dense[-1]


def test_the_claims_share_the_runs_of_gpt_2() -> None:
    hashes = {name: set(map(content_hash, CLAIMS[name].specs("gpu"))) for name in NAMES}
    assert len(hashes["p33_moe"] & hashes["p33_architectures_1000"]) == 4
    assert len(hashes["p33_moe"] & hashes["p33_architectures_100"]) == 4
    assert len(hashes["p33_upcycling"] & hashes["p33_architectures_100"]) == 2


def test_all_ways_of_upcycling_have_equally_many_exposures() -> None:
    for tier in ("smoke", "demo", "gpu", "paper"):
        specs = CLAIMS["p33_upcycling"].specs(tier)
        totals = {sum(one.train.exposures for one in (*spec.starts, spec)) for spec in specs}
        assert len(totals) == 2
        for spec in specs:
            assert not spec.starts or (spec.upcycled and spec.starts[0].train.exposures == spec.train.exposures
                                       and spec.starts[0].train.seed == spec.train.seed)
    assert {spec.train.redrawn for spec in specs} == {0.0, 0.5}


# ---- Laws


def as_published(spec: RunSpec) -> float:
    """What arXiv 2404.05405 says of each."""
    mlp, enough = spec.model.mlp[0], spec.train.exposures >= 1000
    worse = 1.0
    if isinstance(mlp, MoE):
        worse = 1.3 if enough else 1.5
    elif mlp.kind == "gated":
        worse = (1.0 if spec.model.tied else 1.1) if enough else 1.3
    elif mlp.kind == "none" and not enough:
        worse = 1.7
    return published_ratio(1000 if enough else 100) * rate_penalty(spec) / worse


@pytest.mark.parametrize("name", NAMES[:3])
def test_what_is_published_would_be_found(name: str) -> None:
    claim = CLAIMS[name]
    law = claim.law(planted(claim.specs("gpu"), as_published, load=name == "p33_moe"))
    assert set(verdicts(claim, law).values()) <= {"reproduced", "holds"}, verdicts(claim, law)
    if name == "p33_moe":
        assert law.get("worse@1000").value == pytest.approx(1.3 / 0.98)  # type: ignore[union-attr]
        assert law.get("worse@100").value == pytest.approx(1.5)  # type: ignore[union-attr]
        assert law.get("busiest@moe/100").value == pytest.approx(1.5 / 32)  # type: ignore[union-attr]
        assert law.get("idlest@moe/100").value == pytest.approx(0.5 / 32)  # type: ignore[union-attr]
    remark = next(one.remark for one in law.quantities if one.name.startswith("best@gpt2"))
    assert remark == "best of 2: learning rate 0.008, the largest: a better one may lie outside"


@pytest.mark.parametrize("name", NAMES[:3])
def test_where_all_are_alike_what_was_to_be_worse_is_not_found(name: str) -> None:
    claim = CLAIMS[name]
    law = claim.law(planted(claim.specs("gpu"), lambda spec: 2.0 * rate_penalty(spec), load=name == "p33_moe"))
    wrong = {quantity for quantity, verdict in verdicts(claim, law).items() if verdict in ("not reproduced", "fails")}
    expected = {
        "p33_architectures_1000": set(),
        "p33_architectures_100": {"gate@tied=True", "gate@tied=False", *(
            f"worse@{one}" for one in ("llama", "llama-tied", "mistral", "mistral-tied", "no-mlp"))},
        "p33_moe": {"worse@1000", "worse@100"},
    }
    assert wrong == expected[name]


def test_the_gate_is_told_from_the_tie() -> None:
    """Where the output costs 1.4 times and the gate nothing, the gate is not to blame."""
    claim = CLAIMS["p33_architectures_100"]
    law = claim.law(planted(claim.specs("gpu"), lambda spec: 1.0 if spec.model.tied else 1 / 1.4))
    for mlp in ("gated", "plain"):
        assert law.get(f"untie@mlp={mlp}").value == pytest.approx(1.4)  # type: ignore[union-attr]
    for tied in (True, False):
        assert law.get(f"gate@tied={tied}").value == pytest.approx(1.0)  # type: ignore[union-attr]
    assert law.get("worse@llama").value == pytest.approx(1.4)  # type: ignore[union-attr]


@pytest.mark.parametrize(("gain", "found"), [(1.1, "reproduced"), (0.9, "not reproduced")])
def test_gains_of_a_dense_start_are_found(gain: float, found: str) -> None:
    claim = CLAIMS["p33_upcycling"]

    def ratio(spec: RunSpec) -> float:
        seed = 1.0 + 0.001 * spec.train.seed
        if not spec.upcycled:
            return 0.8 * seed
        return 0.8 * seed * (gain if spec.train.redrawn else math.sqrt(gain))

    law = claim.law(planted(claim.specs("gpu"), ratio))
    for exposures in (100, 300):
        assert law.get(f"half_gain@{exposures}").value == pytest.approx(gain)  # type: ignore[union-attr]
        assert law.get(f"copies_gain@{exposures}").value == pytest.approx(math.sqrt(gain))  # type: ignore[union-attr]
        assert law.get(f"half_over_copies@{exposures}").value == pytest.approx(math.sqrt(gain))  # type: ignore[union-attr]
    judged = verdicts(claim, law)
    assert {judged[name] for name in ("half_gain@100", "half_gain@300", "half_over_copies@300")} == {found}
    assert judged["mixture_over_dense@300"] == "holds"


# ---- From data to figure


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_figure_shows_the_best_of_each_size(name: str) -> None:
    claim = CLAIMS[name]
    specs = claim.specs("gpu")
    table = planted(specs, as_published, load=name == "p33_moe")
    figure = claim.figure(table, claim.law(table))
    assert_inside_and_apart(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == {"p33_architectures_1000": 1, "p33_architectures_100": 2, "p33_moe": 4}[name]
    assert all("exposures" in title or "LLaMA" in title for title in titles)
    assert {"GPT-2", "2 bits/parameter", "1 bit/parameter", "all in the data"} <= set(legend(figure))
    shown = {(round(float(x)), round(float(y))) for line in figure.axes[0].lines
             if line.get_marker() in style.MARKERS and line.get_alpha() is None
             and line.get_markerfacecolor() != "white"
             for x, y in np.asarray(line.get_xydata())}
    longest = max(spec.train.exposures for spec in specs)
    wanted = {(params(spec), round(as_published(spec) * params(spec))) for spec in specs
              if spec.train.learning_rate == 8e-3 and spec.train.exposures == longest
              and ("rmsnorm" not in spec.model.label or "gated" in spec.model.label)}
    assert shown == wanted and len(wanted) > 3


# bits a parameter that open marks stand for, and how many there are, panel by panel
OPEN_MARKS: dict[str, list[dict[float, int]]] = {
    "p33_architectures_1000": [{}], "p33_architectures_100": [{1 / 1.3: 8, 1 / 1.5: 2}, {1 / 1.3: 4}],
    "p33_moe": [{2 / 1.3: 2}, {1 / 1.5: 2}, {}, {}],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES[:3])
def test_open_marks_are_what_was_published_of_these_sizes(name: str) -> None:
    claim = CLAIMS[name]
    table = planted(claim.specs("gpu"), as_published, load=name == "p33_moe")
    figure = claim.figure(table, claim.law(table))
    found = [Counter(round(y / x, 9) for x, y, _ in published(axes)) for axes in figure.axes]
    assert found == [{round(ratio, 9): count for ratio, count in panel.items()} for panel in OPEN_MARKS[name]]
    sizes = {params(spec) for spec in claim.specs("gpu")}
    assert {round(x) for axes in figure.axes for x, _, _ in published(axes)} <= sizes
    for axes in figure.axes:  # all within the axes
        assert all(axes.get_ylim()[0] < y < axes.get_ylim()[1] for _, y, _ in published(axes))
    assert ("published" in legend(figure)) == any(OPEN_MARKS[name])


def test_they_run_from_data_to_figure(tmp_path: Path) -> None:
    """At tier smoke all in one store, so that a run that several need is trained once."""
    store, asked, trained = Store(tmp_path / "runs"), 0, set()
    for name, claim in CLAIMS.items():
        specs = claim.specs("smoke")
        runs = sweep(specs, claim.measures, store, torch.device("cpu"), progress=False)
        asked += len(specs)
        trained |= {run.name for run in runs}
        finding = find(claim, "smoke", runs)
        assert {row["verdict"] for row in finding.verdicts} <= {"not run", "holds", "fails", "reproduced",
                                                               "not reproduced"}
        folder = tmp_path / "results" / name
        assert write_finding(finding, folder, runs, f"physlm run {name}").read_bytes()[:4] == b"\x89PNG"
        assert len(runs) == len(specs) and all(run.diverged() is None for run in runs)
        if "expert_load" in claim.measure_names:
            loads = finding.table[finding.table["quantity"] == "expert_load"]
            assert set(loads["at.expert"]) == {"busiest", "idlest"} and loads["value"].between(0, 1).all()
    assert len(trained) < asked
