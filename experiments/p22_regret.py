"""Part 2.2: a model knows of its mistakes; what trying again brings: ``physlm run p22_regret --tier demo``."""

from _part2 import DEVIATIONS, probed_runs, setting

from physlm.figures.plots import bars
from physlm.lab.experiment import TIERS, Experiment
from physlm.laws.forms import Contrast, Shares, largest, laws
from physlm.laws.verdict import bound, own_test
from physlm.measures.igsm.settings import default_ops

BEYOND = {"at.op": largest}  # half as many operations again as in training
SOLVED = Shares("solved", {"op": "at.op", "detector": "at.detector"})
GAIN = Shares("gain", {"detector": "at.detector"}, BEYOND, share=False)
WRONG = Shares("called_wrong", {"error": "at.error"}, BEYOND)
RIGHT = Shares("called_right", (), BEYOND)
RETRIES = Shares("retries", {"detector": "at.detector"}, BEYOND, unit="1/solution", share=False)
NAMES = {"none": "no retry", "probe": "where the probe says no", "random": "at random, as often",
         "perfect": "checker says no"}  # fmt: skip
ALL_NAMES: dict[object, str] = {("op", op): f"{op} operations" for tier in TIERS
                                for op in default_ops(setting(tier).task)}  # fmt: skip
OPS = dict.fromkeys(default_ops(setting(tier).task)[-1] for tier in TIERS)

EXPERIMENT = Experiment(
    name="p22_regret",
    claim=(
        "Of a model's first wrong sentences most are about a parameter that it already knows cannot be computed, but "
        "trying again where it knows brings much less than a perfect detector would."
    ),
    source="arXiv:2408.16293, Result 2, Figure 3",
    runs=probed_runs,
    measures=("regret",),
    law=laws(WRONG, RIGHT, WRONG.of("called_wrong_untrained"), RIGHT.of("called_right_untrained"), GAIN,
             Contrast("probe_over_random", GAIN, "detector", "probe", "random"),
             Contrast("perfect_over_probe", GAIN, "detector", "perfect", "probe"), RETRIES, SOLVED, items="problems"),
    figure=bars(SOLVED, "op", "detector", names={**NAMES, **ALL_NAMES}, ylabel="solved (%)", title="Retry upon regret"),
    expect=(
        bound("called_wrong@error=any", "at least", 0.4, "Section 3.1: about 0.60", "ours, of a smaller probe",
              label="wrong sentences that the probe calls wrong"),
        bound("called_right", "at least", 0.95, "Section 3.1: about 0.99", "ours, of a smaller probe",
              label="right sentences that the probe calls right"),
        bound("gain@detector=probe", "at least", -0.01, "Figure 3: 0.915 to 0.929, mean of all sets", "no loss: ours",
              label="solved with retries where the probe says no, over none"),
        bound("gain@detector=perfect", "at least", 0.02, "Figure 3: 0.915 to 0.957, mean of all sets", "ours",
              label="solved with retries at every error, over none"),
        bound("perfect_over_probe", "at least", 0.01, "Figure 3: 0.957 against 0.929", "1 point: ours",
              label="a perfect detector over the probe"),
        own_test("probe_over_random", "at least", 0.0, "what the probe knows is better than going back at random",
                 label="the probe over retries at random"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The probe learns of all edges and totals, since a model may name any, otherwise as in p21_probes. It "
            "reads the text before a sentence and is asked about the parameter that this sentence names; the paper "
            "asks after the name, or after the sentence."
        ),
        (
            "A sentence is drawn again at temperature 1, all others are written greedily. Published rows are means "
            "over all test sets, with a beam of 1."
        ),
        "1,000 problems of each op at tier gpu and paper, 16 at smoke and demo. Tier gpu: one seed of two.",
    ),
    found=(
        "The probe calls half of the first wrong parameters not computable, against 0.23 of an untrained model, but "
        "also an eighth of the right ones: it goes back 7.7 times a solution, mostly for nothing, and no better than "
        "chance. A perfect detector gains 18 points at 8 operations and 19 at 12: where to go back is what is missing."
    ),
    columns=tuple(f"solved/op={op}/detector={name}" for op in OPS for name in NAMES),
)  # fmt: skip
