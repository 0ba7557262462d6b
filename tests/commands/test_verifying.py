"""The commands verify and figure: what was found, refitted and drawn again from the tables."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from toy_claim import EXPERIMENT, Call, line_of

from physlm.lab.committed import VERDICT_KEYS

pytestmark = pytest.mark.usefixtures("toy_claim")


def test_verify_prints_and_dumps_what_was_found(physlm: Call, tmp_path: Path) -> None:
    code, out, _ = physlm("verify", "--json")
    assert code == 0 and json.loads(out) == [
        {"claim": "p33_toy", "quantity": "best_score", "published": 1.0, "ours": None, "lo": None, "hi": None,
         "n": None, "unit": "bits", "tier": None, "verdict": "not run"}]
    physlm("run", "p33_toy", "--tier", "gpu")
    assert re.search(r" 1 of 1$", line_of("p33_toy", physlm("verify")[1]))
    code, out, _ = physlm("verify", "p33_toy")
    assert code == 0 and "at least 1" in out and "Scores grow with the learning rate." in out
    (tmp_path / "experiments" / "p33_toy.py").unlink()
    rows = json.loads(physlm("verify", "p33_toy", "--json")[1])
    assert [tuple(row) for row in rows] == [VERDICT_KEYS]
    assert rows[0]["ours"] == 4.0 and rows[0]["n"] == 3 and rows[0]["verdict"] == "reproduced"
    table = physlm("verify", "p33_toy")[1]
    assert "3.9 to 4.1" in table and "reproduced" in table and "95 % interval" in table
    assert "at least 1" in table, "as law.json says"


def test_verify_refits_once_until_something_changes(physlm: Call, tmp_path: Path) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    ran = tmp_path / "experiments" / "ran"
    experiment = tmp_path / "experiments" / "p33_toy.py"
    experiment.write_text(EXPERIMENT + f"\nfrom pathlib import Path\n\nPath({str(ran)!r}).touch()\n")

    def refitted(*arguments: str) -> bool:
        ran.unlink(missing_ok=True)
        code, out, err = physlm("verify", *arguments)
        assert code == 0 and ("note: 1 claim as it was" in err) != ran.exists(), "it says where it has not refitted"
        outputs.add(out)
        return ran.exists()

    for arguments in ((), ("p33_toy",), ("--json",), ("--markdown",)):
        outputs: set[str] = set()
        assert refitted("--refit", *arguments) and not refitted(*arguments) and len(outputs) == 1, "the same"
    for path, new in ((experiment, experiment.read_text() + "#"), (tmp_path / "experiments" / "_helper.py", "#"),
                      *((path, path.read_text() + "\n") for path in (tmp_path / "results" / "p33_toy").iterdir()
                        if path.name in ("measures.csv", "law.json"))):
        path.write_text(new)
        assert refitted() and not refitted(), path
    (kept,) = Path(os.environ["PHYSLM_CACHE"]).rglob("*.json")
    kept.write_text(kept.read_text()[:50])
    assert refitted() and not refitted(), "half a file is none"
    assert refitted("--write"), "of what is written nothing is old"


def test_a_place_that_keeps_no_laws_is_no_hindrance(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSLM_CACHE", os.path.abspath("experiments/p33_toy.py/cache"))
    physlm("run", "p33_toy", "--tier", "gpu")
    for _ in range(2):
        code, out, err = physlm("verify")
        assert code == 0 and "1 of 1" in out and err.startswith("note: what was refitted is not kept: ")
        assert err.count("\n") == 1


def test_verify_refits_and_says_where_law_json_disagrees(physlm: Call, tmp_path: Path) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    assert physlm("verify")[::2] == (0, "")
    path = tmp_path / "results" / "p33_toy" / "law.json"
    whole = path.read_text()
    path.write_text(whole.replace('"value": 4.0', '"value": 4.05'))
    for arguments in (("verify",), ("verify", "p33_toy", "--json"), ("verify", "--markdown")):
        code, out, err = physlm(*arguments)
        assert code == 1 and err.startswith("p33_toy: best_score: law.json says 4.05 (3.9 to 4.1, n 3) bits"), err
        assert "4.05" not in out
        code, out, err = physlm(*arguments)
        assert code == 1 and err.startswith("p33_toy: best_score: law.json says 4.05 (3.9 to 4.1, n 3) bits"), "kept"
        assert "4.05" not in out
    assert physlm("verify", "--write")[0] == 0 and path.read_text() == whole
    assert physlm("verify")[0] == 0


def test_one_note_names_the_results_that_have_no_experiment_file(physlm: Call, tmp_path: Path) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    for name in ("strange", "stranger"):
        copy = shutil.copytree(tmp_path / "results" / "p33_toy", tmp_path / "results" / name)
        law = (copy / "law.json").read_text()
        (copy / "law.json").write_text(law.replace("p33_toy", name))
    said = " ".join(physlm("verify")[2].split())
    assert said.count("note:") == 1 and said.startswith("note: 2 claims without an experiment file in ")
    assert said.endswith("law.json is taken at its word: strange, stranger")


def test_verify_prints_markdown_by_part(physlm: Call) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    code, out, _ = physlm("verify", "--markdown", "--part", "3.3")
    assert code == 0 and out.startswith("## Part 3.3\n\n1 of 1 quantities agree")
    assert "| p33_toy | best_score | at least 1 bits | 4 bits | 3.9 to 4.1 | 3 | reproduced |" in out
    code, _, err = physlm("verify", "--part", "3.4")
    assert code == 2 and "did you mean '3.3'" in err


def test_verify_writes_its_tables_into_files_all_or_none(physlm: Call, tmp_path: Path) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    end = "<!-- end of table -->\n"
    for name, part in (("a.md", "3.3"), ("b.md", "3.3"), ("c.md", "9")):
        (tmp_path / name).write_text(f"<!-- table: part {part} -->\n{end}")
    before = (tmp_path / "a.md").read_text()
    code, _, err = physlm("verify", "--into", "a.md", "--into", "c.md")
    assert code == 2 and "unknown name '9'" in err and (tmp_path / "a.md").read_text() == before
    assert physlm("verify", "--into", "a.md", "--into", "b.md")[:2] == (0, "a.md\nb.md\n")
    table = physlm("verify", "--markdown")[1].partition("\n\n")[2].strip()
    for name in ("a.md", "b.md"):
        assert (tmp_path / name).read_text() == f"<!-- table: part 3.3 -->\n\n{table}\n\n{end}"
    for other in (("p33_toy",), ("--part", "3.3"), ("--json",), ("--markdown",)):
        code, _, err = physlm("verify", "--into", "a.md", *other)
        assert code == 2 and "expected files alone" in err


def test_where_no_claim_has_the_verdict_no_counts_are_told(physlm: Call) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    code, out, err = physlm("verify", "--verdict", "fails")
    assert code == 0, err
    assert out.endswith("\nno claim is as asked for\n") and "measured" not in out


def test_a_file_without_places_is_refused_before_the_work(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physlm.commands.results._checked", lambda *_: pytest.fail("laws were refitted first"))
    code, out, err = physlm("verify", "--into", "nowhere.md")
    assert (code, out) == (2, "") and err.startswith("error: nowhere.md: cannot read: ")


def test_all_figures_are_drawn_again(physlm: Call, tmp_path: Path) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    figure = tmp_path / "results" / "p33_toy" / "figure.png"
    drawn = figure.read_bytes()
    figure.unlink()
    assert physlm("figure", "--all")[:2] == (0, "results/p33_toy/figure.png\n") and figure.read_bytes() == drawn
    for arguments in (("figure",), ("figure", "p33_toy", "--all")):
        code, _, err = physlm(*arguments)
        assert code == 2 and "expected a claim or --all" in err


def test_the_figure_is_drawn_again_from_results_alone(physlm: Call, tmp_path: Path) -> None:
    assert physlm("figure", "p33_toy")[0] == 2
    physlm("run", "p33_toy", "--tier", "smoke")
    for path in (tmp_path / "runs").glob("bioD*/*"):
        path.unlink()
    figure = tmp_path / "runs" / "smoke" / "p33_toy" / "figure.png"
    figure.unlink()
    code, out, _ = physlm("figure", "p33_toy")
    assert code == 0 and figure.is_file() and out.strip() == "runs/smoke/p33_toy/figure.png"
