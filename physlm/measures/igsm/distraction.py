"""What noise costs: sentences in a problem that provably say nothing about its answer (``physlm.tasks.igsm.noise``).

The same problems are asked without noise and with each kind and amount of it, in two sets with the column ``op``:

    drawn   op is drawn as in training; all amounts
    exact   exactly ``op`` operations: quarters of the most of training, and half as many again; of each kind one amount
            that is the same for all of them, ``half`` or, of orders and facts, ``full``

    solved         noise=none amount=none, noise=graph amount=half, ..: the share that is right as a whole, by the
                   checker
    drop           noise=graph amount=half: solved without noise minus solved with it, problem by problem (in points)
    lost           .. of the problems that are solved without noise, the share that is not with it (relative)
    noise_tokens   .. tokens of noise, the mean
    solved_truth   .. control: the generator's own solutions, judged with the noise in the problem

Amounts in tokens, T those in a row of training:

            graph, all                        style         facts
    little  T / 4                             one order     one fact
    half    T / 2                             -             -
    full    0.9 T, as far as problem and      every order   one about each parameter, T / 2 at most
            solution leave them of T
    longer  0.9 of 4 T: no row of training    -             -
            was as long

Source of kinds and amounts: arXiv 2504.02111.  Solutions are written greedily.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.igsm.settings import family_of, held_out
from physlm.measures.igsm.solutions import Cell
from physlm.measures.measure import Measure
from physlm.tasks.igsm.config import IgsmConfig, Noise, Retry
from physlm.tasks.igsm.noise import FACT_TOKENS, ORDER_TOKENS
from physlm.tasks.igsm.pieces import ORDERS

if TYPE_CHECKING:
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.places import Place
    from physlm.training.config import RunSpec

LONGER = 4  # windows of training
GRAPHS: tuple[Literal["graph", "all"], ...] = ("graph", "all")  # kinds that fill any window
# kinds and amounts for sets of exactly so many operations: not bound by what the problem leaves of the window
SAME = (("none", "none"), ("graph", "half"), ("all", "half"), ("style", "full"), ("facts", "full"))


@dataclass(frozen=True)
class Noisy(Cell):
    """One set of problems with one kind and amount of noise."""

    noise: str = "none"
    amount: str = "none"

    @property
    def where(self) -> dict[str, Place]:
        """Columns of its rows."""
        return {**super().where, "noise": self.noise, "amount": self.amount}


def amounts(row_tokens: int) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, amount) -> changes of the task's settings."""
    found: dict[tuple[str, str], dict[str, Any]] = {("none", "none"): {"noise": Noise()}}
    for kind in GRAPHS:
        found[kind, "little"] = {"noise": Noise(kind, tokens=row_tokens // 4)}
        found[kind, "half"] = {"noise": Noise(kind, tokens=row_tokens // 2)}
        found[kind, "full"] = {"noise": Noise(kind, share=0.9)}
        found[kind, "longer"] = {"noise": Noise(kind, share=0.9), "row_tokens": LONGER * row_tokens}
    found["style", "little"] = {"noise": Noise("style", tokens=ORDER_TOKENS)}
    found["style", "full"] = {"noise": Noise("style", tokens=ORDER_TOKENS * len(ORDERS))}
    found["facts", "little"] = {"noise": Noise("facts", tokens=FACT_TOKENS)}
    found["facts", "full"] = {"noise": Noise("facts", tokens=row_tokens // 2)}
    return found


@dataclass(frozen=True)
class Distraction(Measure):
    """See the module.

    Attributes:
        problems: of each set; 0: ``distracting.PROBLEMS`` of the device.
        ops: of the sets ``exact``; none: quarters of the most of training, and half as many again.
        room: for a solution, in lengths of the longest true one.
    """

    kind: ClassVar[str] = "distraction"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["distraction"]
    problems: int = 0
    ops: tuple[int, ...] = ()
    room: float = 1.5

    def __post_init__(self) -> None:
        if self.problems < 0:
            raise UserError(f"measure distraction: problems: got {self.problems}, expected at least 0")
        if not 1 <= self.room <= 8:  # also a NaN
            raise UserError(f"measure distraction: room: got {self.room}, expected between 1 and 8")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run on another task, without the words of noise, an encoder, and an op that there is not."""
        task = family_of(spec)
        if not task.noise_words:
            raise UserError("measure distraction: got task.noise_words=false, expected true: orders and facts have "
                            "words of their own")
        if not spec.model.causal:
            raise UserError("measure distraction: got an encoder, expected a causal model, which writes")
        for op in self.ops:
            replace(task, op=op)

    def cells(self, task: IgsmConfig) -> list[Noisy]:
        """The sets of problems; of each the one without noise first."""
        most = task.max_op if task.op is None else task.op
        quarters = [math.ceil(quarter * most / 4) for quarter in (1, 2, 3, 4, 6)]
        found = []
        for op in (0, *(self.ops or dict.fromkeys(min(op, task.most_op) for op in quarters))):
            changes: dict[str, Any] = {"retry": Retry(), "templates": held_out(task), **({"op": op} if op else {})}
            found += [Noisy("exact" if op else "drawn", op or most, {**changes, **noise}, *names)
                      for names, noise in amounts(task.row_tokens).items() if not op or names in SAME]
        return found

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.igsm.distracting import rows

        self.check(run.spec)
        return rows(self, run)


measure = Distraction()  # that of the table of measures
check = measure.check
