"""The tours of notebooks/: each runs from top to bottom, writes nothing beside it, and is stored with the outputs that
come out of it."""

from __future__ import annotations

import base64
import copy as copies
import importlib.util
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import tours
from PIL import Image
from tours import code_cells, pictures

from physlm.lab.committed import committed_claims
from physlm.lab.experiment import load_experiment
from physlm.lab.results import find, write_finding
from physlm.lab.store import Store
from physlm.lab.sweep import sweep

ROOT = Path(__file__).parents[1]
TOURS = [path.stem for path in tours.tours()]
MOST_BYTES = 1_000_000
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
    return tours.stored(ROOT / "notebooks" / f"{name}.ipynb")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, but for what Python compiles."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_there_are_tours() -> None:
    assert {"part1_grammars", "part2_igsm", "part31_knowledge", "part33_capacity"} <= set(TOURS)


@pytest.mark.parametrize("name", TOURS)
def test_a_tour_is_stored_with_the_outputs_of_its_code(name: str) -> None:
    notebook = stored(name)
    assert tours.stale(notebook) is None, "give make notebooks"
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert not re.findall(r"/(?:home|tmp|Users|root|work)/|\b0x[0-9a-f]{6,}|" + re.escape(str(ROOT)), text)
    shown = [output for cell in code_cells(notebook) for output in pictures(cell)]
    assert shown, "people look at pictures first"
    assert all(output["metadata"]["image/png"]["alt"].strip() for output in shown)


def test_tours_draw_the_claims_that_they_are_about() -> None:
    claims = committed_claims(ROOT / "results")
    drawn = {name: sum(len(pictures(cell)) for cell in code_cells(stored(name))) for name in TOURS}
    expected = {"part1_grammars": 2, "part2_igsm": 1, "part33_capacity": 2, "part33_person": 1, "part41_playground": 5,
                "beyond_mixers": 4,
                "part31_knowledge": sum(claim.startswith(("p31_", "p32_")) for claim in claims)}
    assert drawn | expected == drawn


@needs_kernel
@pytest.mark.parametrize("name", TOURS)
def test_a_tour_runs_from_top_to_bottom_and_shows_what_is_stored(
    name: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # keep out of the user's own folders
        monkeypatch.setenv(variable, str(copy / "jupyter"))
    before = {part: contents(copy / part) for part in PARTS}
    notebook = tours.execute(copy / "notebooks" / f"{name}.ipynb", copy / "notebooks")
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert list(tours.differences(stored(name), notebook)) == [], "give make notebooks"
    assert {part: contents(copy / part) for part in PARTS} == before


# ---- Outputs that are not those of the code


def a_tour(tags: list[str]) -> dict[str, Any]:
    """A cell that prints and one that draws."""
    text = {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]}
    drawn = {"output_type": "display_data", "metadata": {},
             "data": {"text/plain": "<Image>", "text/html": "<p>1</p>", "image/png": png(0)}}
    cells = [{"cell_type": "code", "id": f"c{i}", "execution_count": i, "metadata": {"tags": tags}, "source": ["1\n"],
              "outputs": [output]} for i, output in enumerate((text, drawn), 1)]
    notebook: dict[str, Any] = {"cells": cells, "metadata": {}}
    notebook["metadata"][tours.HASH] = tours.code_hash(notebook)
    return notebook


def png(dark: int, width: int = 100) -> str:
    """A white square with some dark rows."""
    image = Image.new("RGB", (width, 100), "white")
    image.paste("black", (0, 0, width, dark))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def spoil_source(notebook: dict[str, Any]) -> None:
    notebook["cells"][0]["source"] = ["2\n"]


def spoil_order(notebook: dict[str, Any]) -> None:
    notebook["cells"][0]["execution_count"] = 2


def drop_counts(notebook: dict[str, Any]) -> None:
    notebook["cells"][0]["execution_count"] = None


def drop_outputs(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["outputs"] = []


def drop_hash(notebook: dict[str, Any]) -> None:
    del notebook["metadata"][tours.HASH]


@pytest.mark.parametrize("spoil", [spoil_source, spoil_order, drop_counts, drop_outputs, drop_hash])
def test_stale_and_missing_outputs_are_found(spoil: Callable[[dict[str, Any]], None]) -> None:
    notebook = a_tour([])
    assert tours.stale(notebook) is None
    spoil(notebook)
    assert tours.stale(notebook) is not None


def other_text(outputs: list[dict[str, Any]]) -> None:
    outputs[0]["text"] = "1\n3\n"


def other_html(outputs: list[dict[str, Any]]) -> None:
    outputs[1]["data"]["text/html"] = "<p>2</p>"


def other_picture(outputs: list[dict[str, Any]]) -> None:
    outputs[1]["data"]["image/png"] = png(3)


def other_size(outputs: list[dict[str, Any]]) -> None:
    outputs[1]["data"]["image/png"] = png(0, width=101)


@pytest.mark.parametrize("change", [other_text, other_html, other_picture, other_size])
def test_other_outputs_are_found_but_of_cells_whose_numbers_no_two_processors_share(
    change: Callable[[list[dict[str, Any]]], None]
) -> None:
    for tags, found in (([], 1), ([tours.TRAINED], 0)):
        notebook = a_tour(tags)
        changed = copies.deepcopy(notebook)
        assert not list(tours.differences(notebook, changed))
        change([cell["outputs"][0] for cell in changed["cells"]])
        assert len(list(tours.differences(notebook, changed))) == found
        changed["cells"][0]["outputs"] = []
        assert any("cell c1" in text for text in tours.differences(notebook, changed))


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
