"""Part 3.3: two bits of knowledge per parameter after 1000 exposures, one after 100.

GPTs of many sizes are trained from scratch on N synthetic biographies, every person seen equally often, and asked how
many bits of the biographies each has learned.  Plotted against parameters, log-log, models too small for their data
lie on one line, bits = R x parameters; models that are large enough sit at all that the data holds.

    physlm run p33_capacity --tier demo

What is asked for was fixed before the runs of this design of tier gpu, on planted worlds of these 350 runs
(tests/laws/test_capacity_power.py).  They scatter from seed to seed as committed runs do, by 3 % after 1000 exposures
and by 6 % after 100.  In how many of 40 worlds each of what is asked for is met:

    R = 2.0, 2.1 or 2.2                 37 or more, each; 33 or more at R = 2 with scatters of 5 % and 8 %
    R = 1.9                             peak at 1000: 13, peak at 100: 39, saturation_ample: 0
    R = 1.7                             peak at 1000: 0, peak at 100: 9, line at 100: 0, saturation_ample: 0
    R = 1.7, seeds 0 and 1 alone        peak at 1000: 0, peak at 100: 1, constancy: 4 at 1000, 0 at 100
    R = 1.5, seeds 0 and 1 alone        peak at 1000: 0, peak at 100: 3, constancy: 4 at 1000, 0 at 100
    R = 2.4                             most: 0
    R rises 20 % with each doubling     slope_per_doubling: 0, constancy: 0 at 1000, 2 at 100

Of two seeds the intervals are wider than what is judged, also in worlds of R = 2 (peaks: 2 and 1).  The peak at 100
exposures tells 0.85 from 1 in three quarters of the worlds; the line over all sizes that are too small does in each.

The points of N = 50,000 have three seeds, whose means are known to 7 %: they tell 1.78 from 2.1, and 1.78 from 1.5 in
half of the worlds.  A rise of 20 % from N = 5,000 to 50,000 is within what is called one line here.
"""

from __future__ import annotations

import itertools

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.figures.knowledge.capacity import capacity_figure
from physlm.lab.experiment import TIERS, Experiment
from physlm.laws.knowledge.capacity import CONSTANT, capacity_law
from physlm.laws.verdict import Expectation, bound, published, published_bound
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.training.config import RunSpec, TrainConfig

# Tier gpu.  Sizes are (layers, width), depths 2 to 8.  Embedding rows are most of a narrow model: 2,915 words x width
# beside 12 layers width^2.  Above the sizes of each N: R^max, the data's bits for each parameter; 2 is where 1000
# exposures should just reach, above 2.5 a model is surely too small for its data, at 1.0 it has twice what it needs.
GPU_SIZES = {
    # 5.9, 2.7, 2.2, 1.6, 1.6 and 0.62
    5_000: ((2, 16), (2, 32), (4, 32), (8, 32), (2, 48), (2, 96)),
    # 5.2, 3.1, 2.5, 1.7, 2.2 and 0.80
    10_000: ((2, 32), (2, 48), (4, 48), (8, 48), (2, 64), (2, 128)),
    # 6.2, 4.2, 3.2, 2.1, 2.4, 1.6 and 0.89
    20_000: ((2, 48), (2, 64), (4, 64), (8, 64), (2, 96), (2, 128), (5, 128)),
}
# The two sizes of each N where a peak is awaited, at 1000 and at 100 exposures: five seeds of each.
GPU_KNEES = {
    1000: {5_000: ((2, 32), (4, 32)), 10_000: ((2, 48), (4, 48)), 20_000: ((2, 64), (4, 64))},
    100: {5_000: ((2, 32), (2, 48)), 10_000: ((2, 48), (2, 64)), 20_000: ((2, 64), (2, 96))},
}
GPU_SEEDS = 5
# From the published rate to 16 times it in steps of two.  The middle three have the other seeds.
GPU_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
GPU_HEAD = 16  # dimensions of a head: 64 would leave most of these models a single one
# One person a row: 60 tokens hold 99 % of the biographies whole, and of the others all but the last full stop or word.
GPU_ROW_TOKENS = 60
# People in a step.  Published are N / 46 of N = 10,000 and 20,000 at 1000 exposures and N / 463 of 50,000 at 100.  Half
# of that at N = 20,000 and 1000 exposures, and less for fewer people, so that small N have more steps an exposure: 93,
# 111 and 139 for N = 20,000, 10,000 and 5,000 at 1000 (as many thousand steps), 465, 500 and 556 at 100.
GPU_PEOPLE_A_STEP = {1000: {5_000: 36, 10_000: 90, 20_000: 216}, 100: {5_000: 9, 10_000: 20, 20_000: 43}}
# N = 50,000 as published: GPT2-l-h of 64-wide heads, windows of 512 tokens, its batch and its one rate; three seeds of
# the two sizes at the knee.  R^max is 3.9, 2.5, 1.7 and 0.63.
GPU_PUBLISHED, GPU_PUBLISHED_SEEDS = 50_000, 3
GPU_PUBLISHED_SIZES = ((2, 128), (4, 128), (7, 128), (5, 256))
GPU_PUBLISHED_KNEE = ((4, 128), (7, 128))

