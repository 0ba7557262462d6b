"""Biographies from a file: JSON lines that somebody's language model wrote, and their words.  Free of torch.

    {"person": 0, "text": "Anya Briar Forger, born on October 2, 1996, ..."}
    {"person": 0, "text": "..."}
    {"person": 1, "text": "..."}

A person may have several lines, in any order; other keys are allowed and not read, empty lines are passed over.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import reprlib
import unicodedata
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from tqdm import tqdm

from physlm import inputs
from physlm.errors import UserError

# 's of a possessive, a word of letters and digits with apostrophes inside, or one sign
_TOKEN = re.compile(r"'s(?![^\W_])|[^\W_]+(?:'(?!s(?![^\W_]))[^\W_]+)*|[^\w\s]|_")
_CURE = "expected a file of JSON lines such as physlm biographies check --out writes"
_SHOWN = 60  # characters of a bad line that an error repeats
_MOST_BYTES = 1 << 20  # of a line; a text of 50 words has about 400


class Line(NamedTuple):
    """One text, the person whom it is about, and the number of its line, from 1."""

    number: int
    person: int
    text: str


class Texts(NamedTuple):
    """All texts of a file, in its order, as numbers of words.

    Attributes:
        words: the different words, in the order of their first appearance.
        people, lines: of each text, whom it is about and its line in the file.
        tokens: the numbers of the words of all texts, one text after another.
        ends: where each text ends in ``tokens``.
    """

    words: tuple[str, ...]
    people: array[int]
    lines: array[int]
    tokens: array[int]
    ends: array[int]

    def text(self, number: int) -> tuple[str, ...]:
        """The words of one text."""
        begin = self.ends[number - 1] if number else 0
        return tuple(self.words[token] for token in self.tokens[begin : self.ends[number]])


def tokenise(text: str) -> tuple[str, ...]:
    """The words and signs of a text, one token each; nothing but blanks is lost.

    Curly apostrophes become straight, and a letter with an accent is one character (NFC).

    >>> tokenise("Anya Forger’s home is Princeton, NJ.")
    ('Anya', 'Forger', "'s", 'home', 'is', 'Princeton', ',', 'NJ', '.')
    """
    return tuple(_TOKEN.findall(unicodedata.normalize("NFC", text).replace("’", "'")))


def read_lines(file: str, people: int | None = None) -> Iterator[Line]:
    """The texts of a file, one at a time.

    Args:
        people: persons are numbered 0 .. people - 1; None allows all numbers.

    Raises:
        UserError: the file cannot be read, or a line is no such object; the message names the line.
    """
    with inputs.plain_file(file, _CURE) as content:
        for number, line in enumerate(inputs.bounded_lines(content, file, _MOST_BYTES), 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # some editors mark UTF-8 so
            if line.strip():
                yield Line(number, *_parsed(line, f"{file} line {number}", people))


def file_sha256(file: str) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with inputs.plain_file(file, _CURE) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def checked_sha256(file: str, given: str) -> str:
    """The SHA-256 of the file that a task's settings name, which must be the one given, if one is.

    Raises:
        UserError: the file cannot be read or has another content.
    """
    if not file:
        if given:
            raise UserError(f"task.sha256: got {given!r} with task.file='', expected '' or a file that has it")
        return ""
    found = file_sha256(file)
    if given not in ("", found):
        raise UserError(f"task.sha256: got {given!r}, but {file} has {found!r}: the texts have changed; expected the "
                        "file as it was, or task.sha256='' to read the texts as they are now, which is another run")
    return found


@functools.lru_cache(maxsize=4)
def read_texts(file: str, sha256: str) -> Texts:
    """All texts of a file with this content, read once a process.

    Raises:
        UserError: as ``read_lines``; no file is named; the content has changed.
    """
    if not file:
        raise UserError(f"task.file: got '', {_CURE}")
    checked_sha256(file, sha256)
    numbers: dict[str, int] = {}
    people, lines, tokens, ends = array("q"), array("q"), array("i"), array("q")
    for line in tqdm(read_lines(file), desc=f"reading {file}", unit=" texts", leave=False, disable=None, delay=2):
        tokens.extend(numbers.setdefault(word, len(numbers)) for word in tokenise(line.text))
        people.append(line.person)
        lines.append(line.number)
        ends.append(len(tokens))
    checked_sha256(file, sha256)  # nobody wrote to it in the meantime
    return Texts(tuple(numbers), people, lines, tokens, ends)


def _parsed(line: bytes, place: str, people: int | None) -> tuple[int, str]:
    """Person and text of a line."""
    expected = 'expected an object like {"person": 0, "text": "..."}'
    try:
        data: Any = json.loads(line.decode())
    except UnicodeDecodeError:
        raise UserError(f"{place}: got bytes that are no UTF-8 text, {expected}") from None
    except (ValueError, RecursionError):
        shown = line.decode().strip()
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise UserError(f"{place}: got {shown}, which is no JSON; {expected}") from None
    if not isinstance(data, dict):
        raise UserError(f"{place}: got {reprlib.repr(data)}, {expected}")
    for key, kind, name in (("person", int, "a whole number"), ("text", str, "a text in quotes")):
        if key not in data:
            raise UserError(f"{place}: {key!r} is missing, {expected}")
        if type(data[key]) is not kind:
            raise UserError(f"{place}: {key}: got {reprlib.repr(data[key])}, expected {name}")
    person, text = data["person"], data["text"]
    # person numbers fit into 64 bits
    if not 0 <= person < (people or 1 << 62):
        limit = "at least 0" if people is None else f"0 to {people - 1}, as there are {people:,} people"
        raise UserError(f"{place}: person: got {reprlib.repr(person)}, expected {limit}")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise UserError(f"{place}: text: got half of a pair of surrogates, expected text that UTF-8 can write")
    return person, text
