"""A lock on an open file that the system lets go of when the process ends, however it ends: on Unix and on Windows."""

from __future__ import annotations

import os
from importlib import import_module
from typing import IO, Any

from physlm.errors import UserError

_PLACE = 1 << 30  # of the byte that is locked on Windows, where nobody may read a locked one; it need not exist


def take_lock(file: IO[Any]) -> None:
    """Lock an open file for this process alone, without waiting.

    Raises:
        BlockingIOError: another process holds the lock.
        UserError: the system has no such locks.
    """
    # each of the two modules is there on one kind of system only
    try:
        fcntl: Any = import_module("fcntl")
    except ImportError:
        _take_windows_lock(file.fileno())
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _take_windows_lock(handle: int) -> None:
    try:
        msvcrt: Any = import_module("msvcrt")
    except ImportError:
        raise UserError("this system has no locks on files, so that two sweeps could write to one folder; expected "
                        "Linux, macOS or Windows") from None
    place = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, _PLACE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError(error.errno, os.strerror(error.errno or 0)) from error
    finally:
        os.lseek(handle, place, os.SEEK_SET)
