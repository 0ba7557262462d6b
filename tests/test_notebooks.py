"""The tours of notebooks/: each runs from top to bottom, writes nothing beside it, and is stored without outputs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from physlm.lab.committed import committed_claims
from physlm.lab.experiment import load_experiment
from physlm.lab.results import find, write_finding
from physlm.lab.store import Store
from physlm.lab.sweep import sweep

ROOT = Path(__file__).parents[1]
TOURS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
MISSING = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
PARTS = ("notebooks", "experiments", "results")
needs_kernel = pytest.mark.skipif(
    bool(MISSING), reason=f"no {' and no '.join(MISSING)} to run notebooks: pip install 'physlm[notebooks]'"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a tour sees of the checkout, to spoil: notebooks beside experiments and results."""
    for name in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def stored(name: str) -> dict[str, Any]:
    """A tour as it lies in the checkout."""
    notebook: dict[str, Any] = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, but for what Python compiles."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def figures(name: str) -> int:
    """How many a tour draws: those of committed claims, one problem in Part 2, own trainings in Part 3.3."""
    claims = committed_claims(ROOT / "results")
    return {"part1_grammars": 2, "part2_igsm": 1, "part33_capacity": 2, "part33_person": 1, "part41_playground": 5,
            "part31_knowledge": sum(claim.startswith(("p31_", "p32_")) for claim in claims)}[name]


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook as if it lay in ``folder``, by this interpreter, whatever kernels are registered here."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    specs = KernelSpecManager(kernel_dirs=[])  # where it finds none registered, it takes this interpreter's ipykernel
    command = specs.get_kernel_spec("python3").argv
    assert command[0] == sys.executable and "ipykernel_launcher" in command
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    client = NotebookClient(notebook, km=kernel, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(cleanup_kc=True)  # a kernel that is given is not ended by itself
    return notebook


def test_there_are_tours() -> None:
    assert {"part1_grammars", "part2_igsm", "part31_knowledge", "part33_capacity"} <= set(TOURS)


@pytest.mark.parametrize("name", TOURS)
def test_a_tour_is_stored_without_outputs_and_without_paths(name: str) -> None:
    notebook = stored(name)
    assert code_cells(notebook)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells(notebook))
    assert not [word for word in (str(ROOT), "/home/", "/tmp/", "/Users/") if word in json.dumps(notebook)]


@needs_kernel
@pytest.mark.parametrize("name", TOURS)
def test_a_tour_runs_from_top_to_bottom(name: str, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # keep out of the user's own folders
        monkeypatch.setenv(variable, str(copy / "jupyter"))
    before = {part: contents(copy / part) for part in PARTS}
    cells = code_cells(execute(copy / "notebooks" / f"{name}.ipynb", copy / "notebooks"))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == figures(name)
    assert {part: contents(copy / part) for part in PARTS} == before


@needs_kernel
@pytest.mark.parametrize("committed", [False, True])
def test_the_tour_of_part_31_shows_the_results_that_there_are(
    committed: bool, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cell that reads results, with those of one claim and with none, whatever is in the checkout."""
    for folder in (copy / "results").glob("p3[12]_*"):
        shutil.rmtree(folder)
    if committed:
        claim = load_experiment("p31_extraction", copy / "experiments")
        runs = sweep(claim.specs("smoke"), claim.measures, Store(copy / "runs"), torch.device("cpu"), progress=False)
        write_finding(find(claim, "smoke", runs), copy / "results" / claim.name, runs, "redo")
    first, *others = code_cells(stored("part31_knowledge"))
    readers = [cell for cell in others if "results" in cell["metadata"].get("tags", ())]
    assert readers
    monkeypatch.chdir(copy / "notebooks")
    exec("\n".join("".join(cell["source"]) for cell in (first, *readers)), {"__name__": "tour"})
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("p31_", "p32_"))]
    assert {"p31_extraction", "p31_probing", "p32_inverse"} <= {row.split()[0].rstrip(",:") for row in rows}
    tried = {row.split()[0].rstrip(",:") for row in rows if "not run" not in row}
    assert tried == ({"p31_extraction"} if committed else set())
    assert printed.count("Image object") == committed
