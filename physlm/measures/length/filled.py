"""What is found, and what is worked out, in a window that is filled with tokens that say nothing about the answer.

    solved            task=cycles kind=k4 steps=4 filler=edges filled=0.9     the share of questions answered exactly
    solved_untrained  ..                                                      control: random weights
    solved_constant   ..                                                      control: the best constant answer
    solved_guess      ..                                                      control, of tasks with
                                                                              ``guesses_from_text``: any fitting word
                                                                              of the prompt
    tokens            task=.. filler=.. filled=..                             of the prompts, the mean

A task says by ``TaskConfig.filled`` with which kinds of filler its questions can be asked; of a mixture every task that
says so is asked.  ``filled`` is the share of the window that is filler.  Without any filler all kinds are the same, and
the row stands under each.  ``steps`` is how many things have to be put together: k of a k-th successor, the operations
of a problem of iGSM, and 1 for what is only looked up.  A solution of iGSM is right if the checker says so and its
answer is.  Questions are held-out ones, and the answer is written greedily.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.igsm.settings import held_out
from physlm.measures.measure import Measure
from physlm.tasks.config import TaskConfig
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.mixture import HELD_OUT, MixtureConfig

if TYPE_CHECKING:
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.places import Place
    from physlm.training.config import RunSpec


class Cell(NamedTuple):
    """Questions that are asked together.

    Attributes:
        task: its name.
        steps: of each of them; 0: their kinds say it.
        fillers, filled: columns of the rows; without filler every kind that the task knows.
        condition: settings of its ``prompts``.
    """

    task: str
    steps: int
    fillers: tuple[str, ...]
    filled: float
    condition: dict[str, Any]

    def where(self, kind: str) -> dict[str, Place]:
        """Columns of the rows about one kind of question, but for the filler."""
        return {"task": self.task, "steps": self.steps or steps_of(kind), "filled": self.filled}


@dataclass(frozen=True)
class Filled(Measure):
    """See the module.

    Attributes:
        shares: of the window that are filler; 0 is among them.
        tasks: which of a mixture's, by name; none: all that can be filled.
        ops: of iGSM; none: from 1 to the most of training.
        questions: of each kind; 0: as many as the device allows.
    """

    kind: ClassVar[str] = "filled"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["filled"]
    shares: tuple[float, ...] = (0.0, 0.5, 0.9)
    tasks: tuple[str, ...] = ()
    ops: tuple[int, ...] = ()
    questions: int = 0

    def __post_init__(self) -> None:
        if 0.0 not in self.shares or list(self.shares) != sorted({*self.shares}) or not 0 <= self.shares[-1] < 1:
            raise UserError(f"measure filled: shares: got {self.shares}, expected 0 and others below 1, the smallest "
                            "first")
        if self.questions < 0:
            raise UserError(f"measure filled: questions: got {self.questions}, expected at least 0")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run on a task that cannot be filled, or not so far; an encoder."""
        if not spec.model.causal:
            raise UserError("measure filled: got an encoder, expected a causal model, which writes")
        from physlm.measures.length.filling import ask
        from physlm.measures.length.settings import check_positions

        task = spec.task.build()
        for cell in self.cells(spec.task):
            sheet = ask(task, spec.task, cell, 1)  # refuses a share for which there is no room
            check_positions(spec, sheet.prompts, self.kind)

    def cells(self, task: TaskConfig) -> Iterator[Cell]:
        """Everything that is asked.

        Raises:
            UserError: nothing can be filled, or there is no such task.
        """
        members = task.members if isinstance(task, MixtureConfig) else {task.kind: task}
        members = {name: one for name, one in members.items() if one.filled(0.0)}
        for name in self.tasks:
            if name not in members:
                raise UserError(unknown_key("measure filled: tasks", name, members))
        if not members:
            filled = [kind for kind in TaskConfig.kinds() if TaskConfig.of_kind(kind).filled is not TaskConfig.filled]
            raise UserError(f"measure filled: got a run on {task.title}, expected one on a task whose window can be "
                            f"filled: {', '.join(filled)}")
        for name in self.tasks or members:
            for steps, condition in self._steps(members[name]):
                for share in self.shares:
                    ways = members[name].filled(share)
                    if share == 0.0:
                        yield Cell(name, steps, tuple(ways), share, {**condition, **next(iter(ways.values()))})
                        continue
                    for filler, settings in ways.items():
                        yield Cell(name, steps, (filler,), share, {**condition, **settings})

    def _steps(self, task: TaskConfig) -> Iterator[tuple[int, dict[str, Any]]]:
        asked = dict(task.conditions()[HELD_OUT])
        if not isinstance(task, IgsmConfig):
            yield 0, asked
            return
        for op in self.ops or range(1, task.max_op + 1):
            yield op, {**asked, "op": op, "templates": held_out(task)}

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.length.filling import rows

        self.check(run.spec)
        return rows(self, run)


def steps_of(kind: str) -> int:
    """How many steps a kind of question says that it has, ``k4``, ``cycles_k4`` or ``2-hop``; 1 where it says
    nothing."""
    found = re.search(r"(?:^|_)(?:k(\d+)|(\d+)-hop)$", kind)
    return int(found[1] or found[2]) if found else 1


measure = Filled()  # that of the table of measures
check = measure.check
