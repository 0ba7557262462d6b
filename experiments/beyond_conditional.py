"""Parameters that a token does not use, and FLOPs without parameters: ``physlm run beyond_conditional --tier demo``."""

from dataclasses import replace
from typing import Any

import pandas as pd
from _part2 import DRAWN, base_run
from _part33_architectures import ARCHITECTURES, BIOGRAPHIES, PER_PARAMETER, PUBLISHED, run_of, shapes, with_active
from _part41 import CAPO_LEARNT, CAPO_RATE, CAPO_SEEDS, MANO, measures_of

from physlm.figures.panels import Panel, panels
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Form, Learnt, Ratio, Shares, largest, laws
from physlm.laws.law import Law
from physlm.laws.verdict import bound, own_test
from physlm.models.config import ModelConfig
from physlm.models.parts.canon import Canon, NoLocal
from physlm.models.parts.moe import MoE
from physlm.models.parts.parallel import ParScale
from physlm.models.parts.route import MixtureOfDepths
from physlm.training.config import RunSpec

NAMES: dict[Any, str] = {
    "dense": "dense", "shallow": "unrouted layers alone", "experts": "mixture of experts",
    "depths": "mixture of depths", "parscale": "ParScale", "prefix": "a prefix alone",
}  # fmt: skip
EXPERTS = {"smoke": 2, "demo": 4, "gpu": 8, "paper": 8}  # a token uses one, of the size of the dense MLP
STREAMS = {"smoke": 2, "demo": 2, "gpu": 4, "paper": 8}  # P
PREFIX = {"smoke": 2, "demo": 4, "gpu": 8, "paper": 48}
SHAPES = {"smoke": (2, 1, 8), "demo": (2, 2, 64)}  # of Mano: a mixture of depths has two layers at least
HALF = (Canon(), NoLocal())  # a block that tokens pass by has no local mixing, so no model of all layers has it there
DEPTHS = MixtureOfDepths()
IGSM_SEEDS = {"smoke": (1,), "gpu": (1, 2, 3), "paper": (1, 2)}


def kinds(tier: str, dense: ModelConfig) -> dict[str, ModelConfig]:
    """By name: as many parameters and fewer FLOPs, as many FLOPs and more parameters, as many parameters and more
    FLOPs; and controls: the layers that a mixture of depths does not route, alone, and a prefix without streams."""
    experts = MoE(EXPERTS[tier], expert=dense.mlp[0])
    unrouted = [layer for layer in range(dense.layers) if not DEPTHS.routes(layer)]
    return {
        "dense": dense, "shallow": replace(dense, layers=len(unrouted), local=dense.local[: DEPTHS.every - 1]),
        "experts": replace(dense, mlp=(experts,)), "depths": replace(dense, route=DEPTHS),
        "parscale": replace(dense, parallel=ParScale(STREAMS[tier], PREFIX[tier])),
        "prefix": replace(dense, parallel=ParScale(1, PREFIX[tier])),
    }  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Mano, iGSM and Capo by each of them; Capo's dense model is one of p41_capo, two of iGSM's are those of Part 2."""
    mano = replace(MANO[tier], rates=(), shape=SHAPES.get(tier, MANO[tier].shape))
    found = mano.runs(kinds(tier, mano.model(local=HALF)).values())
    if tier in IGSM_SEEDS:
        bases = [base_run(tier, seed, (2, 1, 16) if tier == "smoke" else None) for seed in IGSM_SEEDS[tier]]
        found += [replace(base, model=model) for base in bases for model in kinds(tier, base.model).values()]
    layers, heads, width = shapes(tier)[0]
    dense = replace(ARCHITECTURES["llama-tied"], layers=max(2, layers), heads=heads, width=width)
    return found + [run_of(tier, (model.layers, heads, width), 100, CAPO_RATE[tier], seed, model)
                    for model in kinds(tier, dense).values() for seed in CAPO_SEEDS[tier]]


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``arch``, ``mflops``, millions to train a token, and ``params`` in thousands; and with rows
    ``bits_per_active_param``, bits for each parameter that a token uses."""
    deepest = table.groupby("task.kind")["model.layers"].transform("max")
    names = [_name(*row) for row in zip(*(table[f"model.{name}"].astype(str) for name in ("mlp", "route", "parallel")),
                                        table["model.layers"] < deepest, strict=True)]  # fmt: skip
    flops = table["training_flops"].astype(float) / table["tokens"].astype(float) / 1e6
    found = table.assign(arch=names, mflops=[float(f"{one:.3g}") for one in flops],
                         params=[float(f"{one / 1e3:.3g}") for one in table["params_used"].astype(float)])
    return with_active(found)


