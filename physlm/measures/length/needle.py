"""Where attention goes from the token that asks: how much of it finds the answer, and how spread it is, by length.

The answer to such a question stands in its prompt, as a needle's value stands in its haystack.  With a_i the weights
that the last token of the prompt, i = 1 .. n of them, gives to the tokens that it may see, in one head of one layer:

    mass     layer=2 head=mean times=4 variant=trained    sum of a_i over the places of the answer's first token,
                                                          averaged over heads
    mass     .. head=best                                 of the layer's head that has most of it at the shortest
                                                          length: the same head at all lengths
    entropy  .. head=mean, head=best                      - sum of a_i log a_i, in nats
    mass_untrained, entropy_untrained                     control: random weights
    mass_even, entropy_even   times=4                     control: a_i = 1 / n

Layers count from 1.  Intervals are over questions.  The best head is chosen on the questions that it is shown for, so
that it leans upwards.  Variants are those of the measure ``length``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.length.settings import OverLength

if TYPE_CHECKING:
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.training.config import RunSpec


@dataclass(frozen=True)
class NeedleAttention(OverLength):
    """See the module."""

    kind: ClassVar[str] = "needle_attention"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["needle_attention"]

    def check(self, spec: RunSpec) -> None:
        """Refuse also a model that cannot show its attention."""
        super().check(spec)
        for mixer in spec.model.mixers:
            if not mixer.shows_attention:
                raise UserError(f"measure {self.kind}: got the mixer {mixer.kind!r}, expected mixers that show their "
                                "attention")

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.length.attending import rows

        self.check(run.spec)
        return rows(self, run)


measure = NeedleAttention()  # that of the table of measures
check = measure.check
