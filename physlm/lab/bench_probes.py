"""How fast the P-probes of one model learn and are judged on this machine, 11 targets at six places, all together; and
how fast a variable probe of iGSM learns.

On a GPU a model of the published shape, 12 x 768, and the 10,000 people of tier gpu with five shuffled biographies
each; without one the shape of tier demo.  The weights are random, which changes no time.  What the measure
``knowledge`` does besides (the untrained model, other people's values, Q-probes) is outside.  The variable probe reads
three members, as the measure ``igsm_probes`` has them.
"""

from __future__ import annotations

import dataclasses
import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    import torch

SHAPES = {
    "cuda": (BioSConfig(10_000, questions=True, **augmentation("multi5+permute")),
             ModelConfig(layers=12, heads=12, width=768)),
    "cpu": (BioSConfig(200, questions=True, pool_size=8, **augmentation("multi5+permute")),
            ModelConfig(layers=2, heads=4, width=64)),
}  # fmt: skip
V_SHAPES = {
    "cuda": (FAMILIES["med"], ModelConfig(layers=6, heads=4, width=256)),
    "cpu": (FAMILIES["tiny"], ModelConfig(layers=2, heads=2, width=64)),
}  # fmt: skip
PRECISION: dict[str, Literal["bf16", "float32"]] = {"cuda": "bf16", "cpu": "float32"}
FIRST, QUICK = 10, 60  # steps that compile; steps that are timed if it has to be quick
V_FIRST = {"cuda": 64, "cpu": 4}  # steps in which most lengths of rows are recorded


class Times(NamedTuple):
    """Seconds of the start with ``FIRST`` steps (texts, compiling), of ``steps`` more, and of judging all others."""

    steps: int
    start: float
    training: float
    judging: float

    def whole(self, steps: int) -> float:
        """Seconds of a probe of so many steps."""
        return self.start + self.training / self.steps * (steps - FIRST) + self.judging


def time_probes(
    task: BioSConfig, shape: ModelConfig, device: torch.device, quick: bool = False
) -> tuple[Times, int]:
    """The times, and how many steps a whole training has."""
    from physlm.lab.bench import wait
    from physlm.measures.knowledge import JUDGED, P_PLANS, PLACES, knowledge
    from physlm.measures.knowledge_probes import KnowledgeProbes
    from physlm.measures.knowledge_texts import texts_source, train_half
    from physlm.measures.trained import Trained
    from physlm.models.decoder import Decoder

    model = Decoder(shape, len(task.vocabulary())).to(device)
    spec = RunSpec(task, shape, TrainConfig(precision=PRECISION[device.type]))
    run = Trained(spec, device, lambda step: model)
    wait(device)
    clock = [time.perf_counter()]
    asked, learn_Q = knowledge(run), train_half(task.people)
    plan = P_PLANS[device.type].for_people(int(learn_Q.sum()))
    source = texts_source(asked.biographies, learn_Q, PLACES, plan.rows, judged_rows=JUDGED * plan.rows)
    config = dataclasses.replace(plan.probe, steps=FIRST)
    probes = KnowledgeProbes(run.ready(run.model), source, asked.targets, config)
    probes.train()
    wait(device)
    clock.append(time.perf_counter())
    probes.config = dataclasses.replace(config, steps=QUICK if quick else plan.probe.steps - FIRST)
    probes.train()
    wait(device)
    clock.append(time.perf_counter())
    probes.evaluate()
    wait(device)
    clock.append(time.perf_counter())
    start, training, judging = (after - before for before, after in pairwise(clock))
    return Times(probes.config.steps, start, training, judging), plan.probe.steps


def time_variable_probe(config: IgsmConfig, shape: ModelConfig, device: torch.device,
                        quick: bool = False) -> tuple[int, float, float]:  # fmt: skip
    """Steps of a probe of ``known`` that are timed, the seconds of those before them, and of them."""
    from contextlib import closing
    from functools import partial
    from itertools import islice

    from physlm.lab.bench import wait
    from physlm.measures.igsm.asking import TOGETHER
    from physlm.measures.igsm.heads import VariableProbe
    from physlm.measures.igsm.labels import classes
    from physlm.measures.igsm.learner import Learner
    from physlm.measures.igsm.probing import CONTROLS
    from physlm.measures.igsm.settings import SETTINGS
    from physlm.measures.igsm.training import lessons, source_of
    from physlm.models.decoder import Decoder
    from physlm.training.ahead import each

    setting, shuffled, first = SETTINGS[device.type], tuple(CONTROLS.values()), V_FIRST[device.type]
    count = QUICK if quick else setting.steps - first
    model = Decoder(shape, len(config.vocabulary()), range(len(shuffled))).to(device).requires_grad_(False)
    model = model.in_bfloat16() if PRECISION[device.type] == "bf16" else model
    source = source_of("known", config, setting, setting.balanced)
    wait(device)
    clock = [time.perf_counter()]
    learner = Learner(VariableProbe(model, classes("known", config.modulus), setting.rank, setting.seed), setting)
    make = partial(lessons, source, model.members, shuffled, device)
    learner.record(max(make(0), key=lambda one: one.asked.ids_BT.shape[1]))
    with closing(each(make, math.ceil((first + count) / TOGETHER), device)) as made:
        for steps in (first, count):
            for one in islice(made, steps):
                learner.learn(one)
            wait(device)
            clock.append(time.perf_counter())
    return count, clock[1] - clock[0], clock[2] - clock[1]


def bench_probes(quick: bool = False) -> None:
    """Print the times."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task, shape = SHAPES[device.type]
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}; torch {torch.__version__}")
    print(f"P-probes of one {shape.layers} x {shape.width}, 11 targets at 6 places, {task.people:,} people", flush=True)
    times, steps = time_probes(task, shape, device, quick)
    each = times.training / times.steps * 1e3
    print(f"start {times.start:.1f} s, {each:.1f} ms a step, judging {times.judging:.1f} s")
    print(f"whole, {steps:,} steps{', projected' if quick else ''}: {times.whole(steps):.0f} s")
    problems, v_shape = V_SHAPES[device.type]
    print(f"variable probe of three {v_shape.layers} x {v_shape.width}, {problems.title}", flush=True)
    count, start, training = time_variable_probe(problems, v_shape, device, quick)
    print(f"start {start:.1f} s, then {count / training:.0f} steps/s in {count:,} steps")
