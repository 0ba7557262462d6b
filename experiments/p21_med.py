"""Part 2.1: iGSM-med as far as the time goes, with its learning curve: ``physlm run p21_med --tier smoke``."""

from dataclasses import replace

from _part2 import COLUMNS, DEVIATIONS, base_run, family, setting

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Least, Shares, largest, laws
from physlm.laws.verdict import own_test, published
from physlm.training.config import RunSpec

SNAPSHOTS = 5


def runs(tier: str) -> list[RunSpec]:
    """At tier gpu a model of iGSM-med for some ten minutes of one H100; else the base model, with snapshots."""
    found = setting(tier)
    train = replace(found.train, seed=found.seeds[0], snapshots=SNAPSHOTS)
    if tier == "gpu":
        train = replace(train, steps=26_000, batch_rows=96)
        return [RunSpec(family("med"), found.model, train)]
    return [replace(base_run(tier, train.seed), train=train)]


AFTER = Shares("solved_after", {"step": "at.step"}, {"at.set": "drawn"})
SOLVED = Shares("solved", {"filter": "at.filter", "set": "at.set", "op": "at.op"})
PARAMETERS, OPERATIONS = (
    Shares(f"unneeded_{name}", {"set": "at.set", "op": "at.op"}, called=name, unit="1/solution", share=False)
    for name in ("parameters", "operations"))  # fmt: skip
FEW = "2,500 problems, one seed, one way to generate; the published best of four"
TABLE = {("drawn", 15): 0.999, ("exact", 15): 0.991, ("exact", 20): 0.918, ("exact", 21): 0.879, ("exact", 22): 0.840,
         ("exact", 23): 0.768, ("reask", 20): 0.916}  # fmt: skip
SETS = {"drawn": "at most", "exact": "exactly", "reask": "asked again,"}

EXPERIMENT = Experiment(
    name="p21_med",
    claim="GPT2 learns iGSM-med: problems of at most 15 operations, and solves most of those with 20 to 23.",
    source="arXiv:2407.20311, Figure 3; numbers: arXiv:2408.16293, Figure 3", runs=runs, measures=("solutions",),
    law=laws(SOLVED, AFTER, PARAMETERS, OPERATIONS, SOLVED.of("number_constant", "constant"),
             Shares("solved_untrained", {"set": "at.set"}, {"at.op": largest}, called="untrained"),
             Least("truth", Shares("solved_truth", {"set": "at.set", "op": "at.op"}, called="truth_by_op")),
             items="problems"),
    figure=curves(AFTER, "step", xlabel="steps of training", ylabel="solved (%)",
                  title="iGSM-med: held-out problems like those of training"),
    expect=(
        *(published(f"solved@filter=published/set={name}/op={op}", value, "2408.16293, Figure 3, original, pq",
                    slack=0.02, reason=FEW,
                    label=f"solved, {SETS[name]} {op} operations") for (name, op), value in TABLE.items()),
        published("parameters@set=reask/op=20", 0.12, "2408.16293, Figure 6", slack=0.05, reason=FEW,
                  unit="1/solution", label="unneeded parameters, 20 operations, asked again"),
        published("operations@set=reask/op=20", 0.15, "2408.16293, Figure 6", slack=0.05, reason=FEW,
                  unit="1/solution", label="unneeded operations, 20 operations, asked again"),
        own_test("truth", "at least", 1.0, "the generator's own solutions are right",
                 label="true solutions that the checker calls right"),
    ),
    deviations=(
        ("Tier gpu: 6 layers, 8 heads, 256 dimensions, a quarter of the head rotary, 1.3 billion tokens in steps of "
         "51,000 instead of 12, 12, 768 and 39 billion in steps of 393,000: an eighteenth of the problems that "
         "the published model saw. Tests below 5 operations are on all templates, which makes these problems easier "
         "than held-out templates would be: training never showed one of the two templates of a single operation."),
        *DEVIATIONS[1:]),
    found=(
        "After an eighteenth of the published problems the model solves 0.82 of those like training, half of what it "
        "lacks being problems of up to 8 operations, and 0.05 of those of 20. The curve still rises, also because the "
        "rate falls."
    ),
    columns=COLUMNS,
)  # fmt: skip
