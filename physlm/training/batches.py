"""The batches of a population: sampled on the device some steps at a time, a pure function of the step.

Sampling many rows costs little more than sampling few, so the rows of many steps are made at once.  Members with the
same data share one sampling.

Shape letters: M members, U sources of data, S steps sampled at once, R rows, B rows of a step, T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.tasks.rows import IGNORE, Rows
from physlm.tasks.task import Task
from physlm.training.config import RunSpec

# Tokens sampled at once, at most: a GPU waits mostly for launches, a CPU wants its caches.
AHEAD_TOKENS = {"cuda": 1 << 23, "cpu": 1 << 19}
AHEAD_STEPS = 1024  # steps sampled at once, at most
Objective = Callable[[Task, Rows, Tensor, int], Rows]


class Batches:
    """What the members of a population read.

    Args:
        specs: of the members; they have one shape of batches.
        objective: from a task, its rows, their numbers (R,) and its stream to the rows that are trained on.
    """

    def __init__(self, specs: Sequence[RunSpec], device: torch.device, objective: Objective):
        self.device, self._objective = device, objective
        sources = list(dict.fromkeys((spec.task, spec.train.seed) for spec in specs))
        tasks = {config: config.build().to(device) for config in dict.fromkeys(spec.task for spec in specs)}
        self._sources: list[tuple[Task, int]] = [(tasks[config], stream) for config, stream in sources]
        self._source_M = torch.tensor([sources.index((s.task, s.train.seed)) for s in specs], device=device)
        self._rows, positions = specs[0].train.batch_rows, specs[0].task.row_tokens
        self.ahead = max(1, min(AHEAD_STEPS, AHEAD_TOKENS[device.type] // (len(sources) * self._rows * positions)))
        shape = (self.ahead, len(sources), self._rows, positions)
        self._inputs_SUBT, self._targets_SUBT = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        self._scored_SU = torch.ones(self.ahead, len(sources), device=device)
        self._sampled_from: int | None = None

    @property
    def vocabulary(self) -> int:
        """Tokens of the tasks."""
        return len(self._sources[0][0].vocabulary)

    def sample(self, step: int, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Inputs and targets of ``steps`` steps from ``step`` on for every member, (S, M, B, T) each; pure."""
        return tuple(x[:, self._source_M] for x in self._sample_sources(step, steps))  # type: ignore[return-value]

    def _sample_sources(self, step: int, steps: int) -> tuple[Tensor, Tensor]:
        """The same for every source of data, (S, U, B, T) each."""
        index_R = torch.arange(step * self._rows, (step + steps) * self._rows, device=self.device)
        drawn = [self._objective(task, task.rows(index_R, "train", stream), index_R, stream)
                 for task, stream in self._sources]
        inputs = torch.stack([d.inputs_RT.unflatten(0, (steps, self._rows)) for d in drawn], 1)
        return inputs, torch.stack([d.targets_RT.unflatten(0, (steps, self._rows)) for d in drawn], 1)

    def prepare(self, step: int) -> None:
        """Have the batch of this step in the buffers, whichever step training starts from."""
        first = step // self.ahead * self.ahead
        if self._sampled_from != first:
            inputs, targets = self._sample_sources(first, self.ahead)
            self._inputs_SUBT.copy_(inputs)
            self._targets_SUBT.copy_(targets)
            scored_SU = (targets != IGNORE).sum((2, 3))
            if self._sampled_from is None and not scored_SU.any(0).all():  # the host looks once, before the first step
                raise UserError(f"{self._sources[0][0].config.title}: nothing is to be predicted in the first "
                                f"{self.ahead} steps; expected longer rows, or a larger train.mask_rate of an encoder")
            # A single batch without a place to predict, as an encoder's masks may leave it, has the loss and the
            # gradients 0 of an empty sum.  One mask more, in such batches only, would make some masks likelier.
            self._scored_SU.copy_(scored_SU.clamp(min=1))
            self._sampled_from = first

    def at(self, counter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets (M, B, T) and the number of scored tokens (M,) of a step that only the device knows."""
        slot = (counter % self.ahead).view(1)
        inputs, targets, scored = (
            x.index_select(0, slot)[0].index_select(0, self._source_M)
            for x in (self._inputs_SUBT, self._targets_SUBT, self._scored_SU)
        )
        return inputs, targets, scored
