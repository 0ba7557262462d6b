"""Questions longer than those of training, by mixer: ``physlm run beyond_length --tier demo``.

The tasks and the training are those of p4_length, whose runs of RoPE, no positions, ALiBi and windows are shared.
"""

import math
from dataclasses import replace
from typing import Any

import pandas as pd
from _beyond import MIXERS, NAMES, pattern_label, with_mixer
from _part4 import SETTINGS, SMALL_TIERS, tier_of

from physlm.figures.panels import Panel, panels
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Contrast, Learnt, Shares, laws
from physlm.laws.verdict import bound, own_test
from physlm.measures.length.accuracy import Length
from physlm.models.parts.attention import Attention
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.models.patterns import rotary_windows
from physlm.training.config import RunSpec

MEASURES = {tier: Length(one.times, questions=one.questions) for tier, one in SETTINGS.items()}
FEW = ("rope", "fox", "path")
ALL = (*FEW, "fox_pro", "path_fox", "nope", "mamba2", "gdn")
# What a memory of each scale adds was published within its own spread, so it is told by five seeds, on two tasks.
FIVE = {"smoke": (), "demo": (), "gpu": (2, 3, 4, 5, 6), "paper": (1, 2, 3, 4, 5)}
LEVELS = {"mamba2_levels": "mamba2", "gdn_levels": "gdn"}
REMEMBERED = ("mqar", "needle")
ASKED = ("copy", *REMEMBERED)  # kinds of tasks, at the small tiers the last one alone


def patterns(tier: str) -> dict[str, tuple[Mixer, ...]]:
    """Mixers by name; windows are a quarter of a row, in all layers, or in all but each fourth, which sees all."""
    names = FEW if tier in SMALL_TIERS else ALL
    found: dict[str, tuple[Mixer, ...]] = {name: (MIXERS[name],) for name in names}
    if names is ALL:
        quarter = SETTINGS[tier].tokens // 4
        found |= {"alibi": (Attention(0.0, bias="alibi"),), "windows": (Attention(window=quarter),),
                  "windows_nope": rotary_windows(quarter)}  # fmt: skip
    return found


def log_linear(tier: str) -> dict[str, tuple[Mixer, ...]]:
    """The mixers of ``LEVELS`` with a memory of each scale of a row, and with one."""
    levels = 1 + math.ceil(math.log2(SETTINGS[tier].tokens))
    every = {"mamba2_levels": (Mamba2(levels=levels),), "gdn_levels": (GatedDeltaNet(levels=levels),)}
    return {**every, **{name: (MIXERS[name],) for name in LEVELS.values()}}


def runs(tier: str) -> list[RunSpec]:
    """Every pattern on every task, with Canon layers, as in p4_length; those of ``LEVELS`` from five seeds."""
    found = of_tier(SETTINGS, tier)
    tasks = [task for task in found.tasks if task.kind in (ASKED[-1:] if tier in SMALL_TIERS else ASKED)]
    asked = [(task, mixers, seed) for task in tasks for mixers in patterns(tier).values() for seed in found.seeds]
    asked += [(task, mixers, seed) for task in tasks if task.kind in REMEMBERED
              for mixers in log_linear(tier).values() for seed in FIVE[tier]]  # fmt: skip
    return [found.run(*one) for one in dict.fromkeys(asked)]


def measure_of(spec: RunSpec) -> tuple[Length, ...]:
    """That of the run's tier."""
    return (MEASURES[tier_of(spec)],)


LABELS = {pattern_label(mixers): name
          for tier in SETTINGS for name, mixers in (patterns(tier) | log_linear(tier)).items()}  # fmt: skip


def named(table: pd.DataFrame) -> pd.DataFrame:
    """With a column ``mixer``."""
    return with_mixer(table, LABELS)


BY = {"task": "task.kind", "mixer": "mixer", "times": "at.times"}
ANSWERED = Shares("answered", BY, {"at.half": "test", "at.variant": "trained"}, over="at.kind")
CONTROLS = {name: Shares(f"answered_{name}", {"task": "task.kind", "times": "at.times"},
                         {"at.half": "test", "mixer": "rope"}, "at.kind", name)
            for name in ("guess", "constant", "untrained")}  # fmt: skip
NEAR = Shares("answered", {"task": "task.kind", "mixer": "mixer"}, {**ANSWERED.where, "at.times": 1}, "at.kind", "near")
PAIRS = {"fox_gain": ("fox", "rope"), "path_gain": ("path", "rope"), "path_fox_gain": ("path_fox", "fox"),
         "path_over_fox": ("path", "fox"), "windows_gain": ("windows_nope", "rope"),
         "fox_over_alibi": ("fox", "alibi"), "mamba2_gain": ("mamba2", "rope"), "gdn_gain": ("gdn", "rope"),
         **{f"{name}_gain": (name, one) for name, one in LEVELS.items()}}


