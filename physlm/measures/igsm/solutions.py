"""Which share of iGSM problems a model solves, every solution judged by the exact checker, and what is wrong.

Problems come in sets, with the column ``op`` beside ``set``:

    drawn   op is drawn as in training, at most ``op``
    exact   exactly ``op`` operations, from 1 to half as many again as training has: the accuracy curve
    reask   ``op`` is a third more than training has, and then another parameter of the graph is asked for

In all sets the templates from op = 5 on are those that training held out, where it held any out; below, where a handful
of templates is all that there is (2 at op = 1, 469 at op = 4), problems are fresh and of all templates.

    solved            right as a whole: each step by the problem's own formula, the answer, and the end after it
    number            the number after <answer> is right, whatever stands before it
    number_constant   control: the commonest answer to these problems, said always
      filter=all, filter=published: all problems; those whose whole text, solution included, is no longer than a row of
      training.  arXiv 2407.20311 tests on the latter alone (768 tokens of GPT-2 for iGSM-med, 1024 for hard)
    cut               the solution did not end in the room that there was, and counts as wrong
    error             set=.. error=wrong_number    shares of the first errors, ``cut`` where there is no other; of drawn
                      problems, of the largest op, and of reask
    shortest          of right solutions: nothing in them is unneeded
    unneeded_parameters, unneeded_operations     of a right solution, the mean; level 1 of arXiv 2407.20311 is 0
    unneeded_unplanned                           control: parameters, where any that can be computed is computed next
    retries           outcome=right, outcome=wrong: wrong starts in a solution, the mean, of models that write them
    solution_tokens   tokens of the true solution, from <solution> to before <answer>, the mean
    solved_after      step=..: after that many steps of training, of drawn problems, where snapshots were kept
    solved_untrained, solved_truth               controls: random weights; the generator's own solutions, judged alike

Problems are those that a model without wrong starts is asked, also of a model that was trained with them, so that both
solve the same ones, and are as long for the filter.  The solution is written greedily.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.igsm.settings import held_out
from physlm.measures.measure import Measure
from physlm.tasks.igsm.config import IgsmConfig, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.places import Place
    from physlm.training.config import RunSpec


@dataclass(frozen=True)
class Cell:
    """One set of problems.

    Attributes:
        set, op: what its rows are called.
        changes: of the task's settings.
    """

    set: str
    op: int
    changes: Mapping[str, Any] = field(hash=False)

    @property
    def where(self) -> dict[str, Place]:
        """Columns of its rows."""
        return {"set": self.set, "op": self.op}


@dataclass(frozen=True)
class Solutions(Measure):
    """See the module.

    Attributes:
        problems: of each set; 0: ``solving.PROBLEMS`` of the device.
        ops: of the sets ``exact``; none: from 1 to half as many again as training has.
        room: for a solution, in lengths of the longest true one of all sets.
    """

    kind: ClassVar[str] = "solutions"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["solutions"]
    problems: int = 0
    ops: tuple[int, ...] = ()
    room: float = 2.0

    def __post_init__(self) -> None:
        if self.problems < 0:
            raise UserError(f"measure solutions: problems: got {self.problems}, expected at least 0")
        if not 1.5 <= self.room <= 8:  # also a NaN; longer solutions than the true one must fit
            raise UserError(f"measure solutions: room: got {self.room}, expected between 1.5 and 8")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run on another task, an encoder, and an op that its problems cannot have."""
        task = spec.task
        if not isinstance(task, IgsmConfig):
            raise UserError(f"measure solutions: got a run on {task.title}, expected one on igsm")
        if not spec.model.causal:
            raise UserError("measure solutions: got an encoder, expected a causal model, which writes")
        for op in self.ops:
            if not 1 <= op <= task.most_op:
                raise UserError(f"measure solutions: ops: got {op}, expected between 1 and {task.most_op} for "
                                f"{task.title}")

    def cells(self, task: IgsmConfig) -> list[Cell]:
        """The sets of problems, in the order of their op."""
        most = task.max_op if task.op is None else task.op
        beyond, again = (min(math.ceil(share * most), task.most_op) for share in (3 / 2, 4 / 3))
        changes = {"retry": Retry(), "templates": held_out(task)}
        exact = [Cell("exact", op, {**changes, "op": op}) for op in self.ops or range(1, beyond + 1)]
        return [Cell("drawn", most, changes), *exact, Cell("reask", again, {**changes, "op": again, "reask": True})]

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.igsm.solving import rows

        self.check(run.spec)
        return rows(self, run)


measure = Solutions()  # that of the table of measures
check = measure.check