# The published grid around each knee.  (layers, width) with 64-wide heads: GPT2-l-h is (l, 64 h).  The labels were
# worked out from parameter counts read off Figure 1a, P = 12 l (64 h)^2 + 3275 (64 h), and are not printed there.
PAPER_SIZES = {
    50_000: ((2, 128), (4, 128), (7, 128), (5, 256)),
    100_000: ((4, 128), (8, 128), (5, 192), (5, 256)),
    200_000: ((2, 256), (4, 256), (6, 256), (2, 512)),
    500_000: ((6, 256), (5, 384), (16, 256), (10, 384)),
    1_000_000: ((14, 256), (10, 384), (7, 512), (10, 512), (12, 768)),
}
# Appendix: (weight decay, learning rate, rows of 512 tokens).  Steps follow from the exposures: the printed number of
# steps and rows do not fit together for N <= 200,000 (twice the tokens that 1000 exposures have).
PAPER_TRAINING = {
    1000: {50_000: (0.02, 1e-3, 96), 100_000: (0.02, 1e-3, 192), 200_000: (0.02, 1e-3, 192),
           500_000: (0.01, 5e-4, 192), 1_000_000: (0.01, 5e-4, 192)},
    100: {50_000: (0.01, 1e-3, 12), 100_000: (0.01, 1e-3, 24), 200_000: (0.01, 1e-3, 48),
          500_000: (0.01, 5e-4, 96), 1_000_000: (0.01, 5e-4, 192)},
}
PUBLISHED_DECAY = {1000: 0.02, 100: 0.01}

# One attribute of 16 chunks out of 128 and one word that tells a person from the others: 40 tokens hold 112 bits, and
# few parameters are spent on finding a person.  Heads are 2 wide.  R^max is 3.4, 2.4 and 0.88.
DEMO_TASK = BioDConfig(people=48, attributes=1, chunks=16, diversity=128, chunk_tokens=1, alphabet=128,
                       name_pools=(1, 1, 48), entries_per_row=1, row_tokens=40)
DEMO_WIDTHS = {6: 1, 8: 3, 16: 1}  # and seeds of each
DEMO_RATES = (2e-2, 4e-2, 8e-2)
DEMO_ROWS = {1000: 16, 100: 4}

SMOKE_TASK = BioDConfig(people=32, attributes=2, chunks=2, diversity=8, chunk_tokens=1, alphabet=8,
                        name_pools=(8, 8, 8), entries_per_row=4, row_tokens=96)
SMOKE_SIZES = ((1, 8), (1, 16))
SMOKE_RATES = (4e-3, 1.6e-2)

# Widths of the widest intervals with which "not below", "not above" and "about" are judged: a seventh above the widest
# of 80 planted worlds of this design, 20 of each R of 1.7, 1.9, 2.0 and 2.2 (of the first four 0.30, 0.34, 0.49 and
# 0.83).  The medians are 0.17, 0.20, 0.26 and 0.49 of these, and 0.74, 1.0, 1.4 and 11 where only two seeds of each
# knee were trained; of slopes 0.14 and 0.08, of the published points 0.21 and 0.06.
WIDEST_PEAK = {1000: 0.35, 100: 0.4}
WIDEST_CONSTANCY = {1000: 0.56, 100: 0.95}
WIDEST_LINE = 0.1
WIDEST_SLOPE = {1000: 0.34, 100: 0.14}
WIDEST_POINT = {"4-2": 0.59, "7-2": 0.26}

READ_OFF = "5 %: read off the figure by a second source, and 2,915 embedding rows where the paper has 3,275"


