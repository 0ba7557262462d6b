"""Who may import whom, and what must not need torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from physlm.tasks.config import TaskConfig

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "physlm"
# config, rng -> tasks -> models -> training -> measures -> hf -> battery -> lab -> report -> commands -> cli
BASE = {"config", "errors", "extras", "inputs", "interval", "machine", "places", "rng", "storage"}
ORDER = ["tasks", "models", "training", "measures", "hf", "battery", "lab", "report", "commands", "cli"]
ALLOWED = {
    **{name: BASE for name in BASE},
    **{name: BASE | set(ORDER[: place + 1]) for place, name in enumerate(ORDER)},
    "laws": {"config", "errors", "interval", "laws", "places"},
    "figures": {"config", "errors", "interval", "laws", "figures"},
    "__main__": {"cli"},
    "__init__": set(),
}
for above in ("lab", "report", "commands", "cli"):
    ALLOWED[above] |= {"laws", "figures"}

FILES = sorted(PACKAGE.rglob("*.py"))
TORCH_FREE = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if path.name == "config.py"
    or path.relative_to(PACKAGE).parts[0] in ("laws", "figures", "report", "commands")
    or (path.relative_to(PACKAGE).parts[0] == "lab"
        and path.stem not in ("sweep", "worker", "bench", "bench_grammar", "bench_mixers", "bench_chunks",
                              "bench_fla", "bench_rows", "fla_kernels"))
    or path.relative_to(PACKAGE).as_posix() in (
        "cli.py", "errors.py", "extras.py", "inputs.py", "interval.py", "machine.py", "places.py", "storage.py",
        "tasks/vocabulary.py", "tasks/task.py", "tasks/prompts.py", "tasks/biography/pools.py",
        "tasks/biography/words.py", "models/counting.py", "models/quantisation.py", "measures/__init__.py",
        "measures/rows.py", "measures/quantised.py",
    )
)
TORCH_FREE += sorted({path.partition(":")[0] for path in TaskConfig.table.values()} - {*TORCH_FREE})


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in ALLOWED, f"{own} has no place in the order of imports"
    for name in imported(path):
        assert name.split(".")[0] != "experiments", f"{path} imports {name}"
        parts = name.split(".")
        if parts[0] == "physlm" and len(parts) > 1 and (PACKAGE / parts[1]).exists() | (
            PACKAGE / f"{parts[1]}.py").exists():
            assert parts[1] in ALLOWED[own], f"{own} may not import {name}"


@pytest.mark.parametrize("path", [path for path in FILES if path.relative_to(PACKAGE).parts[0] in (
    "laws", "figures")], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_laws_and_figures_know_no_torch_and_no_pyplot(path: Path) -> None:
    assert not {name for name in imported(path) if name.startswith(("torch", "matplotlib.pyplot"))}


def test_what_must_be_fast_does_not_import_torch() -> None:
    code = "\n".join(["import sys", "sys.modules['torch'] = None  # any import of it fails",
                      *(f"import {name}" for name in TORCH_FREE)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["verify", "--json"], ["show", "p33_capacity"], ["--help"]])
def test_commands_that_only_read_do_not_import_torch(arguments: list[str]) -> None:
    code = f"import sys; sys.modules['torch'] = None; sys.argv[1:] = {arguments!r}; from physlm.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_physlm_loads_nothing_heavy() -> None:
    code = "import sys, physlm; print({'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=ROOT).stdout.strip() == "set()"
