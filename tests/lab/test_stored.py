"""Run stores that are damaged, that were deleted under a sweep, or that come from elsewhere.

They end in one clear line, or in a report that goes on without what it lacks; nothing outside is read or written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import CPU, FakeTrainer, load, make_spec, make_specs
from killed import VARYING
from storyteller import stories, write
from sweeps import interrupt_at, run_sweep

from physlm import storage
from physlm.config import content_hash, from_dict, override, to_dict
from physlm.errors import UserError
from physlm.lab import environments
from physlm.lab.planner import Population
from physlm.lab.run import MetricsLog, Run
from physlm.lab.store import Store
from physlm.measures.rows import Row
from physlm.tasks.biography.config import BioRConfig
from physlm.tasks.biography.texts import file_sha256
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec


def finished(root: Path) -> Run:
    return run_sweep(root, [make_spec()])[0]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in VARYING}


NESTED = '{"start": ' * 300 + "1" + "}" * 300


@pytest.mark.parametrize("file", ["config.json", "env.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a": NaN}', "[1]", "1e999", NESTED[:-1]])
def test_json_of_any_kind_is_one_line_with_the_cure(tmp_path: Path, file: str, text: str) -> None:
    run = finished(tmp_path)
    (run.path / file).write_text(text)
    with pytest.raises(UserError) as caught:
        run_sweep(tmp_path, [run.spec])
    message = str(caught.value)
    assert str(run.path / file) in message and f"delete the folder {run.path}" in message
    assert "\n" not in message and len(message) < 1200
    shutil.rmtree(run.path)
    assert run_sweep(tmp_path, [run.spec])[0].finished(), "the cure helps"


@pytest.mark.parametrize("settings", [NESTED, '{"task": []}', '{"task": {"kind": []}}', '{"task": {"kind": "bioD"}}'])
def test_settings_of_no_run_are_one_line_with_the_cure(tmp_path: Path, settings: str) -> None:
    run = finished(tmp_path)
    (run.path / "config.json").write_text(settings)
    with pytest.raises(UserError, match=r"config\.json: .*; delete the folder"):
        run_sweep(tmp_path, [run.spec])


def cut(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


@pytest.mark.parametrize("damage", [
    cut, lambda lines: lines[:-1], lambda lines: [*lines, lines[-1]],
    lambda lines: [lines[0], "x" * 140_000 + lines[1], *lines[2:]],
    lambda lines: [lines[0], lines[1] + ",1", *lines[2:]],
    lambda lines: [lines[0], lines[1].replace(",100,", f",{'9' * 5000},"), *lines[2:]],
    lambda lines: [lines[0], lines[1].replace(",100,", f",{10**30},"), *lines[2:]],
    lambda lines: [lines[0], lines[1].replace(",100,", ",-1,"), *lines[2:]],
    lambda lines: [lines[0], '"' + lines[1], *lines[2:]],
], ids=["first row cut out", "last row cut off", "row twice", "long field", "more fields", "digits", "items", "below 0",
        "quote"])  # fmt: skip
def test_a_damaged_table_of_measures_is_one_line_with_the_cure(tmp_path: Path, damage: Any) -> None:
    run = finished(tmp_path)
    path = run.path / "measures.csv"
    lines = path.read_text().splitlines()
    assert len(lines) == 5
    path.write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(UserError, match=r"measures\.csv: .*; delete the folder") as caught:
        run_sweep(tmp_path, [run.spec])
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


def test_a_measure_without_any_row_is_taken_again(tmp_path: Path) -> None:
    run = finished(tmp_path)
    path = run.path / "measures.csv"
    whole = path.read_text()
    path.write_text("".join(line for line in whole.splitlines(keepends=True) if not line.startswith("second")))
    assert not run.has(("first", "second"))
    run_sweep(tmp_path, [run.spec])
    assert path.read_text() == whole


NO_TIMES = ["[1]", '"x"', "null", '{"seconds": -1}', '{"seconds": 1e300}', '{"seconds": {}}', '{"seconds": "x"}', "{",
            "NaN", "9" * 5000, "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize(("file", "text"), [
    *(("timing.json", text) for text in (*NO_TIMES, '{"seconds": 1, "members": 0}', '{"members": "two"}', "{}")),
    *(("measuring.json", text) for text in NO_TIMES),
])  # fmt: skip
def test_a_report_does_without_times_that_are_damaged(tmp_path: Path, file: str, text: str) -> None:
    runs = run_sweep(tmp_path, make_specs()[:2])
    (runs[0].path / file).write_text(text)
    assert run_sweep(tmp_path, make_specs()[:2]), "the sweep does not mind"
    other = {"training": runs[1].training_seconds(), "measuring": sum(runs[1].measuring_seconds().values())}
    claim, kind = (runs, ("first", "second")), "training" if file == "timing.json" else "measuring"
    assert environments.spent(claim)[kind] == other[kind]
    (damage,) = environments.damaged_times(claim)
    assert str(runs[0].path / file) in damage and len(damage) < 1000
    runs[0].keep_seconds("first", 2.0)
    assert runs[0].measuring_seconds()["first"] == 2.0, "what was damaged is given up, and time is kept again"


@pytest.mark.parametrize("line", ["[1]", "1", '{"loss": 1}', '{"step": "3"}', '{"step": true}', "9" * 5000,
                                  "[" * 100_000, '{"step": 1e999}'])  # fmt: skip
def test_the_curve_is_written_again_from_a_damaged_line_on(tmp_path: Path, line: str) -> None:
    reference, root = tmp_path / "reference", tmp_path / "root"
    run_sweep(reference, [make_spec()])
    interrupt_at(root, [make_spec()])
    path = Store(root).run(make_spec()).path / "metrics.jsonl"
    kept = path.read_text().splitlines(keepends=True)[0]
    path.write_text(kept + line + "\n")
    Store(root).run(make_spec()).rewind(3)
    assert path.read_text() == kept
    run_sweep(root, [make_spec()])
    assert Store(root).run(make_spec()).measures() == Store(reference).run(make_spec()).measures()


@pytest.mark.parametrize("snapshots", [0, 2])
@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_folder_deleted_while_its_run_trains_is_named_and_made_anew(
    tmp_path: Path, snapshots: int, step: int
) -> None:
    specs = [override(spec, [f"train.snapshots={snapshots}"]) for spec in (make_spec(1e-3), make_spec(2e-3))]
    reference, root, trainer = tmp_path / "reference", tmp_path / "root", FakeTrainer()
    run_sweep(reference, specs)
    gone = Store(root).run(specs[0])

    def delete(now: int) -> None:
        if now == step:
            shutil.rmtree(gone.path)

    trainer.interrupt = delete
    with pytest.raises(UserError, match="was deleted while its run was at work; give the same command again") as caught:
        run_sweep(root, specs, trainer=trainer)
    assert str(gone.path) in str(caught.value) and not gone.path.exists()
    run_sweep(root, specs)
    files, expected = contents(root), contents(reference)
    if not snapshots:  # training went on from its checkpoint: the curve before it is lost with the folder
        for found in (files, expected):
            found.pop(f"{gone.name}/metrics.jsonl")
    assert files == expected


def test_nothing_is_written_into_a_folder_that_is_gone(tmp_path: Path) -> None:
    run = finished(tmp_path)
    state, row = load(run.spec, run.model_path, CPU).state_dict(), Row("q", 1.0, "1", 1, 1.0, 1.0)
    log = MetricsLog({0: run})
    log.log({"step": 1, "member": 0, "loss": 1.0})
    shutil.rmtree(run.path)
    for write_it in (
        lambda: run.write_model(state), lambda: run.write_timing({}), lambda: run.keep_seconds("first", 1.0),
        lambda: run.add_measure("first", [row]), run.finish, lambda: log.log({"step": 2, "member": 0, "loss": 1.0}),
    ):
        with pytest.raises(UserError, match="was deleted while its run was at work"):
            write_it()
    assert not run.path.exists()
    log.close()


# ---------------------------------------------------------------------------------------------------- from elsewhere


@pytest.mark.parametrize("file", ["DONE", "config.json", "env.json", "measures.csv", "model.safetensors"])
@pytest.mark.parametrize("kind", ["link", "pipe", "zero"])
def test_a_finished_run_is_read_from_its_own_plain_files(tmp_path: Path, file: str, kind: str) -> None:
    run = finished(tmp_path / "runs")
    path, outside = run.path / file, tmp_path / file
    path.rename(outside)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(outside if kind == "link" else "/dev/zero")
    with pytest.raises(UserError, match=rf"{file}: cannot read: it is (a symbolic link|no plain file).*; delete"):
        run_sweep(tmp_path / "runs", [run.spec])


def test_what_is_written_into_a_run_goes_through_no_link(tmp_path: Path) -> None:
    """Every file of an unfinished run is a link to one outside: all are replaced, none is written through."""
    reference, root, outside = tmp_path / "reference", tmp_path / "root", tmp_path / "outside"
    names = [path.name for path in finished(reference).path.iterdir() if path.name != "DONE"]
    run = Store(root).run(make_spec())
    run.path.mkdir(parents=True)
    outside.mkdir()
    for name in names:
        (outside / name).write_text("theirs")
        if name != "metrics.jsonl":
            (run.path / name).symlink_to(outside / name)
    run_sweep(root, [run.spec])
    assert contents(root) == contents(reference)
    assert {path.read_text() for path in outside.iterdir()} == {"theirs"} and len(list(outside.iterdir())) == len(names)
    assert not any(path.is_symlink() for path in run.path.iterdir())
    os.remove(run.path / "metrics.jsonl")
    (run.path / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    log = MetricsLog({0: run})
    with pytest.raises(UserError, match="it is a symbolic link"):
        log.log({"step": 1, "member": 0, "loss": 1.0})
    with pytest.raises(UserError, match="it is a symbolic link"):
        log.rewind(0)
    assert (outside / "metrics.jsonl").read_text() == "theirs"


@pytest.mark.parametrize("name", ["run", "populations"])
def test_folders_beneath_the_root_are_no_links(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (outside / "config.json").write_text("theirs")
    (outside / ".physlm-1.tmp").write_text("theirs")
    link = Store(root).run(make_spec()).path if name == "run" else root / name
    link.symlink_to(outside)
    with pytest.raises(UserError, match="it is a symbolic link, expected a folder; delete the link"):
        run_sweep(root, [make_spec()])
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        "config.json": "theirs", ".physlm-1.tmp": "theirs"}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "root").symlink_to("there")
    run = finished(tmp_path / "root")
    assert run.finished() and (tmp_path / "there" / run.name / "DONE").exists()


def test_the_lock_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".lock").symlink_to("theirs")
    with pytest.raises(UserError, match=r"\.lock: cannot write: it is a symbolic link"), Store(tmp_path).lock():
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match=r"\.lock: cannot write: it is no plain file"), Store(tmp_path).lock():
        pass
    (tmp_path / ".lock").unlink()
    with Store(tmp_path).lock():
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()}\n")


def on_texts(folder: Path, rate: float = 1e-3) -> RunSpec:
    """A run on biographies from a file."""
    path = folder / "texts.jsonl"
    if not path.exists():
        write(path, stories(4, [1]))
    spec = make_spec(rate)
    task = BioRConfig(people=4, file=str(path), entries_per_row=2, row_tokens=128)
    return override(dataclasses.replace(spec, task=task), ["train.batch_rows=2"])


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A file whose reader waits for ever."""
    os.mkfifo(tmp_path / "endless")
    return str(tmp_path / "endless")


