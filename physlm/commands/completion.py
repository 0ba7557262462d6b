"""What a shell offers after the tab key: claims, parts, tiers, verdicts, tasks, words of a list.  No experiment is
run for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from physlm.lab.experiment import TIERS, experiment_names, part_of
from physlm.lab.folders import folder
from physlm.laws.verdict import Verdict
from physlm.tasks.config import TaskConfig

VERDICTS: tuple[str, ...] = get_args(Verdict)


def claims(incomplete: str) -> list[str]:
    """The experiments in the folder that a command would look into."""
    given = os.environ.get("PHYSLM_EXPERIMENTS")
    where = folder("experiments", Path(given) if given else None)
    return [name for name in experiment_names(where) if name.startswith(incomplete)] if where.is_dir() else []


def parts(incomplete: str) -> list[str]:
    """The parts that these belong to."""
    return [part for part in sorted({*map(part_of, claims(""))}) if part.startswith(incomplete)]


def tiers(incomplete: str) -> list[str]:
    """All tiers."""
    return [tier for tier in TIERS if tier.startswith(incomplete)]


def verdicts(incomplete: str) -> list[str]:
    """All verdicts."""
    return [verdict for verdict in VERDICTS if verdict.startswith(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """The tasks of the package, as commands spell them."""
    return [kind for kind in map(str.lower, TaskConfig.kinds()) if kind.startswith(incomplete)]


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """These words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]
