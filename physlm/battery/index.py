"""An external index: what a model told, in an SQLite table, which answers the questions that the model cannot.

A model that read names first tells everything about a name, and finds nobody by what it knows (arXiv 2309.14402,
Result 4).  So every name is asked forward once, six questions each, and the answers become a table:

    facts(name, field, value)     Anya Briar Forger | birth_city | Princeton, NJ

An inverse question is answered by the person with the most of the values that it tells; of several such by the one who
came first into the table.  Nothing is trained, and nothing in the table comes from anywhere but the model.

Cost: ``len(names) * 6`` forward questions, once; after that, no question to the model for any inverse question.  The
names themselves must be known: somebody who is in no list of names is not found.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from physlm.battery.settings import SEARCH, TASK_OF
from physlm.battery.wording import ANSWER, given_answer, normalised, readable, understood
from physlm.errors import UserError
from physlm.storage import disk_errors
from physlm.tasks.biography.kinds import KINDS, RETRIEVAL

Ask = Callable[[Sequence[str]], Sequence[str]]  # prompts -> what a model writes after them
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    place INTEGER PRIMARY KEY, name TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL, same TEXT NOT NULL,
    UNIQUE (name, field)
);
CREATE INDEX IF NOT EXISTS by_value ON facts (field, same);
"""
CURE = "expected an index of physlm.battery.index, or a new file"


class Index:
    """The table; in memory, or a file that can be opened again.

    >>> with Index() as index:
    ...     index.tell("Anya Briar Forger", "birth_date", "October 2, 1996")
    ...     index.answer("Tell me the full name of somebody born on October 2, 1996? Answer:")
    'Anya Briar Forger'
    """

    def __init__(self, path: Path | str = ":memory:"):
        where = Path(path)
        if str(path) != ":memory:":
            with disk_errors(where):
                where.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as refused:  # which leaves no connection open
            try:
                self._table = sqlite3.connect(path)
                refused.callback(self._table.close)
                self._table.executescript(_SCHEMA)
            except sqlite3.Error as error:
                raise UserError(f"{path}: cannot be used: {error}; {CURE}") from error
            refused.pop_all()

    def __len__(self) -> int:
        """How many facts it holds, which is how many forward questions it cost."""
        (count,) = self._table.execute("SELECT COUNT(*) FROM facts").fetchone()
        return int(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what was told, and let the file go."""
        self._table.commit()
        self._table.close()

    def tell(self, name: str, field: str, value: str) -> None:
        """One fact; a later value of the same field takes the place of an earlier one.

        Raises:
            UserError: no such field.
        """
        if field not in RETRIEVAL:
            raise UserError(f"index: got the field {field!r}, expected one of {', '.join(RETRIEVAL)}")
        self._table.execute(
            "INSERT INTO facts (name, field, value, same) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name, field) DO UPDATE SET value = excluded.value, same = excluded.same",
            (name, field, value, normalised(value)))

    def tell_all(self, names: Iterable[str], ask: Ask, spaced: bool = False) -> int:
        """Ask about every name and field, and keep the answers; returns how many questions that were."""
        asked = forward_prompts(names, spaced)
        for (name, field, _), text in zip(asked, ask([prompt for *_, prompt in asked]), strict=True):
            self.tell(name, field, given_answer(text))
        self._table.commit()
        return len(asked)

    def facts(self, name: str) -> dict[str, str]:
        """What was told of somebody, by field."""
        return dict(self._table.execute("SELECT field, value FROM facts WHERE name = ? ORDER BY place", (name,)))

    def find(self, told: Mapping[str, str]) -> str | None:
        """The name of whom most of these values (field -> text) were told; None if none was of anybody."""
        pairs = [(field, normalised(value)) for field, value in told.items()]
        # one search by_value for each pair; of all pairs in one condition sqlite reads the whole table
        held = " UNION ALL ".join(["SELECT name, place FROM facts WHERE field = ? AND same = ?"] * len(pairs))
        chosen = self._table.execute(
            f"SELECT name FROM ({held}) GROUP BY name ORDER BY COUNT(*) DESC, MIN(place) LIMIT 1",
            [part for pair in pairs for part in pair]).fetchone() if pairs else None  # fmt: skip
        return None if chosen is None else str(chosen[0])

    def answer(self, question: str) -> str | None:
        """The answer to an inverse question in any of its wordings; None if it is another question, or nobody fits."""
        found = understood(question)
        if found is None or TASK_OF[found.kind] != SEARCH:
            return None
        name = self.find(found.values)
        return name.split()[0] if name is not None and found.kind.endswith("_to_first") else name


def forward_prompts(names: Iterable[str], spaced: bool = False) -> list[tuple[str, str, str]]:
    """Name, field and prompt: every name's six attributes, in the first wording of each."""
    forms = {field: KINDS[field].forms[0] for field in RETRIEVAL}
    prompts = [(name, field, f"{form.replace('{name}', name)} {spaced_request()}") for name in names
               for field, form in forms.items()]
    return prompts if spaced else [(name, field, readable(prompt)) for name, field, prompt in prompts]


def routed(questions: Sequence[str], index: Index, ask: Ask) -> list[str]:
    """Inverse questions answered by the index, all others by the model.

    What the index cannot answer stays without an answer: the model would only guess.
    """
    kinds = [understood(question) for question in questions]
    inverse = [found is not None and TASK_OF[found.kind] == SEARCH for found in kinds]
    others = iter(ask([question for question, search in zip(questions, inverse, strict=True) if not search]))
    return [index.answer(question) or "" if search else next(others)
            for question, search in zip(questions, inverse, strict=True)]


def spaced_request() -> str:
    """The request for an answer, as words separated by blanks."""
    return re.sub(r"(?=:)", " ", ANSWER)
