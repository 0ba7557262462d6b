"""Wherever the output of a command goes, and whatever a path or a setting holds: the right output, or one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from physlm.commands import options
from physlm.errors import UserError

GRAMMAR = "s -> a\na -> 'é' | '→' | '𝄞'\n"


def run(*arguments, shell="", encoding=None, folder=None):
    """``physlm`` in a process of its own, behind a shell that may close its streams."""
    environment = dict(os.environ) | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "physlm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, timeout=300, cwd=folder)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_the_encoding_lacks_is_escaped(tmp_path, encoding):
    (tmp_path / "g").write_text(GRAMMAR, encoding="utf-8")
    done = run("grammar", "show", tmp_path / "g", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    expected = {"ascii": r"'\u00e9' | '\u2192' | '\ud834\udd1e'", "cp1252": r"'é' | '\u2192' | '\ud834\udd1e'",
                "utf-8": "'é' | '→' | '𝄞'"}  # fmt: skip
    first = done.stdout.decode(encoding).splitlines()[1]
    assert sorted(first.removeprefix("a -> ").split(" | ")) == sorted(expected[encoding].split(" | "))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_stays_json(tmp_path, encoding):
    (tmp_path / "g").write_text(GRAMMAR, encoding="utf-8")
    done = run("grammar", "next", "--grammar", tmp_path / "g", "--json", encoding=encoding)
    assert set(json.loads(done.stdout.decode(encoding))["next"]) == {"é", "→", "𝄞"}


def test_errors_are_escaped_too():
    done = run("show", "é\x1b[31m", encoding="ascii")
    assert done.returncode == 2 and done.stderr.startswith(b"error: experiment: unknown name '\\u00e9\\x1b[31m'")


@pytest.mark.parametrize(("arguments", "shell", "code"), [
    (["grammar", "show", "cfg3b"], ">&-", 0),
    (["grammar", "show", "cfg3b"], "2>&-", 0),
    (["grammar", "show", "nothing"], "2>&-", 2),
    (["grammar", "show", "nothing"], ">&- 2>&- <&-", 2),
    (["grammar", "check", "--grammar", "cfg3b", "--strings", "-"], "<&-", 0),
])  # fmt: skip
def test_closed_streams_are_no_errors(arguments, shell, code):
    done = run(*arguments, shell=shell)
    assert done.returncode == code and b"Traceback" not in done.stderr
    assert b"error" not in done.stdout


@pytest.mark.parametrize("arguments", [["grammar", "show", "cfg3b"], ["biographies", "ask", "--people", "2000"]])
def test_a_reader_that_has_gone_is_no_error(arguments):
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = subprocess.run([sys.executable, "-m", "physlm", *arguments], stdout=writes, stderr=subprocess.PIPE,
                              timeout=300)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("length", [300, 5000])
@pytest.mark.parametrize("arguments", [
    ("list", "--experiments", "PATH"), ("list", "--results", "PATH"), ("verify", "--results", "PATH"),
    ("verify", "PATH"), ("show", "PATH"), ("show", "p33_capacity", "--runs", "PATH"), ("data", "sample", "PATH"),
    ("figure", "p33_capacity", "--results", "PATH"), ("run", "p33_capacity", "--tier", "smoke", "--runs", "PATH"),
    ("data", "export", "bios", "--out", "PATH"), ("grammar", "show", "PATH"),
    ("data", "sample", "bior", "--set", "file=PATH"),
    ("grammar", "check", "--grammar", "cfg3b", "--strings", "PATH"),
    ("biographies", "check", "--people", "3", "--texts", "PATH"),
    ("biographies", "ask", "--people", "3", "--out", "PATH"),
], ids=" ".join)  # fmt: skip
def test_long_paths_are_one_line(physlm, tmp_path, monkeypatch, arguments, length):
    monkeypatch.setenv("PHYSLM_EXPERIMENTS", str(options.folder("experiments", None).resolve()))
    monkeypatch.chdir(tmp_path)
    code, _, err = physlm(*(argument.replace("PATH", "p" * length) for argument in arguments))
    assert code == 2 and len(err.splitlines()) == 1 and err.startswith("error: ") and len(err) < 2500
    assert "too long" in err or "unknown name" in err


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize("arguments", [
    ("grammar", "check", "--grammar", "cfg3b", "--strings", "PATH"), ("grammar", "show", "PATH"), ("show", "PATH"),
    ("biographies", "check", "--people", "3", "--texts", "PATH"),
    ("biographies", "ask", "--people", "3", "--out", "PATH"),
    ("data", "export", "bios", "--out", "PATH"), ("data", "sample", "bior", "--set", 'file="PATH"'),
], ids=" ".join)  # fmt: skip
def test_names_that_no_file_can_have_are_one_line(physlm, tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    # JSON, in which settings are given, knows them as escapes
    given = json.dumps(name)[1:-1] if "--set" in arguments else name
    code, _, err = physlm(*(argument.replace("PATH", given) for argument in arguments))
    assert code == 2 and len(err.splitlines()) == 1 and err.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_pipes_and_devices_are_refused_by_every_command(physlm, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, what in ((tmp_path / "pipe", "it is a pipe"), ("/dev/zero", "it is a device")):
        for arguments in (("grammar", "show", name), ("grammar", "check", "--grammar", "cfg3b", "--strings", name),
                          ("grammar", "sample", name), ("grammar", "next", "--grammar", name),
                          ("biographies", "check", "--people", "3", "--texts", name),
                          ("data", "sample", "bior", "--set", f"file={name}"),
                          ("data", "sample", "bioqa", "--set", f"file={name}")):
            code, out, err = physlm(*arguments)
            assert code == 2 and out == "" and what in err and len(err.splitlines()) == 1, arguments


def test_an_error_of_any_length_is_cut(capsys):
    options.fail("what was given: " + "x" * 10**6 + ", expected something else")
    err = capsys.readouterr().err
    assert len(err) < 2100 and err.startswith("error: what was given: xxx") and "expected something else" in err


def test_missing_memory_is_one_line(capsys):
    import numpy as np
    import torch
    import typer

    def numbers():
        np.empty(1 << 55)

    def tensor():
        torch.empty(1 << 55)

    for function in (numbers, tensor):
        with pytest.raises(typer.Exit) as ended:
            options.command(function)()
        assert ended.value.exit_code == 2 and "out of memory" in capsys.readouterr().err

    def other():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        options.command(other)()


def test_user_errors_keep_their_line(capsys):
    import typer

    def mistaken():
        raise UserError("got 1,\n  expected 2")

    with pytest.raises(typer.Exit):
        options.command(mistaken)()
    assert capsys.readouterr().err == "error: got 1, expected 2\n"
