"""How many layers of softmax attention recall takes among linear ones: ``physlm run beyond_hybrids --tier demo``."""

from dataclasses import replace
from typing import Any

import pandas as pd
from _beyond import MIXERS, NAMES, RECALL, recall, recall_deviations, recalled

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Best, Form, Learnt, Minus, Shares, Tuned, laws
from physlm.laws.law import Law
from physlm.laws.verdict import bound, own_test
from physlm.models.parts.part import Mixer
from physlm.models.patterns import hybrid
from physlm.training.config import RunSpec

LAYERS = {"smoke": 2, "demo": 2, "gpu": 8, "paper": 8}
WIDTHS = {"smoke": 8, "demo": 16, "gpu": 32, "paper": 64}
LINEAR = ("gla", "mamba2", "gdn")


def patterns(tier: str) -> dict[tuple[str, int], tuple[Mixer, ...]]:
    """By linear mixer, and how many of the layers are softmax attention: none, 1 of 8, 1 of 4, every other, all."""
    layers = LAYERS[tier]
    found: dict[tuple[str, int], tuple[Mixer, ...]] = {("softmax", layers): (MIXERS["nope"],)}
    for name in LINEAR if tier != "demo" else ("gla",):
        found[name, 0] = (MIXERS[name],)
        found |= {(name, layers // interval): hybrid(MIXERS[name], interval)
                  for interval in (8, 4, 2) if interval <= layers}
    return found


def runs(tier: str) -> list[RunSpec]:
    """Each pattern."""
    setting = replace(of_tier(RECALL, tier), layers=LAYERS[tier])
    return setting.runs(patterns(tier).values(), (WIDTHS[tier],))


_SOFTMAX = {MIXERS[name].label for name in ("rope", "nope")}
_LABELS = {mixer.label: name for name, mixer in MIXERS.items()}


def kind_of(label: str, layers: int) -> tuple[str, int]:
    """The linear mixers of a pattern, by name or else as they are called, and how many of the layers are softmax.

    Both are told by the pattern, which is repeated over the layers: any of the two may be changed by a user.
    """
    pattern = label.split(",")
    every = [pattern[layer % len(pattern)] for layer in range(layers)]
    linear = dict.fromkeys(_LABELS.get(one, one) for one in every if one not in _SOFTMAX)
    return ",".join(linear) or "softmax", sum(one in _SOFTMAX for one in every)


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``mixer``, of the linear layers, and ``softmax``, how many are none."""
    kinds = [kind_of(str(label), int(layers))
             for layers, label in zip(table["model.layers"], table["model.mixer"], strict=True)]
    return recalled(table).assign(mixer=[mixer for mixer, _ in kinds], softmax=[count for _, count in kinds])


BY = {"mixer": "mixer", "softmax": "softmax"}
RECALLED = recall(BY)


def at(name: str, softmax: int) -> Best:
    """Recall by mixer, of so many softmax layers."""
    return recall({"mixer": "mixer"}, {"softmax": softmax, "mixer": LINEAR}, name)


NONE, ONE, TWO, FOUR = (at(name, count) for name, count in (("none", 0), ("one", 1), ("two", 2), ("four", 4)))
# each is judged where that which it is held against has found its best rate
ENOUGH = Tuned(Learnt(Minus("two_over_four", TWO, FOUR, True), recall(BY, {"softmax": (2, 4)}), 0.5), (FOUR,))
GAINS: tuple[Form, ...] = (*(Tuned(Minus(f"{name}_gain", some, NONE, True), (NONE,))
                             for name, some in (("one", ONE), ("two", TWO))), ENOUGH)  # fmt: skip
UNTRAINED = Shares("answer_untrained", {}, {"at.half": "test"}, "at.kind", "untrained",
                   pooled=("model.mixer", "model.position", "train.learning_rate", "mixer", "softmax"))
GUESS = replace(UNTRAINED, quantity="guess", called="guess")
_FIGURE = curves(RECALLED, "softmax", "mixer", names={**NAMES, "softmax": "softmax alone"}, control=GUESS,
                 control_name="any value of the text", xlabel="layers of softmax attention, of 8", log=False,
                 ylabel="values recalled (%)", title="Recall by softmax layers",
                 caption="The mean over numbers of pairs, at the best rate.")
STUDY = "arXiv:2507.06457: recall rises with layers of full attention, one in 4 to 7 is enough"


def figure(table: pd.DataFrame, law: Law) -> Any:
    """Recall by the number of softmax layers."""
    return _FIGURE(prepared(table), law)


EXPERIMENT = Experiment(
    name="beyond_hybrids",
    claim="One or two layers of softmax attention among eight give linear models the recall of softmax alone.",
    source="arXiv:2507.06457; 3 : 1 in Kimi Linear and Qwen3-Next, 7 : 1 in Jamba",
    runs=runs,
    measures=("answers",),
    law=laws(RECALLED, NONE, ONE, TWO, FOUR, *GAINS, GUESS, UNTRAINED, items="questions", prepare=prepared),
    figure=figure,
    expect=(
        own_test("recall@mixer=softmax/softmax=8", "at least", 0.95, "learnt: there is something to compare",
                 label="pairs that softmax alone recalls"),
        *(bound(f"one_gain@mixer={name}", "at least", 0.05, STUDY, "a twentieth is ours",
                label=f"recall of 1 softmax layer in 8 over none, {NAMES[name]}") for name in LINEAR),
        *(bound(f"two_over_four@mixer={name}", "at least", -0.05, STUDY,
                "no number for recall of single tasks; a twentieth is ours",
                label=f"recall of 2 softmax layers in 8 over 4, {NAMES[name]}") for name in LINEAR),
        *(own_test(f"two@mixer={name}", "at least", 0.9, "two of eight are enough") for name in LINEAR),
    ),
    deviations=(
        (
            "The source has models of 340 million parameters trained on 20 billion tokens of text; ours have 8 layers "
            "of 32 dimensions, two heads and no MLP, and recall pairs."
        ),
        *recall_deviations(LAYERS["gpu"]),
        "The softmax layers have no positions; the last of each group of layers is one.",
        "Smoke and demo: two layers, few pairs, in float32; demo with GLA alone.",
    ),
)  # fmt: skip
