"""Part 4: longer questions than those of training, by position scheme: ``physlm run p4_length --tier demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from _part4 import SETTINGS, SMALL_TIERS, tier_of

from physlm.figures.panels import Drawn, Panel, panels
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Contrast, Extreme, Learnt, Most, Ratio, Shares, largest, laws, smallest
from physlm.laws.verdict import bound, own_test
from physlm.measures.length.accuracy import Length
from physlm.measures.length.needle import NeedleAttention
from physlm.measures.length.settings import OverLength, Variant
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.scores import peak_weight, scalable_start
from physlm.models.patterns import irope, rotary_windows
from physlm.tasks.playground.needle import NeedleConfig
from physlm.training.config import RunSpec

Mixers = tuple[Attention, ...]
FEW = ("rope", "nope", "windows", "scalable")  # schemes of the smaller tiers
ATTENDED = {"smoke": 4, "demo": 8, "gpu": 32, "paper": 0}  # questions whose attention is looked at; 0: as many as fit


def mixers(tier: str) -> dict[str, Mixers]:
    """Schemes by name; windows and chunks are a quarter of a row, the last of four layers (or two) sees all."""
    tokens, interval = SETTINGS[tier].tokens, min(4, SETTINGS[tier].shape[0])
    scalable: dict[str, Any] = {"log_n": True, "learnt_scale": "head", "scale": round(scalable_start(tokens), 4)}
    found: dict[str, Mixers] = {
        "rope": (Attention(),), "nope": (Attention(rope=0.0),), "quarter": (Attention(rope=0.25),),
        "alibi": (Attention(rope=0.0, bias="alibi"),), "hard_alibi": (Attention(rope=0.0, bias="hard_alibi"),),
        "t5": (Attention(rope=0.0, bias="t5"),), "irope": irope(tokens // 4, interval),
        "windows": rotary_windows(tokens // 4, interval), "scalable": (Attention(**scalable),),
        "scalable_nope": (Attention(rope=0.0, **scalable),),
    }  # fmt: skip
    return {name: found[name] for name in (FEW if tier in SMALL_TIERS else found)}


def variants(tier: str) -> tuple[Variant, ...]:
    """What is changed after training: fifty times the base; scalable softmax; temperatures."""
    tokens = SETTINGS[tier].tokens
    return (
        Variant(), Variant("base", ("rope", "rope_logn_*"), rope_base=500_000.0),
        Variant("switched", ("rope", "nope"), log_n=True, scale=round(scalable_start(tokens), 4)),
        *(Variant(f"scale{scale:g}", ("nope",), scale=scale) for scale in (1.2, 1.5)),
        Variant("floor", ("rope_chunk*",), among="unrotated", floor=tokens),
    )  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Every scheme on every task."""
    found = of_tier(SETTINGS, tier)
    return [found.run(task, scheme, seed)
            for task in found.tasks for scheme in mixers(tier).values() for seed in found.seeds]  # fmt: skip


MEASURES = {tier: (Length(one.times, variants(tier), one.questions),
                   NeedleAttention(one.times, variants(tier), ATTENDED[tier])) for tier, one in SETTINGS.items()}


def measures_of(spec: RunSpec) -> Sequence[OverLength]:
    """Those of the run's tier; attention of needles alone."""
    answers, attention = MEASURES[tier_of(spec)]
    return (answers, attention) if isinstance(spec.task, NeedleConfig) else (answers,)


LABELS = {ModelConfig(*found.shape, scheme).facts()["mixer"]: name
          for tier, found in SETTINGS.items() for name, scheme in mixers(tier).items()}  # fmt: skip


def named(table: pd.DataFrame) -> pd.DataFrame:
    """With the column ``way`` in place of the variant: the scheme by name, and what was changed after training."""
    scheme, plain = table["model.mixer"].map(LABELS), table["at.variant"].isin(["", "trained"])
    way = scheme.where(plain, scheme + "+" + table["at.variant"].astype(str))
    return table.assign(way=way, **{"at.variant": ""})


def by_context(table: pd.DataFrame) -> pd.DataFrame:
    """``named``, with tokens of context, of question and answer, in place of lengths of training."""
    table = named(table)
    asked = [str(kind) + str(times) for kind, times in zip(table["task.kind"], table["at.times"], strict=True)]
    counted = table["quantity"] == "tokens"
    tokens = {key: round(value) for key, value, one in zip(asked, table["value"].astype(float), counted, strict=True)
              if one}
    return table.assign(**{"at.times": [tokens.get(key, times) for key, times in zip(asked, table["at.times"],
                                                                                    strict=True)]})


