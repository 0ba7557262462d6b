"""Every claim: its tiers are well formed, it is listed without torch, and tier smoke runs from data to figure."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch

from physlm.config import content_hash, from_dict, to_dict
from physlm.errors import NotFiniteError, UserError
from physlm.lab.committed import committed_claims, committed_verdicts
from physlm.lab.experiment import TIERS, experiment_names, load_experiment
from physlm.lab.results import find, read_finding, write_finding
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.laws import columns
from physlm.laws.columns import same_places
from physlm.laws.law import Declared
from physlm.measures import (
    CHECKS,
    MEASURES,
    QUANTITIES,
    answers,
    completion,
    knowledge,
    recall,
    robustness,
    tree_attention,
    trees,
    without_layer,
)
from physlm.measures.igsm import distracting, probing, regretting, solving
from physlm.measures.measure import AnyMeasure, check, check_quantity, take
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.models.parts.moe import MoE
from physlm.models.parts.norms import LayerNorm, RMSNorm
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec

FOLDER = Path(__file__).parents[1] / "experiments"
NAMES = experiment_names(FOLDER)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures on few strings: what is tested here is the way from data to figure, not the numbers."""
    for module in (completion, robustness):
        monkeypatch.setattr(module, "STRINGS", {"cpu": (8, 40)})
    monkeypatch.setattr(completion, "READ", {"cpu": 10})
    monkeypatch.setattr(trees, "STRINGS", {"cpu": 16})
    monkeypatch.setattr(tree_attention, "BATCHES", {"cpu": (2, 16)})
    quick = dataclasses.replace(trees.PROBES["cpu"], steps=10, heads=2, position_dims=4, evaluation_batches=2)
    monkeypatch.setattr(trees, "PROBES", {"cpu": quick})
    monkeypatch.setattr(answers, "QUESTIONS", {"cpu": 10})
    monkeypatch.setattr(solving, "PROBLEMS", {"cpu": 6})
    monkeypatch.setattr(solving, "CONTROLS", {"cpu": 3})
    monkeypatch.setattr(distracting, "PROBLEMS", {"cpu": 4})
    monkeypatch.setattr(distracting, "CONTROLS", {"cpu": 2})
    for module in (probing, regretting):
        monkeypatch.setattr(module, "PROBLEMS", {"cpu": 12})
        monkeypatch.setattr(module, "SETTINGS", {"cpu": dataclasses.replace(probing.SETTINGS["cpu"], steps=3)})
    for module in (recall, without_layer):
        monkeypatch.setattr(module, "PEOPLE", {"cpu": 10})
    for name in ("P_PLANS", "Q_PLANS"):
        plan = getattr(knowledge, name)["cpu"]
        short = plan._replace(probe=dataclasses.replace(plan.probe, steps=3))
        monkeypatch.setattr(knowledge, name, {"cpu": short})


def test_there_are_claims() -> None:
    assert {"p33_capacity", "p1_generation", "p1_probing"} <= set(NAMES)
    assert not any(name.startswith("_") for name in NAMES)


