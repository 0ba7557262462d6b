"""Planted truth: the laws of questions return what was put into the table, by setting, kind and seed."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from learning import through_csv
from planted import Row, get, share, table
from scipy import stats

from physlm import interval
from physlm.config import content_hash
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.lab import results
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.without_layer import without_layer_law
from physlm.laws.law import Law, Quantity
from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

N, PEOPLE = 500, 1000
KINDS = {"birth_date": 0.3, "birth_city": 0.9, "employer": 0.6}


def columns(spec: RunSpec) -> dict[str, Any]:
    """A run's columns in a results table."""
    return {"run": f"{spec.slug}-{content_hash(spec)}", **results.settings_of(spec), "steps": 10}


def finetuned(name: str = "single", seed: int = 0, start_seed: int = 0, **ask: Any) -> dict[str, Any]:
    biographies = BioSConfig(PEOPLE, questions=True, **augmentation(name))
    start = RunSpec(biographies, ModelConfig(), TrainConfig(seed=start_seed))
    return columns(RunSpec(QuestionsConfig(PEOPLE, ask=Ask(**ask)), ModelConfig(), TrainConfig(seed=seed), start))


def mixed(name: str = "single", **ask: Any) -> dict[str, Any]:
    return columns(RunSpec(MixedConfig(PEOPLE, ask=Ask(**ask), **augmentation(name)), ModelConfig(), TrainConfig()))


def rows(run: dict[str, Any], base: str, numbers: dict[str, float], half: str = "test", n: int = N) -> list[Row]:
    return [share(run, f"{base}/kind={kind}/half={half}", p, n) for kind, p in numbers.items()]


def everything(run: dict[str, Any], shift: float = 0.0, hints: bool = False) -> list[Row]:
    """All rows of the measures: answers ``KINDS`` plus a shift, and numbers of their own for the rest."""
    found = rows(run, "answer", {kind: p + shift for kind, p in KINDS.items()})
    found += rows(run, "answer", dict.fromkeys(KINDS, 1.0), "train")
    for base, p in (("majority", 0.05), ("answer_untrained", 0.0), ("answer_start", 0.01), ("answer_reworded", 0.25),
                    ("answer_others", 0.2)):
        found += rows(run, base, {kind: p + 0.01 * place for place, kind in enumerate(KINDS)})
    for base, p in (("answer_hinted", 0.8), ("hint", 0.7)):
        found += rows(run, base, {"birth_date": p}) if hints else []
    found += [share(run, f"recall/attribute={name}", p, N) for name, p in (("birth_date", 0.9), ("employer", 1.0))]
    return [*found, share(run, "something_else/layer=3", 0.5, N)]


def as_share(p: float, n: int = N) -> tuple[float, float, float]:
    """Value and interval of a share in the planted tables."""
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    return p, max(p - half, 0.0), min(p + half, 1.0)


def numbers(quantity: Quantity) -> tuple[float, float, float]:
    return quantity.value, quantity.lo, quantity.hi


def test_one_run_gives_its_numbers_back() -> None:
    law = answers_law(("augmentation",))(table(everything(finetuned())))
    for kind, p in KINDS.items():
        assert numbers(get(law, f"answer@single/{kind}")) == pytest.approx(as_share(p))
        assert get(law, f"answer@single/{kind}").n == N
    parts = [as_share(p) for p in KINDS.values()]
    assert numbers(get(law, "answer@single")) == pytest.approx(tuple(sum(x) / 3 for x in zip(*parts, strict=True)))
    for name, value in (("train", 1.0), ("majority", 0.06), ("untrained", 0.01), ("start", 0.02), ("reworded", 0.26),
                        ("others", 0.21), ("recall", 0.95), ("least", 0.3), ("most", 0.9)):
        assert get(law, f"{name}@single").value == pytest.approx(value)
    assert get(law, "least@single").lo == pytest.approx(as_share(0.3)[1])
    assert get(law, "least@single").hi > as_share(0.3)[2]
    assert get(law, "most@single").hi == pytest.approx(as_share(0.9)[2])
    assert get(law, "most@single").lo < as_share(0.9)[1]
    above, majority = get(law, "above_majority@single/employer"), as_share(0.07)
    assert above.value == pytest.approx(0.6 - 0.07)
    assert above.hi == pytest.approx(as_share(0.6)[2] - majority[1])
    assert law.details["controls"]["start"] == pytest.approx(
        {"single/birth_date": 0.01, "single/birth_city": 0.02, "single/employer": 0.03})
    assert law.details["kinds"] == {"single": sorted(KINDS)}


