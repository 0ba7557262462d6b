"""Where the experiments, the committed results and the runs are: of a checkout, of an installed package, or one's own.

    given           by an option or a variable: that one
    here            ./experiments, ./results, ./runs
    a checkout      the folders beside the package
    an installed    physlm/_installed/experiments and results, which the wheel brings; runs, and results that are
                    written, are here
"""

from __future__ import annotations

from pathlib import Path

import physlm


def folder(name: str, given: Path | None = None) -> Path:
    """Where ``experiments``, ``runs`` or ``results`` is to be read: as given, else here, else what came with physlm."""
    if given is not None:
        return given
    here, root = Path(name), checkout()
    if root is not None:
        return here if root == Path.cwd() or here.is_dir() else root / name
    brought = _installed() / name
    return brought if brought.is_dir() and not here.is_dir() else here


def written_folder(name: str, given: Path | None = None) -> Path:
    """Where it is to be written: the same, but never among the files of an installed package."""
    found = folder(name, given)
    return Path(name) if is_installed(found) else found


def is_installed(path: Path) -> bool:
    """Whether a path is among the files that an installed package brought, which nobody should change."""
    return path.resolve().is_relative_to(_installed().resolve())


def trusted(experiments: Path, given: Path | None) -> bool:
    """Whether every file of a folder of experiments may be run without being named.

    Experiment files are code.  Those that came with the package are as much physlm as the package is; others run where
    the folder was ``given`` by an option, or one by one when they are named.  A folder is not trusted for standing in
    it.
    """
    root = checkout()
    own = (_installed() if root is None else root) / "experiments"
    return experiments.resolve() == own.resolve() or given is not None


def checkout() -> Path | None:
    """The checkout that physlm runs from; None where it was installed as a copy, among packages of others."""
    root = Path(physlm.__file__).parents[1]
    return root if (root / "pyproject.toml").is_file() and (root / "experiments").is_dir() else None


def _installed() -> Path:
    """Where a wheel puts its experiments and results (``setup.py``); a checkout has no such folder."""
    return Path(physlm.__file__).parent / "_installed"
