"""Data parallel: several processes of one host train one population, each on its share of the rows of every step.

    rows of a step    0 1 2 | 3 4 5 | 6 7 8 | 9 10 11        B = 12 rows, four processes
    process           0     | 1     | 2     | 3              the same weights in each
    gradient          sum over all, in float32; then each makes the same update

Each process makes its own rows: they are a pure function of their numbers.  A loss is a sum over the tokens of a step,
divided by the number of them in all processes; so the sum of the gradients is the gradient of the whole step, whatever
the number of processes, but for the order of its sums.  Nothing else is ever sent, and nothing that is saved depends on
the number of processes: training that was stopped on four goes on with two.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from physlm.errors import UserError, counted
from physlm.models.listing import model_weights

if TYPE_CHECKING:
    from physlm.training.config import RunSpec

Numbers = TypeVar("Numbers", Tensor, npt.NDArray[np.int64])
PATIENCE = timedelta(days=30)  # others wait while the first process measures; one that dies takes all with it
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # what it tells each process


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is.

    Attributes:
        rank: 0 is the first, which alone writes files.
        count: 1 is a process by itself, which speaks to nobody.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def rows_of(self, batch_rows: int) -> int:
        """How many rows of a step are this process's."""
        assert batch_rows % self.count == 0, (batch_rows, self.count)
        return batch_rows // self.count

    def numbers(self, own: Numbers, batch_rows: int) -> Numbers:
        """The numbers of this process's rows among those of all, counted from the first step on.

        Args:
            own: their numbers among its own rows.
        """
        share = self.rows_of(batch_rows)
        return own // share * batch_rows + self.rank * share + own % share

    def sum(self, tensor: Tensor) -> None:
        """Add up the tensors of all processes, in place; each of them has the sum, of the same bits."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def tell(self, message: Any) -> Any:
        """What the first process tells all of them, which wait for it; the others' own ``message`` is not read."""
        told = [message]
        if self.count > 1:
            dist.broadcast_object_list(told, device=torch.device("cpu"))
        return told[0]

    def check(self, specs: Sequence[RunSpec]) -> None:
        """Raises ``UserError`` for a run that so many processes cannot train as one does."""
        if self.count > 1:
            for spec in specs:
                _check(spec, self.count)


ALONE = Ranks()


def _check(spec: RunSpec, count: int) -> None:
    rows = spec.train.batch_rows
    if rows % count:
        allowed = ", ".join(str(n) for n in range(1, min(rows, 64) + 1) if rows % n == 0)
        raise UserError(f"data parallel: got {count} processes for the {counted(rows, 'row')} of a step "
                        f"(train.batch_rows) of {spec.title}; expected a number that divides them: {allowed}")
    running = (name for name, weight in model_weights(spec.model, 1).items() if weight.running)
    if found := [*(part.kind for part in spec.model.parts if part.losses), *running]:
        raise UserError(f"data parallel: got {spec.title}, whose {found[0]} looks at all rows of a step together; "
                        "expected parts that read each row by itself, or one process")


@contextlib.contextmanager
def joined(device: torch.device, rank: int, count: int, meeting: str) -> Iterator[Ranks]:
    """This process as one of several on this host; on CUDA it has the GPU of its rank among those that it sees.

    Args:
        meeting: where they find each other, as ``torch.distributed.init_process_group`` takes it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    # Imported while a group exists, as the compiler does, its functions' default arguments hold that group for good:
    # the group's threads outlive it, and one of them may abort the process while the interpreter ends.
    import_module("torch.distributed.nn.functional")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", init_method=meeting, rank=rank,
                            world_size=count, timeout=PATIENCE)
    yield Ranks(rank, count)
    dist.destroy_process_group()  # not after an error: it might wait for others, which are not there any more


def torchrun_rank(device: torch.device) -> tuple[int, int]:
    """The rank of this process and the number of processes, as torchrun tells them.

    Raises:
        UserError: it was not started by torchrun, or not by one of a single host, or there are too few GPUs.
    """
    told = {name: os.environ.get(name, "") for name in _TORCHRUN}
    if not all(text.isdecimal() for text in told.values()):
        raise UserError("--data-parallel: this process was not started by torchrun; expected torchrun --nproc-per-node "
                        "N -m physlm run NAME --data-parallel, N the number of GPUs")
    rank, count, local = map(int, told.values())
    if rank != local:
        raise UserError(f"--data-parallel: got process {rank} of {count}, the number {local} of its host; expected all "
                        "on one host")
    if device.type == "cuda" and count > (gpus := torch.cuda.device_count()):
        raise UserError(f"--data-parallel: got {count} processes, but torch finds {counted(gpus, 'GPU')} here; "
                        "expected at most as many")
    return rank, count
