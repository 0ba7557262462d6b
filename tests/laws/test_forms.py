"""The library of laws returns what was planted, says what it covers, and refuses names that name nothing."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import planted
import pytest
from scipy import stats

from physlm import interval
from physlm.errors import UserError
from physlm.laws.columns import with_columns
from physlm.laws.forms import (
    Above,
    Best,
    Contrast,
    Least,
    Median,
    Minus,
    Most,
    PowerLaw,
    Ratio,
    RatioLine,
    Shares,
    Steps,
    edge_of,
    largest,
    laws,
    most_seeds,
    ratio_line,
    smallest,
)

POSITIONS, RATES, LENGTHS = ("rope", "none"), (2e-4, 5e-4, 1e-3), (5, 10)
TRUTH = {("rope", ""): 0.1, ("rope", "ABCD"): 0.6, ("none", ""): 0.2, ("none", "ABCD"): 0.5}
RIGHT = 5e-4  # the rate of three seeds
JITTER = {0: 0.0, 1: 0.02, 2: -0.02}  # of a seed, the same in every setting but for a little
N = 4000


def answer(position: str, canon: str, rate: float, seed: int, length: int) -> float:
    """The share right; the best rate differs: the largest for RoPE without Canon, the middle one elsewhere."""
    shift = {2e-4: -0.08, RIGHT: 0.0, 1e-3: 0.05 if (position, canon) == ("rope", "") else -0.05}[rate]
    little = 0.001 * seed * (canon == "ABCD")
    return TRUTH[position, canon] + shift + JITTER[seed] + little + 0.1 * (length == 5)


def rows() -> list[dict[str, Any]]:
    """A table such as the claim about Mano has: settings, a rate with three seeds, controls."""
    found = []
    for (position, canon), rate, seed in product(TRUTH, RATES, JITTER):
        if seed and rate != RIGHT:
            continue
        run = {"run": f"{position}{canon}-{rate}-{seed}", "task.kind": "mano", "model.position": position,
               "model.canon": canon, "train.learning_rate": rate, "train.seed": seed}
        for length in LENGTHS:
            where = f"/length={length}/half=test"
            found.append(planted.share(run, f"answer{where}", answer(position, canon, rate, seed, length), N))
            found.append(planted.share(run, f"majority{where}", 0.07, N))
            found.append(planted.share(run, f"answer_untrained{where}", 0.04, N // 8))
    return found


TABLE = planted.table(rows())
BY = ("model.position", "model.canon")
WHERE = {"at.half": "test", "at.length": largest, "train.learning_rate": most_seeds}
ANSWER = Shares("answer", BY, WHERE)
GAIN = Contrast("gain", ANSWER, "canon", plus="ABCD", minus="")
LAW = laws(ANSWER, GAIN, Least("least_gain", GAIN), Above("above_majority", ANSWER, ANSWER.of("majority")),
           Best("best", ANSWER, over="train.learning_rate"), ANSWER.of("answer_untrained", called="untrained"),
           items="questions", notes=("A note.",))


def test_shares_are_means_over_seeds_at_a_fixed_rate_with_students_interval() -> None:
    law = LAW(TABLE)
    for position, canon in TRUTH:
        found = law.get(f"answer@position={position}/canon={canon or 'none'}")
        values = [answer(position, canon, RIGHT, seed, 10) for seed in JITTER]
        lo, hi = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert found is not None and found.value == pytest.approx(np.mean(values)) and found.n == 3 * N
        assert (found.lo, found.hi) == pytest.approx((lo, hi))
        assert found.covers == "items and seeds"
    assert [q.name for q in law.quantities][:4] == [
        f"answer@position={position}/canon={canon or 'none'}" for position, canon in TRUTH]
    assert "A note." in law.details["notes"] and "questions" in law.details["notes"][0]
    assert type(law).from_dict(law.to_dict()) == law


def test_a_contrast_is_taken_seed_by_seed_and_far_narrower_than_that_of_the_means() -> None:
    found = GAIN.cells(TABLE)["rope",]
    gaps = [0.5 + 0.001 * seed for seed in JITTER]
    half = 1.96 * np.sqrt([p * (1 - p) / N for seed in JITTER for p in (
        answer("rope", "", RIGHT, seed, 10), answer("rope", "ABCD", RIGHT, seed, 10))])
    lo, hi = stats.t.interval(0.95, 2, loc=np.mean(gaps), scale=stats.sem(gaps))
    within = math.hypot(*half) / 3
    assert found.value == pytest.approx(np.mean(gaps)) and found.covers == "items and seeds"
    assert found.hi - found.value == pytest.approx(max(within, hi - np.mean(gaps)), rel=1e-3)
    assert found.value - found.lo == pytest.approx(max(within, np.mean(gaps) - lo), rel=1e-3)
    # the control: other seeds on one side, so that nothing can be paired
    alone = TABLE.copy()
    alone.loc[alone["model.canon"] == "ABCD", "train.seed"] += 10
    apart = GAIN.cells(alone)["rope",]
    assert apart.value == pytest.approx(found.value) and apart.hi - apart.lo > 3 * (found.hi - found.lo)


def test_of_seeds_that_one_side_lacks_only_the_shared_ones_count() -> None:
    fewer = TABLE[(TABLE["model.canon"] != "") | (TABLE["train.seed"] != 2)]
    assert GAIN.cells(fewer)["rope",].value == pytest.approx(0.5005)
    assert GAIN.cells(fewer)["rope",].runs == 2


def test_a_run_that_goes_on_is_compared_with_one_from_the_same_seed_that_does_not() -> None:
    starts = TABLE.assign(**{"start.task.kind": np.where(TABLE["model.canon"] == "ABCD", "mano", ""),
                             "start.train.seed": TABLE["train.seed"].where(TABLE["model.canon"] == "ABCD")})
    first = starts[(starts["model.canon"] == "") | (starts["train.seed"] == 1)]
    found = GAIN.cells(first)["rope",]
    assert found.value == pytest.approx(0.501) and found.runs == 1, "not 0.501 + 0.02, beside the mean of all seeds"
    assert GAIN.cells(starts)["rope",] == GAIN.cells(TABLE)["rope",]
    # what cannot be told apart is not paired: two runs that went on from one
    twice = pd.concat([first, first[first["model.canon"] == "ABCD"].assign(
        **{"start.train.seed": 7.0, "train.seed": 1, "run": "another"})])
    assert GAIN.cells(twice)["rope",].value == pytest.approx(0.521)


def test_a_control_is_taken_off_run_by_run() -> None:
    found = Above("above", ANSWER, ANSWER.of("majority")).cells(TABLE)["none", "ABCD"]
    assert found.value == pytest.approx(0.501 - 0.07) and found.runs == 3
    with pytest.raises(UserError, match="expected one by"):
        Above("above", ANSWER, Shares("majority", ("model.position",)))


def test_the_best_of_rates_says_which_and_whether_it_is_at_the_edge() -> None:
    best = Best("best", ANSWER, over="train.learning_rate")
    law = LAW(TABLE)
    at_edge, inside = law.get("best@position=rope/canon=none"), law.get("best@position=none/canon=none")
    assert at_edge is not None and inside is not None
    assert at_edge.value == pytest.approx(0.15) and at_edge.lo < 0.15 < at_edge.hi
    assert at_edge.remark == "best of 3: learning rate 0.001, the largest: a better one may lie outside"
    assert inside.value == pytest.approx(0.2) and inside.remark == "best of 3: learning rate 0.0005"
    lowest = Best("worst", ANSWER, over="train.learning_rate", lowest=True)
    assert lowest.cells(TABLE)["none", ""].value == pytest.approx(0.12)
    assert lowest.remarks(TABLE)["none", ""].endswith("0.0002, the smallest: a better one may lie outside")
    few = best.remarks(TABLE[TABLE["train.learning_rate"] == RIGHT])
    assert few["rope", ""] == "best of 1: learning rate 0.0005, the only one: a better one may lie outside"


@pytest.mark.parametrize(("value", "grid", "edge"), [
    (1.0, (1.0, 2.0, 3.0), "smallest"), (3.0, (1.0, 2.0, 3.0), "largest"), (2.0, (3.0, 1.0, 2.0), ""),
    (2.0, (2.0,), "only one"), (1.0, (1.0, 2.0), "smallest"), ("rope", ("none", "rope"), "")])  # fmt: skip
def test_both_ends_of_a_grid_are_edges(value: object, grid: tuple[object, ...], edge: str) -> None:
    assert edge_of(value, grid) == edge


def test_extremes_are_over_the_settings_that_were_named() -> None:
    found = ANSWER.cells(TABLE)
    over = Least("least", ANSWER, over=("canon",))
    assert over.keys == ("position",)
    assert over.cells(TABLE)["none",] == interval.least([found["none", ""], found["none", "ABCD"]], share=True)
    assert Most("most", ANSWER).cells(TABLE)[()].value == pytest.approx(0.601)
    middle = Median("median", ANSWER).cells(TABLE)[()]
    assert middle.value == pytest.approx((0.2 + 0.501) / 2) and 0.2 < middle.lo < 0.35 < middle.hi < 0.501
    assert Least("least_gain", GAIN).cells(TABLE)[()].value == pytest.approx(0.301)


def test_a_ratio_has_a_base_of_its_setting_or_one_for_all() -> None:
    untrained = ANSWER.of("answer_untrained", called="untrained")
    found = Ratio("times", ANSWER, untrained).cells(TABLE)
    assert found["rope", "ABCD"].value == pytest.approx(0.601 / 0.04)
    assert Ratio("share", ANSWER, Most("most", ANSWER)).cells(TABLE)["none", "ABCD"].value == pytest.approx(501 / 601)


def test_a_ratio_may_divide_one_number_by_those_of_several_settings() -> None:
    """By all settings or by some of them, whichever side has more."""
    reference = Shares("answer", (), {**ANSWER.where, "model.position": "rope", "model.canon": "ABCD"}, called="best")
    found = Ratio("worse", reference, ANSWER)
    assert found.keys == ANSWER.keys
    assert {key: one.value for key, one in found.cells(TABLE).items()} == {
        key: pytest.approx(0.601 / one.value) for key, one in ANSWER.cells(TABLE).items()}
    some = Shares("answer", ("model.position",), {**ANSWER.where, "model.canon": "ABCD"}, called="with_canon")
    for upper, lower, sign in ((some, ANSWER, 1), (ANSWER, some, -1)):
        times = Ratio("times", upper, lower).cells(TABLE)
        assert times["none", ""].value == pytest.approx((0.501 / 0.2) ** sign) and len(times) == 4
    with pytest.raises(UserError, match="expected one by"):
        Ratio("times", some, Shares("answer", ("train.learning_rate",)))


def test_curves_and_power_laws() -> None:
    table = planted.table(planted.number({"run": f"{tokens}-{seed}", "train.steps": tokens, "train.seed": seed}, "loss",
                                         3.0 * tokens**-0.25 * (1.0 + noise), 100, "nats", 0.01)
                          for tokens in (100, 400, 1600, 6400) for seed, noise in ((0, 0.01), (1, -0.01)))
    loss = Shares("loss", ("train.steps",), unit="nats", share=False)
    found = PowerLaw("exponent", loss, "steps").cells(table)[()]
    assert found.value == pytest.approx(-0.25, abs=1e-3) and found.covers == "models" and found.n == 4
    assert found.lo <= -0.25 <= found.hi
    bent = PowerLaw("exponent", loss, "steps").cells(table.assign(value=table["value"] + 0.3))[()]
    assert bent.hi - bent.lo > 3 * (found.hi - found.lo), "points that are on no line"
    assert PowerLaw("exponent", loss, "steps").cells(table[table["train.steps"] < 1000]) == {}, "two points"


def test_a_ratio_line_finds_the_planted_constant_and_noisy_points_pull_less() -> None:
    rng = np.random.default_rng(1)
    sizes = (100, 200, 400, 800, 1600, 3200)
    table = planted.table(
        {**planted.number({"run": f"{kind}{size}", "model.width": size, "task.kind": kind}, "ratio", value, 10),
         "lo": value * (1 - error), "hi": value * (1 + error)}
        for kind, truth in (("a", 2.0), ("b", 1.0)) for size in sizes
        for error in [0.9 if size == 100 else 0.02]
        for value in [truth * (3.0 if size == 100 else float(np.exp(0.02 * rng.standard_normal())))])
    ratios = Shares("ratio", ("task.kind", "model.width"), share=False)
    found = RatioLine("line", ratios, over=("width",)).cells(table)
    assert set(found) == {("a",), ("b",)} and found["a",].n == 6 and found["a",].covers == "items and models"
    for kind, truth in (("a", 2.0), ("b", 1.0)):
        assert found[kind,].lo <= truth <= found[kind,].hi
        line, weights = ratio_line("line", [ratios.cells(table)[kind, size] for size in sizes])
        assert line == found[kind,] and sum(weights) == pytest.approx(1.0) and weights[0] < min(weights[1:])
    assert RatioLine("line", ratios).keys == () and RatioLine("line", ratios).cells(table)[()].n == 12


def test_the_exponents_interval_covers_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    for trial in range(300):
        y = 2.0 * x**0.5 * np.exp(0.05 * rng.standard_normal(5))
        table = planted.table(planted.number({"run": f"{trial}-{a}", "task.people": a}, "y", b, 10)
                              for a, b in zip(x, y, strict=True))
        found = PowerLaw("b", Shares("y", ("task.people",), share=False), "people").cells(table)[()]
        hits += found.lo <= 0.5 <= found.hi
    assert 0.91 <= hits / 300 <= 0.985


def test_kinds_are_averaged_in_each_run_and_then_over_seeds() -> None:
    table = planted.table(
        planted.share({"run": f"r{seed}", "train.seed": seed}, f"answer/kind={kind}", p + JITTER[seed], 1000)
        for kind, p in (("a", 0.2), ("b", 0.6)) for seed in (0, 1))
    found = Shares("answer", over="at.kind").cells(table)[()]
    assert found.value == pytest.approx(0.41) and found.runs == 2
    assert found.hi - found.value == pytest.approx(stats.t.ppf(0.975, 1) * np.std([0.4, 0.42], ddof=1) / math.sqrt(2))


def test_runs_that_differ_in_more_than_seeds_are_not_averaged() -> None:
    with pytest.raises(UserError, match=r"runs of position=rope/canon=none that differ in train\.learning_rate"):
        Shares("answer", BY, {"at.half": "test", "at.length": 10}).cells(TABLE)
    pooled = Shares("answer", BY, {"at.half": "test", "at.length": 10}, pooled=("train.learning_rate",)).cells(TABLE)
    assert pooled["rope", ""].covers == "items and models" and pooled["rope", ""].runs == 5


@pytest.mark.parametrize(("form", "message"), [
    (Shares("answer", ("model.positions",), WHERE), r"unknown name 'model.positions'; did you mean 'model.position'"),
    (Shares("answer", BY, {**WHERE, "train.rate": 1}), "unknown name 'train.rate'"),
    (Shares("answer", BY, {"at.half": "test"}), r"measured at at\.length, at\.half, expected each .* have: at\.half"),
    (Shares("answer", BY, {**WHERE, "at.kind": "x"}), "measured at at.length, at.half"),
    (Shares("answer", BY, WHERE, unit="bits", share=False), "in 1, expected bits"),
    (Shares("answer", BY, WHERE).of("answer", length=None), "measured at"),
])  # fmt: skip
def test_columns_that_name_nothing_are_errors(form: Shares, message: str) -> None:
    with pytest.raises(UserError, match=message):
        form.cells(TABLE)


def test_settings_that_name_nothing_are_errors_before_there_is_a_table() -> None:
    for make in (lambda: Contrast("gain", ANSWER, "canons", "ABCD", ""), lambda: Least("x", ANSWER, over=("position",
                 "cannon")), lambda: PowerLaw("x", ANSWER, "steps")):  # fmt: skip
        with pytest.raises(UserError, match="unknown name"):
            make()
    with pytest.raises(UserError, match="two forms called 'answer'"):
        laws(ANSWER, ANSWER)
    with pytest.raises(UserError, match="two of which have one name"):
        Shares("answer", ("train.seed", "task.seed"))
    assert Shares("answer", {"run_seed": "train.seed", "seed": "task.seed"}).keys == ("run_seed", "seed")
    with pytest.raises(UserError, match="expected a place"):
        Shares("answer", over="kind")


def test_a_law_knows_the_names_that_it_can_give() -> None:
    for name in ("answer@position=rope/canon=none", "gain@position=rope", "least_gain"):
        LAW.check(name, "1")
    with pytest.raises(UserError, match=r"unknown name 'gains'; did you mean 'gain'\?"):
        LAW.check("gains@position=rope", "1")
    for wrong in ("gain", "gain@rope", "gain@canon=ABCD", "least_gain@position=rope", "answer@position=rope"):
        with pytest.raises(UserError, match="got settings"):
            LAW.check(wrong, "1")
    given = {quantity.name for quantity in LAW(TABLE).quantities}
    for name in given:
        LAW.check(name, "1")


def test_what_was_not_measured_gives_no_quantity_and_what_is_not_finite_neither() -> None:
    assert LAW(TABLE.assign(quantity="other")).quantities == ()
    broken = TABLE.copy()
    broken.loc[broken["model.position"] == "rope", ["value", "lo", "hi"]] = math.nan
    found = {quantity.name for quantity in LAW(broken).quantities}
    assert "answer@position=none/canon=ABCD" in found and not any("rope" in name for name in found)
    assert LAW(TABLE.assign(value=math.nan)).quantities == ()


def test_a_place_with_one_value_need_not_be_named_but_snapshots_are_never_taken_for_the_end() -> None:
    where = {key: wanted for key, wanted in WHERE.items() if key != "at.half"}
    assert Shares("answer", BY, where).cells(TABLE) == ANSWER.cells(TABLE)
    run = {"run": "a", "train.seed": 0}
    table = planted.table(planted.share(run, f"answer/kind=x{step}", p, 9) for step, p in (("", 0.5), ("/step=5", 0.1)))
    assert Shares("answer", where={"at.kind": "x"}).cells(table)[()].value == 0.5
    with pytest.raises(UserError, match=r"measured at at\.kind; or at at\.kind, at\.step, expected each"):
        Shares("answer").cells(table)
    assert Shares("answer", optional=True).cells(table) == {}


def test_where_asks_for_what_tiers_share() -> None:
    for pick, length in ((largest, 10), (smallest, 5), ((5, 10), None), ([10], 10)):
        found = Shares("answer", BY, {**WHERE, "at.length": pick}, over="at.length").rows(TABLE)
        assert set(found["at.length"]) == ({length} if length else {5, 10})
    assert most_seeds(TABLE, "train.learning_rate") == RIGHT
    one = TABLE[TABLE["train.seed"] == 0]
    assert most_seeds(one, "train.learning_rate") == 2e-4, "the first of the claim"


def test_a_run_with_two_rows_in_one_setting_is_refused() -> None:
    twice = with_columns(pd.concat([TABLE, TABLE.iloc[:1]]).reset_index(drop=True))
    with pytest.raises(UserError, match=r"answer/length=5/half=test, .* of run 'rope-0\.0002-0'"):
        Shares("answer", BY, {"at.half": "test", "at.length": 5}, pooled=("train.learning_rate",)).cells(twice)


def test_columns_that_a_law_prepares_are_names_by_themselves_and_details_are_not_judged() -> None:
    def prepare(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(setting=["" if position == "rope" else position for position in table["model.position"]])

    own = Shares("answer", ("setting", "at.length"), {"model.canon": "ABCD", "train.learning_rate": RIGHT})
    base = Shares("majority", ("setting", "at.length"), {"model.canon": "ABCD", "train.learning_rate": RIGHT})
    gap = Minus("gap", own, base, independent=True)
    law = laws(own, gap, details=(base,), prepare=prepare)
    found = law(TABLE)
    assert {quantity.name for quantity in found.quantities} == {
        f"{name}@{setting}length={length}" for name in ("answer", "gap") for setting in ("", "none/")
        for length in LENGTHS}
    assert found.details["majority"] == {key: pytest.approx(0.07) for key in (
        "length=5", "length=10", "none/length=5", "none/length=10")}
    one, added = gap.cells(prepare(TABLE))["", 10], Minus("gap", own, base, False).cells(prepare(TABLE))["", 10]
    assert one.value == added.value == pytest.approx(0.601 - 0.07) and one.hi < added.hi
    law.check("gap@anything", "1")
    with pytest.raises(UserError, match="unknown name 'gab'"):
        law.check("gab@anything", "1")
    with pytest.raises(UserError, match="expected one by"):
        Minus("gap", own, Shares("majority"), independent=True)


def test_steps_are_between_neighbours_in_the_order_of_numbers() -> None:
    """0.1, 0.3 and 0.6 after 3, 10 and 30 steps, in whatever order they stand: 3 and 2; opposite ends are divided."""
    rows = [planted.number({**planted.run(seed=seed), "train.steps": steps, "run": f"{steps}-{name}", "label": name},
                           "learnt", value, 100, spread=0.05)
            for seed, name, values in ((0, "small", (0.6, 0.1, 0.3)), (1, "large", (0.4, 0.4, 0.8)))
            for steps, value in zip((30, 3, 10), values, strict=True)]
    form = Steps("step", Shares("learnt", {"size": "label", "steps": "train.steps"}), "steps")
    found = form.cells(planted.table(rows))
    assert {key: round(one.value, 6) for key, one in found.items()} == {
        ("small", 10): 3.0, ("small", 30): 2.0, ("large", 10): 2.0, ("large", 30): 0.5}
    half = 1.96 * 0.05 / 10
    assert found["small", 10].lo == pytest.approx((0.3 - half) / (0.1 + half))
    assert found["small", 10].hi == pytest.approx((0.3 + half) / (0.1 - half))
    with pytest.raises(UserError, match="step: along"):
        Steps("step", Shares("learnt", ("label",)), "steps")


def test_a_step_from_what_may_be_nothing_is_none() -> None:
    rows = [planted.number({**planted.run(), "train.steps": steps, "run": str(steps)}, "learnt", value, 4, spread=0.1)
            for steps, value in ((1, 0.01), (2, 0.5), (4, 1.0))]
    found = Steps("step", Shares("learnt", {"steps": "train.steps"}), "steps").cells(planted.table(rows))
    assert list(found) == [(4,)]
