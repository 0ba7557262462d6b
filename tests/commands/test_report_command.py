"""The command report, on results that did not come with physlm."""

from __future__ import annotations

import json
import shutil
import webbrowser
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from physlm.report import samples

ROOT = Path(__file__).parents[2]
Call = Callable[..., tuple[int, str, str]]
EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with the results of two claims; samples take time and are tested elsewhere."""
    for name in ("PHYSLM_RUNS", "PHYSLM_RESULTS", "PHYSLM_EXPERIMENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("p41_mano", "p22_retry"):
        shutil.copytree(ROOT / "results" / name, tmp_path / "results" / name)
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(samples, "task_samples", list)
    return tmp_path


def pages(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_without_the_claims_files_results_speak_for_themselves(physlm: Call, folder: Path) -> None:
    code, out, err = physlm("report")
    assert (code, err) == (0, "") and out.startswith("2 claims, ") and out.endswith("MB: report/index.html\n")
    assert pages(folder / "report") == {
        "index.html", "quantities.html", "samples.html", "report.css", "table.js", "claims/p41_mano.html",
        "claims/p22_retry.html", *(f"figures/{name}{small}.webp" for name in ("p41_mano", "p22_retry")
                                   for small in ("", "-small"))}
    verdict = (folder / "results" / "p22_retry" / "VERDICT.md").read_text()
    page = unescape((folder / "report" / "claims" / "p22_retry.html").read_text())
    told = [line.partition(".** ")[2] for line in verdict.splitlines() if line.startswith(("**Claim.", "**Found."))]
    assert len(told) == 2 and all(text in page for text in told)


def test_experiments_that_nobody_asked_to_run_are_not_run(physlm: Call, folder: Path) -> None:
    (folder / "experiments" / "p41_mano.py").write_text("raise AssertionError")
    code, out, err = physlm("report")
    assert code == 0 and "2 claims" in out and err.startswith("note: ") and err.count("\n") == 1


def test_claims_without_results_have_their_page(physlm: Call, folder: Path) -> None:
    code, out, err = physlm("report", "--experiments", ROOT / "experiments", "--results", "nowhere", "--runs", "none",
                            "--out", "x/y")
    assert (code, err) == (0, "note: nowhere: there is no such folder, and so no results\n")
    assert out.endswith("x/y/index.html\n")
    page = (folder / "x" / "y" / "claims" / "p33_capacity.html").read_text()
    assert "Not run yet" in page and "not below 2 bits/parameter" in page and "<svg" not in page


def test_a_report_replaces_an_earlier_one_and_nothing_else(physlm: Call, folder: Path) -> None:
    assert physlm("report")[0] == 0
    (folder / "report" / "notes.txt").write_text("mine")
    shutil.rmtree(folder / "results" / "p41_mano")
    assert physlm("report")[0] == 0
    left = pages(folder / "report")
    assert "notes.txt" in left and not {name for name in left if "p41_mano" in name}
    assert physlm("report", "--one-file")[0] == 0
    assert pages(folder / "report") == {"notes.txt", "index.html"}
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<h1>My own</h1>")
    code, out, err = physlm("report", "--out", "site")
    assert (code, out) == (2, "") and err.startswith("error: site/index.html: it is no page of a report")
    assert pages(folder / "site") == {"index.html"} and "My own" in (folder / "site" / "index.html").read_text()


def test_seconds_say_how_many_runs_they_lack(physlm: Call, folder: Path) -> None:
    change(folder / "results" / "p41_mano" / "env.json", untimed=3)
    assert physlm("report")[0] == 0
    assert "; 3 runs not counted, whose time" in (folder / "report" / "claims" / "p41_mano.html").read_text()
    others = [path for path in (folder / "report" / "claims").glob("*.html") if "not counted" in path.read_text()]
    assert len(others) == 1


@pytest.mark.parametrize("name", ["notes.txt", "figures/mine.webp", "claims/mine.html"])
def test_files_of_others_stay_where_no_report_was(physlm: Call, folder: Path, name: str) -> None:
    mine = folder / "site" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    code, out, err = physlm("report", "--out", "site")
    assert (code, out) == (2, "") and err.startswith("error: site: it has files, and no report among them; expected ")
    assert pages(folder / "site") == {name} and mine.read_text() == "mine"


def test_open_asks_for_a_browser(physlm: Call, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: list[str] = []

    def once(url: str) -> bool:
        asked.append(url)
        return len(asked) < 2

    monkeypatch.setattr(webbrowser, "open", once)
    assert physlm("report", "--open")[2] == ""
    assert "found no browser" in physlm("report", "--open", "--one-file")[2]
    assert asked == [(folder / "report" / "index.html").as_uri()] * 2


def test_texts_of_results_from_elsewhere_are_texts(physlm: Call, folder: Path) -> None:
    """Nothing in them becomes a part of the page that a browser obeys."""
    results = folder / "results" / "p41_mano"
    law = json.loads((results / "law.json").read_text())
    law["details"]["notes"] = [EVIL, "`<b>`", f'" onclick="{EVIL}']
    law["quantities"][0] |= {"name": EVIL, "remark": EVIL, "unit": EVIL}
    (results / "law.json").write_text(json.dumps(law))
    change(results / "env.json", environments=[{"runs": EVIL, "device_name": EVIL, "torch": EVIL}])
    (results / "VERDICT.md").write_text(f"**Claim.** {EVIL} arXiv:2305.13673<i>\n\n**Source.** {EVIL}\n")
    (folder / "results" / "p22_retry").rename(folder / "results" / "p22_<b>&amp;")
    change_claim(folder / "results" / "p22_<b>&amp;" / "law.json", "p22_<b>&amp;")
    for more in ((), ("--one-file",)):
        assert physlm("report", *more)[0] == 0
        for path in (folder / "report").rglob("*.html"):
            text = path.read_text()
            assert "<script>alert" not in text and "<b>" not in text and "<i>" not in text
            assert 'onclick="' not in text


def change_claim(path: Path, name: str) -> None:
    law = json.loads(path.read_text())
    change(path, verdicts=[row | {"claim": name} for row in law["verdicts"]])


@pytest.mark.parametrize(("file", "text", "error"), [
    ("env.json", "[]", "expected environments and seconds"),
    ("env.json", '{"environments": [1]}', "expected environments and seconds"),
    ("env.json", '{"untimed": "<b>"}', "expected environments and seconds"),
    ("law.json", "{}", "is missing"),
    ("figure.png", "x", "expected a PNG figure"),
])
def test_damage_is_one_line_that_names_the_file(physlm: Call, folder: Path, file: str, text: str, error: str) -> None:
    (folder / "results" / "p41_mano" / file).write_text(text)
    code, out, err = physlm("report")
    assert (code, out) == (2, "") and f"p41_mano/{file}: " in err and error in err and err.count("\n") == 1
    assert not (folder / "report").exists()


def test_nothing_to_report_is_an_error(physlm: Call, folder: Path) -> None:
    code, out, err = physlm("report", "--results", "nowhere")
    assert (code, out) == (2, "") and "no results and no experiments" in err
