"""The command line: its groups, its exit codes, and one clear line for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from toy_claim import Call

from physlm.tasks.biography.exposure import SPLITS

pytestmark = pytest.mark.usefixtures("toy_claim")


@pytest.mark.parametrize(("arguments", "words"), [
    (["run", "p33_toi"], ["p33_toi", "did you mean 'p33_toy'"]),
    (["show", "nothing"], ["'nothing'", "p33_toy"]),
    (["run", "p33_toy", "--tier", "gpuu"], ["gpuu", "did you mean 'gpu'", "smoke"]),
    (["figure", "p33_toy", "--tier", "dem"], ["did you mean 'demo'"]),
    (["run", "p33_toy", "--set", "task.peple=3"], ["peple", "did you mean 'people'"]),
    (["run", "p33_toy", "--set", "task.people"], ["key=value"]),
    (["run", "p33_toy", "--set", "task.people=many"], ["task.people", "expected int", "'many'"]),
    (["run", "p33_toy", "--set", "model.width=10", "--set", "model.heads=4"], ["model.width", "10"]),
    (["run", "p33_toy", "--set", "task.diversity=1000"], ["task.diversity", "1000"]),
    (["run", "p33_toy", "--set", "task.people=200000000"], ["task.people", "200,000,000", "160,000,000"]),
    (["run", "p33_toy", "--set", "train.learning_rate=Infinity"], ["train.learning_rate", "finite"]),
    (["run", "p33_toy", "--device", "gpu"], ["device", "'gpu'", "cpu, cuda"]),
    (["verify", "p33_tio"], ["did you mean 'p33_toy'"]),
    (["list", "--experiments", "nowhere"], ["nowhere", "no such folder"]),
    (["data", "sample", "bio"], ["'bio'", "biod, biojunk, biomixed, bioqa, bior, bios"]),
    (["data", "sample", "biod", "--set", "people=0"], ["task.people", "at least 1"]),
    (["data", "sample", "biod", "--set", "name_pools=[2,2,2]", "--set", "people=9"], ["9", "8"]),
    (["data", "sample", "biod", "--split", "tests"], ["'tests'", "evaluation"]),
    (["data", "export", "biod", "--out", "-", "--format", "csv"], ["'csv'", "jsonl"]),
    (["data", "export", "biod", "--out", "experiments/p33_toy.py/x"], ["p33_toy.py/x", "cannot write"]),
])
def test_mistakes_are_one_line(physlm: Call, arguments: list[str], words: list[str]) -> None:
    code, _, err = physlm(*arguments)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert all(word in err for word in words), err
    assert not list(Path("runs").iterdir()), "a mistake in the command leaves nothing behind"


@pytest.mark.parametrize("arguments", [
    ["runn", "p33_toy"], ["run"], ["run", "p33_toy", "--teir", "demo"], ["data", "sample", "biod", "--n", "0"],
    ["run", "p33_toy", "--members", "many"],
])
def test_usage_errors_exit_with_two(physlm: Call, arguments: list[str]) -> None:
    code, _, err = physlm(*arguments)
    assert code == 2 and "Error: " in err and "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full, which is always full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "physlm", "data", "sample", "biod", "--n", "1"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: standard output: cannot write: No space left on device; expected free space there\n"


@pytest.mark.parametrize("task", ["bios", "bioD"])
def test_samples_are_readable_and_depend_on_the_seed(physlm: Call, task: str) -> None:
    code, out, _ = physlm("data", "sample", task, "--n", "3", "--set", "people=20")
    assert code == 0 and [line.split(":")[0] for line in out.splitlines() if line] == [f"person {i}" for i in range(3)]
    assert " ." not in out and "<eos>" not in out
    assert physlm("data", "sample", task, "--n", "3", "--set", "people=20")[1] == out
    assert physlm("data", "sample", task, "--n", "3", "--set", "people=20", "--seed", "1")[1] != out


@pytest.mark.parametrize("task", ["bios", "biod"])
def test_export_writes_labelled_tokens(physlm: Call, tmp_path: Path, task: str) -> None:
    options = ["data", "export", task, "--n", "25", "--set", "people=10", "--format", "jsonl", "--out"]
    code, out, _ = physlm(*options, "out/x.jsonl")
    assert (code, out) == (0, "")
    text = (tmp_path / "out" / "x.jsonl").read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert [line["person"] for line in lines] == [i % 10 for i in range(25)]
    for line in lines:
        assert set(line) == {"person", "draw", "text", "ids", "labels"}
        assert len(line["ids"]) == len(line["labels"]) > 10 and "name" in line["labels"] and "pad" not in line["labels"]
    assert lines[0]["text"] != lines[10]["text"], "the same person in other words"
    assert physlm(*options, "-")[1] == text
    assert physlm(*options[:-1])[1] == text, "standard output is the default"


def test_splits_of_the_command_line_are_the_tasks() -> None:
    from physlm.commands.data import SPLITS as OFFERED

    assert set(OFFERED) == set(SPLITS)


@pytest.mark.parametrize(("name", "home"), [("train", "bench"), ("igsm", "bench_igsm"), ("parallel", "bench_parallel"),
                                              ("sharing", "bench_sharing"), ("rows", "bench_rows")])  # fmt: skip
def test_bench_is_wired(name: str, home: str, physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"physlm.lab.{home}")
    setattr(module, f"bench_{name}", lambda quick: print(f"quick={quick}"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert physlm("bench", name, "--quick")[:2] == (0, "quick=True\n")


def test_bench_tasks_is_wired(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("physlm.lab.bench_tasks")
    module.bench_tasks = lambda kinds, quick: print(list(kinds), quick)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert physlm("bench", "tasks")[:2] == (0, "[] False\n")
    assert physlm("bench", "tasks", "depo", "mqar", "--quick")[:2] == (0, "['depo', 'mqar'] True\n")


@pytest.mark.parametrize("group", [(), ("data",), ("bench",)])
def test_lists_of_commands_cut_no_sentence(physlm: Call, group: tuple[str, ...]) -> None:
    code, out, _ = physlm(*group, "--help")
    assert code == 0 and "..." not in out.partition("Commands:")[2].partition("Start with")[0]


@pytest.mark.parametrize("line", ["run", "verify", "compare", "model parts", "igsm check", "data export",
                                  "battery run"])  # fmt: skip
def test_help_names_what_options_take_in_words(physlm: Call, line: str) -> None:
    code, out, _ = physlm(*line.split(), "--help")
    usage, _, options = out.partition("Options:\n")
    assert code == 0 and "[[" not in usage and "...}" not in usage
    taken = [option for option in re.findall(r"^  (--\S+ +<.*?>)", options, re.M) if "--members" not in option]
    assert not taken, "give a metavar"


def test_the_version_is_told(physlm: Call) -> None:
    code, out, _ = physlm("--version")
    assert code == 0 and out.startswith("physlm ")
