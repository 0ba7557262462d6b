"""The command line: what it prints, its exit codes, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from physlm import cli
from physlm.errors import LostProcessError, Stopped, UserError
from physlm.lab.committed import VERDICT_KEYS
from physlm.lab.executors.contract import Executor
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.measures.rows import Row
from physlm.tasks.biography.exposure import SPLITS
from physlm.training.config import RunSpec

EXPERIMENT = '''
from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import Expectation
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=50, attributes=2, diversity=10, alphabet=10, entries_per_row=5, row_tokens=64)


def runs(tier):
    rates = {"smoke": (1e-3,), "demo": (1e-3, 2e-3)}.get(tier, (1e-3, 2e-3, 4e-3))
    return [RunSpec(TASK, ModelConfig(width=8), TrainConfig(exposures=2, batch_rows=2, learning_rate=rate))
            for rate in rates]


def law(table):
    values = table.loc[table["quantity"] == "score", "value"]
    return Law((Quantity("best_score", values.max(), values.max() - 0.1, values.max() + 0.1, len(values), "bits"),))


EXPERIMENT = Experiment(
    name="p33_toy", claim="Scores grow with the learning rate.", source="arXiv 0000.00000, Figure 1", runs=runs,
    measures=("score",), law=law, figure=lambda table, law: Figure(figsize=(1, 1)),
    expect=(Expectation("best_score", 1.0, "at least", 0.0, "bits", "Figure 1"),),
)
'''


def fake_sweep(specs: Sequence[RunSpec], measures: Any, store: Store, device: torch.device,
               members: int, executor: Executor) -> list[Run]:
    """Finishes every run at once; its score is 1000 times its learning rate."""
    finished = []
    for spec in specs:
        run, asked = store.run(spec), measures[spec] if isinstance(measures, dict) else measures
        if not run.has(asked):
            run.start({"device": device.type})
            run.write_model({"w": torch.zeros(1)})
            value = 1000 * spec.train.learning_rate
            for name in asked:
                run.add_measure(name, [Row(name, value, "bits", 50, value, value)])
            run.finish()
        finished.append(run)
    return finished


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def physlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in a folder of its own; returns exit code, standard output and error."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "p33_toy.py").write_text(EXPERIMENT)
    (tmp_path / "runs").mkdir()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("PHYSLM_RUNS", "PHYSLM_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PHYSLM_EXPERIMENTS", "experiments")  # as a user says that these files may be run
    monkeypatch.setattr("physlm.lab.sweep.sweep", fake_sweep)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["physlm", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        captured = capsys.readouterr()
        return code if isinstance(code, int) else int(code is not None), captured.out, captured.err

    return call


def line_of(name: str, out: str) -> str:
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line


def test_list_has_a_line_for_each_claim(physlm: Call, tmp_path: Path) -> None:
    code, out, _ = physlm("list")
    assert code == 0 and re.search(r"Scores grow with the.* - +not run$", line_of("p33_toy", out))
    assert "results of results" in out
    physlm("run", "p33_toy", "--tier", "gpu")
    assert re.search(r" 1 of 1$", line_of("p33_toy", physlm("list")[1])), "agrees, and nothing is missed"
    path = tmp_path / "results" / "p33_toy" / "law.json"
    path.write_text(path.read_text().replace("reproduced", "not reproduced").replace('"ours": 4.0', '"ours": 0.25'))
    assert line_of("p33_toy", physlm("list")[1]).endswith("0 of 1  0.25, asked ≥ 1: best score"), "what it says today"
    for verdict, there in (("not reproduced", True), ("not-reproduced", True), ("reproduced", False)):
        assert ("p33_toy" in physlm("list", "--part", "3.3", "--verdict", verdict)[1]) == there
    for arguments, near in ((("--part", "3.4"), "did you mean '3.3'"), (("--verdict", "hold"), "did you mean 'holds'")):
        for command in ("list", "verify"):
            code, _, err = physlm(command, *arguments)
            assert code == 2 and near in err


def test_experiments_are_listed_without_being_run(physlm: Call, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    (folder / "p33_bad.py").write_text("raise AssertionError\nEXPERIMENT = Experiment(claim='It is bad.')")
    (folder / "p33_mad.py").write_text("EXPERIMENT = Experiment(claim=" + "(" * 9999)
    code, out, err = physlm("list")
    assert (code, err) == (0, "") and "It is bad." in line_of("p33_bad", out) and "not run" in line_of("p33_mad", out)


def test_the_beginning_of_one_name_is_enough(physlm: Call, tmp_path: Path) -> None:
    assert physlm("show", "p33")[1] == physlm("show", "p33_toy")[1]
    code, out, _ = physlm("run", "p33_t", "p33_toy", "--tier", "gpu")
    assert code == 0 and "results/p33_toy/figure.png" in out and "all 2 claims" not in out
    assert physlm("figure", "p3")[:2] == (0, "results/p33_toy/figure.png\n")
    assert physlm("verify", "p33", "--json")[1] == physlm("verify", "p33_toy", "--json")[1]
    (tmp_path / "experiments" / "p33_toy_more.py").write_text(EXPERIMENT.replace("p33_toy", "p33_toy_more"))
    assert physlm("show", "p33_toy")[0] == 0, "a whole name is no beginning"
    for command in ("show", "run", "figure", "verify"):
        code, _, err = physlm(command, "p33_")
        assert code == 2 and "the beginning of 2 names: p33_toy, p33_toy_more" in err
        assert physlm(command, "")[0] == 2


def test_shells_complete_claims_and_words(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PHYSLM_COMPLETE", "complete_bash")
    for words, offered in ((["show", "p"], ["p33_toy"]), (["show", "q"], []), (["list", "--part", ""], ["3.3"]),
                           (["run", "p33_toy", "--tier", "s"], ["smoke"]), (["verify", "p33"], ["p33_toy"]),
                           (["verify", "--verdict", "not"], ["not reproduced", "not run"])):
        monkeypatch.setenv("COMP_WORDS", " ".join(["physlm", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert physlm()[1].split() == " ".join(offered).split(), words


def test_show_tells_claim_source_and_cost(physlm: Call) -> None:
    code, out, _ = physlm("show", "p33_toy")
    assert code == 0 and "Scores grow" in out and "Figure 1" in out and "at least 1 bits" in out
    assert "2 runs in 1 populations" in out and "H200" in out and "CPU cores" in out
    for tier, runs in (("smoke", 1), ("demo", 2), ("gpu", 3), ("paper", 3)):
        assert re.search(rf"^{tier} +{runs} runs? in", out, re.MULTILINE)


def test_run_ends_with_table_interval_and_figure(physlm: Call, tmp_path: Path) -> None:
    code, out, err = physlm("run", "p33_toy", "--tier", "demo")
    assert (code, err) == (0, "")
    assert "best_score" in out and "1.9 to 2.1" in out and "reproduced" in out
    figure = tmp_path / "runs" / "demo" / "p33_toy" / "figure.png"
    assert figure.is_file() and out.strip().endswith(os.path.relpath(figure, tmp_path))
    assert not (tmp_path / "results" / "p33_toy").exists()


def test_several_claims_train_and_measure_together(
    physlm: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has the runs of the first: they are announced and trained once, with the measures of both."""
    second = EXPERIMENT.replace("p33_toy", "p33_toy_again").replace("Scores grow", "Scores grow still")
    second = second.replace('measures=("score",)', 'measures=("other", "score")')
    (tmp_path / "experiments" / "p33_toy_again.py").write_text(second)
    calls: list[tuple[int, Any]] = []

    def sweep(specs: list[Any], measures: Any, *rest: Any, **options: Any) -> list[Any]:
        calls.append((len(specs), set(measures.values()) if isinstance(measures, dict) else measures))
        assert options["executor"].processes == 2
        return fake_sweep(specs, measures, *rest, **options)

    monkeypatch.setattr("physlm.lab.sweep.sweep", sweep)
    code, out, err = physlm("run", "p33_toy", "p33_toy_again", "p33_toy", "--tier", "gpu", "--processes", "2")
    assert (code, err) == (0, "") and "3 runs in 1 populations" in out
    assert calls == [(3, {("score", "other")}), (3, {("score",)}), (3, {("other", "score")})]
    assert "all 2 claims: 0.0 minutes of training, shared runs included once, and 0.0 of measuring" in out
    for name in ("p33_toy", "p33_toy_again"):
        assert name in (tmp_path / "results" / name / "VERDICT.md").read_text()
        assert f"results  {os.path.relpath(tmp_path / 'results' / name, tmp_path)}\n" in out


