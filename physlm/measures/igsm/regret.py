"""Does a model know that a sentence was a mistake, and is it enough to let it try again? (arXiv 2408.16293, section 3)

The probe of can_next (``physlm.measures.igsm.probing``; of all edges and totals, since a model may write any) is asked,
at the end of the sentence before, about the parameter that the next sentence names.

    called_wrong  op=12 error=any     of solutions with a wrong sentence, by the checker: the share of first wrong ones
                                      whose parameter the probe calls not computable; error=not_computable_yet: of those
                                      that are wrong for that reason
    called_right  op=12               of right sentences, up to the first wrong one: the share that it calls computable
    .._untrained                      control: the probe of the model before its first step, about the same sentences

Retry upon regret: the model writes greedily; at the first sentence that a detector calls wrong it goes back to the
sentence's beginning and draws the sentence again, then it goes on greedily, up to ``most`` times a solution.

    solved    op=12 detector=none     right as a whole, by the checker
              detector=probe          the probe calls the parameter not computable
              detector=random         control: any sentence, in each problem as often as the probe
              detector=perfect        the checker's first wrong sentence, whatever is wrong with it; the last one, where
                                      a solution ends too early
    gain      .. detector=probe       ``solved`` minus that of none, problem by problem
    retries   .. detector=probe       a problem, the mean

The paper asks after the name is written (for called_wrong) or after the whole sentence (for retries); what is asked
here is the same question, of the text before the sentence.  n counts problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.igsm.settings import check_run, default_ops, family_of
from physlm.measures.measure import Measure
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

DETECTORS = ("probe", "random", "perfect")


@dataclass(frozen=True)
class Regret(Measure):
    """See the module.

    Attributes:
        ops: of the problems; by default the largest of training and half as many again.
        most: tries again, of a solution.
        temperature: of sentences that are drawn again.
        room: for a solution, in lengths of the longest true one.
    """

    kind: ClassVar[str] = "regret"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["regret"]
    ops: tuple[int, ...] = ()
    most: int = 10
    temperature: float = 1.0
    room: float = 1.5

    def __post_init__(self) -> None:
        if self.most < 1:
            raise UserError(f"measure regret: most: got {self.most}, expected at least 1")
        if not 0 < self.temperature < math.inf:
            raise UserError(f"measure regret: temperature: got {self.temperature}, expected a number above 0")
        if not 1 <= self.room <= 8:
            raise UserError(f"measure regret: room: got {self.room}, expected between 1 and 8")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run that cannot be probed, and an op that its problems cannot have."""
        check_run(spec, self.ops)

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.igsm.regretting import rows

        return rows(self, run, self.ops or default_ops(family_of(run.spec)))


measure = Regret()  # that of the table of measures
check = measure.check
