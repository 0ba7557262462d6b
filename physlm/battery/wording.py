"""Texts of the battery: how they are written, what counts as the same answer, and which question a text is.

Importing this module does not import torch.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

from physlm.battery.settings import TASK_OF
from physlm.tasks.biography.kinds import KINDS

ANSWER, THOUGHT = "Answer:", "Hint:"  # what a prompt ends with
NORMALISATION = "physlm-exact-1"
NORMALISED = (
    f"{NORMALISATION}: of a text, what follows the first '{ANSWER}', or all if there is none, up to the end of that "
    "line; NFKC, curly apostrophes straight, case folded, one blank for several and none before , . ; : ?, no full "
    "stop at the end; then the whole is equal to a right answer. No part of it counts."
)
_NAME = r"\S+ \S+ \S+"
_BEFORE = re.compile(r"\s+(?=[,.;:?]|'s\b)")
_REQUEST = re.compile(rf"\s*({ANSWER}|{THOUGHT})\s*$")


class Question(NamedTuple):
    """A question that was understood: its kind, and the values of its fields, ``name`` or ``birth_date``, as text."""

    kind: str
    values: dict[str, str]


def readable(text: str) -> str:
    """A text of words separated by blanks, with its punctuation where readers expect it.

    >>> readable("Was Anya Briar Forger born in an even month ? Hint : October . Answer : Yes .")
    'Was Anya Briar Forger born in an even month? Hint: October. Answer: Yes.'
    """
    return _BEFORE.sub("", " ".join(text.split()))


def normalised(text: str) -> str:
    """What is compared, see ``NORMALISED``."""
    plain = readable(unicodedata.normalize("NFKC", text).replace("’", "'")).casefold()
    return plain.removesuffix(".").rstrip()


def given_answer(text: str) -> str:
    """The part of what was written that is the answer, as it stands there."""
    _, asked, after = re.sub(r"Answer\s+:", ANSWER, text).partition(ANSWER)
    lines = (after if asked else text).strip().splitlines()
    return lines[0].strip() if lines else ""


def understood(text: str) -> Question | None:
    """The question that a text is, in any wording of its kind and with any punctuation; None if it is none of ours.

    >>> understood("Where was Anya Briar Forger born? Answer:")
    Question(kind='birth_city', values={'name': 'Anya Briar Forger'})
    """
    plain = _REQUEST.sub("", readable(text))
    for kind, fields, pattern in _patterns():
        if found := pattern.fullmatch(plain):
            return Question(kind, dict(zip(fields, found.groups(), strict=True)))
    return None


def fields_of(kind: str) -> tuple[str, ...]:
    """The fields that a question of this kind tells."""
    return tuple(re.findall(r"{([^}]*)}", KINDS[kind].forms[0]))


@functools.cache
def _patterns() -> tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...]:
    """Kind, fields and pattern of every wording.  Those with more words of their own come first: ``born on X`` would
    take ``born on X in Y`` for a date X in Y."""
    found = []
    for kind in TASK_OF:
        for form in KINDS[kind].forms:
            parts = re.split(r"{([^}]*)}", readable(form))
            pattern = "".join(re.escape(part) if place % 2 == 0 else f"({_NAME})" if part.endswith("name") else "(.+?)"
                              for place, part in enumerate(parts))
            own = sum(map(len, parts[::2]))
            found.append((-len(parts), -own, kind, tuple(parts[1::2]), re.compile(pattern)))
    return tuple((kind, fields, pattern) for _, _, kind, fields, pattern in sorted(found, key=lambda one: one[:3]))
