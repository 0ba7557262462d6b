"""Part 2.1: solutions have no unneeded steps (level 1): ``physlm run p21_shortest --tier demo``."""

from _part2 import COLUMNS, DEVIATIONS, DRAWN, EXACT, REASK, base_runs

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Shares, largest, laws
from physlm.laws.verdict import bound, own_test

UNIT = "1/solution"
CURVE = Shares("unneeded_parameters", {"op": "at.op"}, EXACT, called="by_op", unit=UNIT, share=False)
PARAMETERS, INSIDE, REASKED = (
    Shares("unneeded_parameters", (), {**where, "at.op": largest}, called=name, unit=UNIT, share=False)
    for name, where in (("parameters", EXACT), ("inside", DRAWN), ("reask", REASK)))  # fmt: skip
UNPLANNED = CURVE.of("unneeded_unplanned", "unplanned_by_op")

EXPERIMENT = Experiment(
    name="p21_shortest",
    claim="Right solutions are the shortest: they compute nothing that the question does not need.",
    source="arXiv:2407.20311, Result 3, Figure 4; arXiv:2408.16293, Figure 6", runs=base_runs, measures=("solutions",),
    law=laws(
        PARAMETERS, PARAMETERS.of("unneeded_operations", "operations"), PARAMETERS.of("unneeded_unplanned",
        "unplanned"), INSIDE, REASKED, REASKED.of("unneeded_operations", "reask_operations"),
        REASKED.of("unneeded_unplanned", "reask_unplanned"), CURVE, UNPLANNED,
        Shares("shortest", (), {**EXACT, "at.op": largest}), Shares("shortest", (), {**REASK, "at.op": largest},
        called="reask_shortest"), items="right solutions"),
    figure=curves(CURVE, "op", control=UNPLANNED, control_name="any that can be computed is computed next", log=False,
                  xlabel="operations", ylabel="unneeded parameters in a right solution"),
    expect=(
        bound("parameters", "at most", 0.02, "2408.16293, Figure 6: at most 0.01", "twice that, of half as many "
              "operations again", unit=UNIT, label="unneeded parameters, half as many operations again"),
        bound("operations", "at most", 0.02, "2408.16293, Figure 6: at most 0.01", "likewise", unit=UNIT,
              label="unneeded operations, half as many operations again"),
        bound("reask", "at most", 0.36, "2408.16293, Figure 6: 0.12 (med) to 0.36 (hard)", "the largest of these; our "
              "family is smaller", unit=UNIT, label="unneeded parameters, problems asked again"),
        own_test("unplanned", "at least", 0.5, "there is something that need not be computed", unit=UNIT,
                 label="unneeded parameters without a plan"),
    ),
    deviations=DEVIATIONS,
    found=(
        "Right solutions of 12 operations are the shortest up to one in two hundred, but two seeds whose means differ "
        "by 0.01 give an interval wider than the bound; at fewer operations, with more to waste, 0.06 parameters a "
        "solution are not needed."
    ),
    columns=COLUMNS,
)  # fmt: skip