def test_a_law_survives_its_file_and_explains_itself() -> None:
    for law in (answers_law(("way",))(table(everything(mixed()))), without_layer_law(table(damaged(mixed())))):
        assert Law.from_dict(json.loads(json.dumps(law.to_dict()))).to_dict() == law.to_dict()
        assert all(isinstance(note, str) for note in law.details["notes"])
        assert all(setting["differ_in"] == [] for setting in law.details["runs"].values())


def test_a_table_from_a_file_gives_the_same_law(tmp_path: Path) -> None:
    """Different runs side by side, so that each lacks columns of the other."""
    runs = [finetuned(), finetuned("multi5+fullname", kinds=("month_mod2",), hints=0.5), mixed("multi2")]
    found = table(row for run in runs for row in everything(run, hints=True))
    for name in found.columns[found.isna().any()]:
        if any(isinstance(value, str) for value in found[name]):
            found[name] = found[name].fillna("")
    for law in (answers_law(("way", "augmentation", "hints", "people")), answers_law(("task.share",))):
        assert law(through_csv(found, tmp_path)).to_dict() == law(found).to_dict()
    names = {q.name for q in law(found).quantities}
    assert {"answer@share=0.8", "answer@share=none/birth_city"} <= names


def test_hinted_answers_have_their_own_numbers() -> None:
    runs = [finetuned(kinds=tuple(KINDS)), finetuned(kinds=("birth_date", "birth_day"), hints=0.5)]
    law = answers_law(("hints",))(table([*everything(runs[0]), *everything(runs[1], -0.1, hints=True)]))
    assert numbers(get(law, "hinted@hints/birth_date")) == pytest.approx(as_share(0.8))
    assert get(law, "hint@hints").value == get(law, "hint@hints/birth_date").value == pytest.approx(0.7)
    assert get(law, "answer@hints/birth_date").value == pytest.approx(0.2)
    assert get(law, "answer@plain/birth_date").value == pytest.approx(0.3)
    assert law.get("hinted@plain") is None and law.get("hinted@hints/employer") is None


def test_what_was_not_measured_has_no_quantity() -> None:
    run = finetuned()
    assert answers_law(())(table([share(run, "something_else", 0.5, N)])).quantities == ()
    law = answers_law(())(table(rows(run, "answer", KINDS)))
    assert {q.name for q in law.quantities} == {"answer", "least", "most", *(f"answer@{kind}" for kind in KINDS)}
    law = answers_law(())(table(rows(run, "majority", KINDS)))
    assert {q.name for q in law.quantities} == {"majority", *(f"majority@{kind}" for kind in KINDS)}
    assert [q.name for q in answers_law(())(table([share(run, "recall/attribute=major", 0.5, N)])).quantities] == [
        "recall"]


def test_seeds_are_averaged_run_by_run() -> None:
    """Seeds shift all kinds alike: the mean over kinds has Student's interval over the runs' means, no wider."""
    shifts = (-0.05, 0.0, 0.08)
    law = answers_law(())(table(row for seed, shift in enumerate(shifts)
                                for row in rows(finetuned(seed=seed), "answer",
                                                {kind: p + shift for kind, p in KINDS.items()}, n=10**6)))
    means = [0.6 + shift for shift in shifts]
    expected = stats.t.interval(0.95, 2, loc=0.61, scale=stats.sem(means))
    for name, centre in (("answer", 0.61), ("answer@birth_date", 0.31)):
        found = get(law, name)
        assert found.value == pytest.approx(centre)
        assert found.hi == pytest.approx(expected[1] + centre - 0.61)
    assert get(law, "answer").n == 3 * 10**6
    assert law.details["runs"] == {"all": {"runs": 3, "differ_in": ["train.seed"]}}


