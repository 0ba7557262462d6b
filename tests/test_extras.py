"""The optional extras of pyproject.toml: continuous integration installs each, and runs tests that are there."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_THE_TESTS = {"dev", "notebooks"}  # make install brings what they name


def runs(target: str) -> dict[str, list[str]]:
    """What a target runs: names of extras that are installed together, and their tests."""
    done = subprocess.run(["make", "-n", target, "STAMP="], cwd=ROOT, capture_output=True, text=True, check=True)
    return {names: tests.split(",") for names, tests in re.findall(r'"([\w,-]*)=([^"$]+)"', done.stdout)}


def extras() -> dict[str, list[str]]:
    return runs("test-extras")


def test_every_extra_is_installed_and_tested() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tested = [name for names in extras() for name in names.split(",")]
    assert sorted(tested) == sorted(set(declared) - WITH_THE_TESTS), "EXTRAS of the Makefile"
    required = {re.split(r"[<>=]", line)[0] for line in declared["notebooks"]}
    assert required <= {re.split(r"[<>=]", line)[0] for line in declared["dev"]}


def test_the_tests_of_extras_are_there() -> None:
    for tests in (*extras().values(), *runs("test-lowest").values()):
        assert tests and all((ROOT / test.partition("::")[0]).exists() for test in tests)


def test_continuous_integration_tests_the_extras() -> None:
    commands = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make test$", commands, re.MULTILINE)
    assert re.search(r"^(exec )?make test-extras$", commands, re.MULTILINE)


def requirements() -> dict[str, list[str]]:
    """What pyproject.toml names, of the package and of every extra: library -> its bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for more in project["optional-dependencies"].values() for line in more)]
    found: dict[str, list[str]] = {}
    for line in lines:
        name, bounds = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", line).groups()  # type: ignore[union-attr]
        found.setdefault(name.lower(), []).extend(bounds.split(","))
    return found


def test_every_library_is_pinned_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(re.split("==", line.lower().replace("_", "-")) for line in lines if "==" in line)
    for name, bounds in requirements().items():
        assert name in pins, f"{name}: its version of the tests is not in constraints.txt"
        least = [bound.removeprefix(">=") for bound in bounds if bound.startswith(">=")]
        assert least and all(number(pins[name]) >= number(one) for one in least), (name, pins[name], least)


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def test_the_oldest_libraries_have_the_tests_of_every_extra() -> None:
    """A lower bound that nobody tries is a guess; each has one, and one number to install."""
    assert runs("test-lowest").items() >= extras().items() and runs("test-lowest")[""], "of the package itself"
