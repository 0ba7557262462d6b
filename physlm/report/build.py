"""From what is said to pages: a folder of them, or one file with everything in it.

    DIR/index.html  quantities.html  samples.html  claims/<claim>.html  figures/<claim>.webp  report.css  table.js
    DIR/index.html                                                                            all in one file

Pages need no server, no network and no script: the one script sorts and filters the table of quantities.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import physlm
from physlm import storage
from physlm.errors import UserError
from physlm.lab.experiment import part_name
from physlm.lab.verify import agreement, score
from physlm.report import numbers
from physlm.report.content import AGREES, ALSO, DISAGREES, Claim, part_title, parts
from physlm.report.curves import Curves
from physlm.report.figures import Picture, pictures
from physlm.report.samples import TaskSamples

GENERATOR = "physlm report"
INDEX = "index.html"
_FOLDERS = {"claims": ".html", "figures": ".webp"}  # of a report, and how the names of all files in them end
_FILES = {"wall": INDEX, "quantities": "quantities.html", "samples": "samples.html"}
_STATIC = ("report.css", "table.js")
_VERSIONS = ("torch", "numpy", "python", "physlm")  # that stand in env.json
_SCALE = 0.65  # figures have 160 pixels an inch, pages 96
_ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{5})", re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """All that the pages show.

    Attributes:
        curves: of the claims whose run folders are there.
    """

    claims: Sequence[Claim]
    tasks: Sequence[TaskSamples]
    curves: Mapping[str, Curves]


@dataclass(frozen=True)
class Shown:
    """A figure on a page.

    Attributes:
        url: of the image, perhaps with all its bytes.
        file: the same where a reader can open it by itself; empty in one file.
        width, height: in pixels.
    """

    url: str
    file: str
    width: int
    height: int

    @property
    def shown(self) -> int:
        """How wide it stands on a page: texts of all figures are equally large, and sharp on fine screens too."""
        return round(self.width * _SCALE)


def write_report(report: Report, folder: Path, one_file: bool = False) -> tuple[Path, int]:
    """Write all pages; return the path of the first, and how many bytes all have.

    A report that is in the folder is replaced, pages of claims that are gone with it.

    Raises:
        UserError: the folder holds something else than a report, or cannot be written.
    """
    check_own(folder)
    files = dict(_single(report) if one_file else _pages(report))
    for name, data in sorted(files.items(), key=lambda file: file[0] != INDEX):  # first what says that it is a report
        path = Path(name)
        storage.write_bytes(storage.beneath(folder, *path.parts[:-1]) / path.name, data)
    _remove_others(folder, files)
    return folder / INDEX, sum(map(len, files.values()))


def check_own(folder: Path) -> None:
    """Make sure that nothing but an earlier report would be replaced.

    Raises:
        UserError: the folder has an index.html of something else, or files and no index.html.
    """
    index = folder / INDEX
    if not index.exists() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: it has files, and no report among them; expected a new folder, an empty one, or "
                        "one with an earlier report as --out DIR")
    if index.exists() and f'content="{GENERATOR}"' not in storage.read_text(index, "give --out DIR", errors="replace"):
        raise UserError(f"{index}: it is no page of a report, and would be replaced; expected another --out DIR")


def _remove_others(folder: Path, files: Mapping[str, bytes]) -> None:
    """Delete the pages and figures of an earlier report."""
    for name in (*_FILES.values(), *_STATIC):
        if name not in files:
            storage.remove(folder / name)
    for name, suffix in _FOLDERS.items():
        for path in storage.beneath(folder, name).glob(f"*{suffix}"):
            if f"{name}/{path.name}" not in files:
                storage.remove(path)


def _pages(report: Report) -> Iterator[tuple[str, bytes]]:
    """Every file of the folder."""
    figures = {claim.name: pictures(claim.figure) for claim in report.claims if claim.figure is not None}
    for name in _STATIC:
        yield name, _static(name).encode()
    for name, (whole, small) in figures.items():
        yield f"figures/{name}.webp", whole.data
        yield f"figures/{name}-small.webp", small.data
    page = _environment().get_template("page.html")

    def shown(name: str, picture: Picture, root: str, suffix: str = "") -> Shown:
        url = f"{root}figures/{quote(name + suffix)}.webp"
        return Shown(url, url, picture.width, picture.height)

    for view in _views(report):
        root = "../" if view.startswith("claim-") else ""
        link = _to_file(root)
        shapes = {name: {"whole": shown(name, whole, root), "wall": shown(name, small, root, "-small")}
                  for name, (whole, small) in figures.items()}
        title, body = _body(view, report, link, shapes, level=1)
        text = page.render(title=title, views=[(view, body)], single=False, root=root, link=link, current=view,
                           scripted=view == "quantities", generator=GENERATOR, version=physlm.__version__)
        yield _file(view), text.encode()


def _single(report: Report) -> Iterator[tuple[str, bytes]]:
    """The one file."""

    def shown(picture: Picture) -> Shown:
        url = f"data:image/webp;base64,{base64.b64encode(picture.data).decode()}"
        return Shown(url, "", picture.width, picture.height)

    shapes = {}
    for claim in report.claims:
        if claim.figure is not None:
            whole, small = pictures(claim.figure)
            shapes[claim.name] = {"whole": shown(whole), "wall": shown(small)}

    def link(view: str) -> str:
        return f"#{quote(view)}"

    views = [(view, _body(view, report, link, shapes, level=1 if view == "wall" else 2)[1])
             for view in _views(report)]
    style, script = (Markup(_static(name)) for name in _STATIC)
    text = _environment().get_template("page.html").render(
        title="physlm", views=views, single=True, root="", link=link, current="", scripted=True, style=style,
        script=script, generator=GENERATOR, version=physlm.__version__)
    yield INDEX, text.encode()


def _views(report: Report) -> list[str]:
    return [*_FILES, *(f"claim-{claim.name}" for claim in report.claims)]


def _file(view: str) -> str:
    return _FILES.get(view) or f"claims/{view.removeprefix('claim-')}.html"


def _to_file(root: str) -> Callable[[str], str]:
    return lambda view: root + quote(_file(view))


def _body(view: str, report: Report, link: Callable[[str], str], shapes: Mapping[str, Mapping[str, Shown]],
          level: int) -> tuple[str, Markup]:
    """Title and content of one page; ``level`` is that of its heading."""
    claims = list(report.claims)
    context: dict[str, Any] = {"link": link, "h": level, "claims": claims, "parts": parts(claims),
                               "agreement": agreement([claim.checked for claim in claims])}
    if view == "wall":
        title, template = "physlm: what language models learn, measured", "wall.html"
        context |= {"pictures": shapes}
    elif view == "quantities":
        title, template = "All quantities - physlm", "quantities.html"
        context |= {"others": sum(len(claim.others) for claim in claims), "also": ALSO,
                    "verdicts": (*AGREES, *DISAGREES, "not judged", "not run", ALSO)}
    elif view == "samples":
        title, template = "What the models read - physlm", "samples.html"
        context |= {"tasks": report.tasks}
    else:
        place = next(i for i, claim in enumerate(claims) if view == f"claim-{claim.name}")
        claim = claims[place]
        title, template = f"{claim.name} - physlm", "claim.html"
        context |= {"claim": claim, "picture": shapes.get(claim.name, {}).get("whole"),
                    "curves": report.curves.get(claim.name), "before": claims[place - 1] if place else None,
                    "after": claims[place + 1] if place + 1 < len(claims) else None}
    return title, Markup(_environment().get_template(template).render(context))


def _static(name: str) -> str:
    return (resources.files("physlm.report") / "static" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    """Templates that escape every text, and refuse a name that is not there."""
    environment = Environment(loader=PackageLoader("physlm.report"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=numbers.number, covers=numbers.covers, duration=numbers.duration,
        pieces=numbers.pieces, agreement=agreement, score=score, part_title=part_title, part_name=part_name,
        part_id=_part_id, outcome=_outcome, arxiv=_with_links, marked=_with_code, machine=_machine)
    return environment


def _part_id(part: str) -> str:
    return "part-" + re.sub(r"\W", "-", part)


def _outcome(verdict: str) -> str:
    """The class of the style sheet."""
    return "yes" if verdict in AGREES else "no" if verdict in DISAGREES else "none"


def _with_links(text: str) -> Markup:
    """A text whose arXiv numbers are links."""
    return Markup(_ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">\g<0></a>', str(escape(text))))


def _with_code(text: str) -> Markup:
    """A text with its code as code."""
    return Markup(re.sub(r"(`+)([^`]+)\1", r"<code>\2</code>", str(_with_links(text))))


def _machine(environment: Mapping[str, Any]) -> str:
    """One line of env.json: how many runs, where, in which precision, with which versions."""
    runs = environment.get("runs")
    count = "" if runs is None else f"{runs} run{'' if runs == 1 else 's'} on "
    where = environment.get("device_name") or environment.get("device") or "an unknown machine"
    versions = [f"{name} {environment[name]}" for name in _VERSIONS if environment.get(name)]
    revision = str(environment.get("git_revision") or "")[:8]
    more = [str(environment.get("precision") or ""), *versions, f"revision {revision}" if revision else ""]
    return f"{count}{where}: {', '.join(part for part in more if part)}."
