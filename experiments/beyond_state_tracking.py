"""Products of permutations by layers and length: PaTH, DeltaNet: ``physlm run beyond_state_tracking --tier demo``."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from _beyond import MIXERS, NAMES, with_mixer

from physlm.figures.plots import curves
from physlm.lab.experiment import Experiment, of_tier
from physlm.laws.forms import Arrival, Best, Learnt, Minus, Shares, laws
from physlm.laws.law import Law
from physlm.laws.verdict import bound, own_test
from physlm.models.config import ModelConfig
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.gated import Gated
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.norms import RMSNorm
from physlm.places import AT
from physlm.tasks.state.words import WordsConfig
from physlm.training.config import RunSpec, TrainConfig

# SiLU would keep the keys of reflections to one side
TRACKERS = {name: replace(mixer, silu=False) if isinstance(mixer, DeltaNet | GatedDeltaNet) else mixer
            for name, mixer in MIXERS.items()}
LABELS = {mixer.label: name for name, mixer in TRACKERS.items()}
ALL = ("rope", "fox", "path", "mamba2", "deltanet", "deltanet_negative", "deltaproduct", "gdn_negative")
FEW = ("rope", "path", "deltanet_negative")
ABLE = 0.9  # of the products are right: what counts as able in arXiv:2404.08819


@dataclass(frozen=True)
class Setting:
    """One tier: groups that are hard at all depths, controls at one of them."""

    groups: tuple[str, ...]
    controls: tuple[str, ...]
    layers: tuple[int, ...]
    control_layers: int
    row_tokens: int
    shape: tuple[int, int]  # heads and width
    train: TrainConfig
    rates: tuple[float, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    mixers: tuple[str, ...] = ALL


_TRAIN = TrainConfig(steps=10_000, batch_rows=512, weight_decay=0.01)
_SMALL = replace(_TRAIN, steps=1_500, batch_rows=64, warmup_steps=100, precision="float32")
SETTINGS = {
    "smoke": Setting(("S3",), ("Z6",), (1, 2), 1, 9, (1, 16), replace(_SMALL, steps=4, batch_rows=4), (3e-3,), (1,),
                     FEW),
    "demo": Setting(("S3",), (), (1,), 1, 17, (2, 32), _SMALL, (3e-3,), (1,), FEW),
    "gpu": Setting(("A5", "S5"), ("Z60", "A4xZ5"), (1, 2, 3), 2, 32, (4, 128), _TRAIN, (3e-4, 1e-3, 3e-3)),
    "paper": Setting(("A5", "S5"), ("Z60", "A4xZ5"), (1, 2, 3, 4, 6, 8), 2, 32, (8, 512), replace(_TRAIN, steps=50_000),
                     (1e-4, 3e-4), (1,)),
}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Each mixer on each group, at each depth; on the controls at one."""
    found = of_tier(SETTINGS, tier)
    asked = [*((group, layers) for group in found.groups for layers in found.layers),
             *((group, found.control_layers) for group in found.controls)]
    return [RunSpec(WordsConfig(group, found.row_tokens),
                    ModelConfig(layers, *found.shape, (TRACKERS[name],), (Gated(),), RMSNorm()),
                    replace(found.train, learning_rate=rate, seed=seed))
            for group, layers in asked for name in found.mixers for rate in found.rates for seed in found.seeds]


