"""The optional extras of pyproject.toml: continuous integration installs each, and runs tests that are there."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_THE_TESTS = {"dev", "notebooks"}  # make install brings what they name


def extras() -> dict[str, list[str]]:
    """What make test-extras runs: names of extras that are installed together, and their tests."""
    done = subprocess.run(["make", "-n", "test-extras", "STAMP="], cwd=ROOT, capture_output=True, text=True, check=True)
    return {names: tests.split(",") for names, tests in re.findall(r'"([\w,-]+)=([^"$]+)"', done.stdout)}


def test_every_extra_is_installed_and_tested() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tested = [name for names in extras() for name in names.split(",")]
    assert sorted(tested) == sorted(set(declared) - WITH_THE_TESTS), "EXTRAS of the Makefile"
    required = {re.split(r"[<>=]", line)[0] for line in declared["notebooks"]}
    assert required <= {re.split(r"[<>=]", line)[0] for line in declared["dev"]}


def test_the_tests_of_extras_are_there() -> None:
    for tests in extras().values():
        assert tests and all((ROOT / test.partition("::")[0]).exists() for test in tests)


def test_continuous_integration_tests_the_extras() -> None:
    commands = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make test$", commands, re.MULTILINE)
    assert re.search(r"^(exec )?make test-extras$", commands, re.MULTILINE)
