"""A closed word-level vocabulary: text is words and punctuation separated by blanks, one token each.

Free of torch, so that parameter counts and costs can be computed before anything heavy is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from physlm.errors import UserError

EOS = "<eos>"
NO_WORD = "<no_word>"  # what an id reads as that no word has; no task has this word


class Vocabulary:
    """Words <-> ids 0 .. len-1, in the order given.  Every word is used by its task: each row counts as parameters.

    Attributes:
        glued: a pattern for what stands in readable text without a blank before it.
    """

    glued: ClassVar[str] = r"(?:[.,]|'s)"

    def __init__(self, words: Iterable[str]):
        self.words: tuple[str, ...] = tuple(dict.fromkeys(words))
        self._ids = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def id(self, word: str) -> int:
        """The id of one word; an unknown word is a ``UserError``."""
        try:
            return self._ids[word]
        except KeyError:
            raise UserError(f"word {word!r} is not one of the {len(self)} words of this task") from None

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """Ids of a text whose words and punctuation are separated by blanks, or of a sequence of words."""
        return [self.id(word) for word in (text.split() if isinstance(text, str) else text)]

    def read(self, ids: Iterable[int]) -> list[str]:
        """The words of ids, and ``NO_WORD`` for an id that is none: models write whatever their embeddings have room
        for, and -1 would be the last word."""
        words, n = self.words, len(self.words)
        return [words[i] if 0 <= i < n else NO_WORD for i in ids]

    def has(self, ids: Sequence[int]) -> bool:
        """Whether all of these are ids of words."""
        return not ids or (min(ids) >= 0 and max(ids) < len(self.words))

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text: no blank before punctuation; ``<eos>`` is left out."""
        words = self.read(ids)
        return re.sub(f" (?={self.glued})", "", " ".join(word for word in words if word != EOS))