BY = {"task": "task.kind", "way": "way", "times": "at.times"}
ANSWERED = Shares("answered", BY, {"at.half": "test"}, over="at.kind")
CONTROLS = [ANSWERED.of(f"answered_{name}", name) for name in ("untrained", "constant", "guess")]
GAINS = {  # of one way over another
    "nope_gain": ("nope", "rope"), "hard_gain": ("hard_alibi", "rope"), "t5_gain": ("t5", "rope"),
    "windows_gain": ("windows", "rope"), "irope_gain": ("irope", "rope"), "base_gain": ("rope+base", "rope"),
    "scalable_gain": ("scalable+base", "rope+base"), "switched_gain": ("rope+switched", "rope"),
    "scale_gain": ("nope+scale1.2", "nope"), "floor_gain": ("irope+floor", "irope"),
}  # fmt: skip


def gain(name: str) -> Contrast:
    """By task and length; of the two ways alone, since there are many rows."""
    return Contrast(name, replace(ANSWERED, where={**ANSWERED.where, "way": GAINS[name]}), "way", *GAINS[name])


PLACED = {"way": "way", "times": "at.times"}
MASS = Shares("mass", {**PLACED, "layer": "at.layer"}, {"at.head": "best"}, called="mass_by_layer")
NEEDLE = Most("mass", MASS, over=("layer",))
ENTROPY = Shares("entropy", PLACED, {"at.head": "mean"}, over="at.layer", unit="nats", share=False)


def ends(name: str, pick: Any) -> Extreme:
    """The mass on the needle at the longest or the shortest length, of the layer that has most of it there."""
    by = {"way": "way", "layer": "at.layer"}
    return Most(name, Shares("mass", by, {"at.head": "best", "at.times": pick}, called=f"{name}_by_layer"),
                over=("layer",))


# what attention would have that is spread evenly, of the same questions, whoever is asked
EVEN = {"way": "rope"}
MASS_EVEN, NEAR_EVEN, FAR_EVEN = (Shares("mass_even", by, {**EVEN, **where}, called=name) for name, by, where in (
    ("mass_even", {"times": "at.times"}, {}), ("near", (), {"at.times": smallest}), ("far", (), {"at.times": largest})))
ENTROPY_EVEN = Shares("entropy_even", {"times": "at.times"}, EVEN, unit="nats", share=False)
EVENS = (MASS_EVEN, Ratio("mass_even_kept", FAR_EVEN, NEAR_EVEN), ENTROPY_EVEN,
         Contrast("entropy_even_growth", ENTROPY_EVEN, "times", 16, 1))
# attention is judged where the needle is found at the length of training
FOUND = Shares("answered", {"way": "way"}, {"at.half": "test", "task.kind": "needle", "at.times": smallest},
               over="at.kind", called="found")  # fmt: skip
NEAR, FAR = ends("mass_near", smallest), ends("mass_far", largest)
TRAINED = tuple(dict.fromkeys(LABELS.values()))


# ---- For the figure, whose tables are those of ``by_context``

CONTEXT = {"context": "at.times"}


def of_task(title: str, kind: str, ways: tuple[str, ...] = TRAINED) -> Panel:
    """One task's answers, and a guess of any fitting word."""
    form = Shares("answered", {"way": "way", **CONTEXT}, {"at.half": "test", "task.kind": kind, "way": ways}, "at.kind")
    guess = Shares("answered_guess", CONTEXT, {**form.where, **EVEN}, "at.kind")
    return Panel(title, form, "context", "way", control=guess)


def trained(form: Shares) -> Shares:
    """The form of models as they were trained alone."""
    by = {("context" if key == "times" else key): column for key, column in zip(form.keys, form.columns, strict=True)}
    return replace(form, by=by, where={**form.where, "way": TRAINED})


def even(form: Shares) -> Shares:
    """A reference by context."""
    return replace(form, by=CONTEXT)


TITLES = {"copy": "Copying", "mqar": "Recalling pairs (MQAR)", "depo": "Steps on larger cycles (Depo)",
          "needle": "Needle"}  # fmt: skip
LENGTHS = [2**n for n in range(21)]
FADING = Drawn("One +3 among numbers of −2", {
    "softmax": [(n, peak_weight(n)) for n in LENGTHS],
    "scalable softmax, s = 0.43": [(n, peak_weight(n, 0.43, log_n=True)) for n in LENGTHS],
}, "numbers", "largest weight")  # fmt: skip
CHANGED = ("rope", "rope+base", "rope+switched", "scalable", "scalable+base", "nope", "nope+switched", "nope+scale1.2",
           "nope+scale1.5", "irope", "irope+floor")
NAMES: dict[Any, str] = {
    "rope": "RoPE", "nope": "no positions", "quarter": "a quarter RoPE", "alibi": "ALiBi", "hard_alibi": "H-ALiBi",
    "t5": "T5 buckets", "irope": "iRoPE", "windows": "RoPE windows, NoPE", "scalable": "RoPE, scalable",
    "scalable_nope": "no positions, scalable", "rope+base": "RoPE, 50 x base", "rope+switched": "RoPE, scalable after",
    "scalable+base": "RoPE, scalable, 50 x base", "nope+switched": "no positions, scalable after",
    "nope+scale1.2": "no positions, scale 1.2", "nope+scale1.5": "no positions, scale 1.5",
    "irope+floor": "iRoPE, temperature",
}  # fmt: skip

