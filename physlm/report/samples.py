"""A few texts of every task, with the role that each token plays; of strings of grammars the derivation tree.

The texts are those of ``physlm data sample TASK --split evaluation``: numbers 0, 1, 2 of the task's own settings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig

if TYPE_CHECKING:
    from physlm.tasks.task import Text
    from physlm.tasks.vocabulary import Vocabulary

TEXTS = 3  # of each task
HUES = 8  # colours of the style sheet; the names of the roles tell apart more
_PLAIN = ("text", "token", "eos", "bos")  # roles that need no mark


@dataclass(frozen=True)
class Span:
    """Tokens of one role in a row, and the blank that stands before them, if there is one."""

    text: str
    role: str
    hue: int | None
    blank: str


@dataclass(frozen=True)
class Cell:
    """One subtree of a level of a derivation tree: its symbol, and how many tokens it spans."""

    symbol: str
    tokens: int
    hue: int


@dataclass(frozen=True)
class Sample:
    """One text: what it is about, its tokens, and for strings of grammars each level of the tree, the root's first."""

    about: str
    spans: tuple[Span, ...]
    levels: tuple[tuple[Cell, ...], ...] = ()


@dataclass(frozen=True)
class TaskSamples:
    """The texts of one task; ``doc`` says what it is, ``missing`` why there are none."""

    kind: str
    title: str
    doc: str
    samples: tuple[Sample, ...]
    missing: str = ""


def task_samples(n: int = TEXTS) -> list[TaskSamples]:
    """Of every task of the package, with its default settings."""
    return [_of_task(kind, n) for kind in TaskConfig.table]


def _of_task(kind: str, n: int) -> TaskSamples:
    import torch

    config: TaskConfig = TaskConfig.of_kind(kind)()
    doc = " ".join((inspect.getdoc(type(config)) or "").partition("\n\n")[0].split())
    try:
        texts = config.build().texts(torch.arange(n), "evaluation")
    except UserError as error:  # such as of a task that reads a file, which its defaults do not name
        return TaskSamples(kind, config.title, doc, (), str(error))
    roles: dict[str, int] = {}
    vocabulary = config.vocabulary()
    return TaskSamples(kind, config.title, doc, tuple(sample_of(text, vocabulary, roles) for text in texts))


def sample_of(text: Text, vocabulary: Vocabulary, roles: dict[str, int]) -> Sample:
    """A text as it is shown; ``roles`` keeps the hue of each role from one text of a task to the next."""
    about = ", ".join(f"{name} {value}" for name, value in text.about.items() if name != "draw" or value)
    return Sample(about, tuple(_spans(text, vocabulary, roles)), tuple(_levels(text.more.get("levels", ()))))


def _spans(text: Text, vocabulary: Vocabulary, roles: dict[str, int]) -> Iterator[Span]:
    begun = False
    for role, pairs in groupby(zip(text.labels, text.ids, strict=True), key=lambda pair: pair[0]):
        words = vocabulary.decode(token for _, token in pairs)
        if not words:
            continue  # <eos> alone
        hue = None if role in _PLAIN else roles.setdefault(role, len(roles)) % HUES
        yield Span(words, role.replace("_", " "), hue, " " if begun and not re.match(r"[.,]|'s", words) else "")
        begun = True


def _levels(levels: Sequence[dict[str, Any]]) -> Iterator[tuple[Cell, ...]]:
    for level in levels:
        inside = [pair for pair in zip(level["subtrees"], level["symbols"], strict=True) if pair[0] is not None]
        names = sorted({symbol for _, symbol in inside})
        yield tuple(Cell(symbol, len(list(group)), names.index(symbol) % HUES)
                    for (_, symbol), group in groupby(inside))