def test_finished_only_trains_nothing_and_says_what_is_missing(physlm: Call, tmp_path: Path) -> None:
    code, _, err = physlm("run", "p33_toy", "--tier", "gpu", "--finished-only")
    assert code == 2 and "none of the 3 runs is finished" in err
    physlm("run", "p33_toy", "--tier", "demo")
    before = sorted(tmp_path.glob("runs/*/DONE"))
    assert physlm("run", "p33_toy", "--tier", "gpu", "--finished-only")[0] == 0
    assert sorted(tmp_path.glob("runs/*/DONE")) == before
    assert "2 of its 3 runs" in (tmp_path / "results" / "p33_toy" / "VERDICT.md").read_text()


def test_shards_train_their_part_and_the_report_comes_at_the_end(physlm: Call, tmp_path: Path) -> None:
    held = []
    for number in (1, 2):
        code, out, err = physlm("run", "p33_toy", "--tier", "gpu", "--shard", f"{number}/2")
        assert (code, err) == (0, "")
        held.append(int(re.search(rf"^shard {number}/2 holds (\d) of the 3 runs", out)[1]))  # type: ignore[index]
        assert len(list(tmp_path.glob("runs/*/DONE"))) == sum(held)
        assert out.endswith("report with\n    physlm run p33_toy --tier gpu --finished-only\n")
        assert not (tmp_path / "results" / "p33_toy").exists(), "nothing is concluded from a part"
    assert sorted(held) == [1, 2]
    assert physlm("run", "p33_toy", "--tier", "gpu", "--finished-only")[0] == 0
    assert (tmp_path / "results" / "p33_toy" / "VERDICT.md").exists()
    for options, message in ((("--shard", "3/2"), "--shard: got '3/2', expected I/N"),
                             (("--shard", "1/2", "--finished-only"), "--shard: got it with --finished-only"),
                             (("--executor", "rai"), "did you mean 'ray'")):
        code, _, err = physlm("run", "p33_toy", *options)
        assert code == 2 and message in err


