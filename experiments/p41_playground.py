"""Part 4.1: five tasks, three kinds of positions, without and with Canon: ``physlm run p41_playground --tier demo``.

The runs are those of p41_mano, p41_capo and p41_reasoning_depth as far as these have them.
"""

from typing import Any

import pandas as pd
from _part41 import (
    BIOGRAPHIES,
    BREVO,
    CAPO_LEARNT,
    CAPO_ROPES,
    CAPO_SEEDS,
    COPY,
    DEPO,
    HOPS_LEARNT,
    LANO,
    LOCALS,
    MANO,
    NAMES,
    PER_PARAMETER,
    ROPES,
    SMALL_TIERS,
    along,
    capo,
    hardest,
    with_answers,
)

from physlm.figures.grids import grids
from physlm.lab.experiment import Experiment
from physlm.laws.forms import (
    Best,
    Contrast,
    Form,
    Learnt,
    Ratio,
    Shares,
    largest,
    laws,
    learnt,
    most_seeds,
    value_text,
)
from physlm.laws.verdict import bound, own_test
from physlm.training.config import RunSpec

BY = ("model.position", "model.local")
RATE = {"train.learning_rate": most_seeds}
# what is drawn: of Depo tokens of answers at k = K and k = 1, of Brevo, Mano and copy whole answers, of Lano strings
SCORES = {
    **{name: Shares("forced", BY, {"task.kind": "depo", "at.half": "test", "at.kind": kind, **RATE}, called=name)
       for name, kind in (("depo", hardest), ("depo_one", "k1"))},
    "brevo": Shares("answer", BY, {"task.kind": "brevo", "at.half": "test", **RATE}, "at.kind", "brevo"),
    "mano": Shares("answer", BY, {"task.kind": "mano", "at.half": "test", **RATE}, "at.kind", "mano"),
    "lano": Shares("accuracy", BY, {"task.kind": "grammar", "at.cut": 0, **RATE}, called="lano"),
    "copy": Shares("answer", BY, {"task.kind": "copy", "at.half": "test", **RATE}, "at.kind", "copy"),
}
# the best constant answer; a grammar has none
CONSTANT = {"depo": "forced_majority", "brevo": "majority", "mano": "majority", "copy": "majority"}
CAPO = Shares("bits_per_param", BY, {"task.kind": BIOGRAPHIES, "model.width": largest, **RATE}, called="capo",
              unit=PER_PARAMETER, share=False)  # fmt: skip
CAPO_GAIN = Ratio("capo_gain", *(Shares("bits_per_param", BY[:1], {**CAPO.where, "model.local": local}, called=local,
                                        unit=PER_PARAMETER, share=False) for local in ("canon", "none")))  # fmt: skip
# 8 layers of 512 at the smallest N or L, or on cfg3f.  Depo is not among them: all numbers with Canon layers are of
# K = 8, where RoPE alone has 0.0; at our K = 4 it has 0.97, and there is nothing to gain.
PUBLISHED: dict[str, dict[Any, float]] = {
    "brevo": {("rope", "none"): 0.456, ("rope", "canon"): 0.846, ("rope0.25", "canon"): 0.837, ("none", "none"): 0.0,
              ("none", "canon"): 0.848},
    "mano": {("rope", "none"): 0.594, ("rope", "canon"): 0.951, ("none", "none"): 0.071, ("none", "canon"): 0.977},
    "lano": {("rope", "none"): 0.911, ("rope", "canon"): 0.966, ("none", "none"): 0.0, ("none", "canon"): 0.879},
}  # fmt: skip
TITLES = {"depo": "Depo: tokens right at k = K", "depo_one": "Depo at k = 1", "brevo": "Brevo: all ancestors",
          "mano": "Mano: arithmetic", "lano": "Lano: valid strings", "copy": "Copy, by one layer"}  # fmt: skip
JUDGED = ("depo", *PUBLISHED)  # tasks whose models are compared
BESTS = {task: Best(f"{task}_best", one, over="train.learning_rate") for task, one in SCORES.items()}
FORMS: tuple[Form, ...] = (
    *SCORES.values(), CAPO, Learnt(CAPO_GAIN, CAPO, CAPO_LEARNT),
    *(Contrast(f"{task}_gain", one, "local", "canon", "none") for task, one in SCORES.items()),
    # judged where one of the two has learnt more than the slack
    *(learnt(Contrast(f"{task}_without_positions", Shares(
        one.quantity, BY[:1], {**one.where, "model.local": "canon"}, one.over, task), "position", "none", "rope"),
        *((HOPS_LEARNT,) if task == "depo" else (0.2, CONSTANT.get(task, ""))))
        for task, one in SCORES.items() if task in JUDGED),
    *BESTS.values(),
    *(SCORES[task].of(control, f"{task}_majority") for task, control in CONSTANT.items()),
)  # fmt: skip
CURVES = (
    *(Shares("answer", (*BY, "at.kind", "at.step"), {"task.kind": task, "at.half": "test", **RATE},
             called=f"{task}_curve", optional=True) for task in ("depo", "brevo", "mano")),
    Shares("accuracy", (*BY, "at.step"), {"task.kind": "grammar", "at.cut": 0, **RATE}, called="lano_curve",
           optional=True),
)  # fmt: skip
DIALS = {  # kind of a task -> its name, and what makes it hard: sign and setting
    "depo": ("Depo", (("N", "task.nodes"), ("K", "task.hops"))), "brevo": ("Brevo", (("N", "task.nodes"),)),
    "mano": ("Mano", (("L", "task.length"),)), "grammar": ("Lano", (("grammar", "task.grammar"),)),
    "copy": ("Copy", (("words", "task.length"),)), "bioS": ("Capo", (("N", "task.people"),)),
}  # fmt: skip