def test_seeds_that_help_one_kind_and_harm_another_cancel_in_the_mean() -> None:
    """Where each run asks one kind, runs of one seed stand for one run that asks all of them."""
    signs = {"birth_date": 1, "major": -1}
    found = table(row for seed, shift in enumerate((-0.1, 0.0, 0.1)) for kind, sign in signs.items()
                  for row in rows(finetuned(seed=seed, kinds=(kind,)), "answer", {kind: 0.5 + sign * shift}, n=10**6))
    law = answers_law(())(found)
    whole, part = get(law, "answer"), get(law, "answer@major")
    assert whole.value == pytest.approx(0.5) and whole.hi - whole.lo < 0.01 < 0.3 < part.hi - part.lo
    apart = answers_law(())(found.assign(**{"train.seed": range(len(found))}))
    assert get(apart, "answer").value == pytest.approx(0.5)
    assert get(apart, "answer").hi - 0.5 == pytest.approx(part.hi - 0.5)  # the control: nothing says what goes together


def test_the_seed_of_the_biographies_is_a_seed_too() -> None:
    shifts = {0: -0.1, 1: 0.1}
    law = answers_law(())(table(
        row for seed, shift in shifts.items() for kind, sign in (("birth_date", 1), ("major", -1))
        for row in rows(finetuned(start_seed=seed, kinds=(kind,)), "answer", {kind: 0.5 + sign * shift}, n=10**6)))
    assert get(law, "answer").hi - get(law, "answer").lo < 0.01


def test_the_mean_over_kinds_is_over_kinds_however_many_runs_asked_each() -> None:
    runs = [(finetuned(seed=seed, kinds=("birth_date",)), "birth_date", 0.1 + 0.1 * seed) for seed in range(3)]
    runs.append((finetuned(kinds=("employer",)), "employer", 0.8))
    law = answers_law(())(table(row for run, kind, p in runs for row in rows(run, "answer", {kind: p})))
    assert get(law, "answer@birth_date").value == pytest.approx(0.2)
    assert get(law, "answer").value == pytest.approx(0.5)
    assert get(law, "answer@birth_date").n == 3 * N and get(law, "answer").n == N
    with pytest.raises(UserError, match="more than once"):
        answers_law(())(table(rows(runs[0][0], "answer", {"birth_date": 0.1}) * 2))


def test_groups_are_means_over_their_kinds() -> None:
    groups = {"retrieval": ("birth_date", "birth_city", "major"), "classification": ("month_mod2", "month_mod6"),
              "inverse search": ("all_to_full",)}
    runs = [finetuned(kinds=tuple(KINDS)), finetuned(kinds=("month_mod2", "month_mod6"), hints=0.5)]
    found = [*everything(runs[0]), *rows(runs[1], "answer", {"month_mod2": 0.5, "month_mod6": 0.3}),
             *rows(runs[1], "answer_hinted", {"month_mod2": 0.9, "month_mod6": 0.8}),
             *rows(runs[1], "majority", {"month_mod2": 0.5, "month_mod6": 0.2})]
    law = answers_law(("hints",), groups)(table(found))
    assert get(law, "answer@plain/retrieval").value == pytest.approx(0.6)
    assert get(law, "majority@plain/retrieval").value == pytest.approx(0.055)
    for name, value in (("answer", 0.4), ("hinted", 0.85), ("majority", 0.35)):
        assert get(law, f"{name}@hints/classification").value == pytest.approx(value)
    assert law.get("answer@plain/classification") is None and law.get("answer@plain/inverse search") is None
    with pytest.raises(UserError, match="more than once"):
        answers_law((), {"birth_date": ("birth_date",)})(table(found))


def few_and_many(counts: dict[str, tuple[int, ...]], seeds: int = 1) -> pd.DataFrame:
    """Runs of one kind each, about so many people: a thousandth of these answers, plus 0.1 with hints in training."""
    found: list[Row] = []
    for kind, hints, seed in itertools.product(counts, (0.0, 0.5), range(seeds)):
        for most in counts[kind]:
            run = finetuned(seed=seed, kinds=(kind,), hints=hints, most=most)
            found += [*rows(run, "answer", {kind: most / 1000 + hints / 5}), *rows(run, "majority", {kind: 0.05})]
            found += rows(run, "answer_hinted", {kind: 0.9}) if hints else []
    return table(found)


