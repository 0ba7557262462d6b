"""Part 3.2: who is asked forward about every name can be searched backward: an index of what the model itself told.

The series finds no way to search inside of a model that read names first, and says that help has to come from outside.
Here nothing is retrained: the model that retrieves tells all six attributes of every name, and a table of its answers
is searched in its place.

    physlm run p32_index --tier demo
"""

from __future__ import annotations

from _part3 import DEVIATIONS, answer_run, base_run, inverse_run
from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Most, Ratio, Shares, laws
from physlm.laws.verdict import bound, own_test
from physlm.tasks.biography.kinds import INVERSE, RETRIEVAL
from physlm.tasks.biography.question_config import Ask
from physlm.training.config import RunSpec

KIND, HELD_OUT = "at.kind", {"at.half": "test"}


def runs(tier: str) -> list[RunSpec]:
    """One base model goes on to retrieve, and, as the control, to search by itself."""
    base = base_run(tier, "multi5+permute")
    return [answer_run(tier, base, Ask()), inverse_run(tier, base)]


def measures_of(spec: RunSpec) -> tuple[str, ...]:
    """The index is that of the model that retrieves."""
    return ("index",) if set(RETRIEVAL) <= set(spec.task.ask.kinds) else ("answers",)  # type: ignore[attr-defined]


INDEXED = Shares("indexed", (KIND,), HELD_OUT, called="indexed_kind")
TAUGHT = Shares("answer", (KIND,), {**HELD_OUT, KIND: INVERSE}, called="taught_kind")
FOUND, TRUTH, UNTRAINED, ASKED = (
    Shares(quantity, (), HELD_OUT, over=KIND, called=name) for quantity, name in (
        ("indexed", "indexed"), ("indexed_truth", "truth"), ("indexed_untrained", "untrained"),
        ("unindexed", "unindexed")))
TOLD = Shares("told", (), HELD_OUT, over="at.attribute")
LEARNED = Shares("answer", (), {"at.half": "train", KIND: INVERSE}, over=KIND, called="train")
COST = Shares("index_questions", (), unit="questions", share=False)

EXPERIMENT = Experiment(
    name="p32_index",
    claim=(
        "A model that cannot find people by what it knows of them, not even when it is taught to, lets them be found "
        "if it is asked forward about every name and its answers are searched; nothing is retrained."
    ),
    source="arXiv:2309.14402, Result 4 (that inverse search needs help from outside; the index is our own test)",
    runs=runs,
    measures=("index", "answers"),
    measures_of=measures_of,
    law=laws(FOUND, TRUTH, UNTRAINED, ASKED, TOLD, Most("most_taught", TAUGHT), LEARNED,
             Ratio("of_told", FOUND, TOLD), INDEXED, TAUGHT, COST, items="questions",
             notes=("index_questions: the cost, forward questions to the model, six about each name, once.",)),
    figure=bars(INDEXED, "kind", control=INDEXED.of("indexed_truth", "truth_kind"), control_name="index of the truth",
                besides=TAUGHT, besides_name="without an index, taught to search", ylabel="people found (%)",
                names={("kind", kind): kind.replace("_", " ").replace("bdate", "birth date") for kind in INVERSE},
                title="Inverse search by an index of what the model told",
                caption="About people held out of all questions in training; six forward questions a name."),
    expect=(
        bound("most_taught", "at most", 0.02, "Figure 6: about 0", "2 % is our reading",
              label="people found without an index, taught to search, best question"),
        own_test("unindexed", "at most", 0.02, "our control: the same model, asked itself",
                 label="people found without an index, by the model that is indexed"),
        own_test("train", "at least", 0.9, "our control: they were learned",
                 label="inverse questions of training answered"),
        own_test("told", "at least", 0.9, "our control: what the index rests on", label="attributes told of held-out "
                 "people"),
        own_test("untrained", "at most", 0.02, "our control: the index holds what the model knows, and no more",
                 label="people found by an index of random weights"),
        own_test("indexed", "at least", 0.9, "our reading of 'works'", label="people found by the index"),
        own_test("indexed_kind@kind=all_to_full", "at least", 0.9, "our reading of 'works'",
                 label="people found by the index, all attributes"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "The index is told all names, and a question is routed to it by its wording. It answers by the person with "
            "most of the attributes that a question tells, of several such by the first; an answer is right if it is "
            "the person that the question was made of, so that even an index of the truth finds fewer than all by a "
            "birth date that others share (truth)."
        ),
        (
            "Model and control begin with the base model of p32_inverse and are runs of p32_manipulation: retrieval "
            "of six kinds, and inverse search of ten kinds together, by all weights."
        ),
        (
            "Tier demo: 200 people from pools of eight share birth dates and triples of attributes far more often, and "
            "the small model tells fewer of their attributes, so that its index finds fewer of them."
        ),
    ),
    found=(
        "Missed by a hundredth over all ten kinds: the model tells 0.755 of the birth dates exactly (of the other five "
        "attributes 0.964 to 1), and the index finds 0.70 and 0.75 of the people by the birth date alone and with the "
        "birth city, where it has nothing else to go by. From three attributes on it finds 0.99 to 1."
    ),
    columns=("indexed/kind=all_to_full/half=test", "unindexed/kind=all_to_full/half=test",
             "answer/kind=all_to_full/half=test"),
)