def test_only_some_runs_are_trained_and_the_report_is_about_all_that_are_finished(
    physlm: Call, tmp_path: Path
) -> None:
    for setting, finished in (("train.learning_rate=1e-3", 1), ("train.learning_rate=0.002", 2)):
        code, out, err = physlm("run", "p33_toy", "--tier", "gpu", "--only", setting)
        assert code == 0, out + err
        assert len(list(tmp_path.glob("runs/*/DONE"))) == finished
    for setting, named in (("train.learning_rate=9", "expected 0.001 or 0.002 or 0.004"),
                           ("model.layer=1", "model.layers"), ("layers", "expected KEY=VALUE")):
        code, _, err = physlm("run", "p33_toy", "--tier", "gpu", "--only", setting)
        assert code == 2 and named in err


def test_committed_tiers_go_to_results_unless_settings_were_altered(physlm: Call, tmp_path: Path) -> None:
    assert physlm("run", "p33_toy", "--tier", "gpu", "--set", "task.people=60")[0] == 0
    assert not (tmp_path / "results" / "p33_toy").exists()
    law = tmp_path / "runs" / "gpu-custom" / "p33_toy" / "law.json"
    assert law.is_file() and "--set task.people=60" in (law.parent / "VERDICT.md").read_text()
    assert {json.loads(path.read_text())["task"]["people"] for path in tmp_path.glob("runs/*/config.json")} == {60}
    physlm("run", "p33_toy", "--tier", "gpu")
    assert (tmp_path / "results" / "p33_toy" / "law.json").is_file()


