"""Files that are either whole or absent.

Every file is first written under a temporary name in its own folder, flushed to the disk, and then renamed over the
target, which the operating system does in one indivisible step.  A process killed at any moment therefore leaves the
old file or the new one, never half of one; what it may leave beside it is a temporary file, which
``remove_leftovers`` recognises by its name.  Tensors are stored as safetensors (plain data, no pickle).

Reading a file that is missing, cut short or of another kind, and writing to a disk that is full or read-only, are
``UserError``s that name the path, the reason and the cure.  Importing this module does not import torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from physlm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_LEFTOVER = ".tmp"
_CURE = "delete this file and give the same command again"


@contextmanager
def disk_errors(
    path: Path, doing: str = "write", cure: str = "expected a place with free space and the right to write there"
) -> Iterator[None]:
    """Turn an ``OSError`` of the disk (full, read-only, not allowed, ...) into one line that names ``path``.

    So is a path that can be no file's name: with a NUL, or with characters that the file system cannot write.
    """
    try:
        if b"\0" in os.fsencode(path):
            raise UserError(f"{str(path)!r}: cannot {doing}: a name of a file holds no NUL; {cure}")
    except UnicodeEncodeError:
        raise UserError(f"{str(path)!r}: cannot {doing}: not all of it can be in a name of a file; {cure}") from None
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None else str(error)
        raise UserError(f"{path}: cannot {doing}: {reason}; {cure}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` in one step when the block ends well.

    Folders above it are made.  An error inside the block leaves the old file, and nothing beside it.

    Raises:
        UserError: the disk is full or read-only; the old file is then untouched.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}{_LEFTOVER}"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except (Exception, KeyboardInterrupt):
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step; raises what ``replacing`` raises."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """``write_text`` of indented JSON with a final newline; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_text(path: Path, cure: str = _CURE) -> str:
    """The UTF-8 text of a file.

    Raises:
        UserError: missing, unreadable or not text; ``cure`` says what to do about it.
    """
    try:
        with disk_errors(path, "read", cure):
            return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text, found other bytes; {cure}") from error


def read_json(path: Path, cure: str = _CURE) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: missing, half-written or not JSON; ``cure`` says what to do about it.
    """
    text = read_text(path, cure)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: expected JSON, found {_damage(text, error)}; {cure}") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Replace ``path`` by a safetensors file in one step.

    Args:
        tensors: by name; any device, stored as they are (type and bits kept).  Tied tensors are stored twice.
        metadata: text by name, kept in the header.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata=dict(metadata or {})))


def load_tensors(path: Path, cure: str = _CURE) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file.

    Raises:
        UserError: missing, cut short or not safetensors.
    """
    with _open_tensors(path, "pt", cure) as file:
        # clone: the tensors must not stay windows into a file that is replaced later.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def tensor_metadata(path: Path, cure: str = _CURE) -> dict[str, str]:
    """The metadata of a safetensors file, after a check that the file is whole; does not import torch."""
    with _open_tensors(path, "numpy", cure) as file:
        return dict(file.metadata() or {})


def remove(path: Path) -> None:
    """Delete a file if it exists."""
    with disk_errors(path, "delete"):
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in ``folder``; call it only where nobody else writes."""
    with disk_errors(folder, "clean up"):
        for path in folder.glob(f".*{_LEFTOVER}"):
            path.unlink(missing_ok=True)


@contextmanager
def _open_tensors(path: Path, framework: str, cure: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    with disk_errors(path, "read", cure), open(path, "rb"):
        pass  # safe_open's own error for a missing file carries no errno, so ask the system first
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path}: expected a whole safetensors file, found damage ({error}); {cure}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the entry in the folder is data of the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damage(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "an empty file"
    return f"damage at line {error.lineno} column {error.colno} ({error.msg})"