def test_few_people_are_the_most_up_to_a_number_whatever_was_run() -> None:
    """By kind: what was asked of more people does not count, and no name depends on how many they were."""
    found = few_and_many({"month_mod2": (50, 100, 300), "month_mod6": (80, 400), "luck_mod5": (500,)}, seeds=2)
    law = answers_law(("hints", "people"), most=250)(found)
    for kind, people in (("month_mod2", 100), ("month_mod6", 80)):
        for hints in ("plain", "hints"):
            for name in ("answer", "majority", "above_majority", *(("hinted",) if hints == "hints" else ())):
                alias = get(law, f"{name}@{hints}/people<=250/{kind}")
                assert numbers(alias) == numbers(get(law, f"{name}@{hints}/people={people}/{kind}"))
                assert alias.n == 2 * N
    assert law.details["people"] == {f"{hints}/people<=250/{kind}": people for hints in ("plain", "hints")
                                     for kind, people in (("month_mod2", 100), ("month_mod6", 80))}
    assert "100 for plain/people<=250/month_mod2" in law.details["notes"][-1]
    assert not [q.name for q in law.quantities if "<=" in q.name and ("luck" in q.name or "/" not in q.name)]
    plain = answers_law(("hints", "people"))(found)
    assert {q.name for q in plain.quantities} == {q.name for q in law.quantities if "<=" not in q.name}
    assert law.get("hinted@plain/people<=250/month_mod2") is None
    nobody = answers_law(("people",), most=10)(found)
    assert nobody.details["people"] == {} and "none" in nobody.details["notes"][-1]
    assert Law.from_dict(json.loads(json.dumps(law.to_dict()))).to_dict() == law.to_dict()


def test_the_largest_is_the_smallest_upside_down() -> None:
    parts = [Interval(0.1, 0.0, 0.3, 10), Interval(0.2, 0.15, 0.25, 5, 2)]
    turned = [Interval(1 - p.value, 1 - p.hi, 1 - p.lo, p.n, p.runs) for p in parts]
    for share_ in (False, True):
        most, least = interval.most(parts, share_), interval.least(turned, share_)
        assert (most.value, most.lo, most.hi) == pytest.approx((1 - least.value, 1 - least.hi, 1 - least.lo))
        assert (most.n, most.runs) == (5, 1) == (least.n, least.runs)
    assert interval.most(parts[:1]) == parts[0]
    low = [Interval(0.0, -0.1, 0.2, 10), Interval(0.01, -0.02, 0.1, 10)]
    assert interval.most(low).lo < 0.0 == interval.most(low, share=True).lo


def test_the_median_is_between_the_ends_of_the_middle() -> None:
    parts = [Interval(0.5, 0.45, 0.55, 10), Interval(0.1, 0.0, 0.3, 8, 2), Interval(0.2, 0.1, 0.25, 9)]
    wider = stats.norm.ppf(1 - 0.025 / 3) / stats.norm.ppf(0.975)
    found = interval.median(parts)
    assert (found.value, found.n, found.runs) == (0.2, 8, 1)
    assert (found.lo, found.hi) == pytest.approx((0.2 - wider * 0.1, 0.1 + wider * 0.2))  # the middle one of the ends
    assert interval.median(parts[:1]) == parts[0]
    assert interval.median(parts[:2]).value == pytest.approx(0.3)
    low = [Interval(0.0, 0.0, 0.1, 10), Interval(0.01, 0.0, 0.1, 10)]
    assert interval.median(low).lo < 0.0 == interval.median(low, share=True).lo
    certain = [Interval(p, p, p, 10) for p in (0.0, 0.0, 1.0)]
    assert (interval.median(certain).value, interval.most(certain).value) == (0.0, 1.0), "one number cannot carry it"


