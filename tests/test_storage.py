"""Files are whole or absent, whatever happens while they are written; damage is one clear line."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from physlm import storage
from physlm.errors import UserError


class Killed(BaseException):
    """Stands for kill -9: no ``except OSError`` sees it."""


def test_text_json_and_tensors_come_back_as_written(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "deep" / "er" / "a.txt", "grün\n")
    assert storage.read_text(tmp_path / "deep" / "er" / "a.txt") == "grün\n"
    value = {"b": [1, 2.5, None, True], "a": {"x": "y"}}
    storage.write_json(tmp_path / "a.json", value)
    assert storage.read_json(tmp_path / "a.json") == value
    tensors = {"w": torch.randn(3, 2), "half": torch.randn(4).bfloat16(), "n": torch.arange(5), "one": torch.tensor(3)}
    storage.save_tensors(tmp_path / "m.safetensors", tensors, {"step": "7"})
    loaded, metadata = storage.load_tensors(tmp_path / "m.safetensors")
    assert metadata == {"step": "7"} and storage.tensor_metadata(tmp_path / "m.safetensors") == metadata
    assert {k: v.dtype for k, v in loaded.items()} == {k: v.dtype for k, v in tensors.items()}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "deep", "m.safetensors"]


def test_tied_and_strided_tensors_are_stored_whole(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    storage.save_tensors(tmp_path / "m.safetensors", {"a": weight, "b": weight, "t": weight.t()})
    loaded, _ = storage.load_tensors(tmp_path / "m.safetensors")
    assert torch.equal(loaded["a"], weight) and torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["t"], weight.t())


def test_loaded_tensors_survive_the_replacement_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    storage.save_tensors(path, {"a": torch.ones(1000)})
    loaded, _ = storage.load_tensors(path)
    loaded["a"].add_(1.0)
    storage.save_tensors(path, {"a": torch.zeros(1000)})
    assert torch.equal(loaded["a"], torch.full((1000,), 2.0))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a.json"
    storage.write_json(path, {"version": 1})

    def kill(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, call, kill)
        with pytest.raises(Killed):
            storage.write_json(path, {"version": 2})
    assert storage.read_json(path) == {"version": 1}
    assert len(list(tmp_path.iterdir())) == 2, "the kill leaves a temporary file"
    storage.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.txt"
    storage.write_text(path, "old")

    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(UserError) as caught:
            storage.write_text(path, "new")
    message = str(caught.value)
    assert str(path) in message and os.strerror(number) in message and "\n" not in message
    assert storage.read_text(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"], "an error, unlike a kill, cleans up after itself"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        storage.write_text(tmp_path / "file" / "a.txt", "x")


def write_output(path: Path, text: str) -> None:
    with storage.output(path) as file:
        file.write(text.encode())


@pytest.mark.parametrize("dangling", [False, True])
def test_an_output_is_written_through_links(tmp_path: Path, dangling: bool) -> None:
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "a.txt", tmp_path / "link", tmp_path / "second"
    if not dangling:
        target.write_text("old")
    link.symlink_to(Path("there", "a.txt"))
    second.symlink_to(link)
    write_output(second, "new")
    assert target.read_text() == "new" and link.is_symlink() and second.is_symlink()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a.txt"]


def test_an_error_leaves_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "link").symlink_to("a.txt")

    def fail() -> None:
        with storage.output(tmp_path / "link") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_an_output_goes_into_a_pipe_that_is_there(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "through")
    reader.join(20)
    assert read == ["through"] and stat.S_ISFIFO(pipe.stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_an_output_goes_into_a_device_that_is_there(tmp_path: Path) -> None:
    # a terminal of our own, in whose folder nobody can make or rename files: no mistake here harms the machine
    ours, theirs = os.openpty()
    device = Path(os.ttyname(theirs))
    write_output(device, "through")
    assert os.read(ours, 100) == b"through" and stat.S_ISCHR(device.stat().st_mode)
    os.close(theirs)
    os.close(ours)


def test_the_own_standard_output_is_written_on_where_it_is(tmp_path: Path) -> None:
    """As ``--out /dev/stdout >> log`` asks for: the file that it was sent to keeps what it has."""
    log = tmp_path / "log"
    log.write_text("first\n")
    code = ("import sys; from pathlib import Path; from physlm import storage\n"
            f"with storage.output(Path({str(log)!r})) as file: file.write(b'second\\n')\n"
            "print('third')")
    with log.open("a") as out:
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1], stdout=out)
    assert log.read_text() == "first\nsecond\nthird\n"


@pytest.mark.parametrize("write", [write_output, storage.write_text])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_permissions_are_kept(tmp_path: Path, write: Callable[[Path, str], None], mode: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    write(path, "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_any_other_has(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    for path, write in ((tmp_path / "a", write_output), (tmp_path / "b", storage.write_text)):
        write(path, "new")
        assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_private_file_is_private_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    with storage.output(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is write-protected for root")
def test_a_write_protected_output_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o400)
    with pytest.raises(UserError, match="cannot write: Permission denied"):
        write_output(path, "new")
    assert path.read_text() == "old"


def test_an_output_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write: Is a directory"):
        write_output(tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def stop(made: Path) -> None:
        (made / "x").write_text("half")
        raise KeyError

    with pytest.raises(KeyError), storage.new_folder(tmp_path / "a" / "b") as made:
        stop(made)
    assert not any((tmp_path / "a").iterdir())
    (tmp_path / "a" / "b").mkdir()
    with storage.new_folder(tmp_path / "a" / "b") as made:
        (made / "x").write_text("whole")
        assert not any((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b" / "x").read_text() == "whole"


@pytest.mark.parametrize("there", ["file", "full", "link"])
def test_what_lies_in_the_place_of_a_new_folder_is_left_alone(tmp_path: Path, there: str) -> None:
    path = tmp_path / "out"
    if there == "file":
        path.write_text("mine")
    elif there == "full":
        path.mkdir()
        (path / "mine").write_text("mine")
    else:
        path.symlink_to(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="something is there already"), storage.new_folder(path):
        raise AssertionError
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_of_ours_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "a.json").symlink_to("outside")
    storage.write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "outside").read_text() == "theirs" and not (tmp_path / "a.json").is_symlink()


def test_temporary_files_are_made_anew_under_names_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for _ in range(8):
        with storage.replacing(tmp_path / "a.txt"):
            (temporary,) = (path.name for path in tmp_path.iterdir() if path.name != "a.txt")
            names.add(temporary)
    assert len(names) == 8 and not any(str(os.getpid()) in name.split("-")[1:] for name in names)
    # were the name known all the same, what lies there would not be touched
    monkeypatch.setattr("secrets.token_hex", lambda count: "0")
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / ".physlm-0.tmp").symlink_to("outside")
    with pytest.raises(UserError, match="cannot write: File exists"):
        storage.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "outside").read_text() == "theirs"


@pytest.mark.parametrize(("number", "fine"), [
    (errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False), (errno.ENOSPC, False),
])  # fmt: skip
def test_a_folder_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fine: bool
) -> None:
    sync = os.fsync

    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if fine:
        storage.write_text(tmp_path / "a.txt", "new")
        storage.remove(tmp_path / "none")
    else:
        with pytest.raises(UserError, match=os.strerror(number)):
            storage.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "endless"])
@pytest.mark.parametrize("read", [storage.read_text, storage.read_json, storage.load_tensors, storage.tensor_metadata])
def test_only_plain_files_are_read(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a"
    if kind == "link":
        storage.save_tensors(tmp_path / "b", {"w": torch.ones(1)})
        path.symlink_to("b")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"/a: cannot read: it is (a symbolic link|no plain file)"):
        read(path)


def test_a_text_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("1" * 20)
    monkeypatch.setattr(storage, "MOST_BYTES", 10)
    with pytest.raises(UserError, match=r"a\.json: expected at most 0 MiB, found more"):
        storage.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", [
    "[" * 100_000, "[" * 100_000 + "]" * 100_000, "9" * 5000, '{"a": NaN}', "[-Infinity]", "1e999",
], ids=["open", "deep", "digits", "nan", "infinity", "overflow"])  # fmt: skip
def test_json_that_python_cannot_take_is_one_short_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json: expected JSON, found .*; throw it away") as caught:
        storage.read_json(path, cure="throw it away")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "not json", '{"a": 1}}'])
def test_damaged_json_names_the_file_and_the_cure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json: expected JSON, found .*; throw it away"):
        storage.read_json(path, cure="throw it away")


def test_missing_and_binary_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot read: No such file"):
        storage.read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"none\.safetensors: cannot read: No such file"):
        storage.load_tensors(tmp_path / "none.safetensors")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected UTF-8 text"):
        storage.read_json(tmp_path / "b.json")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_cut_tensor_file_is_recognised(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    storage.save_tensors(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (storage.load_tensors, storage.tensor_metadata):
        with pytest.raises(UserError, match=r"m\.safetensors: expected a whole safetensors file"):
            read(path)


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "a.json", float("nan"))


def test_importing_storage_and_reading_metadata_needs_no_torch(tmp_path: Path) -> None:
    storage.save_tensors(tmp_path / "m.safetensors", {"a": torch.ones(2)}, {"k": "v"})
    code = ("import sys; from pathlib import Path; from physlm import storage; "
            f"assert storage.tensor_metadata(Path({str(tmp_path / 'm.safetensors')!r})) == {{'k': 'v'}}; "
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
