"""Families of iGSM problems that between them use every setting of the generator."""

from __future__ import annotations

from dataclasses import replace

from physlm.tasks.igsm.config import FAMILIES, IgsmConfig, Retry

MED, HARD, TINY = FAMILIES["med"], FAMILIES["hard"], FAMILIES["tiny"]
EVERY = {
    **FAMILIES,
    "med20": MED.exactly(20),
    "hard32": HARD.exactly(32),
    "released": replace(MED, method="released", dependency_order="released"),
    "uniform": replace(MED, op_mix="uniform", order="qp", templates="all", modulus=97, seed=5),
    "reask": replace(MED, op=20, reask=True),
    "long": replace(MED, max_op=8, templates="long"),
    "long again": replace(MED, op=12, reask=True, templates="long"),
    "narrow": IgsmConfig(max_op=9, max_ip=9, layers=3, width=2, modulus=2, categorisations=2, groups=3,
                         group_items=4, letter_order="alphabetical"),
    "letters": IgsmConfig(op=52, max_ip=36, templates="all"),
    "wrong": replace(MED, retry=Retry(0.5, "wrong", "name")),
    "weak": replace(MED, retry=Retry(0.5, "weak", "start"), order="qp"),
    "miss": replace(HARD, retry=Retry(0.2, "miss", "none")),
}  # fmt: skip