def caption(table: pd.DataFrame) -> str:
    """How large tasks and models are, and what a cell shows."""
    parts = []
    for kind, (name, dials) in DIALS.items():
        rows = table[table["task.kind"] == kind]
        if len(rows):
            row = rows.loc[rows["model.width"].astype(int).idxmax()]
            told = ", ".join(f"{sign} = {value_text(row[setting])}" for sign, setting in dials
                             if "\n" not in str(row[setting]))  # a grammar of our own has no name
            parts.append(f"{name} {told}, {row['model.layers']} x {row['model.width']}")
    return (f"Each cell is the best of rates, of Capo a mean over seeds. {'; '.join(parts)} (layers x dimensions). "
            "Published: 8 x 512 at the smallest N or L, or cfg3f.")


def runs(tier: str) -> list[RunSpec]:
    """The published comparison on each task, and on full copy by one rotary layer."""
    ropes = ROPES if tier != "demo" else (1.0, 0.0)  # a demonstration of six minutes has no time for a quarter
    found = [run for settings in (DEPO, BREVO, MANO, LANO) if tier in settings for run in settings[tier].grid(ropes)]
    if tier != "demo":
        found += [run for rope in CAPO_ROPES[tier] for local in LOCALS
                  for run in capo(tier, "llama-tied", rope, local, CAPO_SEEDS[tier])]
    return [*found, *COPY[tier].grid((1.0,))]


FOUR_HOPS = "at K = 4 RoPE of 8 x 512 has 0.97 without Canon layers: the published gain is of K = 8"


def _gain(task: str, position: str) -> Any:
    cells = PUBLISHED[task]
    gain = cells[position, "canon"] - cells[position, "none"]
    return bound(f"{task}_gain@position={position}", "at least", round(min(0.1, gain / 2), 3), "Figures 4 and 7",
                 f"{gain:.3f} there; a tenth, or half of that where it is less, is ours")


EXPERIMENT = Experiment(
    name="p41_playground",
    claim=(
        "Canon layers let a transformer take more hops, list more ancestors, calculate longer, write harder grammars "
        "and hold more, with all, a quarter or none of its head rotary; with them it needs no positions."
    ),
    source="arXiv:2512.17351, Results 2 and 3, Figures 4 and 7",
    runs=runs,
    measures=("answers", "forced", "completion", "capacity"),
    measures_of=with_answers,
    law=laws(*FORMS, items="questions, strings or people", details=CURVES, prepare=along),
    figure=grids({**{TITLES[task]: one for task, one in BESTS.items()}, "Capo: bits a parameter": CAPO},
                 "position", "local", names=NAMES, caption=caption,
                 published={TITLES[task]: cells for task, cells in PUBLISHED.items()}),
    expect=(
        *(own_test(f"{task}@position=rope/local=canon", "at least", HOPS_LEARNT if task == "depo" else 0.5,
                   "learnt: there is something to compare") for task in JUDGED),
        *(_gain(task, position) for task in PUBLISHED for position in ("rope", "none")),
        *(own_test(f"depo_gain@position={position}", "at least", 0.1, FOUR_HOPS) for position in ("rope", "none")),
        *(own_test(f"depo_one_gain@position={position}", "at least", 0.1, "one hop at least, where K are too many")
          for position in ("rope", "none")),
        *(bound(f"{task}_without_positions", "at least", -0.15, "Result 3, Figure 7",
                f"from 0.09 below RoPE to 0.03 above it there{', Depo of K = 8' if task == 'depo' else ''}; the slack "
                "is ours") for task in JUDGED),
        *(bound(f"capo_gain@position={position}", "at least", 1.0, "Figure 7", "1.10 to 1.15 there, of RoPE; any gain")
          for position in ("rope", "none")),
    ),
    deviations=(
        (
            "Tier gpu: smaller tasks and models than the published ones, on fewer tokens: 1.1 billion a run of Depo, "
            "0.5 of Brevo, 0.4 of Lano, 0.2 of Mano, where a run had 23 to 74, 4.9 and 5.2 billion. The published "
            "strings are those of cfg3f, which p41_lano has."
        ),
        (
            "Sizes were looked for in pilots of another seed, 11, at one rate: the smallest at which RoPE with Canon "
            "has at least 0.8 and RoPE at most 0.5. Lano: cfg3i, 0.80 and 0.03. Mano: L = 3 with 0.15 billion tokens, "
            "0.78 and 0.07, a guess. Brevo: none was found; N = 15 gave 0.91 and 0.85, and N = 30 was not piloted. "
            "Depo: none was found; N = 20, K = 8 with 0.4 billion tokens gave 0.85 and 0.14 of whole answers at k = 1, "
            "and a guess from k = 2 on."
        ),
        (
            "Depo: N = 20 and K = 4, since no model took two hops of eight. The published gain is of K = 8 "
            "(0.97 with Canon layers, 0.0 without); at K = 4 models of 8 x 512 reach 93 to 99 % without them, on 20 "
            "times the tokens or more. So the gain at K = 4 is a test of ours, and no published number of Depo is "
            "drawn. Names have 1 or 2 tokens; the answers of a window are read with all true tokens before them, so "
            "that a third of them is right where nothing is learnt: the second token of a name after its first."
        ),
        (
            "Three seeds at one rate fixed before, one seed at two more rates; the figure shows the best of rates of "
            "that seed. Capo: six seeds at one rate."
        ),
        "Mano from p41_mano, Capo from p41_capo at its larger size, full copy from p41_copy.",
        SMALL_TIERS, "Tier demo has copy, Mano and Depo alone, with all or none of the head rotary.",
    ),
)  # fmt: skip