def gpt(layers: int, width: int) -> ModelConfig:
    """GPT2-l-h where the width is a multiple of 64; a narrower or odd width is one head."""
    return ModelConfig(layers=layers, heads=width // 64 if width % 64 == 0 else 1, width=width)


def runs(tier: str) -> list[RunSpec]:
    """Exposures x people x sizes x learning rates."""
    plans = {"smoke": smoke, "demo": demo, "gpu": gpu, "paper": paper}
    if tier not in plans:
        raise UserError(unknown_key("tier", tier, TIERS))
    return plans[tier]()


def smoke() -> list[RunSpec]:
    """Eight models that learn next to nothing: from data to figure in seconds."""
    specs = []
    for exposures in (8, 4):
        for layers, width in SMOKE_SIZES:
            for rate in SMOKE_RATES:
                train = TrainConfig(exposures=exposures, batch_rows=2, learning_rate=rate, precision="float32")
                specs.append(RunSpec(SMOKE_TASK, gpt(layers, width), train))
    return specs


def demo() -> list[RunSpec]:
    """One-layer models of three widths around the knee of one small bioD, on a CPU.

    Many heads, and initial weights larger than GPT-2's 0.02: with one head and 0.02, made for widths in the hundreds,
    a model this narrow has about a seventh fewer bits after the same steps.
    """
    specs = []
    for exposures, rows in DEMO_ROWS.items():
        for width, seeds in DEMO_WIDTHS.items():
            model = ModelConfig(layers=1, heads=width // 2, width=width, init_std=0.1)
            for rate, seed in itertools.product(DEMO_RATES, range(seeds)):
                train = TrainConfig(exposures=exposures, batch_rows=rows, learning_rate=rate, seed=seed,
                                    weight_decay=PUBLISHED_DECAY[exposures], warmup_steps=100, precision="float32")
                specs.append(RunSpec(DEMO_TASK, model, train))
    return specs


def gpu() -> list[RunSpec]:
    """bioS at four N, each with sizes from far too small to enough or more; N = 50,000 in the published setting."""
    specs = []
    for exposures, batches in GPU_PEOPLE_A_STEP.items():
        for layers, width in GPU_PUBLISHED_SIZES:
            seeds = GPU_PUBLISHED_SEEDS if (layers, width) in GPU_PUBLISHED_KNEE else 1
            specs += [published_run(GPU_PUBLISHED, layers, width, exposures, seed) for seed in range(seeds)]
        for people, rows in batches.items():
            for size in GPU_SIZES[people]:
                specs += small_runs(people, size, exposures, rows)
    return specs


def small_runs(people: int, size: tuple[int, int], exposures: int, rows: int) -> list[RunSpec]:
    """One size of N up to 20,000: a seed of all learning rates, and of the middle ones four more at the knee."""
    layers, width = size
    task = BioSConfig(people=people, entries_per_row=1, row_tokens=GPU_ROW_TOKENS)
    model = ModelConfig(layers=layers, heads=width // GPU_HEAD, width=width)
    pairs = [(rate, 0) for rate in GPU_RATES]
    if size in GPU_KNEES[exposures][people]:
        pairs += [(rate, seed) for rate in GPU_RATES[1:-1] for seed in range(1, GPU_SEEDS)]
    return [RunSpec(task, model, TrainConfig(exposures=exposures, batch_rows=rows, learning_rate=rate, seed=seed,
                                             weight_decay=PUBLISHED_DECAY[exposures]))
            for rate, seed in pairs]  # fmt: skip


def published_run(people: int, layers: int, width: int, exposures: int, seed: int = 0) -> RunSpec:
    """GPT2-l-h on N people with the published batch, weight decay and learning rate."""
    decay, rate, rows = PAPER_TRAINING[exposures][people]
    train = TrainConfig(exposures=exposures, batch_rows=rows, learning_rate=rate, weight_decay=decay, seed=seed)
    return RunSpec(BioSConfig(people=people), gpt(layers, width), train)


def paper() -> list[RunSpec]:
    """The published N, sizes around their knees, and the one published learning rate of each N."""
    return [published_run(people, layers, width, exposures) for exposures in PAPER_TRAINING
            for people, sizes in PAPER_SIZES.items() for layers, width in sizes]


def one_line(exposures: int, figure: str) -> tuple[Expectation, Expectation]:
    """That models too small for their data lie on one line: no two far apart, and no rise with N."""
    source, here = f"{figure}: models too small for their data lie on one line", f"{exposures} exposures"
    return (
        bound(f"constancy@{exposures}", "not above", CONSTANT, source,
              "12 % to either side of it is what we call one line", widest=WIDEST_CONSTANCY[exposures],
              label=f"largest over smallest bits per parameter of full models, {here}"),
        bound(f"slope_per_doubling@{exposures}", "about", 0.0, source,
              "as much as makes 12 % to either side from N = 5,000 to 50,000", slack=0.1,
              widest=WIDEST_SLOPE[exposures], label=f"rise of log2 bits per parameter with each doubling of N, {here}"),
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="p33_capacity",
    claim=(
        "A GPT that has seen every fact of its synthetic biographies 1000 times holds up to 2 bits of knowledge for "
        "each of its parameters, after 100 exposures 1 bit, and a model with more parameters than that needs holds "
        "all the knowledge of its data."
    ),
    source="arXiv:2404.05405, Figures 1a and 1b, Results 1 and 4",
    runs=runs,
    measures=("capacity",),
    law=capacity_law,
    figure=capacity_figure,
    expect=(
        # A world of exactly 2 has to agree: "at least" was met in none of 20 such worlds.
        published_bound("peak_bits_per_param@1000", "not below", 2.0, "Result 1, Figure 1a", unit="bits/parameter",
                        widest=WIDEST_PEAK[1000], label="most bits per parameter, 1000 exposures, best seeds"),
        published_bound("most_bits_per_param@1000", "at most", 2.3, "Result 1: no R above 2.3", slack=0.1,
                        reason="the largest of 175 runs, which scatter by 3 %, lies 5 % above what they scatter around",
                        unit="bits/parameter", label="most bits per parameter of any model, 1000 exposures"),
        # Read off Figure 1a: 2.16 Mbit of 1.213M parameters, 2.85 of 1.807M.
        published("bits_per_param@1000/N=50000/4-2", 1.78, "Figure 1a, GPT2-4-2 on 50,000 people", slack=0.09,
                  reason=READ_OFF, widest=WIDEST_POINT["4-2"], unit="bits/parameter",
                  label="bits per parameter, GPT2-4-2, 50,000 people"),
        published("bits_per_param@1000/N=50000/7-2", 1.58, "Figure 1a, GPT2-7-2 on 50,000 people", slack=0.08,
                  reason=READ_OFF, widest=WIDEST_POINT["7-2"], unit="bits/parameter",
                  label="bits per parameter, GPT2-7-2, 50,000 people"),
        *one_line(1000, "Figure 1a"),
        # "R = R^max" has no number in the paper; 3 % short of it is what we accept, with no tolerance on top.
        bound("saturation@1000", "at least", 0.97, "Result 1", "our reading of R = R^max",
              label="share of all bits that large models hold, 1000 exposures"),
        bound("saturation_ample@1000", "at least", 0.93, "Result 1: R = R^max for R^max <= 1.8",
              "the points read off Figure 1a with R^max of 1.2 to 1.7 have 0.96 to 0.99 of all bits; the worst of our "
              "nine sizes, most of a single seed, is up to 3 % lower",
              label="share of all bits that models with just enough parameters hold"),
        published_bound("peak_bits_per_param@100", "not below", 1.0, "Result 4, Figure 1b", unit="bits/parameter",
                        widest=WIDEST_PEAK[100], label="most bits per parameter, 100 exposures, best seeds"),
        # The peak at 100 is too wide to refuse 0.85; the line, over ten sizes and more, is not.
        bound("line_bits_per_param@100", "not below", 1.0, "Result 4, Figure 1b",
              "models too small for their data lie on the line of 1 bit; 5 % below it is what we accept", slack=0.05,
              unit="bits/parameter", widest=WIDEST_LINE,
              label="bits per parameter of full models, 100 exposures"),
        *one_line(100, "Figure 1b"),
    ),
    deviations=(
        (
            "Text is split into whole words of a closed vocabulary (2,915 in bioS), where the paper has 3,275 "
            "GPT-2 tokens; name pools, value pools and templates have the published sizes but are our own."
        ),
        (
            "Tier gpu: N = 5,000 to 50,000, where the paper has 10,000 to 10,000,000. N = 50,000 is as published: "
            "GPT2-l-h with heads of 64, windows of 512 tokens, its batch and its one learning rate; steps follow from "
            "the exposures, since the printed number of steps is twice what they and the batch give."
        ),
        (
            "N up to 20,000, tier gpu: 2 to 8 layers of width 16 to 128 with heads of 16 dimensions instead of 64, so "
            "that the knee lies inside the grid and a layer has several heads; one biography a row of 60 tokens; five "
            "learning rates for each size, where the paper states one for each N; smaller batches, the smaller the "
            "fewer people there are."
        ),
        (
            "The width of heads, the rows and the middle of the learning rates follow from runs on the same people "
            "with other batches."
        ),
        "Tiers smoke and demo: a very small bioD instead of bioS, in float32.",
        "Linear layers and norms have no biases (0.5 % of the parameters of GPT2-small).",
        "bfloat16 with float32 master weights, where the paper has mixed precision float16.",
    ),
    found=(
        "Models too small for their data do not lie on one line: those on 5,000 people hold 1.2 to 1.4 bits in a "
        "parameter and those on 20,000 2.1, after equally many steps, and a model with R^max of 1.6 ends at 0.82 of "
        "it; one seed was trained, so that no peak is judged, and one depth, so that the share of embedding rows, "
        "highest in the smallest models, is not told apart from their size."
    ),
    columns=("bits_signed", "bits_name", "bits_value", "bits_max"),
)
