"""The documentation site: README.md, docs/, notebooks, the report, commands and docstrings as one static folder.

    python docs/site/make_site.py [DIR]        # default: build/site

Pages are Markdown, gathered in a folder under the paths that they have in the checkout, so that the links among them
hold; zensical makes HTML of them, and fails where a page or an anchor that is linked to is not there.  A file that
pages link to and that is no page, such as an experiment, becomes one that shows it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "build" / "site"
README = ROOT / "README.md"
RESULTS = sorted((ROOT / "docs" / "results").glob("*.md"))
HOW_TO = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABOUT = [ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")]
STATIC = [ROOT / "docs" / "site" / "site.css"]
REPORT, COMMANDS = "report/index.html", "commands.md"

_CODE = re.compile(r"(^ *(`{3,})\w*\n.*?^ *\2$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\w$])\$(?P<inline>[^$\n]+)\$(?!\w)", re.DOTALL)
_EXAMPLES = re.compile(r"^\x08\n(.+:)\n((?: .+\n)+)", re.MULTILINE)  # lines that a terminal shows as they are
_STYLE = re.compile(r"<style.*?</style>\n?", re.DOTALL)

Nav = list[dict[str, Any]]  # title: a page, or such a list


def main(out: Path) -> None:
    """Build the site in ``out``, which is replaced."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = folder / "pages"
        nav = gather(pages)
        build(folder, nav)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "site", out)
    print(f"{out}: open index.html, or, with search, python -m http.server --directory {out}")


def build(folder: Path, nav: Nav) -> None:
    """Make ``folder/site`` of ``folder/pages``.

    Raises:
        SystemExit: a page or an anchor that is linked to, or a docstring, is not there.
    """
    written = (ROOT / "docs" / "site" / "zensical.toml").read_text()
    config = written.replace("nav = []", f"nav = {_toml(nav)}").replace("CHECKOUT", ROOT.as_posix())
    (folder / "zensical.toml").write_text(config)
    _run("zensical", "build", "--strict", "--config-file", folder / "zensical.toml")


def gather(pages: Path) -> Nav:
    """Write every page; what the navigation shows."""
    listed = [README, *RESULTS, *HOW_TO, *NOTEBOOKS, *ABOUT]
    seen, todo = set(listed), list(listed)
    for path in STATIC:
        _write(pages / path.relative_to(ROOT), path.read_bytes())
    while todo:
        path = todo.pop()
        if path.suffix == ".png":
            _write(pages / _place(path), path.read_bytes())
            continue
        text, targets = _linked(_markdown(path, pages), path)
        _write(pages / _place(path), text.encode())
        todo += sorted(targets - seen)
        seen |= targets
    _write(pages / COMMANDS, _commands().encode())
    api = dict(_api())
    for place, text in api.items():
        _write(pages / place, text.encode())
    _run("physlm", "report", "--out", pages / Path(REPORT).parent)
    notebooks = [_entry(path) for path in NOTEBOOKS]
    return [
        {"Start": _place(README)},
        {"Results": [*map(_entry, RESULTS), {"Report: figures and all quantities": REPORT}]},
        {"How to": sorted(map(_entry, HOW_TO), key=lambda entry: _rank(*entry.values()))},
        {"Notebooks": notebooks},
        {"Commands": COMMANDS},
        {"API": [{Path(place).stem: place} for place in api]},
        {"About": [_entry(path) for path in ABOUT]},
    ]


def _rank(place: str) -> int:
    """In the order in which the front page names them."""
    found = README.read_text().find(f"]({place}")
    return found if found >= 0 else len(README.read_text())


def _entry(path: Path) -> dict[str, str]:
    title = _TITLE.search(_markdown(path))
    assert title is not None, f"{path} has no title"
    return {title[1]: _place(path)}


def _place(path: Path) -> str:
    """Where a file of the checkout lies among the pages."""
    place = path.relative_to(ROOT)
    if path == README:
        return "index.md"
    if path.suffix == ".ipynb":
        return place.with_suffix(".md").as_posix()
    return place.as_posix() if path.suffix in (".md", ".png") else f"{place.as_posix()}.md"