def test_all_claims_load_without_torch_and_leave_no_helpers_behind() -> None:
    code = (
        "import sys; from pathlib import Path; from physlm.lab.experiment import *; "
        f"folder = Path({str(FOLDER)!r}); "
        "[load_experiment(name, folder).specs(tier) for name in experiment_names(folder) for tier in TIERS]; "
        "print([m for m in sys.modules if m in ('torch', 'numba', 'matplotlib.pyplot') or m.startswith('_part')],"
        " str(folder) in sys.path)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_tier_is_a_list_of_different_runs_that_survive_json(name: str, tier: str) -> None:
    experiment = load_experiment(name, FOLDER)
    specs = list(experiment.runs(tier))
    assert len({content_hash(spec) for spec in specs}) == len(specs) > 0
    assert all(from_dict(RunSpec, to_dict(spec)) == spec for spec in specs)
    kinds = {one if isinstance(one, str) else one.kind for one in experiment.measures}
    assert kinds <= set(MEASURES) == set(QUANTITIES)
    for spec in specs:
        for measure in experiment.asked(spec):
            check(measure, spec)
    assert experiment.expect and experiment.claim.endswith(".") and "arXiv" in experiment.source


@pytest.mark.parametrize("name", committed_claims(FOLDER.parent / "results"))
def test_committed_verdicts_are_on_what_the_claim_expects(name: str) -> None:
    """A result that is older than its claim's expectations has to be written again."""
    wanted = [(e.quantity, e.published, e.unit) for e in load_experiment(name, FOLDER).expect]
    rows = committed_verdicts(name, FOLDER.parent / "results")
    assert [(row["quantity"], row["published"], row["unit"]) for row in rows] == wanted


@pytest.mark.parametrize("name", NAMES)
def test_its_law_says_before_there_is_a_table_what_it_can_give(name: str) -> None:
    """Else a quantity that is expected and misspelt would never be measured, and nobody would be told."""
    assert isinstance(load_experiment(name, FOLDER).law, Declared)


def test_claims_of_part_3_share_their_base_models() -> None:
    """Biographies are read once for each seed and number of windows in a step, whatever is asked afterwards."""
    for tier in TIERS:
        bases, asked = set(), 0
        for name in NAMES:
            for spec in load_experiment(name, FOLDER).runs(tier) if name.startswith(("p31_", "p32_")) else ():
                asked += 1
                base = (spec.starts or (spec,))[0]
                bases.add((content_hash(base.task), base.train.seed, base.train.batch_rows, base.model.causal))
        hashes = {content_hash((spec.starts or (spec,))[0]) for name in NAMES if name.startswith(("p31_", "p32_"))
                  for spec in load_experiment(name, FOLDER).runs(tier)}
        assert len(hashes) == len(bases) < asked / 2, tier


def test_claims_of_part_1_share_their_base_model() -> None:
    base = content_hash(load_experiment("p1_probing", FOLDER).runs("gpu")[0])
    for name in ("p1_boundaries", "p1_attention", "p1_encoder"):
        assert base in map(content_hash, load_experiment(name, FOLDER).runs("gpu")), name


# expected quantities that only the large tiers have, by claim
LARGE_ONLY: dict[str, set[str]] = {
    "p1_generation": {"kl@cfg3b", "entropy_gap@cfg3b",
                      *(f"accuracy@cfg3{letter}/cut={cut}" for letter in "bfghi" for cut in (0, 50))},
    "p21_med": {*(f"solved@filter=published/set={cell}" for cell in (
        "drawn/op=15", *(f"exact/op={op}" for op in (15, 20, 21, 22, 23)), "reask/op=20")),
        "parameters@set=reask/op=20", "operations@set=reask/op=20"},
    # of right solutions, which a model of a few steps does not write
    "p21_shortest": {"parameters", "operations", "reask", "unplanned"},
    "p22_regret": {"called_wrong@error=any"},  # which writes no sentences
    "p22_retry": {"unneeded@0.5", "retries@0.2"},
    "p31_augmentation": {"answer@multi5", "answer@single+permute5"},
    "p31_batch": {"answer@batch_rows=10/learning_rate=3e-05", "answer@batch_rows=96/learning_rate=0.0001",
                  "answer@batch_rows=96/learning_rate=3e-05", "recall@batch_rows=96/learning_rate=3e-05"},
    "p31_layers": {"left@block", "left@mlp", "left@attention"},
    "p33_biod": {*(f"least@dial={dial}" for dial in "KLT"), "learned@dial=L/to=25/part=diversity",
                 "learned@dial=K/to=4/part=name"},
    # other sizes and exposures; and models that hold nothing, of which there is no ratio
    "p33_architectures_100": {*(f"worse@{name}" for name in (
        "llama", "llama-tied", "llama-tied-plain", "mistral", "mistral-tied", "no-mlp", "quarter-mlp")),
        "gate@tied=False", "gate@tied=True"},
    "p33_architectures_1000": {f"worse@{name}" for name in (
        "llama", "llama-tied", "mistral", "mistral-tied", "no-mlp", "quarter-mlp")},
    "p33_capacity": {"bits_per_param@1000/N=50000/4-2", "bits_per_param@1000/N=50000/7-2", "constancy@100",
                     "constancy@1000", "most_bits_per_param@1000", "peak_bits_per_param@100",
                     "peak_bits_per_param@1000", "saturation@1000", "saturation_ample@1000",
                     "slope_per_doubling@100", "slope_per_doubling@1000", "line_bits_per_param@100"},
    "p33_conditions": {f"left@condition={name}" for name in ("few", "fixed", "int4", "int8")},
    "p33_moe": {*(f"{name}@{times}" for name in ("worse", "better_active") for times in (100, 1000)),
                "variant@moe-bias/100/2x64", "variant@moe-shared/100/2x64"},
    "p33_quantised": {
        *(f"least_kept@bits={way}" for way in (
            "16/method=none/embedding=no", "8/method=gptq/embedding=no", "8/method=nearest/embedding=yes")),
        *(f"most_kept@bits=4/method={way}" for way in ("gptq/embedding=no", "nearest/embedding=yes")),
        "ternary_over_int4", "ternary_over_whole_stored"},
    "p33_simple_bior": {f"against_fresh@texts={name}" for name in ("multi40+rewritten", "single+permute1")},
    "p33_upcycling": {"half_gain@100", "half_gain@300", "half_over_copies@300", "mixture_over_dense@300"},
    "p33_exposures": {"peak@exposures=1000", "peak@exposures=100", "highest", "growth", "least_step",
                      "step@exposures=3000", "least_same", "most_same"},
    "p33_extractable": {"stored_over_extractable@width=64", "stored_over_extractable@width=96",
                        "stored_over_extractable@width=128", "recalled_over_extractable@width=96",
                        "least_ratio", "untrained@width=96",
                        "stored_untrained@width=96"},
    "p33_junk": {*(f"kept@condition=fresh/exposures={times}" for times in (100, 300, 600, 1000)),
                 "kept@condition=repeated/exposures=100", "kept@condition=half+domain/exposures=100",
                 *(f"kept@condition=domain/exposures={times}" for times in (100, 300))},
    "p32_manipulation": {"answer@plain/comparison", "hinted@hints/comparison"},
    "p4_length": {"hard_gain@task=copy/times=4"},
    "p4_finding_is_not_reasoning": {"excess@task=igsm/filler=all", "excess@task=cycles/filler=edges"},  # of 0 solved
    # of shapes and k that the small tiers lack; and models that hold nothing
    "p41_copy": {f"best@layers={layers}/width={width}/local={local}" for layers, width, local in (
        (1, 16, "canon"), (1, 16, "none"), (1, 64, "none"), (1, 128, "none"), (2, 16, "none"))} | {
            f"best_forced@layers=1/width=16/local={local}" for local in ("canon", "none")},
    "p41_capo": {"gain@llama-tied-plain/position=rope", "gain@llama-tied/position=rope", "gain@moe/position=rope",
                 "gain@llama-tied/position=none", "of_plain@llama-tied/local=none", "of_plain@llama-tied/local=canon",
                 "of_plain@moe/local=none"},
    "p41_linear": {f"capo_times@mixer={name}/local=canon" for name in ("gla", "mamba2", "gdn")},
    "p41_playground": {"capo_gain@position=rope", "capo_gain@position=none"},
    "p41_reasoning_depth": {"farther@layers=4", "farther@layers=8", "gain@layers=4/hops=1", "gain@layers=4/hops=4"},
    # of mixers, groups and numbers of layers that the small tiers lack
    "beyond_conditional": {"capo_parscale", "capo_depths", "capo_experts"},  # of models that hold nothing
    "beyond_hybrids": {"recall@mixer=softmax/softmax=8", *(
        f"{name}@mixer={mixer}" for name in ("two", "two_over_four") for mixer in ("gla", "mamba2", "gdn"))},
    "beyond_kv_budget": {"latent_over_shared", "mano_kept@mixer=mqa", *(
        f"recall_kept@mixer={name}" for name in ("gqa4", "mla_quarter")), *(
        f"capo_kept@mixer={name}" for name in ("gqa4", "mqa", "mla_quarter"))},
    "beyond_length": {"path_fox_gain@task=needle/times=4", "windows_gain@task=needle/times=16",
                      "fox_over_alibi@task=needle/times=4", *(f"{name}_levels_gain@task={task}/times=4" for name in (
                          "mamba2", "gdn") for task in ("mqar", "needle"))},
    # of budgets that the small tiers lack; and of models that learn nothing, between which there is no gap
    "beyond_merging": {"capo@schedule=decay/budget=100", "mano@schedule=decay/budget=8000", *(
        f"{task}_{name}" for task in ("capo", "mano") for name in (
            "gap", "ways", "kept@schedule=cosine", "closed@schedule=merged_mean", "closed@schedule=merged_sqrt"))},
    # of widths that the small tiers lack; and of models that hold nothing, of which there is no ratio
    "beyond_log_linear": {"linear@mixer=gdn/width=64", *(f"gain@mixer={mixer}/width={width}" for mixer, width in (
        ("mamba2", 16), ("mamba2", 32), ("mamba2", 64), ("gdn", 16), ("gdn", 32)))},
    "beyond_loops": {"capo_looped_over_once", "capo@way=once", "capo@way=looped", "bits_deep_over_looped"},
    "beyond_normalisation": {"rmsnorm_kept", "dyt_kept", "qk_kept", "qk_wider", "both_wider", "span@kind=rmsnorm",
                             "span@kind=layernorm"},
    "beyond_recall": {"correlation@task=reassigned", *(
        f"off_curve@task=mqar/mixer={name}" for name in ("linear", "mamba2", "deltanet", "window16")),
                      *(f"wider@task=mqar/mixer={name}" for name in ("mamba2", "deltanet"))},
    "beyond_state_tracking": {*(f"{names}@group={group}" for group in ("A5", "S5") for names in (
        "path_fewer_than_rope", "path_fewer_than_fox", "deltanet_negative_fewer_than_rope",
        "deltanet_negative_fewer_than_deltanet")),
        *(f"every@group=Z60/mixer={name}/layers=2" for name in ("path", "deltanet_negative"))},
}  # fmt: skip


@pytest.mark.parametrize("parts", [
    ("1",), ("2.1",), ("2.2", "2"), ("3.1",), ("3.2",), ("3.3",), ("4",), ("4.1",), ("beyond",)])  # fmt: skip
def test_a_part_runs_from_data_to_figure(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """All claims of a part in one store, so that shared runs are trained once."""
    store = Store(tmp_path / "runs")
    trained: set[str] = set()
    asked = 0
    for name in NAMES:
        experiment = load_experiment(name, FOLDER)
        if experiment.part not in parts:
            continue
        specs = experiment.specs("smoke")
        asked += sum(1 + len(spec.starts) for spec in specs)
        before = {run.name: (run.path / "timing.json").read_bytes() for run in map(store.run, specs) if run.finished()}
        assert set(before) <= trained
        runs = sweep(specs, {spec: experiment.asked(spec) for spec in specs}, store, CPU, progress=False)
        assert all((run.path / "timing.json").read_bytes() == before[run.name] for run in runs if run.name in before)
        trained |= {store.run(one).name for run in runs for one in (*run.spec.starts, run.spec)}
        finding = find(experiment, "smoke", runs)
        for part in (runs[:1], runs[-1:], runs[: len(runs) // 2]):  # a sweep that was stopped
            partial = find(experiment, "smoke", part).verdicts if part else []
            assert [row["quantity"] for row in partial] in ([], [row["quantity"] for row in finding.verdicts]), name
        for quantity in finding.table["quantity"].unique():
            check_quantity(experiment.measures, quantity)
        labels = set(map(same_places, columns.labels(finding.table)))
        assert not experiment.columns or labels & set(map(same_places, experiment.columns)), name
        missing = {row["quantity"] for row in finding.verdicts if row["ours"] is None}
        assert missing == LARGE_ONLY.get(name, set()), name
        folder = tmp_path / "results" / name
        assert write_finding(finding, folder, runs, f"physlm run {name} --tier smoke").read_bytes()[:4] == b"\x89PNG"
        again = read_finding(experiment, folder)
        assert again.law == finding.law and again.verdicts == finding.verdicts
    shared = parts not in (("4",), ("beyond",))  # whose claims have no run in common
    assert 0 < len(trained) <= asked - shared


def _measured_by(measure: str) -> tuple[AnyMeasure, RunSpec]:
    """A run of the first claim with this measure; where no claim takes it yet, one that it does not refuse."""
    experiments = [load_experiment(name, FOLDER) for name in NAMES]
    for experiment in experiments:
        for one in experiment.measures:
            for spec in experiment.specs("smoke") if measure in (one, getattr(one, "kind", "")) else ():
                if one in experiment.asked(spec):
                    return one, spec
    for experiment in experiments:
        plain = experiment.specs("smoke")[0]
        experts = dataclasses.replace(plain.model, mlp=(MoE(experts=2),))
        tasks = (TaskConfig.of_kind(kind) for kind in TaskConfig.table)
        for spec in (plain, dataclasses.replace(plain, model=experts, start=None),
                     *(dataclasses.replace(plain, task=task(), start=None,
                                           train=dataclasses.replace(plain.train, steps=1))
                       for task in tasks if not task.file_fields)):
            try:
                resolve_name(CHECKS[measure])(spec)
            except UserError:
                continue
            return measure, spec
    raise AssertionError(f"no claim has a run that {measure} could be taken of")


def _broken(spec: RunSpec, how: str) -> Decoder:
    """A model of the run that computes NaN: some weights are, or all are finite and too large to be multiplied."""
    model = Decoder(spec.model, len(spec.task.vocabulary()), (0,))
    with torch.no_grad():
        if how == "NaN":
            model.embedding.weight[0, :, 0] = torch.nan
        else:
            for weight in model.parameters():
                weight.mul_(1e37)
    assert how == "NaN" or all(weight.isfinite().all() for weight in model.parameters())
    return model


@pytest.mark.parametrize("how", ["NaN", "overflow"])
@pytest.mark.parametrize("measure", MEASURES)
def test_no_measure_turns_what_is_not_finite_into_a_number(measure: str, how: str) -> None:
    """An argmax over NaN is a token, a NaN left out of a mean is a zero: none of them may come to a row."""
    taken, spec = _measured_by(measure)
    start = spec.start
    if isinstance(spec.model.norm, RMSNorm) and start is None:  # x / infinity: it makes zeros of what overflows
        spec = dataclasses.replace(spec, model=dataclasses.replace(spec.model, norm=LayerNorm()))
    run = Trained(spec, CPU, lambda step: _broken(spec, how),
                  load_start=None if start is None else lambda: _broken(start, how))  # fmt: skip
    if (measure, how) == ("bags", "overflow"):  # it compares the weights as they are, in float64
        assert all(math.isfinite(row.value) for row in resolve_name(MEASURES[measure])(run))
        return
    with pytest.raises(NotFiniteError, match="not finite"):
        take(taken, run)


@pytest.mark.parametrize(
    "name", [path.parent.name for path in sorted((FOLDER.parent / "results").glob("*/VERDICT.md"))])
def test_what_does_not_agree_is_explained(name: str) -> None:
    """One sentence on what failed and why stands with every negative verdict."""
    headline = (FOLDER.parent / "results" / name / "VERDICT.md").read_text(encoding="utf-8").splitlines()[0]
    assert load_experiment(name, FOLDER).found or headline.rpartition(": ")[2] in ("reproduced", "holds"), headline
