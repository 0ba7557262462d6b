"""Files are whole or absent, whatever happens while they are written; damage is one clear line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
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
