"""Part 3.1 on rewritten biographies: where a model of bioR holds what it has read.

The two base models of p31_bior that read one and five rewrites of each person, probed as in p31_probing: from the name
alone (Q-probe), and in a biography before each attribute (P-probe).

    physlm run p31_bior_probing --tier demo
"""

from __future__ import annotations

from _part31_bior import DEVIATIONS as BIOR_DEVIATIONS
from _part31_bior import MULTI, SINGLE, read_run

from _part3 import DEVIATIONS
from physlm.figures.knowledge.probing import knowledge_figure
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.probing import knowledge_law
from physlm.laws.verdict import bound
from physlm.training.config import RunSpec


def runs(tier: str) -> list[RunSpec]:
    """The two base models, those that p31_bior trains too."""
    return [read_run(tier, name) for name in (SINGLE, MULTI)]


EXPERIMENT = Experiment(
    name="p31_bior_probing",
    claim=(
        "Also of rewritten biographies a name alone holds the knowledge if each person has several, and does not if "
        "each has one."
    ),
    source="arXiv:2309.14316, bioR in Figures 12, 13 and 17 to 19",
    runs=runs,
    measures=("knowledge",),
    law=knowledge_law,
    figure=knowledge_figure(),
    expect=(
        bound(f"q_company@{MULTI}", "at least", 0.80, "as of bioS", "no number is at hand; 80 % is our reading",
              label="employer read from the name, five rewrites"),
        bound(f"q_company@{SINGLE}", "at most", 0.20, "as of bioS", "no number is at hand; 20 % is our reading",
              label="employer read from the name, one rewrite"),
        bound(f"p_early@{MULTI}", "at least", 0.80, "as of bioS", "no number is at hand; 80 % is our reading",
              label="values read before the first of them, five rewrites"),
    ),
    deviations=(
        *DEVIATIONS,
        *BIOR_DEVIATIONS,
        "Probes are those of p31_probing, with the deviations that its VERDICT.md names. One seed.",
    ),
    columns=("q_probe/target=employer_whole", "p_probe/target=employer_whole/place=1"),
)
