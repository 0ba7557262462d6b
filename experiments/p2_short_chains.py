"""Part 2: what a shorter chain of thought costs: ``physlm run p2_short_chains --tier demo``."""

import pandas as pd
from _part2 import DEVIATIONS, DRAWN, EXACT, base_run, setting

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Shares, largest, laws
from physlm.laws.verdict import own_test
from physlm.tasks.igsm.config import Chain
from physlm.training.config import RunSpec

WHOLE, SHORT = Chain(), (Chain("define"), Chain("names"), Chain("sums"), Chain("all"))
RANDOM = (Chain("sums", at_random=True), Chain("all", at_random=True))
FEW = (WHOLE, Chain("define"), Chain("sums"), Chain("sums", at_random=True))


def runs(tier: str) -> list[RunSpec]:
    """Whole and shorter solutions, and as many tokens left out at random; the whole ones are the base models."""
    seeds = setting(tier).seeds
    return [base_run(tier, seed, chain=chain) for chain in (FEW if tier == "demo" else (WHOLE, *SHORT, *RANDOM))
            for seed in (seeds if chain == WHOLE else seeds[:1])]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns form (what is left out), cut (by the form or at random), and tokens of a solution."""
    random = table["task.chain.at_random"].astype(str).str.lower() == "true"
    lengths = table[(table["quantity"] == "solution_tokens") & (table["at.set"] == "drawn")]
    tokens = table["run"].map(dict(zip(lengths["run"], lengths["value"].round(1), strict=True)))
    return table.assign(form=table["task.chain.drop"], cut=random.map({True: "random", False: "form"}), tokens=tokens)


BY = ("form", "cut")
INSIDE, BEYOND = (Shares("number", BY, {**where, "at.op": largest}, called=name) for name, where in (
    ("inside", DRAWN), ("beyond", EXACT)))  # fmt: skip
POINTS = Shares("number", ("cut", "tokens"), {**DRAWN, "at.op": largest}, called="by_tokens",
                pooled=("task.chain.drop",))  # forms that happen to be as long as each other
CONSTANT = POINTS.of("number_constant", "constant")
COSTS = tuple(Contrast(f"{form}_gain", INSIDE, "form", form, "none") for form in ("define", "names", "sums", "all"))
LONGER = tuple(Contrast(f"{form}_gain_beyond", BEYOND, "form", form, "none") for form in ("define", "sums"))
DRAW = curves(POINTS, "tokens", "cut", control=CONSTANT, control_name="commonest answer", log=False,
              names={"form": "left out by form", "random": "as many at random"},
              xlabel="tokens of a solution like those of training",
              ylabel="right answers, problems like those of training (%)",
              caption="From the right: whole solutions; without names that were written before; without Define and as; "
                      "without intermediate sums; without all of these.")  # fmt: skip

EXPERIMENT = Experiment(
    name="p2_short_chains",
    claim=(
        "What a shorter chain of thought costs depends on what it leaves out and not on how much: words that say "
        "nothing cost nothing, intermediate sums and tokens at random do."
    ),
    source="our own question, on the problems of arXiv:2407.20311", runs=runs, measures=("solutions",),
    law=laws(INSIDE, BEYOND, *COSTS, *LONGER, Contrast("over_random", INSIDE, "cut", "form", "random"),
             Contrast("over_random_beyond", BEYOND, "cut", "form", "random"),
             Shares("solved", BY, {**DRAWN, "at.op": largest}, called="judged"),
             Shares("solution_tokens", BY, {**DRAWN, "at.op": largest}, unit="tokens/solution", share=False),
             POINTS, CONSTANT, items="problems", prepare=named),
    figure=lambda table, law: DRAW(named(table), law),
    expect=(
        own_test("define_gain@form", "at least", -0.02, "two words in each sentence that say nothing",
                 label="no words that say nothing, over whole solutions"),
        own_test("sums_gain_beyond@form", "at most", -0.05, "what is not written has to be computed at once",
                 label="longer problems: no intermediate sums, over whole solutions"),
        own_test("over_random@sums", "at least", 0.0, "what is left out matters, not how much",
                 label="no intermediate sums over as many tokens at random"),
        own_test("over_random_beyond@sums", "at least", 0.0, "likewise",
                 label="longer problems: no sums over as many tokens at random"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Judged is the number after <answer>, which every form has; judged@ holds what else can be read: all steps "
            "without Define and as, parameters and values without intermediate sums, nothing in the others. Two seeds "
            "of whole solutions, one of each other form; at random as many tokens as sums and as all of these. Equally "
            "many tokens in training, so that shorter forms see more problems."
        ),
        "Tier demo: one seed, without Define and as, without intermediate sums, and as many at random.",
    ),
    found=(
        "Beside whole solutions of the same seed (0.90) two words that say nothing can be left out (0.94), and "
        "intermediate sums are worth 26 points; but as many tokens left out at random cost 21, so that how much is "
        "left out counts too, and leaving out all costs less (21) than the sums alone. At 12 operations all short "
        "forms but the first are where the commonest answer is."
    ),
    columns=tuple(f"number/set=drawn/op={op}/filter=all" for op in dict.fromkeys(
        setting(tier).task.max_op for tier in ("smoke", "demo", "gpu", "paper"))),
)  # fmt: skip
