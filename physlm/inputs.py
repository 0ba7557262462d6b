"""Files that a user names to be read: plain files, and lines of bounded length.

A pipe that nobody writes to would be waited for without end, and a device may go on without end; both are refused by
name.  Links are followed: the user named them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, AnyStr

from physlm import storage
from physlm.errors import UserError

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


@contextmanager
def plain_file(name: str | Path, expected: str) -> Iterator[BufferedReader]:
    """A file to read, in binary.

    Args:
        expected: what a good file is, for the error: ``expected a file with one string a line``.

    Raises:
        UserError: missing, not allowed, no possible name, or no plain file.
    """
    path = Path(name)
    with storage.disk_errors(path, "read", expected), open(path, "rb", opener=_open_now) as file:
        mode = os.fstat(file.fileno()).st_mode
        kind = next((kind for test, kind in _KINDS if test(mode)), None)
        if kind is not None:
            raise UserError(f"{path}: it is {kind}, {expected}")
        yield file


def bounded_lines(file: IO[AnyStr], where: str, most: int) -> Iterator[AnyStr]:
    """The lines of a file, each of at most ``most`` characters (or bytes).

    Raises:
        UserError: a longer line; the message names it, and no more than that was read of it.
    """
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            raise UserError(f"{where} line {number}: got more than {most:,} characters, expected a shorter line")
        yield line


def _open_now(path: str, flags: int) -> int:
    """An ``opener`` for ``open`` that does not wait for somebody to write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # some systems have no such flag
