"""Part 3.2: a fact about a person's university cannot be told in one step, though both steps can be told alone.

Finetuning teaches facts about universities and employers (when founded, where based) and asks for them through a person
as well; what counts are held-out people.

    physlm run p32_two_hop --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run
from physlm.figures.answers_bars import answers_bars
from physlm.lab.experiment import Experiment
from physlm.laws.answers import answers_law
from physlm.laws.verdict import Expectation
from physlm.tasks.biography.kinds import FACTS, TWO_HOP
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("hints",)
GROUPS = {"facts": FACTS, "university": ("two_hop_university",), "employer": ("two_hop_employer",),
          "city": ("two_hop_city",)}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Facts and questions with two hops together, the second with a hint in half of the cases or never."""
    base = base_run(tier, "multi5+permute")
    return [answer_run(tier, base, Ask(kinds=(*FACTS, *TWO_HOP), hints=hints)) for hints in (0.0, 0.5)]


EXPERIMENT = Experiment(
    name="p32_two_hop",
    claim=(
        "A model answers questions that need a fact about a fact of a person only if it writes the step in the middle, "
        "although it can tell both facts alone."
    ),
    source="arXiv:2309.14402 (our own test with its method of hints)",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, GROUPS),
    figure=answers_bars(BY, GROUPS),
    expect=(
        Expectation("answer@plain/facts", 0.95, "at least", 0.0, "1", "our control: the facts are known"),
        Expectation("answer@plain/two_hop_employer", 0.5, "at most", 0.0, "1", "our reading"),
        Expectation("hinted@hints/two_hop_employer", 0.9, "at least", 0.0, "1", "our reading"),
    ),
    deviations=(*DEVIATIONS, "Founding years are invented; where an employer is based stands in the biographies too."),
    columns=("answer/kind=employer_founded/half=test", "answer/kind=two_hop_employer/half=test",
             "answer_hinted/kind=two_hop_employer/half=test"),
)
