"""Experiment files are code: they run where they are physlm's own, where they are named, or where an option says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import physlm as package
from physlm.lab.committed import VERDICT_KEYS

ROOT = Path(__file__).parents[2]
EXPERIMENT = '''
from pathlib import Path

from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import bound
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

with Path("{marker}").open("a") as file:
    file.write("{name} ")

EXPERIMENT = Experiment(
    name="{name}", claim="A claim.", source="arXiv", measures=(), figure=lambda table, law: Figure(),
    law=lambda table: Law((Quantity("score", 0.9, 0.8, 1.0, 3, "bits"),)),
    runs=lambda tier: [RunSpec(BioDConfig(people=9), ModelConfig(width=8), TrainConfig())],
    expect=(bound("score", "at least", 0.75, "Figure 1", "the paper says most", unit="bits"),),
)
'''
NAMES = ("p1_other", "p33_toy")


def write_experiments(folder, marker):
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / f"{name}.py").write_text(EXPERIMENT.format(name=name, marker=marker))
    (folder / "_helper.py").write_text("raise AssertionError")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A working folder with experiments and results that did not come with physlm; its file ``ran`` tells what ran."""
    for name in ("PHYSLM_RUNS", "PHYSLM_RESULTS", "PHYSLM_EXPERIMENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_experiments(tmp_path / "experiments", tmp_path / "ran")
    write_results(tmp_path / "results", "p1_other")
    return tmp_path


def write_results(results, claim, **changes):
    row = dict.fromkeys(VERDICT_KEYS) | {
        "claim": claim, "quantity": "score", "published": 0.75, "ours": 0.9, "lo": 0.8, "hi": 1.0, "n": 3,
        "unit": "bits", "tier": "gpu", "verdict": "reproduced"} | changes  # fmt: skip
    found = {"name": "score", "value": 0.9, "lo": 0.8, "hi": 1.0, "n": 3, "unit": "bits"}
    runs = {"finished": 1, "planned": 1}
    law = {"quantities": [found], "details": {}, "tier": "gpu", "runs": runs, "verdicts": [row]}
    (results / claim).mkdir(parents=True, exist_ok=True)
    table = "run,label,quantity,value,unit,n,lo,hi\na,1-1x8,score,0.9,bits,3,0.8,1.0\n"
    (results / claim / "measures.csv").write_text(table)
    (results / claim / "law.json").write_text(json.dumps(law))


def ran(folder):
    """The experiments whose files were run."""
    path = folder / "ran"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(set(found))


def test_standing_in_a_folder_runs_none_of_its_files(physlm, folder):
    code, out, err = physlm("list")
    assert (code, err) == (0, "") and ran(folder) == [], "it reads the files, and runs none"
    lines = [line.split() for line in out.splitlines()[2:4]]
    assert lines == [["p1_other", "A", "claim.", "1", "of", "1"], ["p33_toy", "A", "claim.", "-", "not", "run"]]
    code, out, err = physlm("verify", "--json")
    assert code == 0 and [row["claim"] for row in json.loads(out)] == ["p1_other"] and ran(folder) == []
    assert err.startswith("note: ") and "--experiments experiments" in err and err.count("\n") == 1
    code, out, err = physlm("verify")
    assert code == 0 and "p1_other" in out and "1 of 1" in out and ran(folder) == []
    code, out, err = physlm("verify", "--markdown")
    assert code == 0 and "0.8 to 1" in out and "reproduced" in out and ran(folder) == []
    code, out, err = physlm("figure", "--all")
    assert (code, out) == (2, "") and "--experiments experiments if you trust them" in err and ran(folder) == []
    page, text = folder / "page.md", "<!-- table: part 1 -->\n<!-- end of table -->\n"
    page.write_text(text)
    code, out, err = physlm("verify", "--into", page)
    assert (code, out) == (2, "") and "--experiments experiments if you trust them" in err and ran(folder) == []
    assert page.read_text() == text
    assert physlm("verify", "--into", page, "--experiments", "experiments")[0] == 0 and "p1_other" in page.read_text()
    assert ran(folder) == sorted(NAMES)
    sample = ("data", "sample", "biod", "--n", 1)
    for arguments in (("--help",), ("list", "--help"), sample, ("grammar", "show", "cfg3b")):
        assert physlm(*arguments)[0] == 0 and ran(folder) == []


def test_a_name_runs_the_file_that_it_names_alone(physlm, folder):
    for arguments in (("verify", "p33_toy"), ("verify", "p33_toy", "--json", "--refit"), ("show", "p33_toy")):
        code, out, _ = physlm(*arguments)
        assert code == 0 and "score" in out and ran(folder) == ["p33_toy"]
    for arguments in (("verify", "p1_other"), ("figure", "p1_other")):
        assert physlm(*arguments)[0] == 0 and ran(folder) == ["p1_other"]
    assert "at least 0.75" in physlm("verify", "p1_other")[1]


@pytest.mark.parametrize("arguments", [("verify", "--refit", *more) for more in ((), ("--json",), ("--markdown",))])
def test_an_option_or_a_variable_runs_a_folder(physlm, folder, monkeypatch, arguments):
    code, out, err = physlm(*arguments, "--experiments", "experiments")
    assert (code, err) == (0, "") and ran(folder) == sorted(NAMES) and "p33_toy" in out
    monkeypatch.setenv("PHYSLM_EXPERIMENTS", str(folder / "experiments"))
    assert physlm(*arguments) == (0, out, "") and ran(folder) == sorted(NAMES)


@pytest.mark.parametrize("sign", ["pyproject.toml", None])
@pytest.mark.parametrize("where", ["here", "through a link", "from elsewhere"])
def test_what_lies_beside_the_package_is_its_own_if_it_is_a_checkout(
    physlm, folder, monkeypatch, tmp_path_factory, sign, where
):
    """Among the packages of others, where a copy is installed, a folder called experiments is somebody else's."""
    checkout = tmp_path_factory.mktemp("checkout")
    write_experiments(checkout / "experiments", folder / "ran")
    if sign:
        (checkout / sign).write_text("")
    monkeypatch.setattr(package, "__file__", str(checkout / "physlm" / "__init__.py"))
    if where == "here":
        monkeypatch.chdir(checkout)
    else:
        (folder / "experiments").rename(folder / "other")
    if where == "through a link":
        (folder / "experiments").symlink_to(checkout / "experiments")
    code, out, err = physlm("verify")
    if sign:
        assert (code, err) == (0, "") and ran(folder) == sorted(NAMES) and "A claim." in out
    else:
        assert ran(folder) == [] and (code == 0 if where == "from elsewhere" else "note: " in err)
    code, out, err = physlm("list")
    if sign or where != "from elsewhere":
        assert (code, err) == (0, "") and ran(folder) == [] and "A claim." in out
    else:
        assert code == 2 and "no such folder" in err


def test_this_checkout_lists_and_verifies_its_own_as_before(tmp_path):
    code = ("import sys; from physlm import cli; from physlm.lab.folders import folder, trusted; "
            "sys.exit(not trusted(folder('experiments', None), None))")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("changes", [
    {"claim": "p33_toy"}, {"claim": ["p33_toy"]}, {"verdict": "proved"}, {"tier": "huge"}, {"tier": []}, {"ours": []},
    {"quantity": {"a": 1}}, {"unit": "bits\x1b[2J"}, {"quantity": "\ud800"}, {"n": True},
])  # fmt: skip
def test_results_from_elsewhere_are_data(physlm, folder, changes):
    """They name no other claim to be run, and have nothing in them that a terminal would obey."""
    write_results(folder / "results", "p1_other", **{key: value for key, value in changes.items() if key != "claim"})
    path = folder / "results" / "p1_other" / "law.json"
    if "claim" in changes:
        path.write_text(path.read_text().replace('"claim": "p1_other"', f'"claim": {json.dumps(changes["claim"])}'))
    for arguments in (("list",), ("verify",), ("verify", "--json"), ("verify", "p1_other")):
        code, out, err = physlm(*arguments)
        assert code == 2 and "law.json: verdicts: " in err and "restore it from git" in err and "\x1b" not in err + out
        assert err.count("\n") == 1 and "p33_toy" not in ran(folder)
