"""The batches of a population: sampled on the device some steps at a time, a pure function of the step.

Sampling many rows costs little more than sampling few, so the rows of many steps are made at once.  Members with the
same data share one sampling.  Rows that CPU cores make are made beside training (``physlm.training.ahead``).

Shape letters: M members, U sources of data, S steps sampled at once, R rows, B rows of a step (of those, the ones of
this process, where several train together), T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.tasks.rows import IGNORE, Rows, unpacked
from physlm.tasks.task import HostTask, Task
from physlm.training.ahead import BlocksAhead
from physlm.training.config import RunSpec
from physlm.training.parallel import ALONE, Numbers, Ranks

# Tokens sampled at once, at most: a GPU waits mostly for launches, a CPU wants its caches.
AHEAD_TOKENS = {"cuda": 1 << 23, "cpu": 1 << 19}
AHEAD_STEPS = 1024  # steps sampled at once, at most
Objective = Callable[[Task, Rows, Tensor, int], Rows]


class Batches:
    """What the members of a population read.

    Args:
        specs: of the members; they have one shape of batches.
        objective: from a task, its rows, their numbers (R,) and its stream to the rows that are trained on.
        ranks: whose rows are made.
    """

    def __init__(self, specs: Sequence[RunSpec], device: torch.device, objective: Objective, ranks: Ranks = ALONE):
        self.device, self._objective, self._ranks = device, objective, ranks
        sources = list(dict.fromkeys((spec.task, spec.train.seed) for spec in specs))
        tasks = {config: config.build().to(device) for config in dict.fromkeys(spec.task for spec in specs)}
        self._sources: list[tuple[Task, int]] = [(tasks[config], stream) for config, stream in sources]
        self._source_M = torch.tensor([sources.index((s.task, s.train.seed)) for s in specs], device=device)
        self._all_rows, positions = specs[0].train.batch_rows, specs[0].task.row_tokens
        self._rows = ranks.rows_of(self._all_rows)
        self.ahead = max(1, min(AHEAD_STEPS, AHEAD_TOKENS[device.type] // (len(sources) * self._rows * positions)))
        shape = (self.ahead, len(sources), self._rows, positions)
        self._inputs_SUBT, self._targets_SUBT = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        self._scored_SU = torch.ones(self.ahead, len(sources), device=device)
        self._sampled_from: int | None = None
        self._steps = specs[0].steps  # after which nothing is made ahead
        self._blocks = self._made_ahead()

    def _made_ahead(self) -> BlocksAhead | None:
        """Blocks that CPU cores make, if the tasks are of those."""
        if not self._sources[0][0].config.made_on_host:
            return None
        on_host = cast(list[tuple[HostTask, int]], self._sources)
        return BlocksAhead(on_host, self.ahead * self._rows, self.device, self._numbers)

    def turn_to(self, task: Task) -> None:
        """From the next step on, every source gives rows of this task, as long as those before, in the same memory: a
        step that is recorded reads them.

        Args:
            task: on the device; of no more words than the model has.
        """
        assert task.config.row_tokens == self._inputs_SUBT.shape[-1], "rows of another length"
        self.close()
        self._sources = [(task, stream) for _, stream in self._sources]
        self._blocks, self._sampled_from = self._made_ahead(), None

    @property
    def vocabulary(self) -> int:
        """Tokens of the tasks."""
        return len(self._sources[0][0].vocabulary)

    def sample(self, step: int, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Inputs and targets of ``steps`` steps from ``step`` on for every member, (S, M, B, T) each; pure."""
        drawn = ([x.unflatten(0, (steps, self._rows)) for x in rows] for rows in self._drawn(step, steps))
        inputs, targets = (torch.stack(x, 1)[:, self._source_M] for x in zip(*drawn, strict=True))
        return inputs, targets

    def _drawn(self, step: int, steps: int, packed_URW: Tensor | None = None) -> list[Rows]:
        """What is trained on in these steps, for every source of data; its rows may have been made ahead."""
        index_R = self._numbers(torch.arange(step * self._rows, (step + steps) * self._rows, device=self.device))
        drawn = []
        for u, (task, stream) in enumerate(self._sources):
            rows = task.rows(index_R, "train", stream) if packed_URW is None else unpacked(packed_URW[u])
            drawn.append(self._objective(task, rows, index_R, stream))
        return drawn

    def _numbers(self, own: Numbers) -> Numbers:
        return self._ranks.numbers(own, self._all_rows)

    def prepare(self, step: int) -> None:
        """Have the batch of this step in the buffers, whichever step training starts from."""
        first = step // self.ahead * self.ahead
        if self._sampled_from != first:
            packed_URW = None
            if self._blocks is not None:
                packed_URW = self._blocks.take(first // self.ahead, more=first + self.ahead < self._steps)
            for u, rows in enumerate(self._drawn(first, self.ahead, packed_URW)):
                for buffer_SUBT, rows_RT in zip((self._inputs_SUBT, self._targets_SUBT), rows, strict=True):
                    buffer_SUBT[:, u].copy_(rows_RT.unflatten(0, (self.ahead, self._rows)))
            scored_SU = (self._targets_SUBT != IGNORE).sum((2, 3))
            self._ranks.sum(scored_SU)
            if self._sampled_from is None and not scored_SU.any(0).all():  # the host looks once, before the first step
                raise UserError(f"{self._sources[0][0].config.title}: nothing is to be predicted in the first "
                                f"{self.ahead} steps; expected longer rows, or a larger train.mask_rate of an encoder")
            # A single batch without a place to predict, as an encoder's masks may leave it, has the loss and the
            # gradients 0 of an empty sum.  One mask more, in such batches only, would make some masks likelier.
            self._scored_SU.copy_(scored_SU.clamp(min=1))
            self._sampled_from = first

    def close(self) -> None:
        """Give up what is made ahead; what is asked for later is made anew."""
        if self._blocks is not None:
            self._blocks.close()

    def at(self, counter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets (M, B, T) and the number of scored tokens (M,), of all processes, of a step that only the
        device knows."""
        slot = (counter % self.ahead).view(1)
        inputs, targets, scored = (
            x.index_select(0, slot)[0].index_select(0, self._source_M)
            for x in (self._inputs_SUBT, self._targets_SUBT, self._scored_SU)
        )
        return inputs, targets, scored
