"""A step of training variable probes: on a GPU recorded once for each shape of a batch, else as it stands.

A recording serves one length of rows.  On a GPU texts are padded, so that rows have a multiple of 64 tokens, and few
lengths occur; nothing sees the padding (``heads.packed``).  All recordings work on the same parameters and moments;
each reads its batches from a buffer of its own.  They share their scratch memory, as they never run at the same time
and leave nothing in it; the longest should be recorded first, as shorter ones find room where a longer one has been.

Shape letters as in ``physlm.measures.igsm.heads``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.measures.igsm.asking import Asked
from physlm.measures.igsm.heads import ALIGN, VariableProbe
from physlm.measures.igsm.labels import Ints
from physlm.measures.igsm.settings import VariableConfig
from physlm.measures.probes import IGNORE
from physlm.training.ahead import HostBuffer
from physlm.training.captured import captured, descend, moved_by

ROW_TOKENS = {"cuda": 64, "cpu": ALIGN}  # whose multiple the length of a row is


class Lesson(NamedTuple):
    """What one step learns from: queries, and the answers of each member, (M, B, Q)."""

    asked: Asked
    labels_MBQ: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, int64."""
        return (*self.asked, self.labels_MBQ)


def lesson(asked: Asked, labels_MBQ: Ints, device: torch.device) -> Lesson:
    """In the host's memory, as long as rows are on that device; by numpy alone."""
    ids_BT = asked.ids_BT.numpy()
    short = -(ids_BT.shape[1] + math.prod(asked.asked_BQK.shape[1:])) % ROW_TOKENS[device.type]
    padded_BT = np.pad(ids_BT, ((0, 0), (0, short)))
    return Lesson(asked._replace(ids_BT=torch.from_numpy(padded_BT)), torch.from_numpy(labels_MBQ))


class Learner:
    """Trains a probe, by AdamW with a rate that falls linearly to 0.

    Args:
        probe: on its device; its parameters are changed in their storage.
    """

    def __init__(self, probe: VariableProbe, setting: VariableConfig):
        self._probe, self._setting, self._device = probe, setting, probe.maps.device
        on_gpu = self._device.type == "cuda"
        self._done = torch.zeros((), dtype=torch.double, device=self._device)
        # a tensor, which a step sets for itself; the fused update wants float32
        rate = torch.zeros((), dtype=torch.float if on_gpu else torch.double, device=self._device)
        self._optimiser = torch.optim.AdamW(probe.parameters(), lr=rate, betas=(0.9, 0.98), fused=on_gpu,
                                            weight_decay=setting.weight_decay, capturable=on_gpu)
        self._steps: dict[tuple[torch.Size, ...], _Step] = {}
        self._pool = torch.cuda.graph_pool_handle() if on_gpu else None

    def learn(self, some: Lesson) -> None:
        """Do one step."""
        self.record(some)()

    def record(self, some: Lesson) -> Callable[[], None]:
        """The step that learns from this, recorded if it is the first of its shape; nothing is learnt yet."""
        shapes = tuple(x.shape for x in some.tensors)
        if shapes not in self._steps:
            self._steps[shapes] = _Step(some, self._device)
        step = self._steps[shapes]
        step.load(some)
        if step.run is None:
            step.run = captured(partial(self._descend, step.lesson), self._state, self._device, self._pool)
        return step.run

    def _descend(self, some: Lesson) -> None:
        for group in self._optimiser.param_groups:
            group["lr"].copy_(self._setting.learning_rate * (1 - self._done / self._setting.steps))
        descend(loss(self._probe(some.asked), some.labels_MBQ), self._optimiser)
        self._done.add_(1)

    def _state(self) -> list[Tensor]:
        return [*moved_by(self._optimiser), self._done]


class _Step:
    """The steps of one shape.

    Attributes:
        lesson: on the device, where the step reads it.
        run: the step.
    """

    def __init__(self, like: Lesson, device: torch.device):
        sizes = [x.numel() for x in like.tensors]
        self._device, self._host = device, HostBuffer((sum(sizes),), torch.long, device)
        self._there = torch.zeros(sum(sizes), dtype=torch.long, device=device)
        parts = [part.view(x.shape) for part, x in zip(self._there.split(sizes), like.tensors, strict=True)]
        self.lesson = Lesson(Asked(*parts[:-1]), parts[-1])
        self.run: Callable[[], None] | None = None

    def load(self, some: Lesson) -> None:
        """Another batch for the next step, in one copy."""
        self._host.wait()
        torch.cat([x.flatten() for x in some.tensors], out=self._host.held)
        self._there.copy_(self._host.send(self._device))


def loss(logits_MBQC: Tensor, labels_MBQ: Tensor) -> Tensor:
    """Mean nats an answer, summed over members, which share no parameter."""
    nll = F.cross_entropy(logits_MBQC.flatten(0, 2), labels_MBQ.flatten(), reduction="none", ignore_index=IGNORE)
    asked_M = (labels_MBQ != IGNORE).sum((1, 2)).clamp_min(1)
    return (nll.view(labels_MBQ.shape).sum((1, 2)) / asked_M).sum()
