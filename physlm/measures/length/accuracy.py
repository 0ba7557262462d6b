"""Which share of questions a model answers exactly where they are longer than in training.

    answered            times=4 variant=trained kind=..    questions 4 times as long as in training
    answered_untrained  ..                                 control: random weights
    answered_constant   ..                                 control: the best constant answer
    answered_guess      ..                                 control, of tasks with ``guesses_from_text``: any fitting
                                                           word of the prompt
    tokens              times=4                            of context, the mean: of question and answer

A task says by ``TaskConfig.longer`` what makes its questions longer: the words of a copy, the pairs to be recalled, the
nodes of a graph, the window around a needle; ``times`` multiplies that.  Questions are held-out ones, written and
judged as by the measure ``answers``; an interval is Wilson's, over questions.

Variants are the trained model with some of its settings changed afterwards, such as a larger base of its rotations, and
with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.measures import QUANTITIES
from physlm.measures.length.settings import OverLength

if TYPE_CHECKING:
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained


@dataclass(frozen=True)
class Length(OverLength):
    """See the module."""

    kind: ClassVar[str] = "length"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["length"]

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.length.asking import rows

        self.check(run.spec)
        return rows(self, run)


measure = Length()  # that of the table of measures
check = measure.check
