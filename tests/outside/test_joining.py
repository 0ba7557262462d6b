"""The mixer of the experiment file joins the package: one new file, and one line in the table of parts."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT, FILE = Path(__file__).parents[2], Path(__file__).parent / "experiments" / "p9_linear.py"
PARTS = Path("physlm") / "models" / "parts"
PART = "elu_linear"
# what the generic tests of parts consist of
TESTS = ("conftest.py", "part_checks.py", "part_models.py", "test_imports.py", "models/test_parts.py")
HEAD = '''"""Linear attention with a recurrent state."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import elu

from physlm.models.parts.part import Kept, Mixer, Next
from physlm.models.parts.weight import MATRIX, Normal, Weight

'''


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted((root / "physlm").rglob("*"))
            if path.is_file() and path.parent.name != "__pycache__"}


def test_one_file_and_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "physlm", tmp_path / "physlm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in TESTS:
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    source = FILE.read_text()
    (part,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Linear"]
    lines = source.splitlines()[part.decorator_list[0].lineno - 1 : part.end_lineno]
    (tmp_path / PARTS / f"{PART}.py").write_text("\n".join([HEAD, *lines, ""]))
    table = (tmp_path / PARTS / "__init__.py").read_text()
    line = '    "elu_linear": "physlm.models.parts.elu_linear:Linear",\n'
    (tmp_path / PARTS / "__init__.py").write_text(table.replace("MIXERS = {\n", "MIXERS = {\n" + line))

    done = subprocess.run([sys.executable, "-m", "pytest", "tests", "-k", PART, "-p", "no:cacheprovider", "-rA"],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [name for name in done.stdout.splitlines() if name.startswith("PASSED")]
    assert any("compile" in name for name in passed) and any("reading_token_by_token" in name for name in passed)
    assert any("elu_linear" in name and "live" in name for name in passed)

    before, after = contents(ROOT), contents(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {str(PARTS / f"{PART}.py"),
                                                                           str(PARTS / "__init__.py")}
    assert before.keys() <= after.keys()
    changed = after[str(PARTS / "__init__.py")].decode()
    assert changed.replace(line, "") == before[str(PARTS / "__init__.py")].decode() and changed.count(line) == 1