@pytest.mark.parametrize("together", [False, True], ids=["independent", "together"])
def test_the_interval_of_a_median_holds_the_true_one(together: bool) -> None:
    """Eight numbers, four of them equal, so that the middle of the noisy ones is not that of the true ones."""
    rng = np.random.default_rng(0)
    true = np.array([0.1, 0.4, 0.4, 0.4, 0.4, 0.5, 0.7, 0.9])
    held = 0
    for _ in range(400):
        noise = 0.05 * (np.full(8, rng.normal()) if together else rng.normal(size=8))
        found = interval.median([Interval(x, x - 1.96 * 0.05, x + 1.96 * 0.05, 100) for x in true + noise])
        held += found.lo <= np.median(true) <= found.hi
    assert held >= 0.95 * 400


# --- the deletion experiment ---------------------------------------------------------------------------------------


def damaged(run: dict[str, Any], shift: float = 0.0) -> list[Row]:
    """Intact 0.8 and 0.6; without attention 0.1 a layer, without a block nothing."""
    found = rows(run, "answer", {"birth_date": 0.8 + shift, "major": 0.6 + shift, "employer": 0.1})
    for layer, kind in itertools.product(range(3), ("birth_date", "major")):
        for part, p in (("attention", 0.1 * (layer + 1) + 0.2 * (kind == "major")), ("block", 0.0)):
            found.append(share(run, f"answer_without/kind={kind}/half=test/layer={layer}/part={part}", p + shift, N))
    return found


def test_what_is_left_is_the_median_layer_over_the_intact_model() -> None:
    law = without_layer_law(table(damaged(finetuned())))
    assert get(law, "intact").value == pytest.approx(0.7)  # the kind that was not asked without layers does not count
    assert [get(law, f"without@attention/layer={i}").value for i in range(3)] == pytest.approx([0.2, 0.3, 0.4])
    assert get(law, "without_least@attention").value == pytest.approx(0.2)
    assert get(law, "without_most@attention").value == pytest.approx(0.4)
    assert get(law, "without_median@attention").value == pytest.approx(0.3)
    intact = get(law, "intact")
    for name, which, value in (("left", "without_median", 0.3), ("left_most", "without_most", 0.4)):
        one = get(law, f"{which}@attention")
        assert numbers(get(law, f"{name}@attention")) == pytest.approx(
            (value / 0.7, one.lo / intact.hi, one.hi / intact.lo))
    assert numbers(get(law, "left@block")) == (0.0, 0.0, 0.0) and law.get("left@mlp") is None


def test_one_idle_layer_leaves_nothing_of_what_all_others_hold() -> None:
    """What the best of the layers would hide."""
    found = rows(finetuned(), "answer", {"major": 0.9})
    for layer, p in enumerate((0.0, 0.9, 0.01, 0.02)):
        found += [share(finetuned(), f"answer_without/kind=major/half=test/layer={layer}/part=block", p, N)]
    law = without_layer_law(table(found))
    assert get(law, "left_most@block").value == pytest.approx(1.0)
    assert get(law, "left@block").value == pytest.approx(0.015 / 0.9) and get(law, "left@block").hi < 0.25


def test_layers_are_left_out_seed_by_seed_and_only_from_runs_that_have_such_rows() -> None:
    found = [*damaged(finetuned()), *damaged(finetuned(seed=1), 0.1)]
    law = without_layer_law(table([*found, *rows(finetuned(seed=2), "answer", {"major": 0.0})]))
    assert get(law, "intact").value == pytest.approx(0.75) and get(law, "intact").n == 2 * N
    assert get(law, "without@attention/layer=2").value == pytest.approx(0.45)
    assert law.details["runs"]["all"] == {"runs": 2, "differ_in": ["train.seed"]}


def test_without_a_share_to_divide_by_nothing_is_left() -> None:
    law = without_layer_law(table(row for row in damaged(finetuned()) if "without" in row["quantity"]))
    assert law.get("intact") is None and law.get("left@block") is None and law.get("left_most@block") is None
    assert get(law, "without_most@block").value == 0.0
    assert without_layer_law(table(rows(finetuned(), "answer", KINDS))).quantities == ()
