"""Inverse search through an index of what the model itself tells, as rows of a claim; nothing is retrained.

    indexed   kind=all_to_full half=test      share of inverse questions that the index answers: about people whom
                                              nobody asked about in training, as in the measure ``answers``
    unindexed kind=all_to_full half=test      control: the same model, asked them itself
    indexed_untrained                         control: an index of what random weights tell
    indexed_truth                             control: an index of the truth; below 1 where others fit as well
    told      attribute=employer half=test    what the index rests on: facts told right, of the same people
    index_questions                           its cost: forward questions, six about everybody

An answer counts if it is the person that the question was made of (as in ``answers``), word for word.  The names are
given; everything else in the index was written by the model.  The control of random weights has an index of those
people alone whom it is asked about, which only makes it easier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.measure import Measure
from physlm.tasks.biography.kinds import INVERSE, RETRIEVAL
from physlm.tasks.biography.question_config import QuestionsConfig

if TYPE_CHECKING:
    from physlm.battery.index import Ask, Index
    from physlm.measures.rows import Row
    from physlm.measures.trained import Trained
    from physlm.models.decoder import Decoder
    from physlm.tasks.biography.questions import Questions
    from physlm.training.config import RunSpec

HALF = "test"
PEOPLE = {"cuda": 2500, "cpu": 500}  # that are asked about, of each kind
CONTROLS = 500  # of them, for models that have learned no answers
ROOM = 16  # tokens of an answer and what ends it


class Asked(NamedTuple):
    """One inverse question."""

    kind: str
    person: int
    prompt: str
    answer: str


@dataclass(frozen=True)
class Indexed(Measure):
    """See the module."""

    kind: ClassVar[str] = "index"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["index"]

    def check(self, spec: RunSpec) -> None:
        """Refuse a run that does not learn to tell all six attributes of one half of all people.

        Raises:
            UserError: see above.
        """
        task = spec.task
        if not isinstance(task, QuestionsConfig) or not set(RETRIEVAL) <= set(task.ask.kinds):
            raise UserError(f"measure {self.kind}: got a run on {task.title}, expected one on bioQA that asks for "
                            f"{', '.join(RETRIEVAL)}: an index holds all that a model can tell")
        if task.ask.half != "train" or task.ask.group != "all":
            raise UserError(f"measure {self.kind}: got task.ask.half={task.ask.half!r} and group={task.ask.group!r}, "
                            "expected 'train' and 'all'")
        if not spec.model.causal:
            raise UserError(f"measure {self.kind}: model.causal: got false, expected true: an encoder writes nothing")

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        self.check(run.spec)
        return _rows(run)


measure = Indexed()  # that of the table of measures
check = measure.check


def lab_ask(model: Decoder, task: Questions, progress: bool = False) -> Ask:
    """A model of ours asked in words separated by blanks, as an index asks; it writes greedily."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from physlm.measures.generation import generate

    words, device = task.vocabulary.words, task.tables.pool.device

    def ask(prompts: Sequence[str]) -> list[str]:
        ids = [torch.tensor([0, *task.vocabulary.encode(prompt)]) for prompt in prompts]
        lengths_B = torch.tensor(list(map(len, ids)), device=device)
        made = generate(model, pad_sequence(ids, batch_first=True).to(device), ROOM, lengths=lengths_B,
                        temperature=0.0, progress=progress)
        return [" ".join(words[token] for token in row[begin:end])
                for row, begin, end in zip(made.ids.tolist(), lengths_B.tolist(), made.lengths.tolist(), strict=True)]

    return ask


def _rows(run: Trained) -> list[Row]:
    from physlm.battery.index import Index
    from physlm.battery.oracle import truth
    from physlm.battery.questions import everybody
    from physlm.measures.rows import Row

    config = run.spec.task
    assert isinstance(config, QuestionsConfig)
    task = config.build().to(run.device)
    facts = everybody(config.people, config.seed, config.pool_size)
    sheet = _inverse(task, PEOPLE[run.device.type])
    few = _inverse(task, min(PEOPLE[run.device.type], CONTROLS))
    ask = lab_ask(run.ready(run.model), task, run.progress)
    with Index() as index, Index() as untrained, truth(facts) as true:
        cost = index.tell_all((one["name"] for one in facts), ask, spaced=True)
        untrained.tell_all((facts[person]["name"] for person in _people(few)),
                           lab_ask(run.ready(run.untrained), task, run.progress), spaced=True)
        rows = [
            *_shares("indexed", sheet, _by(index, sheet)),
            *_shares("unindexed", few, ask([one.prompt for one in few])),
            *_shares("indexed_untrained", few, _by(untrained, few)),
            *_shares("indexed_truth", sheet, _by(true, sheet)),
            *_told(index, [facts[person] for person in _people(sheet)]),
        ]
    return [*rows, Row("index_questions", float(cost), "questions", config.people, float(cost), float(cost))]


def _inverse(task: Questions, most: int) -> list[Asked]:
    """Inverse questions of every kind about so many people of the other half, as words."""
    prompts = task.prompts(most, kinds=INVERSE, half=HALF, most=0, hints=0.0, forms=1, held_out=False)
    words = task.vocabulary.words
    asked = zip(prompts.kind_B.tolist(), prompts.item_B.tolist(), prompts.ids_BP.tolist(), prompts.lengths_B.tolist(),
                prompts.answers_BQ.tolist(), strict=True)
    return [Asked(INVERSE[kind], person, " ".join(words[token] for token in ids[1:length]),
                  " ".join(words[token] for token in answer if token))
            for kind, person, ids, length, answer in asked]  # fmt: skip


def _people(sheet: Iterable[Asked]) -> list[int]:
    return list(dict.fromkeys(one.person for one in sheet))


def _by(index: Index, sheet: Iterable[Asked]) -> list[str]:
    """What an index answers."""
    return [index.answer(one.prompt) or "" for one in sheet]


def _shares(quantity: str, sheet: Sequence[Asked], answers: Sequence[str]) -> list[Row]:
    """By kind, in the order of ``INVERSE``."""
    from physlm.battery.wording import normalised

    hits: dict[str, list[bool]] = {}
    for one, answer in zip(sheet, answers, strict=True):
        hits.setdefault(one.kind, []).append(normalised(answer) == normalised(one.answer))
    return _share_rows(quantity, "kind", hits)


def _told(index: Index, facts: Iterable[dict[str, str]]) -> list[Row]:
    """How many facts the index holds right, by attribute."""
    from physlm.battery.wording import normalised

    hits: dict[str, list[bool]] = {field: [] for field in RETRIEVAL}
    for one in facts:
        told = index.facts(one["name"])
        for field in RETRIEVAL:
            hits[field].append(normalised(told.get(field, "")) == normalised(one[field]))
    return _share_rows("told", "attribute", hits)


def _share_rows(quantity: str, place: str, hits: dict[str, list[bool]]) -> list[Row]:
    import numpy as np

    from physlm.measures.intervals import share

    return [share(np.array(one, float), np.ones(len(one))).row(quantity, len(one), where={place: name, "half": HALF})
            for name, one in hits.items()]