def gain(name: str) -> Learnt:
    """Of one mixer over another, by task and length; judged where the better one learnt the task as trained."""
    two = replace(ANSWERED, where={**ANSWERED.where, "mixer": PAIRS[name]})
    near = replace(NEAR, where={**NEAR.where, "mixer": PAIRS[name]}, called=f"near_{name}")
    return Learnt(Contrast(name, two, "mixer", *PAIRS[name]), near, 0.5)


NAMED: dict[Any, str] = {
    **NAMES, "windows": "RoPE windows", "windows_nope": "RoPE windows, NoPE", "mamba2_levels": "Mamba2, log-linear",
    "gdn_levels": "Gated DeltaNet, log-linear",
}  # fmt: skip
TITLES = {"copy": "Copying", "mqar": "Recalling pairs (MQAR)", "needle": "Needle"}


def panel(kind: str) -> Panel:
    """One task's answers by length."""
    form = Shares("answered", {"mixer": "mixer", "times": "at.times"}, {**ANSWERED.where, "task.kind": kind}, "at.kind")
    guess = Shares("answered_guess", {"times": "at.times"}, {"at.half": "test", "mixer": "rope", "task.kind": kind},
                   "at.kind")  # fmt: skip
    return Panel(TITLES[kind], form, "times", "mixer", control=guess)


PAPER = "arXiv:2505.16381, Table 4 (RULER at 1, 2 and 4 times the length of training)"

EXPERIMENT = Experiment(
    name="beyond_length",
    claim=(
        "Attention that forgets by what it reads (FoX, PaTH) answers questions 2 to 16 times as long as those of "
        "training where RoPE fails."
    ),
    source="arXiv:2503.02130; arXiv:2505.16381, Table 4; arXiv:2506.04761",
    runs=runs,
    measures=tuple(MEASURES.values()),
    measures_of=measure_of,
    law=laws(ANSWERED, NEAR, *(gain(name) for name in PAIRS), *CONTROLS.values(), items="questions", prepare=named),
    figure=panels(*(panel(kind) for kind in TITLES), names=NAMED, xlabel="length, in those of training", columns=3,
                  prepare=named, caption="Dashed: a guess of any fitting word of the text."),
    expect=(
        *(own_test(f"near@task=needle/mixer={name}", "at least", 0.9, "learnt: there is something to lose",
                   label=f"needles as long as in training, {NAMED[name]}") for name in ("rope", "fox", "path")),
        bound("fox_gain@task=needle/times=2", "at least", 0.1, PAPER, "0.282 there, of 760 million parameters; a tenth "
              "is ours", label="needles at twice the length, FoX over RoPE"),
        bound("path_gain@task=needle/times=4", "at least", 0.1, PAPER, "0.187 there; a tenth is ours",
              label="needles at 4 times the length, PaTH over RoPE"),
        bound("path_over_fox@task=needle/times=4", "at least", 0.05, PAPER, "0.138 there; a twentieth is ours",
              label="needles at 4 times the length, PaTH over FoX"),
        bound("path_fox_gain@task=needle/times=4", "at least", 0.05, PAPER, "0.177 there; a twentieth is ours",
              label="needles at 4 times the length, PaTH-FoX over FoX"),
        bound("windows_gain@task=needle/times=16", "at least", 0.1, "arXiv:2501.18795",
              "0.177 of RULER's retrieval at 256k tokens there; a tenth is ours"),
        *(bound(f"{name}_gain@task={task}/times=4", "at least", 0.0, "arXiv:2506.04761: a few points of retrieval",
                "any gain, surely: seed by seed, of five", label=f"{TITLES[task]} at 4 times the length, {NAMED[name]} "
                "over one memory") for name in LEVELS for task in REMEMBERED),
        own_test("fox_over_alibi@task=needle/times=4", "at least", 0.0, "what is forgotten depends on the text"),
    ),
    deviations=(
        (
            "The sources' models have 760 million parameters and are trained on text of 4,096 tokens; ours have 4 "
            "layers of 128 dimensions with Canon layers, learn one task each, from rows of 128 tokens. RULER's scores "
            "are means over 13 tasks, of which a needle is the nearest to ours; the bounds are ours."
        ),
        (
            "Three seeds at one rate. Mamba2 and Gated DeltaNet have five on pairs and needles, with one memory and "
            "with 8, one of each scale of a row of training; their difference is taken seed by seed. What is farther "
            "than that row belongs to the largest scale. Recall within the length of training is in beyond_log_linear."
        ),
        "Smoke and demo: rows of 32 tokens, the needle alone, RoPE, FoX and PaTH, in float32.",
    ),
)  # fmt: skip
