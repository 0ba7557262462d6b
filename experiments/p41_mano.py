"""Part 4.1: Canon layers and mental arithmetic, with and without positions: ``physlm run p41_mano --tier demo``."""

from typing import Any

from _part41 import MANO, NAMES

from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Above, Best, Contrast, Shares, laws, most_seeds
from physlm.laws.verdict import bound, published
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """All, nothing and a quarter of the head rotary, each without and with Canon layers at all places."""
    return MANO[tier].grid()


END = {"at.half": "test", "train.learning_rate": most_seeds}
ANSWER = Shares("answer", ("model.position", "model.local"), END, over="at.kind")
GAIN, BEST = Contrast("gain", ANSWER, "local", "canon", "none"), Best("best", ANSWER, over="train.learning_rate")
MAJORITY, FIRST = ANSWER.of("majority"), ANSWER.of("answer_first", "first")
PUBLISHED: dict[Any, float] = {("rope", "none"): 0.594, ("rope", "canon"): 0.951, ("none", "none"): 0.071,
                               ("none", "canon"): 0.977}  # fmt: skip

EXPERIMENT = Experiment(
    name="p41_mano",
    claim="Canon layers let a transformer do longer mental arithmetic, with all, a quarter or none of its head rotary.",
    source="arXiv:2512.17351, Results 2 and 3, Figures 4 and 7 (Mano, L = 10)", runs=runs, measures=("answers",),
    law=laws(ANSWER, GAIN, Above("above_constant", ANSWER, MAJORITY), BEST, MAJORITY, FIRST,
             ANSWER.of("answer_untrained", "untrained"), items="questions"),
    figure=bars(ANSWER, "position", "local", control=MAJORITY, control_name="best constant", besides=BEST,
                besides_name="best rate", names=NAMES, published=PUBLISHED, title="Mental arithmetic"),
    expect=(*(bound(f"gain@position={name}", "at least", 0.1, "Figure 7", "0.36 or more at four times the size",
                    label=f"answers with Canon layers over without: {NAMES.get(name, 'no positions')}")
              for name in ("rope", "rope0.25", "none")),
            published("answer@position=none/local=none", 0.071, "Figure 4", slack=0.02, reason="of 2,500 questions",
                      label="answers, no positions, no Canon layers")),
    deviations=(
        "Tier gpu: 6 layers of 256 dimensions, 0.66 instead of 5.2 billion tokens, rows of 512 instead of 1024 tokens.",
        "Three seeds at the rate 5e-4, fixed before; one at 2e-4 and 1e-3. Smoke and demo: small L and modulus."),
)  # fmt: skip
