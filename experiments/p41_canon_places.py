"""Part 4.1: where Canon layers help, and which of their properties do: ``physlm run p41_canon_places --tier demo``."""

from dataclasses import replace
from typing import Any

from _part41 import MANO, OPERATIONS, PLACES_COPY, SMALL_TIERS

from physlm.figures.grids import grids
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Form, Learnt, Minus, Most, Shares, laws, learnt
from physlm.laws.verdict import bound, own_test
from physlm.models.parts.canon import Canon
from physlm.training.config import RunSpec

# as tables name them -> the layers
PLACES = {f"canon{site}": (Canon(site),) for site in "ABCD"}
VARIANTS = {"none": (), **PLACES, "canon": (Canon(),), "canon_residualfalse": (Canon(residual=False),),
            "canon_acttrue": (Canon(act=True),), "canon_trainedfalse": (Canon(trained=False),)}  # fmt: skip
SEEDS = {"smoke": (1,), "demo": (1,), "gpu": (1, 2, 3), "paper": (1, 2)}


def runs(tier: str) -> list[RunSpec]:
    """Rotary models with each variant; on Mano at the rate of p41_mano, on copy at one rate."""
    found = []
    for setting in (MANO[tier], PLACES_COPY[tier]):
        fixed = replace(setting, seeds=SEEDS[tier], rates=())
        found += fixed.grid((1.0,), tuple(VARIANTS.values()))
    return found


def of(name: str, *locals_: str) -> Shares:
    """Answers by task, of some variants."""
    return Shares("answer", ("task.kind", "model.local") if len(locals_) > 1 else ("task.kind",),
                  {"at.half": "test", "model.local": locals_}, over="at.kind", called=name)


ANSWER = Shares("answer", ("task.kind", "model.local"), {"at.half": "test"}, over="at.kind")
CONSTANT = ANSWER.of("majority")
SOME = 0.2  # what a model answers more than the best constant answer, if it has learnt something
GAINS = {local: Contrast(f"gain_{local.removeprefix('canon').strip('_') or 'ABCD'}", ANSWER, "local", local, "none")
         for local in VARIANTS if local != "none"}  # fmt: skip
RESIDUAL, ACT = (Contrast(name, ANSWER, "local", plus, minus) for name, plus, minus in (
    ("residual", "canon", "canon_residualfalse"), ("activation", "canon_acttrue", "canon")))
TOGETHER = Minus("together", of("all", "canon"), Most("best_single", of("single", *PLACES), over=("local",)),
                 independent=True)
# that a place or an activation brings nothing is judged where another variant, or one of the two, has learnt the task
JUDGED: tuple[Form, ...] = (learnt(ACT, SOME, "majority"), *(
    Learnt(form, ANSWER, SOME, CONSTANT) for form in (GAINS["canonC"], TOGETHER)))
OURS = "the figure has no numbers at our size: a tenth is ours"
NAMES: dict[Any, str] = {
    "mano": "Mano", "copy": "copy, one layer of 16", ("local", "none"): "without Canon",
    **{name: f"Canon {name.removeprefix('canon')}" for name in PLACES}, "canon": "Canon ABCD",
    "canon_residualfalse": "ABCD, no residual", "canon_acttrue": "ABCD, with SiLU",
    "canon_trainedfalse": "ABCD, fixed random",
}  # fmt: skip

EXPERIMENT = Experiment(
    name="p41_canon_places",
    claim=(
        "Canon layers help at each of their four places and most at all of them; without their residual they lose, an "
        "activation adds nothing, and filters that stay at their random first values help too."
    ),
    source="arXiv:2512.17351, Result 4, Figures 10 and 24",
    runs=runs,
    measures=("answers",),
    law=laws(ANSWER, *(gain for local, gain in GAINS.items() if local != "canonC"), RESIDUAL, *JUDGED, CONSTANT,
             ANSWER.of("answer_untrained", "untrained"), items="questions"),
    figure=grids({"Questions answered": ANSWER}, "local", "kind", names=NAMES),
    expect=(
        *(bound(f"{GAINS[local].name}@kind=mano", "at least", 0.1, "Figure 10", OURS) for local in PLACES),
        bound("together@kind=mano", "at least", 0.0, "Result 4: their gains add up", "any gain over the best alone"),
        bound("residual@kind=mano", "at least", 0.1, "Result 4: the residual is essential", OURS),
        bound("activation@kind=mano", "at most", 0.1, "Result 4: an activation brings nothing", OURS),
        bound("gain_trainedfalse@kind=mano", "at least", 0.1, "Figure 24 and footnote 10", OURS),
        own_test("gain_ABCD@kind=copy", "at least", 0.9, "one layer copies with Canon at all places"),
        own_test("gain_B@kind=copy", "at least", 0.9, "filters of queries, keys and values alone find the next word"),
        own_test("gain_C@kind=copy", "at most", 0.1, "after attention no filter helps to find the next word"),
    ),
    deviations=(
        f"Tier gpu: Mano in the setting of p41_mano, 6 layers of 256 dimensions, {OPERATIONS} operations, not 10.",
        (
            "Full copy, on which the paper compares no places: 120 words, 5,000 steps at the rate 2e-2, by one layer "
            "of 16 dimensions. In a pilot of another seed, 11, one with Canon copied them after 1,000 steps of 8 rows, "
            "and one without told single words hardly better than by chance after 2,000 (loss 4.46, of 4.79)."
        ),
        "Rotary positions alone; three seeds, at one rate fixed before. " + SMALL_TIERS,
    ),
)  # fmt: skip