def test_folders_can_be_given(physlm: Call, tmp_path: Path) -> None:
    (tmp_path / "experiments").rename(tmp_path / "e")
    code, out, _ = physlm("run", "p33_toy", "--tier", "gpu", "--runs", "a/r", "--results", "b", "--experiments", "e")
    assert code == 0 and (tmp_path / "b" / "p33_toy" / "law.json").is_file() and "b/p33_toy/figure.png" in out
    assert len(list((tmp_path / "a" / "r").glob("*/DONE"))) == 3 and list((tmp_path / "runs").iterdir()) == []


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
        assert code == 0 and ("note: 1 claims" in err) != ran.exists(), "it says where it has not refitted"
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


def test_tier_paper_shows_its_cost_and_wants_a_yes(physlm: Call, tmp_path: Path) -> None:
    code, out, err = physlm("run", "p33_toy", "--tier", "paper")
    assert code == 2 and "FLOPs" in out and "--yes" in err and not list(tmp_path.glob("runs/*/DONE"))
    assert physlm("run", "p33_toy", "--tier", "paper", "--yes")[0] == 0
    assert physlm("run", "p33_toy", "--tier", "paper")[0] == 0, "nothing is left to be asked about"


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


def test_a_read_only_results_folder_loses_no_run(
    physlm: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.replace

    def replace(source: Path, target: Path) -> None:
        if "results" in Path(target).parts:
            raise OSError(30, os.strerror(30))
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        code, out, err = physlm("run", "p33_toy", "--tier", "gpu")
    assert code == 2 and "Read-only file system" in err and "3 runs are finished" in err and err.count("\n") == 1
    assert "best_score" in out, "what was found is printed before it is written"
    assert len(list(tmp_path.glob("runs/*/DONE"))) == 3
    code, out, _ = physlm("run", "p33_toy", "--tier", "gpu")
    assert code == 0 and "3 of 3 runs are finished" in out


@pytest.mark.parametrize(("error", "code", "text"), [
    (KeyboardInterrupt(), 130, "interrupted: nothing that was finished is lost"), (UserError("a\nb"), 2, "error: a b"),
    (Stopped(signal.SIGTERM), 143, "terminated: nothing that was finished is lost"),
    (LostProcessError("process 5 died"), 1, "error: process 5 died; nothing that was finished is lost"),
])
def test_interrupts_and_errors_of_a_sweep_are_one_line(
    physlm: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("physlm.lab.sweep.sweep", fail)
    got, _, err = physlm("run", "p33_toy")
    assert got == code and err.startswith(text) and err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full, which is always full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "physlm", "data", "sample", "biod", "--n", "1"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: standard output: cannot write: No space left on device; expected free space there\n"


def test_a_bug_keeps_its_traceback(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("physlm.lab.sweep.sweep", fail)
    monkeypatch.setattr(sys, "argv", ["physlm", "run", "p33_toy"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


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


@pytest.mark.parametrize(("name", "home"), [("train", "bench"), ("igsm", "bench_igsm")])
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


def test_the_version_is_told(physlm: Call) -> None:
    code, out, _ = physlm("--version")
    assert code == 0 and out.startswith("physlm ")


def test_the_command_to_redo_it_can_be_pasted(physlm: Call, tmp_path: Path) -> None:
    """Into a shell, whatever the settings hold."""
    settings = ["train.betas=[0.9, 0.95]", "model.norm=rmsnorm"]
    arguments = ["run", "p33_toy", "--tier", "gpu", *(word for text in settings for word in ("--set", text))]
    assert physlm(*arguments)[0] == 0
    text = (tmp_path / "runs" / "gpu-custom" / "p33_toy" / "VERDICT.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("physlm run"))
    assert shlex.split(line) == ["physlm", *arguments] and "--set 'train.betas=[0.9, 0.95]'" in line
    assert "--set model.norm=rmsnorm" in line
