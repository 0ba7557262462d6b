"""The front page and docs/: short, true to the committed results, without dead links, with commands that there are."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from extras import of_extra

from physlm import cli
from physlm.lab.committed import committed_claims
from physlm.lab.documents import with_tables
from physlm.lab.experiment import experiment_names, load_experiment
from physlm.lab.results import read_finding
from physlm.lab.verify import Checked, by_part, check

ROOT = Path(__file__).parents[1]
EXPERIMENTS, RESULTS = ROOT / "experiments", ROOT / "results"
README = ROOT / "README.md"
OTHERS = [ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), *OTHERS]
TABLES = [page for page in PAGES if re.search(r"^<!-- table:", page.read_text(), re.MULTILINE)]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def ident(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ---- The front page


def test_the_front_page_is_short() -> None:
    text = README.read_bytes()
    assert len(text.splitlines()) <= 130 and len(text) <= 9_000
    assert text.count(b"![") == 1, "one figure"


def test_every_page_can_be_found_from_the_front_page() -> None:
    reached, new = {README}, [README]
    while new:
        found = {target for page in new for target, _ in links(page) if target in PAGES}
        new = sorted(found - reached)
        reached |= found
    assert reached == set(PAGES)


def test_the_citation_names_the_version_and_the_licence_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\n" in citation and f"\nlicense: {project['license']}\n" in citation


# ---- Links


def written(page: Path) -> str:
    """A page, or the texts of a notebook."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def prose(page: Path) -> str:
    return BLOCK.sub("", written(page))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Target and anchor of every link and picture that leads to a file of the checkout."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"https?://|mailto:", link):
            target, _, anchor = link.partition("#")
            yield (page.parent / target).resolve() if target else page, anchor


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.is_relative_to(ROOT) and target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


# ---- Paths of the code

TOPS = ("physlm", "experiments", "tests", "docs", "notebooks")


def paths_of_code(page: Path) -> set[str]:
    """What a page names in backticks as a file of the checkout, or a folder of one."""
    codes = [code for code in re.findall(r"`([^`\s]+)`", prose(page)) if re.fullmatch(r"[\w./*<>-]+", code)]
    return {code for code in codes if code.endswith(".py") or (code.split("/")[0] in TOPS and "/" in code)}


def found_in_code(path: str) -> list[Path]:
    """The files and folders that are meant: by their whole path, or its end (`parts/part.py`); <x> is any name."""
    pattern = re.sub(r"<\w+>", "*", path.rstrip("/"))
    if pattern.split("/")[0] in TOPS:
        return list(ROOT.glob(pattern))
    return [found for top in TOPS for found in (ROOT / top).rglob(pattern)]


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_paths_of_code_are_there(page: Path) -> None:
    for path in paths_of_code(page) - {f"{name}.py" for name in own_names(page)}:
        assert found_in_code(path), path
    for name, path in re.findall(r"`(\w+)`\s+in\s+`([\w./]+\.py)`", prose(page)):
        assert any(re.search(rf"\b{name}\b", found.read_text()) for found in found_in_code(path)), f"{name} in {path}"


def test_a_path_that_is_not_there_is_seen() -> None:
    assert "physlm/models/parts/part.py" in set().union(*map(paths_of_code, PAGES))
    assert found_in_code("parts/part.py") == found_in_code("physlm/models/parts/part.py") == [
        ROOT / "physlm" / "models" / "parts" / "part.py"]
    for wrong in ("physlm/models/recurrences/products.py", "recurrences/products.py", "physlm/nowhere/"):
        assert not found_in_code(wrong)


# ---- Tables


def committed() -> list[Checked]:
    """All claims with the verdicts of law.json; that these are those of measures.csv is tested elsewhere."""
    checked = []
    for name in experiment_names(EXPERIMENTS):
        experiment = load_experiment(name, EXPERIMENTS)
        if name in committed_claims(RESULTS):
            finding = read_finding(experiment, RESULTS / name)
            checked.append(Checked(name, experiment, finding.law, finding.verdicts))
        else:
            checked.append(check(name, experiment, RESULTS))
    return checked


def test_tables_are_what_verify_prints() -> None:
    checked = committed()
    for page in TABLES:
        assert with_tables(page, checked) == page.read_text(), f"{ident(page)}: give make docs"
    pages = {part for page in TABLES for part in re.findall(r"^<!-- table: part (\S+) -->", page.read_text(), re.M)}
    assert pages == set(by_part(checked)), "a page in docs/results/ for each part"


def test_make_docs_writes_every_page_with_a_table() -> None:
    done = subprocess.run(["make", "-n", "docs", "STAMP="], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"--into (\S+)", done.stdout)) == {ident(page) for page in TABLES}


# ---- Commands


def commands(page: Path, program: str) -> list[str]:
    """What the page would have its reader type: shell blocks, and code within sentences."""
    lines = [line for kind, block in BLOCK.findall(written(page)) if kind == "sh" for line in block.splitlines()]
    named = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(page))]
    lines += [f"{code} --help" if re.fullmatch(r"physlm( [a-z]+){1,2}", code) else code for code in named]
    parts = [part.strip() for line in lines for part in re.split(r"\s#\s|\s[|]\s", line)]
    return [part for part in parts if re.match(rf"(\.venv/bin/)?{program} [\w-]", part)]


