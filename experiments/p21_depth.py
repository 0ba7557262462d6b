"""Part 2.1: depth matters more than width at equal parameters: ``physlm run p21_depth --tier demo``."""

from _part2 import COLUMNS, DEVIATIONS, DRAWN, EXACT, base_run, setting

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Shares, largest, laws
from physlm.laws.verdict import bound, own_test
from physlm.training.config import RunSpec

# layers, heads, width: layers * width^2 is 0.39 to 0.41 million at tier gpu, and 6 x 256 the base model
SHAPES = {
    "smoke": ((4, 1, 16), (16, 1, 8)),
    "demo": ((4, 2, 64), (16, 1, 32)),
    "gpu": ((4, 10, 320), (6, 8, 256), (16, 5, 160)),
    "paper": ((4, 21, 1344), (8, 15, 960), (12, 12, 768), (16, 10, 640), (20, 9, 576)),
}


def runs(tier: str) -> list[RunSpec]:
    """Each shape from each seed."""
    return [base_run(tier, seed, shape) for shape in SHAPES[tier] for seed in setting(tier).seeds]


LAYERS = {"layers": "model.layers"}
CURVE = Shares("solved", {**LAYERS, "op": "at.op"}, EXACT)
BEYOND = Shares("solved", LAYERS, {**EXACT, "at.op": largest}, called="beyond")
INSIDE = Shares("solved", LAYERS, {**DRAWN, "at.op": largest}, called="inside")

EXPERIMENT = Experiment(
    name="p21_depth",
    claim="Of models with equally many parameters the deeper ones solve more, and the more so the longer the problem.",
    source="arXiv:2407.20311, Result 6, Figures 9 and 10", runs=runs, measures=("solutions",),
    law=laws(INSIDE, BEYOND, CURVE, Contrast("depth_gain", BEYOND, "layers", 16, 4),
             Contrast("inside_gain", INSIDE, "layers", 16, 4), Contrast("gain_by_op", CURVE, "layers", 16, 4),
             INSIDE.of("solved_untrained", "untrained"), items="problems"),
    figure=curves(CURVE, "op", "layers", log=False, xlabel="operations", ylabel="solved (%)",
                  title="Equally many parameters", names={
                      ("layers", shape[0]): f"{shape[0]} layers of {shape[2]}" for shape in SHAPES["gpu"]}),
    expect=(
        bound("depth_gain", "at least", 0.05, "Figure 9: 16 and 20 layers far above 4", "5 points are ours, of half as "
              "many operations again", label="longer problems: 16 layers over 4"),
        own_test("inside_gain", "at least", -0.02, "the deeper model is not worse on problems like those of training",
                 label="problems as in training: 16 layers over 4"),
        own_test("untrained@layers=4", "at most", 0.02, "nothing is solved by chance",
                 label="solved by an untrained model of 4 layers"),
    ),
    deviations=(
        *DEVIATIONS,
        ("Tier gpu: 4, 6 and 16 layers of 320, 256 and 160 dimensions, heads of 32; published: 4, 8, 12, 16 and 20 of "
         "1344 to 576, heads of 64."),
        "Tier demo: 4 and 16 layers of 64 and 32 dimensions."),
    found=(
        "In both seeds 16 layers solve more than 4 at every op from 2 on, by up to 20 points at op 9; at half as many "
        "operations again, where the bound stands, the means of all shapes are below a tenth and the gain is 4 "
        "points."
    ),
    columns=COLUMNS,
)  # fmt: skip