def by_length(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``mixer`` and ``depths``; the kind is a length as a number, or empty of the mean over all, which is
    ``every``.

    ``depths`` says whether all numbers of layers of the tier, which is told by the steps of training, are finished of
    this mixer and group: else the first of them that is able is not known.
    """
    table = with_mixer(table, LABELS)
    planned = {one.train.steps: {*one.layers} for one in SETTINGS.values()}
    cells = ["task.group", "mixer", "steps"]
    finished = table.groupby(cells)["model.layers"].agg(set).to_dict()
    complete = {key: finished[key] >= planned.get(key[-1], set()) for key in finished}
    depths = ["all" if complete[key] else "some" for key in zip(*(table[name] for name in cells), strict=True)]
    table = table.assign(depths=depths)
    kinds = table[f"{AT}kind"].astype(str)
    lengths = kinds.str.extract(r"^length(\d+)$")[0]
    whole = kinds == "every"
    return table.assign(
        **{f"{AT}kind": [int(length) if isinstance(length, str) else "" for length in lengths]},
        quantity=table["quantity"].where(~whole, table["quantity"].str.replace("forced", "every")))


RATE = "train.learning_rate"
BY = {"group": "task.group", "mixer": "mixer", "layers": "model.layers"}
TEST = {"at.half": "test"}
RIGHT = Best("right", Shares("forced", {**BY, "length": "at.kind"}, TEST, called="product"), over=RATE)
EVERY = Best("every", Shares("every", BY, TEST, called="every_at_rate"), over=RATE)
NEEDED = Arrival("layers_needed", RIGHT, "layers", ABLE, "layers")
HARD = ("A5", "S5")
JUDGED = 16  # length


def needed(name: str, mixer: str) -> Arrival:
    """Layers that a mixer needs for words of 16, by group."""
    where = {**TEST, "at.kind": JUDGED, "mixer": mixer, "task.group": HARD, "depths": "all"}
    one = Shares("forced", {"group": "task.group", "layers": "model.layers"}, where, called=f"{name}_product")
    return Arrival(name, Best(f"{name}_right", one, over=RATE), "layers", ABLE, "layers")


def fewer(mixer: str, than: str) -> Learnt:
    """How many layers fewer one mixer needs than another, judged where one of the two is able at all."""
    where = {**TEST, "at.kind": JUDGED, "mixer": (mixer, than), "task.group": HARD}
    score = Best(f"able_{mixer}_{than}", Shares("forced", BY, where, called=f"product_{mixer}_{than}"), over=RATE)
    names = {one: needed(f"{mixer}_{than}_{one}", one) for one in (mixer, than)}
    return Learnt(Minus(f"{mixer}_fewer_than_{than}", names[than], names[mixer], independent=True), score, ABLE)


PAIRS = (("path", "rope"), ("path", "fox"), ("deltanet_negative", "rope"), ("deltanet_negative", "deltanet"),
         ("deltaproduct", "deltanet_negative"))  # fmt: skip
POOLED = ("mixer", "model.mixer", "model.position", "model.layers", "depths", RATE)
UNTRAINED, CONSTANT = (Shares(f"every_{name}", {"group": "task.group"}, TEST, called=name, pooled=POOLED)
                       for name in ("untrained", "majority"))
_FIGURE = curves(EVERY, "layers", "mixer", names=NAMES, xlabel="layers", log=False, ylabel="products right (%)",
                 caption="Every place of words of a row, at the best rate.")
FIGURE = "arXiv:2505.16381, Figure 2 (A5: over 90 % with fewer layers than RoPE and FoX)"


def figure(table: pd.DataFrame, law: Law) -> Any:
    """Products by layers, a panel a group."""
    return _FIGURE(by_length(table), law)


EXPERIMENT = Experiment(
    name="beyond_state_tracking",
    claim=(
        "PaTH, and DeltaNet with eigenvalues down to -1, multiply permutations with fewer layers than RoPE, FoX or "
        "DeltaNet with positive ones."
    ),
    source="arXiv:2505.16381, Figure 2; arXiv:2411.12537; the task: arXiv:2404.08819",
    runs=runs,
    measures=("forced",),
    law=laws(RIGHT, EVERY, NEEDED, *(fewer(*pair) for pair in PAIRS), UNTRAINED, CONSTANT, items="words",
             prepare=by_length),
    figure=figure,
    expect=(
        *(bound(f"path_fewer_than_{than}@group={group}", "at least", 1.0, FIGURE,
                f"one layer is ours: no numbers there{', and no S5' if group == 'S5' else ''}",
                unit="layers", label=f"layers that PaTH needs fewer than {NAMES[than]}, words of 16, {group}")
          for group in HARD for than in ("rope", "fox")),
        *(bound(f"deltanet_negative_fewer_than_{than}@group={group}", "at least", 1.0, "arXiv:2411.12537",
                "one layer is ours", unit="layers",
                label=f"layers that DeltaNet to -1 needs fewer than {NAMES[than]}, words of 16, {group}")
          for group in HARD for than in ("rope", "deltanet")),
        *(own_test(f"every@group=Z60/mixer={name}/layers=2", "at least", ABLE, "control: a solvable group is tracked",
                   label=f"products in Z60, 2 layers, {NAMES[name]}") for name in ("path", "deltanet_negative")),
    ),
    deviations=(
        (
            "Words of 31 uniform elements of the whole group, every product asked for; 128 dimensions, 4 heads, a "
            "gated MLP in each layer, 10,000 steps of 512 words. The sources have other sizes, and one length a model."
        ),
        (
            "Queries and keys of DeltaNet and Gated DeltaNet do not pass SiLU, as they do in models of text and in "
            "published code: behind it channels lean to one side, and pairs of keys that turn far are hard to find. "
            "Values pass it; so does what PaTH reflects along, as published."
        ),
        "A length is that of the place in the word. Judged are words of 16, at 0.9 of the products.",
        "Layers between two depths are read off a straight line over their logarithm; 1, 2 and 3 are trained.",
        (
            "The best of the rates 3e-4, 1e-3 and 3e-3, each from the same three seeds. Where it is an end of them the "
            "table says so, and all is judged all the same: what is able at no rate has its best anywhere."
        ),
        "Smoke and demo: S3, a solvable group of six, with three mixers, in float32; demo in one layer.",
    ),
)  # fmt: skip
