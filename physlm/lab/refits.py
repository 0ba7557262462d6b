"""Refitted laws that are kept: ``physlm verify`` reads them back while nothing that they rest on has changed.

What came out for a claim is kept under a key, the SHA-256 of the content of

    physlm's own modules, the claim's file and the helpers beside it, measures.csv and law.json of its results,
    and the versions of Python, numpy, pandas and scipy.

Any other byte in one of these, and the law is refitted.  What an experiment imports from elsewhere is not in the key:
``physlm verify --refit`` looks at no kept law.

One file a claim and folder of results, in $PHYSLM_CACHE, else $XDG_CACHE_HOME/physlm, else ~/.cache/physlm; it may be
deleted at any time.  A file that is damaged counts as none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import physlm
from physlm import storage
from physlm.errors import UserError
from physlm.lab.committed import table_file
from physlm.lab.experiment import Experiment
from physlm.lab.verify import Checked, Statement
from physlm.laws.law import Law
from physlm.laws.verdict import Expectation, verdict_rows

_LIBRARIES = ("numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Refits:
    """The kept laws of the claims in ``experiments`` with these ``results``."""

    experiments: Path
    results: Path

    def get(self, claim: str) -> Checked | None:
        """What was kept of a claim, if all it rests on is as it was then."""
        path = self._file(claim)
        try:
            data = storage.read_json(path) if path.is_file() else None
        except UserError:  # damage is a reason to refit, and what it is a copy of is whole
            return None
        return _kept(data, claim) if isinstance(data, dict) and data.get("key") == self._key(claim) else None

    def put(self, checked: Checked) -> None:
        """Keep what was refitted.

        Raises:
            UserError: the folder cannot be written.
        """
        assert isinstance(checked.experiment, Experiment), checked.claim
        storage.write_json(self._file(checked.claim), {
            "key": self._key(checked.claim), "claim": checked.experiment.claim, "source": checked.experiment.source,
            "expect": [one.to_dict() for one in checked.experiment.expect],
            "law": None if checked.law is None else checked.law.to_dict(),
            "tier": next((row["tier"] for row in checked.rows), None), "disagreements": list(checked.disagreements),
        })

    def _file(self, claim: str) -> Path:
        place = hashlib.sha256(os.fsencode(self.results.resolve())).hexdigest()[:12]
        return cache_folder() / "refits" / place / f"{claim}.json"

    def _key(self, claim: str) -> str:
        """The hash of everything that the refitted law of a claim rests on."""
        folder = self.results / claim
        files = [*sorted(self.experiments.glob("_*.py")), self.experiments / f"{claim}.py",
                 table_file(folder), folder / "law.json"]
        found = hashlib.sha256(_package().encode())
        for path in files:
            found.update(f"{path.name} {_content(path)}\n".encode())
        return found.hexdigest()


def cache_folder() -> Path:
    """Where physlm keeps what it can make again."""
    if own := os.environ.get("PHYSLM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physlm"


@functools.cache
def _package() -> str:
    """The hash of physlm's modules and of the libraries that laws are made of."""
    root = Path(physlm.__file__).parent
    versions = [platform.python_version(), *map(version, _LIBRARIES)]
    modules = [f"{path.relative_to(root).as_posix()} {_content(path)}" for path in sorted(root.rglob("*.py"))]
    return hashlib.sha256("\n".join([*versions, *modules]).encode()).hexdigest()


def _content(path: Path) -> str:
    """The hash of a file; nothing where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _kept(data: dict[str, Any], claim: str) -> Checked:
    """What a file keeps; these very modules wrote it, as its key says."""
    statement = Statement(data["claim"], data["source"], tuple(map(Expectation.from_dict, data["expect"])))
    law = None if data["law"] is None else Law.from_dict(data["law"])
    rows = verdict_rows(claim, law, statement.expect, data["tier"])
    return Checked(claim, statement, law, rows, tuple(data["disagreements"]))
