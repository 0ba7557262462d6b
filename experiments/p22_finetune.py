"""Part 2.2: wrong starts only in finetuning: ``physlm run p22_finetune --tier demo``."""

from _part2 import COLUMNS, DEVIATIONS, DRAWN, EXACT, base_run, base_runs, continued_run, setting

from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Contrast, Minus, Shares, largest, laws
from physlm.laws.verdict import bound
from physlm.tasks.igsm.config import Retry
from physlm.training.config import RunSpec

RETRY = Retry(0.2)
RANKS = {"demo": (4,)}  # of queries and values; twice that of the embedding


def runs(tier: str) -> list[RunSpec]:
    """The base model; trained on wrong starts from the beginning; the base model going on with them."""
    bases = base_runs(tier)
    return [*bases, *(base_run(tier, seed, retry=RETRY) for seed in setting(tier).seeds[:1]),
            *(continued_run(base, RETRY, rank) for rank in (0, *RANKS.get(tier, (4, 64))) for base in bases[:1])]


HOW = {"start": "start.task.kind", "rank": "train.lora_rank"}
LONG = {**EXACT, "at.op": largest}
BEYOND = Shares("solved", HOW, {**LONG, "task.retry.rate": 0.2}, called="beyond")
INSIDE = Shares("solved", HOW, {**DRAWN, "at.op": largest, "task.retry.rate": 0.2}, called="inside")
ERROR_FREE = Shares("solved", (), {**LONG, "task.retry.rate": 0.0}, called="error_free")
FULL, SMALL = (Shares("solved", (), {**LONG, "train.lora_rank": rank, "start.task.kind": "igsm"}, called=name)
               for name, rank in (("full", 0), ("low_rank", 4)))  # fmt: skip

EXPERIMENT = Experiment(
    name="p22_finetune",
    claim=(
        "Low-rank finetuning on wrong starts does not teach a model that was trained without them to take them back; "
        "as much training of all weights as before does."
    ),
    source="arXiv:2408.16293, Result 5, Figure 7", runs=runs, measures=("solutions",),
    law=laws(BEYOND, INSIDE, ERROR_FREE, Contrast("pretraining_gain", BEYOND, "start", "", "igsm"),
             Contrast("left", BEYOND, "rank", 0, 4), Minus("low_rank_gain", SMALL, ERROR_FREE, independent=True),
             Minus("full_gain", FULL, ERROR_FREE, independent=True), INSIDE.of("solved_untrained", "untrained"),
             items="problems"),
    figure=bars(BEYOND, "rank", "start", control=ERROR_FREE, control_name="never", names={
        ("start", ""): "from the beginning", ("start", "igsm"): "only afterwards",
        ("rank", 0): "all weights", ("rank", 4): "ranks 4 and 8", ("rank", 64): "ranks 64 and 128"},
        ylabel="solved, half as many operations again (%)", title="Wrong starts at the rate 0.2"),
    expect=(
        bound("low_rank_gain", "at most", 0.03, "Figure 7: 0.07 below the base model on the mean of all tests",
              "no gain but for chance"),
        bound("left@start=igsm", "at least", 0.05, "Figure 7: 0.12 on the mean of all tests", "5 points are ours"),
        bound("full_gain", "at least", 0.03, "Figure 7: 0.05 on the mean of all tests", "3 points are ours"),
    ),
    deviations=(
        *DEVIATIONS,
        ("Going on takes as many steps as the training before it, as published of all weights and of updates of "
         "iGSM-hard; updates at the rate 1e-3, all weights at half the rate before."),
        ("Tier gpu: ranks 4 and 64 of queries and values, twice that of the embedding; published: 4 to 256. Wrong "
         "starts at the rate 0.2, nothing masked; one seed of each but of the base model.")),
    found=(
        "Low-rank updates do not teach it and lose half of what the model could do; all weights gain 0.017 on the "
        "model they began with and more than training on wrong starts from the beginning, which at this amount of "
        "training is harmful itself (p22_retry). Ranks 64 and 128 were not finished."
    ),
    columns=COLUMNS,
)  # fmt: skip
