"""Part 3.2: a fact about a person's university cannot be told in one step, though both steps can be told alone.

A model that has learnt to tell people's attributes goes on with facts about universities and employers (when founded,
where based) and with questions for them through a person; what counts are held-out people.  The years are told nowhere
else, so that asking for them through a person takes two hops.  Where a person's employer is based is told by the
biography itself, as the sixth attribute: asking for it through the employer takes one hop, and is a control without a
verdict.

    physlm run p32_two_hop --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run
from physlm.figures.knowledge.answers_bars import answers_bars
from physlm.lab.experiment import Experiment
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.verdict import own_test
from physlm.tasks.biography.kinds import FACTS, TWO_HOP
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

BY = ("hints",)
GROUPS = {"facts": FACTS, "university": ("two_hop_university",), "employer": ("two_hop_employer",),
          "city, one hop (control)": ("two_hop_city",)}  # fmt: skip


def runs(tier: str) -> list[RunSpec]:
    """Facts and questions with two hops together, these with a hint in half of the cases or never."""
    told = answer_run(tier, base_run(tier, "multi5+permute"), Ask())
    return [answer_run(tier, told, Ask(kinds=(*FACTS, *TWO_HOP), hints=hints)) for hints in (0.0, 0.5)]


EXPERIMENT = Experiment(
    name="p32_two_hop",
    claim=(
        "A model answers questions that need a fact about a fact of a person (when their university or their employer "
        "was founded) only if it writes the step in the middle, although it can tell both facts alone. The control, "
        "where the employer is based, stands in the biographies: that is one hop, and has no verdict."
    ),
    source="arXiv:2309.14402 (our own test with its method of hints)",
    runs=runs,
    measures=("answers",),
    law=answers_law(BY, GROUPS),
    figure=answers_bars(BY, GROUPS, "Facts: about universities and employers, the same questions as in training."),
    expect=(
        own_test("answer@plain/facts", "at least", 0.95, "our control: the facts are known", label="facts told alone"),
        own_test("answer@plain/two_hop_university", "at most", 0.5, "our reading",
                 label="two hops by the university, no step written"),
        own_test("answer@plain/two_hop_employer", "at most", 0.5, "our reading",
                 label="two hops by the employer, no step written"),
        own_test("hinted@hints/two_hop_university", "at least", 0.9, "our reading",
                 label="two hops by the university, step written"),
        own_test("hinted@hints/two_hop_employer", "at least", 0.9, "our reading",
                 label="two hops by the employer, step written"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Founding years are invented and stand in no biography. Where an employer is based stands there as the "
            "employer's city, so two_hop_city is no second hop but a control."
        ),
        (
            "That a person's university and employer can be told is not asked in these runs: it was measured before "
            "them (p32_manipulation, plain), and is what a hint has to say."
        ),
        (
            "Each of the six kinds is asked once for every person, so half of all questions are about facts, though "
            "there are few of these: at tier gpu each year of 300 universities is asked for about 780 times, each year "
            "and each city of 263 employers about 890 times, each question through a person 47 times, as often as "
            "elsewhere. Questions about facts are the same in training and at test: they are a control, and their n "
            "counts universities or employers. At tier demo there are eight of each, too few for the bound on facts."
        ),
    ),
    columns=("answer/kind=employer_founded/half=test", "answer/kind=two_hop_employer/half=test",
             "answer_hinted/kind=two_hop_employer/half=test"),
)
