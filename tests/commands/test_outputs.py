"""Every command that writes to ``--out`` writes as a shell would, and still all or nothing."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
import typer
from storyteller import stories, write

from physlm import cli, storage

COMMANDS = {
    "data export": ("data", "export", "biod", "--n", 3, "--set", "people=5", "--vocabulary", "vocabulary"),
    "igsm sample": ("igsm", "sample", "--family", "tiny", "--n", 2),
    "biographies ask": ("biographies", "ask", "--people", 2),
    "biographies check": ("biographies", "check", "--people", 2, "--texts", "answers.jsonl"),
}


def commands_with_out(group, name=""):
    """Names of all commands that have the option for a file."""
    for word, command in getattr(group, "commands", {}).items():
        full = f"{name} {word}".strip()
        if any("--out" in option.opts and option.metavar != "DIR" for option in command.params):
            yield full
        yield from commands_with_out(command, full)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "answers.jsonl", stories(2, [2]))


def test_all_of_them_are_tested():
    elsewhere = {"model import", "battery grade"}  # need an extra, a folder: test_model_commands, test_battery_commands
    assert set(commands_with_out(typer.main.get_command(cli.app))) == {*COMMANDS, *elsewhere}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_link_leads_to_its_file_whose_permissions_stay(physlm, name):
    assert physlm(*COMMANDS[name], "--out", "plain")[0] == 0
    Path("real").write_text("old")
    Path("real").chmod(0o600)
    Path("link").symlink_to("real")
    Path("words").write_text("old")
    Path("vocabulary").unlink(missing_ok=True)
    Path("vocabulary").symlink_to("words")
    assert physlm(*COMMANDS[name], "--out", "link")[0] == 0
    written = Path("words").read_text() != "old"
    assert Path("vocabulary").is_symlink() and written == ("--vocabulary" in COMMANDS[name])
    assert Path("link").is_symlink() and Path("real").read_bytes() == Path("plain").read_bytes() != b"old"
    assert stat.S_IMODE(Path("real").stat().st_mode) == 0o600
    assert sorted(os.listdir()) == ["answers.jsonl", "link", "plain", "real", "vocabulary", "words"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_carries_all_of_it_and_stays_a_pipe(physlm, name):
    assert physlm(*COMMANDS[name], "--out", "plain")[0] == 0
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    assert physlm(*COMMANDS[name], "--out", "pipe")[0] == 0
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    reader.join(20)
    assert read == [Path("plain").read_bytes()]


def test_a_vocabulary_is_put_beside_plain_files_alone(physlm):
    export = [part for part in COMMANDS["data export"] if part not in ("--vocabulary", "vocabulary")]
    assert "vocabulary in plain.vocabulary.json" in physlm(*export, "--out", "plain.jsonl")[2]
    assert json.loads(Path("plain.vocabulary.json").read_text())
    os.mkfifo("pipe")
    reader = threading.Thread(target=lambda: Path("pipe").read_bytes(), daemon=True)
    reader.start()
    assert "vocabulary not written" in physlm(*export, "--out", "pipe")[2] and not Path("pipe.vocabulary.json").exists()
    reader.join(20)
    assert [storage.in_place(Path(name)) for name in ("plain.jsonl", "none", "pipe")] == [False, False, True]
