"""The standard streams of a command: closed ones, ones that cannot write every character, and how wide they are."""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys

WIDTH = 119  # of a line at most
LEAST = 80  # on a narrower screen lines are broken by the terminal
GONE = 141  # the exit code of a command whose reader (head, a pager) has gone: 128 + SIGPIPE, as the shell has it
_ESCAPED = "physlm.escaped"


def prepare() -> None:
    """Let every command print whatever it has to, wherever its output goes.

    A character that the encoding of a stream lacks is written as ``\\uXXXX``, which in JSON means the same character.
    A stream that was closed reads and writes nothing.
    """
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, so that no other file will
    for handle, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(handle, "w" if handle else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(_ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)


def discard_output() -> None:
    """Send what is still to be written to nowhere, or Python would try to write it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def width() -> int:
    """Of a line: that of the terminal, but not more than is easily read; in a file or a pipe always the same."""
    if not sys.stdout.isatty():
        return WIDTH
    return max(LEAST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns - 1))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: the characters that could not be written as JSON escapes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
