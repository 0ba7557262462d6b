"""One process at a time, on systems with ``fcntl`` and on those with ``msvcrt``."""

from __future__ import annotations

import errno
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from physlm.errors import UserError
from physlm.lab.locks import take_lock
from physlm.lab.store import Store

ROOT = Path(__file__).parents[2]


def test_two_files_one_lock(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "a+") as first, open(tmp_path / "lock", "a+") as second:
        take_lock(first)
        with pytest.raises(BlockingIOError):
            take_lock(second)
    with open(tmp_path / "lock", "a+") as third:
        take_lock(third)


class Windows(types.ModuleType):
    """``msvcrt`` as its documentation has it: the byte at the file's position, which others cannot take too."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.taken = False

    def locking(self, handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        if self.taken:
            raise OSError(errno.EACCES, "Permission denied")
        self.taken = True


def test_a_system_without_fcntl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Windows())
    sweeping = pytest.raises(UserError, match=r"process \d+ is sweeping this folder")
    with Store(tmp_path).lock(), sweeping, Store(tmp_path).lock():
        pass
    monkeypatch.setitem(sys.modules, "msvcrt", None)
    with pytest.raises(UserError, match="no locks on files"), Store(tmp_path).lock():
        pass


@pytest.mark.parametrize("arguments", [["list"], ["show", "p33_capacity"], ["verify"]])
def test_commands_that_lock_nothing_need_no_locks(arguments: list[Any]) -> None:
    code = f"import sys; sys.modules['fcntl'] = None; sys.argv[1:] = {arguments!r}; from physlm import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout, done.stderr