def _name(mlp: str, route: str, parallel: str, fewer_layers: bool) -> str:
    if parallel != "one":
        return "prefix" if "streams1_" in f"{parallel}_" else "parscale"
    if route != "all":
        return "depths"
    return "experts" if mlp.startswith("moe") else "shallow" if fewer_layers else "dense"


def scores(**by: str) -> tuple[Shares, Shares, Shares]:
    """Answers of Mano, problems of iGSM solved, and bits a parameter of Capo, by ``arch`` and these columns."""
    columns, end = {"arch": "arch", **by}, "_".join(("", *by))
    return (Shares("answer", columns, {"task.kind": "mano", "at.half": "test"}, "at.kind", f"mano{end}"),
            Shares("solved", columns, {"task.kind": "igsm", **DRAWN, "at.op": largest}, called=f"igsm{end}"),
            Shares("bits_per_param", columns, {"task.kind": BIOGRAPHIES}, called=f"capo{end}", unit=PER_PARAMETER,
                   share=False))  # fmt: skip


MANO_, IGSM, CAPO = scores()
ACTIVE = replace(CAPO, quantity="bits_per_active_param", called="capo_active")
MAJORITY = MANO_.of("majority", "mano_majority")


def of(form: Shares, *names: str, called: str = "") -> Shares:
    """The form of these models; called otherwise, of one of them alone and by nothing."""
    where = {**form.where, "arch": names if len(names) > 1 else names[0]}
    return replace(form, where=where, called=called, by={}) if called else replace(form, where=where)


def gain(name: str, form: Shares, arch: str, base: str) -> Form:
    """One model minus another, seed by seed, where the one under test has learnt: one that fails shows nothing."""
    control = of(MAJORITY, arch) if form is MANO_ else None
    return Learnt(Contrast(name, form, "arch", arch, base), of(form, arch), 0.2, control)


def ratio(name: str, form: Shares, arch: str) -> Form:
    """Bits of one model over the dense one's, where the one under test has learnt."""
    return Learnt(Ratio(name, of(form, arch, called=arch), of(form, "dense", called="of_dense")),
                  of(form, arch), CAPO_LEARNT)  # fmt: skip


GAINS = tuple(gain(f"{task}_{arch}_over_{base}", form, arch, base) for task, form in (("mano", MANO_), ("igsm", IGSM))
              for arch, base in (("parscale", "dense"), ("parscale", "prefix"), ("depths", "dense"),
                                 ("depths", "shallow"), ("experts", "dense"), ("prefix", "dense")))  # fmt: skip
RATIOS = (*(ratio(f"capo_{arch}", CAPO, arch) for arch in ("parscale", "depths", "experts")),
          ratio("capo_active_experts", ACTIVE, "experts"))  # fmt: skip
BY_FLOPS, BY_PARAMS = scores(mflops="mflops"), scores(params="params")
_TITLES = (("Mano", "answered (%)"), ("iGSM, longest", "solved (%)"), ("Capo", "bits a parameter"))
FLOPS, PARAMS = "million FLOPs of training, a token", "thousand parameters"
_FIGURE = panels(*(Panel(f"{title}, by {what}", form, x, "arch", label, xlabel=xlabel)
                   for what, x, forms, xlabel in (("FLOPs", "mflops", BY_FLOPS, FLOPS),
                                                  ("parameters", "params", BY_PARAMS, PARAMS))
                   for (title, label), form in zip(_TITLES, forms, strict=True)), names=NAMES, columns=3)  # fmt: skip
LAW = ("arXiv:2505.10475: P streams are as good as k ln P + 1 times the parameters, k 0.33 to 0.39; GSM8K 28.7 to 38.4 "
       "from P = 1 to 8")
ISO_FLOP = "arXiv:2404.02258, Figure 3: at equal FLOPs no worse than the best dense model"
STORED = PUBLISHED[100]["moe"]  # GPT-2 has 1 bit a parameter
REASONING = (("mano", "Mano"), ("igsm", "iGSM"))


def figure(table: pd.DataFrame, law: Law) -> Any:
    """Three abilities by FLOPs a token and by parameters."""
    return _FIGURE(prepared(table), law)


