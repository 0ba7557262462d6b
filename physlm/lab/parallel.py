"""One sweep by several processes of torchrun, all of which train each population together.

    process 0       plans, keeps the store, reports      train ======   measure ...   train ======   report
    the others      wait for what to train next          train ======                 train ======   end

The first process does what one process would do alone, and has the others train along (``physlm.training.parallel``).
They write nothing, and print nothing once training has begun; errors before it are printed by every process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm.machine import killed_with_parent
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch

    from physlm.training.parallel import Ranks


class Leader:
    """The first process: ``train`` stands in for ``train_population`` in a sweep."""

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self._training = False

    def train(
        self, specs: Sequence[RunSpec], device: torch.device, *, checkpoint: Path,
        initial: Sequence[Mapping[str, torch.Tensor] | None], **others: Any,
    ) -> Sequence[Any]:
        """``train_population`` by all processes."""
        from physlm.training.loop import train_population

        self.ranks.check(specs)
        self._training = True
        self.ranks.tell((list(specs), checkpoint, list(initial)))
        models = train_population(specs, device, checkpoint=checkpoint, initial=initial, ranks=self.ranks, **others)
        self._training = False
        return models

    def dismiss(self) -> None:
        """Let the others end.  Those that are left in the middle of training do not listen: torchrun ends them."""
        if not self._training:
            self.ranks.tell(None)


def follow(ranks: Ranks, device: torch.device) -> None:
    """What the other processes do, until they are dismissed."""
    from physlm.training.loop import train_population

    while (told := ranks.tell(None)) is not None:
        specs, checkpoint, initial = told
        train_population(specs, device, checkpoint=checkpoint, initial=initial, log=lambda record: None,
                         progress=False, ranks=ranks)


@contextlib.contextmanager
def of_torchrun(device: torch.device, specs: Sequence[RunSpec]) -> Iterator[Leader | None]:
    """The leader of a sweep over these runs in the first process; None in the others, which then have done theirs.

    Raises:
        UserError: this process was not started by torchrun, there are fewer GPUs than processes, or so many processes
            cannot share the rows of one of the runs.
    """
    from physlm.training.parallel import joined, torchrun_rank

    rank, count = torchrun_rank(device)
    killed_with_parent()  # a sweep that nobody ends any more would keep the store and the GPUs
    with joined(device, rank, count, "env://") as ranks:
        if not ranks.first:
            follow(ranks, device)
            yield None
            return
        leader = Leader(ranks)
        try:
            ranks.check([one for spec in specs for one in (*spec.starts, spec)])
            yield leader
        finally:
            leader.dismiss()
