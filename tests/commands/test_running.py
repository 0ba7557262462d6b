"""The command run: what is trained, where results go, and how it ends when something goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_claim import EXPERIMENT, Call, fake_sweep

from physlm import cli
from physlm.errors import LostProcessError, Stopped, UserError

pytestmark = pytest.mark.usefixtures("toy_claim")


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
    assert (code, err) == (0, "") and "3 runs in 1 population," in out
    assert calls == [(3, {("score", "other")}), (3, {("score",)}), (3, {("other", "score")})]
    assert "all 2 claims: 0.0 minutes of training, shared runs included once, and 0.0 of measuring" in out
    for name in ("p33_toy", "p33_toy_again"):
        assert name in (tmp_path / "results" / name / "VERDICT.md").read_text()
        assert f"results  {os.path.relpath(tmp_path / 'results' / name, tmp_path)}\n" in out


def test_what_ends_training_is_told_to_the_other_processes(
    physlm: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error the others are not waited for (``physlm.training.parallel.joined``), so it must be seen there."""
    seen: list[str] = []

    @contextlib.contextmanager
    def of_torchrun(*_: Any) -> Iterator[Any]:
        try:
            yield SimpleNamespace(train=None, ranks=SimpleNamespace(count=2))
        except BaseException:
            seen.append("ended by an error")
            raise
        seen.append("ended well")

    monkeypatch.setattr("physlm.lab.parallel.of_torchrun", of_torchrun)
    assert physlm("run", "p33_toy", "--tier", "smoke", "--data-parallel", "--device", "cpu")[0] == 0
    monkeypatch.setattr("physlm.lab.sweep.sweep", lambda *_, **__: _refuse("no room"))
    assert physlm("run", "p33_toy", "--tier", "demo", "--data-parallel", "--device", "cpu")[0] == 2
    assert seen == ["ended well", "ended by an error"]


def _refuse(message: str) -> None:
    raise UserError(message)


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


def test_what_stands_in_results_is_not_trained_again(physlm: Call, tmp_path: Path) -> None:
    """One run on a machine that keeps nothing, the others on the next one."""
    run = ("run", "p33_toy", "--tier", "gpu")
    assert physlm(*run, "--only", "train.learning_rate=1e-3", "--runs", "first")[0] == 0
    code, out, err = physlm(*run, "--finished-only", "--from-results", "--runs", "second")
    assert (code, err) == (0, "") and "1 run taken from results, without weights\n" in out
    assert "1 of its 3 runs" in (tmp_path / "results" / "p33_toy" / "VERDICT.md").read_text()
    code, out, err = physlm(*run, "--from-results", "--runs", "third")
    assert (code, err) == (0, "") and "1 of 3 runs are finished in third" in out
    assert "of its 3 runs" not in (tmp_path / "results" / "p33_toy" / "VERDICT.md").read_text()


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


def test_tier_paper_shows_its_cost_and_wants_a_yes(physlm: Call, tmp_path: Path) -> None:
    code, out, err = physlm("run", "p33_toy", "--tier", "paper")
    assert code == 2 and "FLOPs" in out and "--yes" in err and not list(tmp_path.glob("runs/*/DONE"))
    assert physlm("run", "p33_toy", "--tier", "paper", "--yes")[0] == 0
    assert physlm("run", "p33_toy", "--tier", "paper")[0] == 0, "nothing is left to be asked about"


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
    assert code == 2 and "Read-only file system" in err and "keeps 3 finished runs," in err and err.count("\n") == 1
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


def test_a_bug_keeps_its_traceback(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("physlm.lab.sweep.sweep", fail)
    monkeypatch.setattr(sys, "argv", ["physlm", "run", "p33_toy"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_the_command_to_redo_it_can_be_pasted(physlm: Call, tmp_path: Path) -> None:
    """Into a shell, whatever the settings hold."""
    settings = ["train.betas=[0.9, 0.95]", "model.norm=rmsnorm"]
    arguments = ["run", "p33_toy", "--tier", "gpu", *(word for text in settings for word in ("--set", text))]
    assert physlm(*arguments)[0] == 0
    text = (tmp_path / "runs" / "gpu-custom" / "p33_toy" / "VERDICT.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("physlm run"))
    assert shlex.split(line) == ["physlm", *arguments] and "--set 'train.betas=[0.9, 0.95]'" in line
    assert "--set model.norm=rmsnorm" in line


def test_finished_runs_are_not_tracked_and_that_is_said(physlm: Call) -> None:
    physlm("run", "p33_toy", "--tier", "gpu")
    code, _, err = physlm("run", "p33_toy", "--tier", "gpu", "--track", "tensorboard")
    assert code == 0 and err == ("note: --track: all runs are finished, and finished runs are not copied to a "
                                 "tracker\n")
    assert physlm("run", "p33_toy", "--tier", "gpu")[2] == ""


def test_what_a_shard_says_fits(physlm: Call) -> None:
    code, out, _ = physlm("run", "p33_toy", "--tier", "gpu", "--shard", "1/2")
    assert code == 0 and "shard 1/2 is done" in out and max(map(len, out.splitlines())) < 120