EXPERIMENT = Experiment(
    name="beyond_conditional",
    claim=(
        "Knowledge follows the parameters, whether or not a token uses them; arithmetic and iGSM follow the FLOPs of a "
        "token, whether or not they have parameters of their own."
    ),
    source="arXiv:2404.02258 (mixture of depths); arXiv:2505.10475 (ParScale); arXiv:2101.03961 (mixture of experts)",
    runs=runs,
    measures=("answers", "solutions", "capacity"),
    measures_of=measures_of,
    law=laws(MANO_, IGSM, CAPO, ACTIVE, *GAINS, *RATIOS, *BY_FLOPS, *BY_PARAMS, MAJORITY,
             MANO_.of("answer_untrained", "mano_untrained"), items="questions, problems or people", prepare=prepared,
             notes=("capo_..: bits a parameter over the dense model's; capo_active_..: a parameter that a token uses.",
                    "arch: shallow has the layers that the mixture of depths does not route, and those alone.")),
    figure=figure,
    expect=(
        own_test("mano@arch=dense", "at least", 0.5, "learnt: there is something to compare", label="Mano, dense"),
        own_test("igsm@arch=dense", "at least", 0.5, "learnt: there is something to compare", label="iGSM, dense"),
        own_test("capo@arch=dense", "at least", CAPO_LEARNT, "learnt: there is something to compare",
                 unit=PER_PARAMETER, label="bits a parameter, dense"),
        *(bound(f"{task}_parscale_over_dense", "at least", 0.0, LAW, "any gain; no number of single tasks",
                label=f"{title}: ParScale over dense") for task, title in REASONING),
        *(own_test(f"{task}_parscale_over_prefix", "at least", 0.0, "streams reason, not the prefix that each has",
                   label=f"{title}: ParScale over a prefix alone") for task, title in REASONING),
        own_test("capo_parscale", "at most", 1.1, "FLOPs without parameters of their own hold no bits",
                 label="bits a parameter: ParScale over dense, most"),
        own_test("capo_parscale", "at least", 0.8, "nor do they lose any: a model that fails shows nothing",
                 label="bits a parameter: ParScale over dense, least"),
        *(bound(f"{task}_depths_over_shallow", "at least", 0.0, ISO_FLOP,
                "single tasks; equals of which three seeds each scatter by 0.05 differ by less", slack=0.2,
                label=f"{title}: mixture of depths over its unrouted layers") for task, title in REASONING),
        *(own_test(f"{task}_depths_over_dense", "at most", 0.0, "of as many parameters, fewer FLOPs reason no better",
                   label=f"{title}: mixture of depths over dense") for task, title in REASONING),
        own_test("capo_depths", "at least", 0.8, "knowledge is in parameters, though few tokens meet half of them",
                 label="bits a parameter: mixture of depths over dense"),
        *(own_test(f"{task}_experts_over_dense", "at most", 0.1, "parameters that a token does not use do not reason",
                   label=f"{title}: mixture of experts over dense, most") for task, title in REASONING),
        *(own_test(f"{task}_experts_over_dense", "at least", -0.1, "nor do they harm: a mixture that fails shows "
                   "nothing", label=f"{title}: mixture of experts over dense, least") for task, title in REASONING),
        bound("capo_experts", "at least", STORED, "arXiv:2404.05405, Result 9: 1.5 times fewer after 100 exposures",
              "published of 32 experts, ours are 8; 0.39 if unused parameters held nothing", slack=0.05,
              label="bits a stored parameter: mixture of experts over dense"),
    ),
    deviations=(
        (
            "The sources compare losses on text; ours learn one task each: Mano as in p41_mano, but with Canon layers "
            "in every other block alone, since a block that tokens pass by has none; iGSM as in p21_accuracy; Capo as "
            "in p41_capo, two layers of 64 dimensions after 100 exposures, where half of the FLOPs are the output's."
        ),
        (
            "Mixture of depths: an eighth of the tokens in every second block, as published; all tests with the causal "
            "decision of an auxiliary predictor (the paper's second way), which training does not feel. The dense "
            "model of about its FLOPs is the best of many sizes there, and here its unrouted layers alone, all with "
            "Canon layers on Mano: the eighth of the tokens in the other blocks is 3 to 12 % of FLOPs more."
        ),
        (
            "ParScale: 4 streams and prefixes of 8 positions (48 published), all counted. Mixture of experts: 8 MLPs "
            "of the dense model's, of which a token uses one, capacity factor 2 in training. No pilot was run: bounds "
            "and settings were fixed before any of these models had been trained at this tier."
        ),
        "Three seeds of Mano and iGSM, six of Capo, at one rate each, fixed before, that of the dense models.",
        "Smoke and demo: small models in float32, Mano and Capo alone at demo; two streams, few experts.",
    ),
)  # fmt: skip
