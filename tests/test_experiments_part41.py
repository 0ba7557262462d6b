"""Claims of Part 4.1: laws that find what was planted, runs that are shared and have the tokens that are promised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
import pytest
import torch
from planted import verdicts
from sheets import assert_inside_and_apart

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.cost import cost_of
from physlm.lab.experiment import TIERS, Experiment, load_experiment
from physlm.lab.results import run_columns
from physlm.lab.run import Run
from physlm.laws.law import Law
from physlm.laws.verdict import by_asked, headline, verdict_rows
from physlm.measures import answers
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
NAMES = ("p41_canon_places", "p41_capo", "p41_copy", "p41_lano", "p41_mano", "p41_playground", "p41_positions",
         "p41_reasoning_depth")  # fmt: skip
CLAIMS = {name: load_experiment(name, FOLDER) for name in NAMES}
MINUTES = {"p41_canon_places": 50, "p41_copy": 20, "p41_capo": 25, "p41_positions": 25, "p41_reasoning_depth": 25,
           "p41_mano": 25, "p41_lano": 45}  # fmt: skip
H100 = "one NVIDIA H100"
Score = Callable[[RunSpec], float]


def kind_of(spec: RunSpec) -> str:
    return spec.task.kind


def planted_rows(spec: RunSpec, number: int, score: float, halves: float = 0.0) -> list[dict[str, Any]]:
    """What the measures would have written of a run of this score; each step harder costs ``halves`` of it."""
    run = {"run": f"run{number}", **run_columns(Run(spec, Path(f"run{number}")))}
    kind, n, task = kind_of(spec), 2500, spec.task
    if kind == "grammar":
        soon = 0.4 if canon(spec) and score > 0.95 else 1.0  # with Canon layers the curve rises earlier
        steps = [planted.share(run, f"accuracy/cut=0/step={step}", score * (step / spec.steps) ** soon, 500)
                 for step in spec.snapshot_steps]
        return [planted.share(run, "accuracy/cut=0", score, n), planted.share(run, "accuracy/cut=50", score, n),
                planted.share(run, "accuracy_untrained/cut=0", 0.0, n),
                planted.number(run, "kl", 0.5 - 0.4 * score, n, "nats/token"), *steps]
    if kind in ("bioS", "bioD"):
        return [planted.number(run, name, value, 1000, unit, 1e-3) for name, value, unit in (
            ("bits_per_param", score, "bits/parameter"), ("bits", score * run["params_used"], "bits"),
            ("bits_max", 1e6, "bits"))]
    rows = []
    hops = task.asked_hops() if kind == "depo" else ()  # type: ignore[attr-defined]
    for place, hop in enumerate(hops):
        for name, value in (("forced", score - halves * place), ("forced_majority", 0.05), ("forced_untrained", 0.0)):
            rows.append(planted.share(run, f"{name}/kind=k{hop}/half=test", max(value, 0.0), 5000))
    if kind == "brevo":
        rows += [planted.share(run, f"answer_depth/kind=depth{depth}/half=test", max(score - halves * depth, 0.0), n)
                 for depth in (1, 2, 3)]
    if kind == "copy":
        rows += [planted.share(run, f"{name}/kind=length500/half=test", value, 256) for name, value in (
            ("forced", score), ("forced_majority", 0.002), ("forced_untrained", 0.0))]
    one = f"kind={'k1' if hops else 'all'}/half=test"
    rows += [planted.share(run, f"answer/{one}/step={step}", score * step / spec.steps, 500)
             for step in spec.snapshot_steps]
    return rows + [planted.share(run, f"{name}/{one}", value, n) for name, value in (
        ("answer", score), ("answer_first", score), ("majority", 0.07), ("answer_untrained", 0.0))]


def law_of(claim: Experiment, score: Score, tier: str = "gpu", halves: float = 0.0) -> tuple[Any, Law]:
    rows = [row for number, spec in enumerate(claim.specs(tier))
            for row in planted_rows(spec, number, score(spec), halves)]
    table = planted.table(rows)
    return table, claim.law(table)


def canon(spec: RunSpec) -> bool:
    return bool(spec.model.local)


def as_published(spec: RunSpec) -> float:
    """What the paper says, a little below at rates other than that of most seeds and a little above at other seeds."""
    kind, jitter = kind_of(spec), 0.001 * spec.train.seed
    position = spec.model.facts()["position"]
    if kind in ("bioS", "bioD"):
        worse = {"plain": 1.0, "gated": 0.7, "moe": 0.3}[spec.model.mlp[0].kind]
        return (worse * (1.12 if canon(spec) else 1.0) + 1e-4 * spec.train.seed) * (1.15 if canon(spec)
                                                                                    and worse == 0.3 else 1.0)
    if kind == "grammar":
        return (0.96 if canon(spec) else 0.9) if position != "none" else 0.88 if canon(spec) else 0.0
    if kind == "copy":
        return 1.0 if canon(spec) or spec.model.layers == 2 or spec.model.width >= 128 else 0.0
    if kind == "mano" and not canon(spec) and position == "none":
        return 0.071
    return (0.9 if canon(spec) else 0.3) + jitter


# ---- Grids


@pytest.mark.parametrize("name", MINUTES)
def test_a_claim_keeps_to_the_minutes_that_it_was_given(name: str) -> None:
    assert cost_of(CLAIMS[name].specs("gpu")).seconds[H100] < 60 * MINUTES[name]


@pytest.mark.parametrize(("kind", "minutes"), [("depo", 100), ("brevo", 100), ("grammar", 25), ("bioS", 25)])
def test_a_task_of_the_playground_keeps_to_its_minutes(kind: str, minutes: int) -> None:
    specs = [spec for spec in CLAIMS["p41_playground"].specs("gpu") if kind_of(spec) == kind]
    assert specs and cost_of(specs).seconds[H100] < 60 * minutes


def test_the_demonstration_keeps_to_six_minutes_of_two_cores() -> None:
    specs = {spec for name in ("p41_copy", "p41_playground") for spec in CLAIMS[name].specs("demo")}
    cost = cost_of(list(specs))
    assert next(seconds for device, seconds in cost.seconds.items() if "CPU" in device) < 360 * 2
    assert {kind_of(spec) for spec in specs} == {"copy", "mano", "depo"}


def test_the_published_numbers_of_tokens() -> None:
    lano = CLAIMS["p41_lano"].specs("gpu")
    assert {spec.tokens for spec in lano} == {4_915_200_000}, "100,000 steps of 96 windows of 512"
    copied = CLAIMS["p41_copy"].specs("gpu")
    assert {spec.steps * spec.train.batch_rows for spec in copied} == {50_000 * 32}
    rates = {spec.model.label: [(one.train.learning_rate, one.train.seed) for one in copied if one.model == spec.model]
             for spec in copied}
    larger = (5e-3, 1e-2, 2e-2, 4e-2)  # the largest published one, and more
    for spec in copied:
        tried = larger if canon(spec) else (1e-3, 2e-3, *larger)
        assert sorted(rates[spec.model.label]) == [(rate, seed) for rate in tried for seed in (1, 2, 3)]
    assert {spec.task for spec in copied} == {type(copied[0].task)()} and copied[0].task.row_tokens == 1024
    assert {spec.train.exposures for spec in CLAIMS["p41_capo"].specs("gpu")} == {100}


@pytest.mark.parametrize("tier", TIERS)
def test_the_playground_trains_nothing_that_other_claims_train_otherwise(tier: str) -> None:
    hashes = {name: set(map(content_hash, claim.specs(tier))) for name, claim in CLAIMS.items()}
    whole = hashes["p41_playground"]
    others = {content_hash(spec) for spec in CLAIMS["p41_mano"].specs(tier) if tier == "demo"  # without a quarter
              and spec.model.facts()["position"] == "rope0.25"}
    assert hashes["p41_mano"] - others <= whole and not others & whole
    assert whole & hashes["p41_copy"] and whole & hashes["p41_reasoning_depth"]
    assert (tier == "demo") != bool(whole & hashes["p41_capo"])
    assert hashes["p41_canon_places"] & hashes["p41_mano"]
    assert bool(hashes["p41_canon_places"] & hashes["p41_copy"]) == (tier != "gpu"), "where it copies fewer words"


def test_the_grid_of_tier_gpu_is_three_rates_of_a_seed_and_three_seeds_of_a_rate() -> None:
    for kind in ("depo", "brevo", "mano", "grammar"):
        specs = [spec for spec in CLAIMS["p41_playground"].specs("gpu") if kind_of(spec) == kind]
        by_model: dict[str, list[tuple[float, int]]] = {}
        for spec in specs:
            by_model.setdefault(spec.model.label, []).append((spec.train.learning_rate, spec.train.seed))
        assert len(by_model) == 6 and len({tuple(pairs) for pairs in by_model.values()}) == 1, kind
        (pairs, *_) = by_model.values()
        assert len({rate for rate, seed in pairs if seed == 1}) == 3 and len({seed for _, seed in pairs}) == 3
        assert len(pairs) == 5


def test_each_run_takes_the_measures_of_its_task() -> None:
    claim = CLAIMS["p41_playground"]
    asked = {kind_of(spec): claim.asked_names(spec) for spec in claim.specs("smoke")}
    assert asked == {"depo": ("answers", "forced"), "brevo": ("answers",), "mano": ("answers",), "copy": ("answers",),
                     "grammar": ("completion",), "bioS": ("capacity",)}  # fmt: skip
    assert CLAIMS["p41_mano"].asked_names(CLAIMS["p41_mano"].specs("smoke")[0]) == ("answers",)


@pytest.mark.parametrize("name", ["p4_length", "p4_finding_is_not_reasoning", "beyond_length"])
def test_a_changed_run_takes_the_measures_of_its_tier(name: str) -> None:
    """They are told by task and model, either of which a user may change."""
    claim = load_experiment(name, FOLDER)
    for tier in ("smoke", "demo", "gpu", "paper"):
        asked = [claim.asked(spec) for spec in claim.specs(tier)]
        for change in ("model.absolute=9999", "task.seed=5", "train.batch_rows=3"):
            assert [claim.asked(spec) for spec in claim.specs(tier, [change])] == asked
        assert all(set(claim.asked(spec)) <= set(claim.measures) for spec in claim.specs(tier, ["model.layers=12"]))
        assert all(claim.asked(spec) for spec in claim.specs(tier, ["model.layers=12", "task.seed=5"]))


def test_a_measure_that_the_claim_does_not_have_is_refused() -> None:
    from dataclasses import replace

    claim = replace(CLAIMS["p41_mano"], measures_of=lambda spec: ("capacity",))
    with pytest.raises(UserError, match="got capacity for mano .*expected some of answers"):
        claim.asked(claim.specs("smoke")[0])


# ---- Laws


@pytest.mark.parametrize("name", ["p41_copy", "p41_lano", "p41_playground", "p41_capo"])
def test_what_is_published_would_be_found(name: str) -> None:
    claim = CLAIMS[name]
    _, law = law_of(claim, as_published)
    rows = verdict_rows(name, law, claim.expect, "gpu")
    assert headline(rows, by_asked(claim.expect)) == "reproduced", verdicts(claim, law)


@pytest.mark.parametrize("name", NAMES)
def test_where_canon_layers_do_nothing_no_claim_is_reproduced(name: str) -> None:
    def alike(spec: RunSpec) -> float:
        return 0.7 + 0.001 * spec.train.seed

    claim = CLAIMS[name]
    _, law = law_of(claim, alike, halves=0.05)
    found = verdicts(claim, law)
    if name == "p41_positions":  # all of whose models have them: alike is what it says
        assert set(found.values()) == {"reproduced", "holds"}
        return
    assert headline(verdict_rows(name, law, claim.expect, "gpu"), by_asked(claim.expect)) != "reproduced"
    gains = [quantity for quantity in found if "gain" in quantity and "capo" not in quantity]
    wrong = {quantity for quantity in gains if found[quantity] in ("not reproduced", "fails")}
    assert wrong == set(gains) - {"gain_C@kind=copy"}, "which is to be at most a tenth"


def test_capacities_are_compared_size_by_size() -> None:
    """Canon gains a tenth at the small size and halves the large one: of peaks it would be a gain."""
    claim = CLAIMS["p41_capo"]

    def score(spec: RunSpec) -> float:
        return 1.0 if not canon(spec) else 1.1 if spec.model.width == 64 else 0.5

    _, law = law_of(claim, score)
    by_size = {size: law.get(f"gain_by_size@llama-tied/position=rope/{size}") for size in ("2x64", "2x96")}
    assert [one.value for one in by_size.values() if one is not None] == pytest.approx([1.1, 0.5])
    gain = law.get("gain@llama-tied/position=rope")
    assert gain is not None and gain.value == pytest.approx((1.1 * 0.5) ** 0.5)


def test_an_architecture_that_holds_something_makes_no_other_judged() -> None:
    """Models with a gated MLP hold nothing, those with a plain one do: what Canon gains of nothing is not judged."""
    claim = CLAIMS["p41_capo"]

    def score(spec: RunSpec) -> float:
        held = 1.0 if spec.model.mlp[0].kind == "plain" else 0.01
        return held * (1.125 if canon(spec) else 1.0)

    found = verdicts(claim, law_of(claim, score)[1])
    assert found["gain@llama-tied/position=rope"] == "not judged" != found["gain@llama-tied-plain/position=rope"]
    assert found["of_plain@llama-tied/local=none"] == "not reproduced", "the plain one is one of the two"


def test_half_of_the_strings_are_right_after_fewer_steps_with_canon_layers() -> None:
    """Planted: the share is score x step / steps, with Canon layers score x (step / steps) ^ 0.4."""
    _, law = law_of(CLAIMS["p41_lano"], as_published)
    late, soon = (law.get(f"arrival@position=rope/local={local}") for local in ("none", "canon"))
    assert late is not None and soon is not None and soon.value < 25_000 < 50_000 < late.value < 100_000
    fewer = law.get("fewer@position=rope")
    assert fewer is not None and fewer.value == pytest.approx(late.value / soon.value)


def test_curves_end_where_training_does() -> None:
    for name, quantity, end in (("p41_lano", "curve", 0.96), ("p41_mano", "curve", 0.902)):
        _, law = law_of(CLAIMS[name], as_published)
        curve = {int(key.rpartition("step=")[2]): value for key, value in law.details[quantity].items()
                 if key.startswith("position=rope/local=canon/")}
        assert max(curve) == CLAIMS[name].specs("gpu")[0].steps and curve[max(curve)] == pytest.approx(end)
        assert len(curve) > 3


def test_the_figure_of_the_playground_says_how_large_tasks_and_models_are() -> None:
    claim = CLAIMS["p41_playground"]
    table, law = law_of(claim, as_published)
    texts = " ".join(text.get_text() for text in claim.figure(table, law).texts).replace("\n", " ")
    specs = {kind_of(spec): spec for spec in claim.specs("gpu")}
    depo, mano = specs["depo"].task, specs["mano"].task
    assert "Each cell is the best of rates, of Capo a mean over seeds." in texts
    assert f"Depo N = {depo.nodes}, K = {depo.hops}, 4 x 128" in texts  # type: ignore[attr-defined]
    assert f"Mano L = {mano.length}, 6 x 256" in texts  # type: ignore[attr-defined]
    best = law.get("mano_best@position=rope/local=canon")
    assert best is not None and best.value == pytest.approx(0.901), "of seed 1, which all rates have"


def at_a_guess(spec: RunSpec) -> float:
    """What the best constant answer has, of Depo every second token, and 0.01 bits a parameter."""
    return {"depo": 0.36, "grammar": 0.0, "bioS": 0.01, "bioD": 0.01}.get(kind_of(spec), 0.07)


# what is met by models that all guess
MET_BY_GUESSING = {
    "p41_canon_places": {"activation@kind=mano", "gain_C@kind=copy"}, "p41_mano": {
        "above_constant@position=none/local=none"},
    "p41_lano": {"gain@position=rope"},
    "p41_copy": {"best@layers=1/width=16/local=none", "best@layers=1/width=64/local=none",
                 "best_forced@layers=1/width=16/local=none"},
    "p41_positions": {"none_over_rope", "none_over_alibi", "none_over_hard_alibi", "quarter_over_rope",
                      "quarter_over_half", "heads_over_channels"},
    "p41_playground": {f"{task}_without_positions" for task in ("depo", "brevo", "mano", "lano")},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_learnt_nothing_agrees(name: str) -> None:
    claim = CLAIMS[name]
    _, law = law_of(claim, at_a_guess)
    found = verdicts(claim, law)
    assert not {"reproduced", "holds"} & set(found.values()), found
    unjudged = {quantity for quantity, verdict in found.items() if verdict == "not judged"}
    assert MET_BY_GUESSING.get(name, set()) <= unjudged
    assert all("nothing learnt: the best of the models compared has 0" in law.get(quantity).unjudged  # type: ignore[union-attr]
               for quantity in MET_BY_GUESSING.get(name, ()))


@pytest.mark.parametrize(("rate", "width", "verdict"), [
    (1e-3, 64, "not judged"), (4e-2, 64, "not judged"), (2e-3, 64, "reproduced"), (1e-2, 64, "reproduced"),
    (1e-3, 16, "not judged"), (1e-2, 16, "reproduced"),
])  # fmt: skip
def test_that_a_model_does_not_copy_is_judged_where_its_best_rate_is_inside(rate: float, width: int,
                                                                            verdict: str) -> None:  # fmt: skip
    """A better rate may lie outside of the grid, at which it copies; what is to copy, and does, is judged anyhow."""
    claim, most = CLAIMS["p41_copy"], {16: 0.08, 64: 0.85}

    def score(spec: RunSpec) -> float:
        model = spec.model
        at_best = spec.train.learning_rate == (rate if model.width == width else 1e-2)
        if canon(spec) or model.layers == 2 or model.width == 128:
            return 1.0 if spec.train.learning_rate == 4e-2 else 0.2  # an end of the grid
        return most[model.width] if at_best else 0.01

    found = verdicts(claim, law_of(claim, score)[1])
    asked = {f"best@layers=1/width={one}/local=none": "reproduced" for one in (16, 64)}
    assert found == {**found, **asked, f"best@layers=1/width={width}/local=none": verdict}
    for copies in ("layers=1/width=16/local=canon", "layers=1/width=128/local=none", "layers=2/width=16/local=none"):
        assert found[f"best@{copies}"] == "reproduced"
    assert found["best_forced@layers=1/width=16/local=none"] == (
        "not judged" if width == 16 and verdict == "not judged" else "holds")


def test_a_reach_without_canon_layers_of_no_hop_counts_as_one() -> None:
    """Published: RoPE takes no hop.  With Canon layers 1.0, 0.7, 0.4 at k = 1, 2, 4, half at 3.17: so many times."""
    claim = CLAIMS["p41_reasoning_depth"]
    _, law = law_of(claim, lambda spec: 1.0 if canon(spec) else 0.3, halves=0.3)
    farther = law.get("farther@layers=4")
    assert farther is not None and farther.value == pytest.approx(2 ** (1 + 2 / 3))
    assert farther.remark == "none is below hops = 1: taken as 1, an upper bound"
    assert verdicts(claim, law)["farther@layers=4"] == "reproduced"
    _, law = law_of(claim, lambda spec: 0.2, halves=0.2)
    assert law.get("farther@layers=4").value == 0.0  # type: ignore[union-attr]
    assert verdicts(claim, law)["farther@layers=4"] == "not reproduced", "neither takes a hop"


def test_capacities_are_means_over_as_many_seeds_at_one_rate() -> None:
    specs = CLAIMS["p41_capo"].specs("gpu")
    assert {spec.train.learning_rate for spec in specs} == {8e-3}
    by_model: dict[str, list[int]] = {}
    for spec in specs:
        by_model.setdefault(spec.model.label, []).append(spec.train.seed)
    assert {tuple(sorted(seeds)) for seeds in by_model.values()} == {tuple(range(6))} and len(by_model) == 20


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_the_runs_gives_a_verdict_on_what_it_measured(name: str) -> None:
    """The first run alone, and the last ones: what needs others is not run, and nothing is judged by half of it."""
    claim = CLAIMS[name]
    specs = claim.specs("gpu")
    for keep in (specs[:1], specs[-2:]):
        found = planted.table([row for number, spec in enumerate(keep)
                               for row in planted_rows(spec, number, as_published(spec))])
        law = claim.law(found)
        rows = verdict_rows(name, law, claim.expect, "gpu")
        assert {row["verdict"] for row in rows} <= {"not run", "not judged", "reproduced", "holds", "not reproduced",
                                                 "fails"}
        if len(keep) == 1 and name != "p41_positions":
            assert not any("gain" in row["quantity"] and row["ours"] is not None for row in rows), "of one model"
            some = any(row["verdict"] != "not run" for row in rows)
            assert headline(rows, by_asked(claim.expect)) == ("not finished" if some else "not run")
        assert_inside_and_apart(claim.figure(found, law))


def test_places_and_variants_are_told_from_each_other() -> None:
    values = {"none": 0.1, "canonA": 0.4, "canonB": 0.4, "canonC": 0.35, "canonD": 0.3, "canon": 0.9,
              "canon_residualfalse": 0.3, "canon_acttrue": 0.9, "canon_trainedfalse": 0.8}  # fmt: skip

    def score(spec: RunSpec) -> float:
        local = spec.model.facts()["local"]
        if kind_of(spec) == "copy":
            return 1.0 if local not in ("none", "canonC") else 0.0
        return values[local] + 0.001 * spec.train.seed

    claim = CLAIMS["p41_canon_places"]
    table, law = law_of(claim, score)
    assert set(verdicts(claim, law).values()) <= {"reproduced", "holds"}, verdicts(claim, law)
    for name, value in (("gain_A@kind=mano", 0.3), ("together@kind=mano", 0.5), ("residual@kind=mano", 0.6),
                        ("activation@kind=mano", 0.0), ("gain_trainedfalse@kind=mano", 0.7)):
        assert law.get(name).value == pytest.approx(value), name  # type: ignore[union-attr]
    assert_inside_and_apart(claim.figure(table, law))


def test_the_reach_of_hops_is_where_half_of_the_tokens_are_right() -> None:
    """Canon: 1.0, 0.8, 0.6 at k = 1, 2, 4, at least half up to K; without 0.6, 0.4, 0.2: half at k = 1.41."""
    claim = CLAIMS["p41_reasoning_depth"]
    _, law = law_of(claim, lambda spec: 1.0 if canon(spec) else 0.6, halves=0.2)
    for local, reach in (("canon", 4.0), ("none", 2**0.5)):
        assert law.get(f"reach@layers=4/local={local}").value == pytest.approx(reach)  # type: ignore[union-attr]
    farther = law.get("farther@layers=4")
    assert farther is not None and farther.value == pytest.approx(8**0.5) and farther.lo < 2.8 < 2.9 < farther.hi
    assert farther.remark == "canon is at least 4, the last hops: a lower bound"
    assert {verdicts(claim, law)[f"farther@layers={n}"] for n in (4, 8)} == {"reproduced"}
    assert law.get("depth_gain@depth=3").value == pytest.approx(0.6 - 0.2, abs=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_whole_at_tiers_smoke_and_gpu(name: str) -> None:
    for tier in ("smoke", "gpu"):
        table, law = law_of(CLAIMS[name], as_published, tier, halves=0.1)
        assert_inside_and_apart(CLAIMS[name].figure(table, law))



def test_answers_are_also_asked_along_training_where_snapshots_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brevo at tier smoke: one snapshot at half of the steps, and of Mano, without snapshots, the end alone."""
    monkeypatch.setattr(answers, "QUESTIONS", {"cpu": 6})
    for kind, steps in (("brevo", [2]), ("mano", [])):
        spec = next(spec for spec in CLAIMS["p41_playground"].specs("smoke") if kind_of(spec) == kind)
        loaded: list[int] = []

        def load(step: int, spec: RunSpec = spec, loaded: list[int] = loaded) -> Decoder:
            loaded.append(step)
            return Decoder(spec.model, len(spec.task.vocabulary()), (0,))

        rows = answers.measure(Trained(spec, torch.device("cpu"), load))
        assert [row.where["step"] for row in rows if "step" in row.where] == steps
        assert sorted(set(loaded)) == [*steps, spec.steps]
