"""Claims that probe models of iGSM: laws find what was planted, what is judged exists at every tier."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd
import pytest
from planted import Row, number, share, table

from physlm.config import content_hash
from physlm.lab.experiment import TIERS, load_experiment
from physlm.lab.results import settings_of
from physlm.laws.law import Law
from physlm.laws.verdict import judge
from physlm.measures.igsm.probing import BY_NEED, CONTROLS, GROUPS, QUERIES
from physlm.measures.igsm.regret import DETECTORS
from physlm.measures.igsm.settings import KINDS, default_ops, family_of
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
CLAIMS = ("p21_probes", "p22_regret")
# balanced accuracy beside the query, of a probe and of its controls; each step from the query costs so much
KNOWN, STEP, UNNEEDED = {"": 0.98, "_untrained": 0.6, "_shuffled": 0.5}, 0.01, 0.03
MOST_DISTANCE = 4
SOLVED = {"none": 0.7, "probe": 0.73, "random": 0.71, "perfect": 0.9}
CALLED = {"": (0.65, 0.8, 0.99), "_untrained": (0.3, 0.35, 0.7)}  # any error, not computable yet, right sentences


def probe_rows(spec: RunSpec) -> list[Row]:
    run, rows = {"run": content_hash(spec), **settings_of(spec)}, []
    for kind in KINDS:
        for op in default_ops(family_of(spec)):
            for query in QUERIES:
                at = f"task={kind}/op={op}/query={query}"
                rows.append(share(run, f"majority/{at}", 0.75, 1000))
                for suffix in CONTROLS:
                    known = KNOWN[suffix]
                    rows += [share(run, f"{name}{suffix}/{at}", known, 1000) for name in ("balanced", "accuracy")]
                    rows.append(number(run, f"matthews{suffix}/{at}", 2 * known - 1, 1000, spread=0.1))
                    rows += [share(run, f"by_label{suffix}/{at}/label={label}", known, 1000)
                             for label in GROUPS.get(kind, ("false", "true"))]
                    rows += [share(run, f"by_distance{suffix}/{at}/distance={far}", known - STEP * far, 500)
                             for far in range(MOST_DISTANCE + 1)]
                    rows += [share(run, f"by_need{suffix}/{at}/need={need}", known - UNNEEDED * (need == "unneeded"),
                                   500) for need in ("needed", "unneeded") if kind in BY_NEED]  # fmt: skip
    return rows


def regret_rows(spec: RunSpec) -> list[Row]:
    run, rows = {"run": content_hash(spec), **settings_of(spec)}, []
    for op in default_ops(family_of(spec)):
        for suffix, (wrong, early, right) in CALLED.items():
            rows += [share(run, f"called_wrong{suffix}/op={op}/error=any", wrong, 300),
                     share(run, f"called_wrong{suffix}/op={op}/error=not_computable_yet", early, 200),
                     share(run, f"called_right{suffix}/op={op}", right, 1000)]
        for name in ("none", *DETECTORS):
            at = f"op={op}/detector={name}"
            rows.append(share(run, f"solved/{at}", SOLVED[name], 1000))
            if name != "none":
                rows += [number(run, f"gain/{at}", SOLVED[name] - SOLVED["none"], 1000, spread=0.1),
                         number(run, f"retries/{at}", 0.5, 1000, "1/solution", 1.0)]
    return rows


@functools.cache
def planted(name: str, tier: str) -> pd.DataFrame:
    make = probe_rows if name == "p21_probes" else regret_rows
    return table(row for spec in load_experiment(name, FOLDER).runs(tier) for row in make(spec))


def law_of(name: str, tier: str) -> Law:
    return load_experiment(name, FOLDER).law(planted(name, tier))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", CLAIMS)
def test_what_was_planted_is_found_judged_and_drawn(name: str, tier: str) -> None:
    experiment, law = load_experiment(name, FOLDER), law_of(name, tier)
    verdicts = {e.quantity: judge(e, law.get(e.quantity)) for e in experiment.expect}
    assert set(verdicts.values()) <= {"reproduced", "holds"}, verdicts
    assert experiment.figure(planted(name, tier), law).axes


def test_numbers_are_those_that_were_planted() -> None:
    probes, regret = law_of("p21_probes", "gpu"), law_of("p22_regret", "gpu")
    wanted = {f"balanced@task={kind}": KNOWN[""] for kind in KINDS}
    wanted |= {f"above_untrained@task={kind}": KNOWN[""] - KNOWN["_untrained"] for kind in KINDS}
    wanted |= {f"shuffled@task={kind}": 0.5 for kind in KINDS} | {f"above_majority@task={kind}": 0.23 for kind in KINDS}
    wanted |= {f"by_need@task={kind}/need=unneeded": KNOWN[""] - UNNEEDED for kind in BY_NEED}
    wanted |= {f"by_distance@task=nece/distance={far}": KNOWN[""] - STEP * far for far in range(MOST_DISTANCE + 1)}
    for quantity, value in wanted.items():
        found = probes.get(quantity)
        assert found is not None and found.value == pytest.approx(value), quantity
    for quantity, value in {"called_wrong@error=any": 0.65, "called_wrong_untrained@error=any": 0.3,
                            "called_right": 0.99, "gain@detector=probe": 0.03, "probe_over_random": 0.02,
                            "perfect_over_probe": 0.17}.items():
        found = regret.get(quantity)
        assert found is not None and found.value == pytest.approx(value), quantity


def test_a_probe_that_is_no_better_than_an_untrained_one_shows_nothing() -> None:
    data = planted("p21_probes", "gpu")
    bare = data[~data["quantity"].str.contains("_untrained|_shuffled")]
    same = bare.assign(quantity=bare["quantity"] + "_untrained")
    experiment = load_experiment("p21_probes", FOLDER)
    law = experiment.law(pd.concat([data[~data["quantity"].str.endswith("_untrained")],
                                    same[~same["quantity"].str.startswith("majority")]], ignore_index=True))
    gains = [e for e in experiment.expect if e.quantity.startswith("above_untrained")]
    assert len(gains) == len(KINDS)
    for one in gains:
        found = law.get(one.quantity)
        assert found is not None and found.value == pytest.approx(0.0)
        assert judge(one, found) not in ("reproduced", "holds")


def test_probed_models_are_the_base_models() -> None:
    """At the tiers that are committed: no training of their own."""
    for tier in ("gpu", "paper"):
        base = {content_hash(spec) for spec in load_experiment("p21_shortest", FOLDER).runs(tier)}
        for name in CLAIMS:
            assert {content_hash(spec) for spec in load_experiment(name, FOLDER).runs(tier)} == base
