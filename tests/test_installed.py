"""physlm as a package among packages: a wheel of the checkout, in a virtual environment of its own.

The environment sees the libraries of the one that runs the tests, and no physlm but the wheel's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("physlm", "experiments", "results", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
CLAIMS = {path.parent.name for path in (ROOT / "results").glob("*/law.json")}
MOST_MORE = 15_000_000  # bytes that the experiments and results may take


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, in a copy, since a build writes into its folder."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    pip(sys.executable, "wheel", folder, "--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "dist")
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = folder.rglob("site-packages")
    # a path in a .pth file is one more place to import from; .pth files there, such as that of an editable physlm,
    # are not looked at
    (packages / "libraries.pth").write_text("\n".join({sysconfig.get_path("purelib"), *site.getsitepackages()}))
    pip(sys.executable, "--python", python, "install", "--no-deps", "--no-index", wheel)
    return python


def pip(python: str, *arguments: object) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr


def environment(**more: str) -> dict[str, str]:
    """The variables, without those that would lead to the checkout."""
    return {name: value for name, value in os.environ.items() if not re.match("PYTHONPATH|PHYSLM", name)} | more


def call(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``physlm ...`` in a folder."""
    command: Sequence[str | Path] = [python.parent / "physlm", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                          env=environment(PHYSLM_CACHE=str(folder.parent / "cache")))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_wheel_brings_the_claims_and_is_not_large(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {one.filename: one.file_size for one in archive.infolist() if "/_installed/" in one.filename}
        others = {one.filename.split("/")[0] for one in archive.infolist()}
    assert sum(sizes.values()) < MOST_MORE
    assert {Path(name).name for name in sizes if "/experiments/" in name} == {
        path.name for path in (ROOT / "experiments").glob("*.py")}
    brought = {tuple(Path(name).parts[-2:]) for name in sizes if "/results/" in name}
    files = ("law.json", "VERDICT.md", "env.json", "figure.png", "measures.csv.gz")
    assert brought == {(claim, file) for claim in CLAIMS for file in files}
    assert {one for one in others if not one.endswith(".dist-info")} == {"physlm"}, "no package of another name"


def test_importing_is_light(python: Path, empty: Path) -> None:
    code = ("import sys, physlm; print(physlm.__file__); "
            "print([name for name in ('numpy', 'typer', 'torch') if name in sys.modules])")
    done = subprocess.run([python, "-c", code], cwd=empty, capture_output=True, text=True, check=True,
                          env=environment())
    where, heavy = done.stdout.splitlines()
    assert Path(where).is_relative_to(python.parents[1]) and heavy == "[]"


def test_claims_are_listed_shown_and_verified_from_an_empty_folder(python: Path, empty: Path) -> None:
    listed = call(python, empty, "list")
    assert listed.returncode == 0 and "the results that came with physlm" in listed.stdout
    assert {line.split()[0] for line in listed.stdout.splitlines() if line} >= CLAIMS
    shown = call(python, empty, "show", "p41_mano")
    assert shown.returncode == 0 and "Canon layers let a transformer" in shown.stdout
    (empty.parent / "cache").mkdir()
    for again in (False, True):
        verified = call(python, empty, "verify", "p1_bound", "--json")
        assert verified.returncode == 0 and ("note: 1 claim as" in verified.stderr) == again
        assert json.loads(verified.stdout) == json.loads(
            (ROOT / "results" / "p1_boundaries" / "law.json").read_text())["verdicts"]
    refused = call(python, empty, "verify", "p1_boundaries", "--write")
    assert refused.returncode == 2 and "came with the installed package" in refused.stderr
    assert list(empty.iterdir()) == []


def test_figures_and_runs_go_to_the_current_folder(python: Path, empty: Path) -> None:
    drawn = call(python, empty, "figure", "p1_implicit")
    assert (drawn.returncode, drawn.stdout) == (0, "p1_implicit.png\n"), drawn.stderr
    assert (empty / "p1_implicit.png").read_bytes().startswith(b"\x89PNG")
    done = call(python, empty, "run", "p41_mano", "--tier", "smoke", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (empty / "runs" / "smoke" / "p41_mano" / "law.json").is_file() and not (empty / "results").exists()
    verdict = call(python, empty, "figure", "p41_mano", "--tier", "smoke")
    assert verdict.stdout == "runs/smoke/p41_mano/figure.png\n"


def test_folders_of_ones_own_come_first(python: Path, empty: Path) -> None:
    (empty / "experiments").mkdir()
    (empty / "experiments" / "p9_mine.py").write_text("raise AssertionError")
    listed = call(python, empty, "list")
    assert "p9_mine" in listed.stdout and "p41_mano" not in listed.stdout
    verified = call(python, empty, "verify", "--json")
    assert "is not physlm's own" in verified.stderr and verified.returncode == 0, "its code is not run unasked"