def _linked(text: str, path: Path) -> tuple[str, set[Path]]:
    """A page whose links lead to pages, and the files that they lead to."""
    targets = set()

    def led(link: re.Match[str]) -> str:
        target = _file((path.parent / link[1]).resolve())
        if not target.exists():  # a picture of a notebook, which lies beside its page; of others the build complains
            return link[0]
        targets.add(target)
        return f"]({os.path.relpath(_place(target), Path(_place(path)).parent)}"

    parts = _CODE.split(text)  # between two pieces outside code: a piece of code, and its fence
    parts[::3] = [_LINK.sub(led, part) for part in parts[::3]]
    return "".join(part for number, part in enumerate(parts) if number % 3 != 2 and part), targets


def _file(path: Path) -> Path:
    """What is shown in the place of a folder; of one that holds no page, a file that is not there."""
    verdict = path / "VERDICT.md"
    if not path.is_dir() or verdict.is_file():
        return verdict if path.is_dir() else path
    return next(iter(sorted(path.glob("*.ipynb"))), verdict)


# ---- Markdown of what is none


def _markdown(path: Path, pages: Path | None = None) -> str:
    """The text of a page; the pictures of a notebook are written among ``pages``."""
    if path.suffix == ".md":
        return path.read_text()
    if path.suffix == ".ipynb":
        return "\n\n".join(_cells(path, pages))
    return f"# {path.relative_to(ROOT)}\n\n" + _fenced(path.read_text(), path.suffix.removeprefix("."))


def _fenced(text: str, language: str = "text") -> str:
    return f"``````{language}\n{text.rstrip()}\n``````"


def _cells(path: Path, pages: Path | None) -> Iterator[str]:
    """The cells of a notebook with their outputs."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield _with_formulas(source)
            continue
        yield _fenced(source, "python")
        for number, output in enumerate(cell["outputs"], 1):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}-{cell['id']}-{number}.png"
                if pages is not None:
                    _write((pages / _place(path)).parent / picture, base64.b64decode(data["image/png"]))
                yield f"![{output['metadata']['image/png']['alt']}]({picture})"
            elif "text/html" in data:
                table = _STYLE.sub("", "".join(data["text/html"])).replace(' border="1" class="dataframe"', "")
                yield f'<div class="output">\n{table}\n</div>'
            else:
                yield _fenced("".join(output.get("text") or data["text/plain"]))


def _with_formulas(text: str) -> str:
    """LaTeX as MathML, which browsers draw by themselves."""
    def drawn(formula: re.Match[str]) -> str:
        block = formula["block"]
        return convert(block or formula["inline"], display="inline" if block is None else "block")

    parts = _CODE.split(text)
    parts[::3] = [_MATH.sub(drawn, part) for part in parts[::3]]
    return "".join(part for number, part in enumerate(parts) if number % 3 != 2 and part)


def _api() -> Iterator[tuple[str, str]]:
    """A page for each package: what its modules say of themselves."""
    for package in sorted((ROOT / "physlm").rglob("__init__.py")):
        name = ".".join(package.parent.relative_to(ROOT).parts)
        modules = [f"{name}.{path.stem}" for path in sorted(package.parent.glob("*.py")) if path.stem[0] != "_"]
        blocks = [f"::: {module}\n    options:\n      show_submodules: false" for module in (name, *modules)]
        yield f"api/{name}.md", "\n\n".join([f"# {name}", *blocks]) + "\n"


def _commands() -> str:
    """The help texts of all commands."""
    text = _run("typer", "physlm.cli", "utils", "docs", "--name", "physlm", "--title", "Commands")
    return _EXAMPLES.sub(lambda lines: f"{lines[1]}\n\n{_fenced(textwrap.dedent(lines[2]), 'sh')}", text)


# ---- Small things


def _toml(nav: Any) -> str:
    """Lists, tables of one key and strings."""
    if isinstance(nav, list):
        return f"[{', '.join(map(_toml, nav))}]"
    if isinstance(nav, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in nav.items()) + "}"
    return json.dumps(nav)


def _run(module: str, *arguments: object) -> str:
    """What ``python -m module`` prints.

    Raises:
        SystemExit: it failed; the reason is shown.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}{module} failed")
    return done.stdout


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if sys.argv[1:] else DEFAULT)
