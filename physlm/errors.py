"""The errors that are no bugs of physlm: what a user can cause and cure, and what ends it from outside.

How errors show what was given, however long it is, and how many, stands here too.
"""

from __future__ import annotations

import math
import reprlib
import signal
from typing import Any


class UserError(ValueError):
    """Bad input from outside: the message names what was given and what was expected.

    The command line prints the message alone and exits with code 2; anything else that is raised
    is a bug in physlm and keeps its traceback.
    """


class NotFiniteError(UserError):
    """A model computes numbers that are not finite, so that nothing is measured of it: its run has diverged."""


class LostProcessError(Exception):
    """A process that worked for this one has died, by no fault of its own.

    The command line prints the message, says how to go on, and exits with code 1.
    """


class Stopped(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM, its only argument, has come: what is right to do for the one is right for both."""

    @property
    def number(self) -> signal.Signals:
        """The signal."""
        return signal.Signals(self.args[0])


class _Short(reprlib.Repr):
    """``repr`` that reads and writes a few characters of a value only, however large or deeply nested."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60
        self.maxlist = self.maxtuple = self.maxdict = 12

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write a number of more than 4300 digits, and takes quadratic time for fewer
        digits = round(x.bit_length() * math.log10(2))
        return f"a number of about {digits:,} digits" if digits > self.maxlong else repr(x)


_SHORT = _Short()


def shown(value: Any) -> str:
    """``repr`` of a value from outside for an error, of at most about 60 characters an item.

    >>> shown("x" * 1000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    return _SHORT.repr(value)


def counted(number: int, what: str) -> str:
    """A number and its noun: ``1 run``, ``2 runs``, ``1,200 processes``, ``2 entries``, ``1 person``, ``0 people``."""
    if number == 1:
        return f"1 {what}"
    if what.endswith("person"):
        return f"{number:,} {what.removesuffix('person')}people"
    if what.endswith("y") and what[-2] not in "aeiou":
        return f"{number:,} {what[:-1]}ies"
    return f"{number:,} {what}{'es' if what.endswith(('s', 'x')) else 's'}"


def listed(names: Any, most: int = 40) -> str:
    """Names with blanks between them, of many the first few: ``1 2 3 .. (30,000 in all)``."""
    names = list(names)
    few = " ".join(name if len(name) <= _SHORT.maxstring else shown(name) for name in names[:most])
    return few if len(names) <= most else f"{few} .. ({len(names):,} in all)"