def naming(spec: RunSpec, file: str) -> dict[str, Any]:
    plain: dict[str, Any] = to_dict(spec)
    plain["task"]["file"] = file
    return plain


@pytest.mark.parametrize("sha256", ["", "0" * 64])
@pytest.mark.parametrize("start", [False, True])
def test_a_population_from_elsewhere_makes_nobody_read_a_file(
    tmp_path: Path, endless: str, sha256: str, start: bool
) -> None:
    """Neither a sweep of other runs nor one on other texts reads it; both go on without it."""
    spec, root = on_texts(tmp_path), tmp_path / "root"
    planted = naming(spec, endless)
    planted["task"]["sha256"] = sha256
    if start:
        planted = {**to_dict(spec), "start": planted}
    (root / "populations").mkdir(parents=True)
    note = root / "populations" / "0123456789ab.json"
    note.write_text(json.dumps({"members": [planted]}))
    assert all(run.finished() for run in run_sweep(root, [make_spec(), spec]))
    assert json.loads(note.read_text()) == {"members": [planted]}, "it belongs to somebody else"
    assert stat.S_ISFIFO(os.stat(endless).st_mode)


def test_settings_from_elsewhere_make_nobody_read_a_file(tmp_path: Path, endless: str) -> None:
    for number, spec in enumerate((make_spec(), on_texts(tmp_path))):
        root = tmp_path / str(number)
        (run,) = run_sweep(root, [spec])
        (run.path / "config.json").write_text(json.dumps(naming(on_texts(tmp_path), endless)))
        with pytest.raises(UserError, match=r"config\.json: task\.file: got .*, which no run that was asked for reads"):
            run_sweep(root, [spec])


