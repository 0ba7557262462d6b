"""The outputs of the tours: execute them, store what they show, say where stored outputs are not those of the code.

    python notebooks/tours.py [NAME ...]   # executes them; stores outputs where they are not those that are stored

Stored are outputs, numbers of cells, and in the notebook's metadata ``code_sha256``, a hash of its code cells.
How they are compared depends on a cell's tag:

    trained   numbers of a model that was trained a moment ago: other processors round otherwise, so that other models
              come out, and only the kinds of the outputs can be compared
    fitted    numbers of a law that was fitted a moment ago: to a share ``CLOSE``, as optimisers of other versions
              end elsewhere; words, whole numbers and how many there are must be the same
    none      the same on every machine
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
HASH = "code_sha256"
TRAINED, FITTED = "trained", "fitted"
CLOSE = 0.01  # share that a fitted number may differ by
PNG = "image/png"
_UNLIKE = 0.01  # share of pixels: versions of matplotlib differ in edges of letters, other data in more
_NUMBER = re.compile(r"((?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w]))")
_EDGE = 64  # of 255


def tours() -> list[Path]:
    """All notebooks of the folder."""
    return sorted(FOLDER.glob("*.ipynb"))


def stored(path: Path) -> dict[str, Any]:
    """A notebook as it lies in its file."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def code_hash(notebook: dict[str, Any]) -> str:
    """SHA-256 of the code cells in their order."""
    return hashlib.sha256(json.dumps([_text(cell["source"]) for cell in code_cells(notebook)]).encode()).hexdigest()


def stale(notebook: dict[str, Any]) -> str | None:
    """Why the stored outputs cannot be those of the code; None where they can."""
    if notebook["metadata"].get(HASH) != code_hash(notebook):
        return "its code is not the one whose outputs are stored"
    cells = code_cells(notebook)
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        return "its cells were not executed in their order"
    if not any(cell["outputs"] for cell in cells):
        return "it has no outputs"
    return None


def execute(path: Path, folder: Path) -> dict[str, Any]:
    """Run a notebook as if it lay in ``folder``, by this interpreter, whatever kernels are registered here."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    metadata = copy.deepcopy(notebook.metadata)  # the client would write the version of Python into it
    specs = KernelSpecManager(kernel_dirs=[])  # where it finds none registered, it takes this interpreter's ipykernel
    command = specs.get_kernel_spec("python3").argv
    assert command[0] == sys.executable and "ipykernel_launcher" in command
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    client = NotebookClient(notebook, km=kernel, timeout=1200, record_timing=False, coalesce_streams=True,
                            resources={"metadata": {"path": str(folder)}})
    client.execute(cleanup_kc=True)  # a kernel that is given is not ended by itself
    notebook.metadata = metadata
    done: dict[str, Any] = json.loads(nbformat.writes(notebook))
    return done


def refresh(path: Path) -> str | None:
    """Execute a notebook where it lies; where other outputs come out than are stored, store them and say why."""
    before, after = stored(path), execute(path, path.parent)
    reason = stale(before) or next(differences(before, after), None)
    if reason is not None:
        after["metadata"][HASH] = code_hash(after)
        _name_pictures(after)
        for output in (output for cell in code_cells(after) for output in pictures(cell)):
            output["data"][PNG] = _small(output["data"][PNG])
        path.write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return reason


def _name_pictures(notebook: dict[str, Any]) -> None:
    """Alternative texts as ``Image(..., alt=...)`` gives them, for the pictures whose cell gives none."""
    heading = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            heading = [heading, *re.findall(r"^#+ (.+)$", _text(cell["source"]), re.MULTILINE)][-1]
        for output in pictures(cell):
            output["metadata"].setdefault(PNG, {}).setdefault("alt", f"figure of the section {heading}")


def pictures(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a cell that are pictures."""
    return [output for output in cell.get("outputs", ()) if PNG in output.get("data", {})]


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Where the outputs of two executions of one notebook differ, as far as they can be compared."""
    for old, new in zip(code_cells(before), code_cells(after), strict=True):
        tags = new["metadata"].get("tags", ())
        for place, (one, other) in enumerate(zip_longest(old["outputs"], new["outputs"]), 1):
            if _kinds(one) != _kinds(other) or (TRAINED not in tags and not _same(one, other, FITTED in tags)):
                yield f"cell {new['id']}, output {place}: {_shown(one)!r} is stored, {_shown(other)!r} comes out"


def _kinds(output: dict[str, Any] | None) -> list[str]:
    return [] if output is None else [output["output_type"], *sorted(output.get("data", {}))]


def _same(one: dict[str, Any], other: dict[str, Any], fitted: bool) -> bool:
    """Whether two outputs of the same kinds show the same."""
    data, theirs = one.get("data", {}), other.get("data", {})
    texts = [(_text(one.get("text", "")), _text(other.get("text", "")))]
    texts += [(_text(shown), _text(theirs[kind])) for kind, shown in data.items() if kind != PNG]
    return all(text == its or (fitted and close(text, its)) for text, its in texts) and (
        PNG not in data or _alike(data[PNG], theirs[PNG]))


def close(one: str, other: str) -> bool:
    """Whether two texts say the same, but for fractions that differ by a share ``CLOSE``, or by the last digit.

    Blanks and rules of tables, whose widths follow their numbers, do not count.
    """
    words, numbers = zip(*(_taken_apart(text) for text in (one, other)), strict=True)
    return bool(words[0] == words[1]) and all(map(_near, *numbers))


def _taken_apart(text: str) -> tuple[list[str], list[str]]:
    """What stands between numbers, and the numbers."""
    parts = _NUMBER.split(text)
    return [re.sub(r"\s+|--+", " ", part).strip() for part in parts[::2]], parts[1::2]


def _near(one: str, other: str) -> bool:
    if one.isdecimal() and other.isdecimal():
        return one == other
    values = [float(text) for text in (one, other)]
    unit = max(10.0 ** Decimal(text).as_tuple().exponent for text in (one, other))  # type: ignore[operator]
    return abs(values[0] - values[1]) <= max(CLOSE * max(map(abs, values)), 1.001 * unit)


def _shown(output: dict[str, Any] | None) -> str:
    """The text of an output."""
    if output is None:
        return ""
    data = output.get("data", {})
    return _text(output["text"] if "text" in output else data.get("text/html") or data.get("text/plain", ""))


def _alike(one: str, other: str) -> bool:
    """Whether two PNGs, as base64, show the same to the eye."""
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), dtype=int)
              for data in (one, other)]
    if pixels[0].shape != pixels[1].shape:
        return False
    unlike = (abs(pixels[0] - pixels[1]) > _EDGE).any(axis=-1)
    return bool(unlike.mean() <= _UNLIKE)


def _small(data: str) -> str:
    """A PNG of the 256 colours that serve it best: a third of the size, and for a figure no other to the eye."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(data))) as whole:
        whole.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def _text(lines: str | list[str]) -> str:
    return "".join(lines)


def main(names: list[str]) -> None:
    paths = {path.stem: path for path in tours()}
    unknown = sorted(set(names) - set(paths))
    if unknown:
        sys.exit(f"no tour {', '.join(unknown)}; expected {', '.join(paths)}")
    for name in names or paths:
        reason = refresh(paths[name])
        print(f"{name}: {'as stored' if reason is None else f'stored anew, since {reason}'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
