"""How fast the P-probes of one model learn and are judged on this machine: 11 targets at six places, all together.

On a GPU a model of the published shape, 12 x 768, and the 10,000 people of tier gpu with five shuffled biographies
each; without one the shape of tier demo.  The weights are random, which changes no time.  What the measure
``knowledge`` does besides (the untrained model, other people's values, Q-probes) is outside.
"""

from __future__ import annotations

import dataclasses
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    import torch

SHAPES = {
    "cuda": (BioSConfig(10_000, questions=True, **augmentation("multi5+permute")),
             ModelConfig(layers=12, heads=12, width=768)),
    "cpu": (BioSConfig(200, questions=True, pool_size=8, **augmentation("multi5+permute")),
            ModelConfig(layers=2, heads=4, width=64)),
}  # fmt: skip
PRECISION: dict[str, Literal["bf16", "float32"]] = {"cuda": "bf16", "cpu": "float32"}
FIRST, QUICK = 10, 60  # steps that compile; steps that are timed if it has to be quick


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
