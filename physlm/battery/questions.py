"""The prompts of a battery with all their right answers, and the texts that a model is trained on before.

    prompt     Was Anya Briar Forger born in an even month? Answer:             answers  Yes
    prompt     Was Anya Briar Forger born in an even month? Hint:               answers  Yes        thought  October
    prompt     Give me the full name of the person born on October 2, 1996? Answer:
                                                                                answers  all who were born on that day

The people, their halves, and the questions are those of bioS and bioQA: prompts are about the half that training never
asks about.  Importing this module does not import torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from physlm.battery.settings import SEARCH, TASK_OF, TEXTS, Battery
from physlm.battery.wording import fields_of, readable
from physlm.tasks.biography.question_config import QuestionsConfig

NO_THOUGHT = "Answer the question with the answer alone."
WITH_THOUGHT = "First write what you know of the people asked about, then 'Answer:' and the answer alone."


class Prompt(NamedTuple):
    """One question.

    Attributes:
        id: its name, which no question of another battery has.
        thought: whether what is known of the people is to be written before the answer.
        answers: all right ones, the one of the person that the question was made of first.
        hint: the thought, if there is one.
        person: the number of whom it is about.
    """

    id: str
    task: str
    kind: str
    thought: bool
    prompt: str
    answers: tuple[str, ...]
    hint: str
    person: int

    @property
    def instruction(self) -> str:
        """For models that follow instructions and were not trained on such questions."""
        return WITH_THOUGHT if self.thought else NO_THOUGHT


class Example(NamedTuple):
    """A question to train on: its kind, what is given, and what is to be written after it."""

    kind: str
    prompt: str
    completion: str


def prompts(battery: Battery) -> list[Prompt]:
    """All questions about people held out of training, kind by kind."""
    fitting = _Fitting(battery)
    found = []
    for kind, thought in battery.asked():
        config = battery.questions(kind, "test", thought)
        for person, asked, hint, answer in _texts(config, min(battery.most, config.asked)):
            name = f"{battery.key}-{kind}-{person}" + ("-thought" if thought else "")
            answers = fitting.names(kind, person) if TASK_OF[kind] == SEARCH else (readable(answer),)
            styled = [text if battery.spaced else readable(text) for text in (asked, hint)]
            found.append(Prompt(name, TASK_OF[kind], kind, thought, styled[0], answers, readable(styled[1]), person))
    return found


def examples(battery: Battery, draws: int = 1) -> list[Example]:
    """Questions about the other half, of every kind and both ways, to train on; pairs differ from draw to draw."""
    from physlm.tasks.biography.questions import REQUEST

    found = []
    for kind, thought in battery.asked():
        config = battery.questions(kind, "train", thought)
        for _, asked, hint, answer in _texts(config, draws * config.asked):
            whole = f"{hint} . {REQUEST} {answer} ." if thought else f"{answer} ."
            found.append(Example(kind, *(text if battery.spaced else readable(text) for text in (asked, whole))))
    return found


def biographies(battery: Battery) -> list[str]:
    """Every text about everybody; number i is the (i // people)-th of person i mod people."""
    import torch

    task = battery.biographies.build()
    texts = task.texts(torch.arange(TEXTS * battery.people))
    found = (_words(task.vocabulary.words, text.ids) for text in texts)
    return [text if battery.spaced else readable(text) for text in found]


def everybody(people: int, seed: int, pool_size: int) -> list[dict[str, str]]:
    """Name and six values of each person as text, by field."""
    from physlm.tasks.biography.facts import FIELDS, Facts

    facts = Facts(people, seed, pool_size)
    return [dict(zip(FIELDS, facts.of(person), strict=True)) for person in range(people)]


def names(battery: Battery) -> list[str]:
    """Everybody's full name."""
    return [facts["name"] for facts in everybody(battery.people, battery.seed, battery.pool_size)]


class _Fitting:
    """Who fits what an inverse question tells."""

    def __init__(self, battery: Battery):
        self._facts = everybody(battery.people, battery.seed, battery.pool_size)
        self._groups: dict[str, dict[tuple[str, ...], list[int]]] = {}

    def names(self, kind: str, person: int) -> tuple[str, ...]:
        """Full or first names of all who fit, that of this person first."""
        fields = fields_of(kind)
        if kind not in self._groups:
            self._groups[kind] = defaultdict(list)
            for number, facts in enumerate(self._facts):
                self._groups[kind][tuple(facts[field] for field in fields)].append(number)
        fit = self._groups[kind][tuple(self._facts[person][field] for field in fields)]
        told = (self._facts[number]["name"] for number in sorted(fit, key=lambda number: number != person))
        return tuple(dict.fromkeys(name.split()[0] if kind.endswith("_to_first") else name for name in told))


def _texts(config: QuestionsConfig, count: int) -> Iterator[tuple[int, str, str, str]]:
    """Person, prompt, hint and answer, as words separated by blanks, without what ends them."""
    import torch

    from physlm.tasks.biography.questions import REQUEST

    task = config.build()
    words, ends = task.vocabulary.words, len(f". {REQUEST}".split())
    for text in task.texts(torch.arange(count)):
        roles = {role: [token for token, label in zip(text.ids, text.labels, strict=True) if label == role]
                 for role in ("text", "hint", "answer")}  # fmt: skip
        hint = roles["hint"][:-ends]
        yield (text.about["person"], _words(words, roles["text"]), _words(words, hint),
               _words(words, [token for token in roles["answer"] if token][:-1]))


def _words(words: tuple[str, ...], ids: list[int]) -> str:
    """A text without the token 0 before and after it."""
    return " ".join(words[token] for token in ids if token)