EXPERIMENT = Experiment(
    name="p4_length",
    claim=(
        "How tokens know positions decides how far beyond the length of training a model copies, recalls, steps along "
        "a cycle and finds a needle; attention that is spread by length loses the needle."
    ),
    source="arXiv:2501.19399, 2305.19466, 2402.01032, 2501.18795; Llama 4", runs=runs,
    measures=tuple(one for both in MEASURES.values() for one in both), measures_of=measures_of,
    law=laws(ANSWERED, *(gain(name) for name in GAINS), NEEDLE, ENTROPY,
             NEAR, FAR, *(Learnt(form, FOUND, 0.2, FOUND.of("answered_guess", "guess")) for form in (
                 Contrast("entropy_growth", ENTROPY, "times", 16, 1), Ratio("mass_kept", FAR, NEAR))),
             *EVENS, *CONTROLS, items="questions", prepare=named, details=(MASS,)),
    figure=panels(
        FADING, *(of_task(title, kind) for kind, title in TITLES.items()),
        of_task("Needle, changed after training", "needle", CHANGED),
        Panel("Attention that finds the needle", Most("best", trained(MASS), over=("layer",)), "context", "way",
              "largest of all heads (%)", control=even(MASS_EVEN)),
        Panel("Entropy of attention", trained(ENTROPY), "context", "way", "nats", control=even(ENTROPY_EVEN)),
        names=NAMES, xlabel="tokens of context", prepare=by_context,
        caption="Attention: from the last token of the question. Dashed: a guess of any fitting word of the text, or "
                "attention that is spread evenly."),
    expect=(
        own_test("answered@task=copy/way=rope/times=1", "at least", 0.9, "it is learnt at the length of training"),
        own_test("answered@task=needle/way=rope/times=1", "at least", 0.9, "as is the needle"),
        own_test("answered@task=copy/way=nope/times=1", "at least", 0.9, "the copy is learnt without positions"),
        own_test("answered@task=needle/way=scalable+base/times=1", "at least", 0.9, "the needle is, by either softmax"),
        bound("nope_gain@task=copy/times=2", "at least", 0.1, "arXiv:2305.19466",
              "without positions its models go furthest beyond their training on average; a tenth is ours"),
        bound("hard_gain@task=copy/times=4", "at least", 0.1, "arXiv:2402.01032",
              "H-ALiBi copies far longer texts than those of training, RoPE does not"),
        bound("windows_gain@task=needle/times=16", "at least", 0.1, "arXiv:2501.18795",
              "at 256k tokens 74.8 and 57.1 of RULER's retrieval, of models of 8 billion parameters"),
        bound("scalable_gain@task=needle/times=8", "at least", 0.1, "arXiv:2501.19399",
              "scalable softmax finds needles at about ten times the length; both have 50 times the base here"),
        bound("entropy_growth@way=rope", "at least", 0.5, "arXiv:2501.18795, RoPE: 6.0, 7.0, 7.6 at 8k, 32k, 128k",
              "1.6 at 16 times the length there", unit="nats"),
        own_test("mass_kept@way=rope", "at most", 0.5, "attention loses the needle"),
    ),
    deviations=(
        (
            "The sources' models are larger, each another, and trained on text; ours learn one task each, from short "
            "rows. No published value is compared: the bounds are ours."
        ),
        (
            "A length of training is that of the longest text, which fills a row of 128 tokens: 63 words twice, a "
            "needle in 124 tokens, a cycle of 48 nodes with 7 questions. Longer texts of copies, MQAR and Depo have "
            "more words, pairs or nodes in proportion, so that they are harder too; those of needles have filler "
            "alone. The figure shows tokens of context, of question and answer, on average."
        ),
        (
            "Windows and chunks are a quarter of a row, and every fourth layer sees all of it without positions. "
            "iRoPE's chunks are aligned with the row, and longer questions are asked at the same place of a chunk "
            "(MQAR: at any). It has neither QK-norm nor the base 500,000 of Llama 4: the base is 10,000, as that of "
            "all. Temperatures of models without positions are two fixed ones, not tuned."
        ),
        (
            "All models have Canon layers, which those of the sources do not: then each scheme learns in little "
            "training, and what differs is how far it goes. In a pilot of tier demo without them RoPE and no positions "
            "found no more needles than a guess among the pairs after 1.5 million tokens; with them nearly all."
        ),
        (
            "Tier gpu: no pilot tried its sizes. Tiers smoke and demo: rows of 32 tokens, copies and needles, four "
            "schemes, 2 layers of two heads."
        ),
    ),
    columns=tuple(f"answered/times={times}/variant=trained/kind={kind}/half=test" for times in (1, 2, 4, 16)
                  for kind in ("middle",)),
)  # fmt: skip