def test_a_population_on_the_texts_that_are_asked_for_is_resumed(tmp_path: Path) -> None:
    pair = [on_texts(tmp_path), on_texts(tmp_path, 2e-3)]
    reference, root, trainer = tmp_path / "reference", tmp_path / "root", FakeTrainer()
    run_sweep(reference, pair)
    interrupt_at(root, pair)
    assert run_sweep(root, [make_spec()]) and Store(root).checkpoint(Population(tuple(pair))).exists()
    run_sweep(root, pair[:1], trainer=trainer)
    assert trainer.calls == [tuple(map(content_hash, pair))], "whole and unchanged"
    run_sweep(root, pair)
    shutil.rmtree(Store(root).run(make_spec()).path)
    assert contents(root) == contents(reference)


def test_no_other_setting_names_a_file(tmp_path: Path) -> None:
    """Settings of every task are made with the name of a file as each text in them; which open it they say."""
    path = tmp_path / "named-by-a-setting"
    path.write_text("")
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    found = []
    for kind in map(TaskConfig.of_kind, TaskConfig.table):
        for field in dataclasses.fields(kind):
            opened.clear()
            with contextlib.suppress(UserError):
                from_dict(kind, {field.name: str(path)})
            if str(path) in opened:
                found.append(field.name)
        assert tuple(found) == kind.file_fields, kind
        found.clear()
    assert BioRConfig.file_fields and file_sha256(str(path)) and str(path) in opened, "the test sees who opens a file"


def test_a_store_is_read_without_waiting_for_its_notes(tmp_path: Path) -> None:
    (tmp_path / "populations").mkdir()
    os.mkfifo(tmp_path / "populations" / "a.json")
    with pytest.raises(UserError, match=r"a\.json: cannot read: it is no plain file; delete this file"):
        Store(tmp_path).open_populations()
    os.remove(tmp_path / "populations" / "a.json")
    storage.write_json(tmp_path / "populations" / "a.json", {"members": [json.loads("[" * 400 + "]" * 400)]})
    with pytest.raises(UserError, match=r"a\.json: expected the members of a population .*; delete this file"):
        Store(tmp_path).open_populations()
