"""Values read back from a run store.  It may come from elsewhere: what stands there is checked, and it names no file.

A run on texts from a file (bioR) has the name of that file among its settings, and settings read the file when they are
made.  So settings from a store are made only of such files as the runs that were asked for name themselves: nobody
else's store makes physlm read a file of its choice.  Free of torch.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TypeGuard

from physlm import storage
from physlm.config import from_dict, to_dict
from physlm.errors import UserError
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec

MOST_SECONDS = 1e10  # three hundred years
MOST_MEMBERS = 1 << 20


def files_of(specs: Iterable[RunSpec]) -> frozenset[str]:
    """Names of the files that runs, or those that they begin with, read."""
    return frozenset().union(*(named_files(to_dict(spec)) for spec in specs))


def named_files(settings: Any) -> frozenset[str]:
    """Names of files anywhere in the JSON form of settings."""
    if isinstance(settings, list):
        return frozenset().union(*map(named_files, settings))
    if not isinstance(settings, dict):
        return frozenset()
    kind = settings.get("kind")
    # settings of no task that is known are never made
    fields = TaskConfig.of_kind(kind).file_fields if kind in TaskConfig.kinds() else ()
    own = {value for key in fields if isinstance(value := settings.get(key), str) and value}
    return frozenset(own).union(*map(named_files, settings.values()))


def read_spec(settings: Any, files: Collection[str]) -> RunSpec:
    """The run that stored settings describe.

    Args:
        files: those that it may name.

    Raises:
        UserError: settings of no run, or of one on another file.
    """
    try:
        foreign = named_files(settings) - set(files)
        if foreign:
            raise UserError(f"task.file: got {reprlib.repr(min(foreign))}, which no run that was asked for reads")
        return from_dict(RunSpec, settings)
    except (TypeError, RecursionError) as error:
        raise UserError(f"expected the settings of a run ({error})") from error


def read_seconds(path: Path, cure: str) -> dict[str, float]:
    """A table of seconds by name, such as measuring.json; empty if there is no such file.

    Raises:
        UserError: damaged.
    """
    if not path.exists():
        return {}
    found = storage.read_json(path, cure)
    if not isinstance(found, dict) or not all(map(is_time, found.values())):
        raise UserError(f"{path}: expected seconds by name, got {reprlib.repr(found)}; {cure}")
    return {name: float(seconds) for name, seconds in found.items()}


def read_training_seconds(path: Path, cure: str) -> float:
    """The seconds of timing.json, shared by the members that trained together; 0 if there is no such file.

    Raises:
        UserError: damaged.
    """
    if not path.exists():
        return 0.0
    found = storage.read_json(path, cure)
    seconds, members = (found.get("seconds"), found.get("members", 1)) if isinstance(found, dict) else (None, None)
    if not is_time(seconds) or type(members) is not int or not 1 <= members < MOST_MEMBERS:
        raise UserError(f"{path}: expected seconds and members, got {reprlib.repr(found)}; {cure}")
    return seconds / members


def read_training_speed(path: Path, cure: str) -> float:
    """Tokens that all members were trained on in a second of timing.json; 0 where it was not kept.

    Raises:
        UserError: damaged.
    """
    if read_training_seconds(path, cure) == 0.0:
        return 0.0
    speed = storage.read_json(path, cure).get("tokens_per_second_all_members")
    if speed is not None and not (type(speed) in (int, float) and 0 <= speed < math.inf):
        raise UserError(f"{path}: expected tokens_per_second_all_members, got {reprlib.repr(speed)}; {cure}")
    return speed or 0.0


def is_time(value: Any) -> TypeGuard[float]:
    """Whether it may be a number of seconds."""
    return type(value) in (int, float) and 0 <= value <= MOST_SECONDS