TOURS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COMMANDS = [(page, command) for page in [*PAGES, *TOURS] for command in dict.fromkeys(commands(page, "physlm"))]


def leaves(command: Any) -> Iterator[Any]:
    """The commands of a group that are none themselves."""
    for one in command.commands.values():
        if hasattr(one, "commands"):
            yield from leaves(one)
        else:
            yield one


@pytest.fixture
def parsed() -> Callable[[str], dict[str, Any]]:
    """The arguments that a command would be called with."""
    command, taken = typer.main.get_command(cli.app), {}
    for leaf in leaves(command):
        leaf.callback = lambda **arguments: taken.update(arguments)

    def parse(line: str) -> dict[str, Any]:
        taken.clear()
        command.main(shlex.split(line)[1:], prog_name="physlm", standalone_mode=False)
        return dict(taken)

    return parse


def own_names(page: Path) -> set[str]:
    """Claims that the page itself writes."""
    return set(re.findall(r"^# experiments/(\w+)\.py$", page.read_text(), re.MULTILINE))


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda x: ident(x) if isinstance(x, Path) else x)
def test_commands_are_there_with_their_options_claims_and_settings(
    page: Path, line: str, parsed: Callable[[str], dict[str, Any]], physlm: Callable[..., tuple[Any, str, str]]
) -> None:
    given = parsed(line)
    if given and line.split()[1] in ("run", "show", "figure", "verify"):
        known = {name for name in given.get("names", [given.get("name")]) if name} - {"NAME", *own_names(page)}
        assert known <= set(experiment_names(EXPERIMENTS))
        for name in known:
            settings = [setting for setting in given.get("settings") or () if setting != "KEY=VALUE"]
            load_experiment(name, EXPERIMENTS).specs(given.get("tier") or "smoke", settings)
    elif line.startswith("physlm data sample") and "file=" not in line and "--experiment" not in line:
        code, out, err = physlm(*shlex.split(line)[1:])
        assert code == 0 and out, err


def test_the_pages_name_commands() -> None:
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("page", [*PAGES, *TOURS], ids=ident)
def test_targets_of_make_are_there(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in commands(page, "make"):
        assert line.split()[1] in targets, line


# ---- Python


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text()], ids=ident)
def test_python_runs_as_it_stands(page: Path, tmp_path: Path) -> None:
    """The blocks of a page one after another; those that are experiment files also from data to verdict."""
    blocks = [block for kind, block in BLOCK.findall(page.read_text()) if kind == "python"]
    if any("from transformers import" in block for block in blocks):
        of_extra("transformers", "hf")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    text = "\n".join(block for block in blocks if not block.startswith("# experiments/"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in own_names(page):
        (block,) = [block for block in blocks if block.startswith(f"# experiments/{name}.py\n")]
        (tmp_path / "experiments").mkdir()
        (tmp_path / "experiments" / f"{name}.py").write_text(block)
        command = [sys.executable, "-m", "physlm", "run", name, "--tier", "smoke", "--device", "cpu",
                   *(text for folder in ("experiments", "runs", "results") for text in (f"--{folder}", folder))]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "verdict" in done.stdout, done.stderr


# ---- What tests of pages would not see


def test_a_claim_without_results_counts_nowhere_and_is_not_run_yet(tmp_path: Path) -> None:
    (tmp_path / "part9.md").write_text("# Part 9: Is it?\n\nIt\nis.\n\nMore.\n\n<!-- table: part 9 -->\nold\n"
                                       "<!-- end of table -->\n")
    front = tmp_path / "front.md"
    front.write_text("before\n<!-- table: part*.md -->\n<!-- end of table -->\nafter\n")
    experiment = dataclasses.replace(load_experiment("p33_capacity", EXPERIMENTS), name="p9_it")
    unrun = check("p9_it", experiment, RESULTS)
    assert "| [9](part9.md) | Is it? | not run yet | - |" in with_tables(front, [unrun])
    table = with_tables(tmp_path / "part9.md", [unrun])
    assert "`p9_it` (not run): A GPT" in table and "| not run |" in table and "\nold\n" not in table
    finding = read_finding(load_experiment("p33_capacity", EXPERIMENTS), RESULTS / "p33_capacity")
    text = with_tables(front, [Checked("p9_it", experiment, finding.law, finding.verdicts)])
    verdicts = [row["verdict"] for row in finding.verdicts]
    agree, missing, unjudged = (verdicts.count(word) for word in ("reproduced", "not run", "not judged"))
    lacks = [f"{number} {what}" for number, what in ((unjudged, "not judged"), (missing, "not measured")) if number]
    lack = f" ({', '.join(lacks)})" if lacks else ""
    judged = len(verdicts) - missing - unjudged
    assert f"| [9](part9.md) | Is it? | It is. | {agree} of {judged}{lack} |" in text and agree
    assert text.startswith("before\n") and text.endswith("<!-- end of table -->\nafter\n")
