"""Recall of pairs against the size of the state, one curve for all mixers: ``physlm run beyond_recall --tier demo``."""

from typing import Any

import pandas as pd
from _beyond import MIXERS, NAMES, REASSIGNED, RECALL, recall, recall_deviations, recalled, with_mixer

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Learnt, Minus, OffCurve, RankCorrelation, Shares, Tuned, laws
from physlm.laws.law import Law
from physlm.laws.verdict import bound, own_test
from physlm.models.parts.attention import Attention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.training.config import RunSpec

# the windows, and Mamba2 with a quarter of the state, have other states at the same width
KINDS: dict[str, Mixer] = {
    "nope": MIXERS["nope"], "window16": Attention(0.0, window=16), "window64": Attention(0.0, window=64),
    **{name: MIXERS[name] for name in ("linear", "gla", "mamba2")}, "mamba2_16": Mamba2(size=16),
    **{name: MIXERS[name] for name in ("deltanet", "gdn")},
}  # fmt: skip
SMALL = ("nope", "gla", "gdn")
WIDTHS = {"smoke": (8, 16), "demo": (16, 32), "gpu": (16, 32, 64), "paper": (16, 32, 64, 128)}
LINEAR = ("gla", "mamba2", "deltanet", "gdn")


def runs(tier: str) -> list[RunSpec]:
    """Every mixer at every width, on pairs, and on pairs whose keys get new values."""
    names = SMALL if tier in ("smoke", "demo") else tuple(KINDS)
    again = (False,) if tier in ("smoke", "demo") else (False, True)
    return of_tier(RECALL, tier).runs([(KINDS[name],) for name in names], WIDTHS[tier], again)


ENDING = {"widest": max, "narrowest": min}


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``task`` and ``mixer``, and ``end``: whether a model is the widest or the narrowest of its tier,
    which is told by the steps of training; of the table, where a user changed these.

    So the widest models that are finished are not taken for the widest there are.
    """
    table = recalled(with_mixer(table, {mixer.label: name for name, mixer in KINDS.items()}))
    planned = {RECALL[tier].train.steps: widths for tier, widths in WIDTHS.items()}
    there = tuple(set(table["model.width"]))
    ends = [next((name for name, pick in ENDING.items() if width == pick(planned.get(steps, there))), "between")
            for steps, width in zip(table["steps"], table["model.width"], strict=True)]
    return table.assign(end=ends)


POOLED = ("model.mixer", "model.position", "model.width", "model.init_std", "train.learning_rate", "mixer", "end")
BY = {"task": "task", "mixer": "mixer", "width": "model.width"}
RECALLED = recall(BY)
BY_STATE = recall({"task": "task", "mixer": "mixer", "state": "state_bytes"}, called="by_state")
ENDS = {name: recall({"task": "task", "mixer": "mixer"}, {"end": name}, name) for name in ENDING}
# the same of every model, but for what random weights answer
CONTROL, UNTRAINED = (Shares(name, {"task": "task"}, {"at.half": "test"}, "at.kind", called, pooled=POOLED)
                      for name, called in (("guess", "guess"), ("answer_untrained", "untrained")))
# judged where some mixer recalls at all: else all are alike
CORRELATION = Learnt(RankCorrelation("correlation", BY_STATE, "state", ("mixer",)), ENDS["widest"], 0.5)
OFF = Learnt(OffCurve("off_curve", BY_STATE, "state", "mixer"), ENDS["widest"], 0.5, among=("mixer",))
WIDER = Tuned(Minus("wider", ENDS["widest"], ENDS["narrowest"], independent=True), (ENDS["narrowest"],))
SHOWN: dict[Any, str] = {**NAMES, "window16": "window of 16", "window64": "window of 64", "mamba2_16": "Mamba2, N = 16",
                         ("task", "mqar"): "each key once", ("task", REASSIGNED): "keys that get new values"}
_FIGURE = curves(BY_STATE, "state", "mixer", names=SHOWN, xlabel="bytes that a row leaves for the next token",
                 ylabel="values recalled (%)", control=CONTROL, control_name="any value of the text",
                 caption="The mean over numbers of pairs, at the best rate.")
BASED = "arXiv:2402.18668, Figure 2"


def figure(table: pd.DataFrame, law: Law) -> Any:
    """Recall by bytes of state, a panel a task."""
    return _FIGURE(prepared(table), law)


EXPERIMENT = Experiment(
    name="beyond_recall",
    claim=(
        "How much a mixer recalls follows from how many bytes it keeps of a row, on one curve for softmax, windows and "
        "linear mixers."
    ),
    source="arXiv:2312.04927, Figure 2; arXiv:2402.18668, Figure 2",
    runs=runs,
    measures=("answers",),
    law=laws(RECALLED, BY_STATE, CORRELATION, OFF, *ENDS.values(), WIDER, CONTROL, UNTRAINED,
             items="questions", prepare=prepared),
    figure=figure,
    expect=(
        own_test("widest@task=mqar/mixer=nope", "at least", 0.95, "learnt: a state that grows forgets nothing",
                 label="pairs that attention without positions recalls at the largest width"),
        *(bound(f"correlation@task={task}", "at least", 0.7, BASED,
                "a figure of rising curves without a number; ours is Spearman's rho over mixers and widths",
                label=f"rank correlation of recall with bytes of state, {SHOWN['task', task]}")
          for task in ("mqar", REASSIGNED)),
        *(bound(f"off_curve@task=mqar/mixer={name}", "about", 0.0, BASED,
                "one curve: no mixer is off it by more than 0.15 on average, a bound of ours", slack=0.15)
          for name in ("linear", *LINEAR, "window16")),
        *(bound(f"wider@task=mqar/mixer={name}", "at least", 0.1, BASED, "a larger state recalls more; a tenth is ours")
          for name in LINEAR),
    ),
    deviations=(
        *recall_deviations(),
        "Keys that get new values (N = 1) are a task of ours; the same sizes.",
        "Bytes of state: of a row as long as in training, memories in float32, the rest in bfloat16.",
        "First weights have a standard deviation of 1.6 over the width. No value is published for our sizes.",
        "Smoke and demo: few pairs, three mixers, two widths, without new values of keys, in float32.",
    ),
)  # fmt: skip
