"""Files that are either whole or absent.

Every file is first written under a temporary name in its own folder, flushed to the disk, and then renamed over the
target, which the operating system does in one indivisible step.  A process killed at any moment therefore leaves the
old file or the new one, never half of one; what it may leave beside it is a temporary file, which
``remove_leftovers`` recognises by its name.  Tensors are stored as safetensors (plain data, no pickle).

Two kinds of files are written:

    ours (``replacing``)   in run folders and results, which may come from elsewhere: never through a link
    a user's (``output``)  named by --out: through links, into devices and pipes as they are, permissions kept

Files of ours are read only where they are plain files, so that no link, device or pipe in a folder from elsewhere leads
out of it or never ends (``plain`` opens them).

Reading a file that is missing, cut short or of another kind, and writing to a disk that is full or read-only, are
``UserError``s that name the path, the reason and the cure.  Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import math
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Never

from physlm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = 1 << 28  # of a file of text, all of which is read at once
MOST_DIGITS = 300  # of a whole number: a float can be as large
_LEFTOVER = (".physlm-", ".tmp")  # how the name of a temporary file begins and ends
_CURE = "delete this file and give the same command again"
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # said by file systems that have no such thing


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


def plain(path: str, flags: int) -> int:
    """An ``opener`` for ``open``: of a plain file alone, never through a link, and without waiting for a pipe.

    Raises:
        OSError: the last part of the path is a symbolic link, a folder, a device, a pipe, ...
    """
    never_wait = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)  # some systems have neither
    try:
        handle = os.open(path, flags | never_wait, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError("it is a symbolic link, which is not followed here") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("it is no plain file")
    return handle


def beneath(root: Path, *names: str) -> Path:
    """The folder ``root/name/...`` of ours.  The root may be a link; nothing beneath it may lead out of it.

    Raises:
        UserError: one of the names is that of a symbolic link.
    """
    path = root
    for name in names:
        path = path / name
        if path.is_symlink():
            raise UserError(f"{path}: it is a symbolic link, expected a folder; delete the link, or give the whole of "
                            f"{root} another place")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` in one step when the block ends well.

    Folders above it are made.  An error inside the block leaves the old file, and nothing beside it.  The permissions
    of an old file are kept; a link, device or pipe of this name is itself replaced.

    Raises:
        UserError: the disk is full or read-only; the old file is then untouched.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        old = _status(path, follow=False)
        with _replacing(path, old if old is not None and stat.S_ISREG(old.st_mode) else None) as file:
            yield file


@contextmanager
def output(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that a user named: as ``replacing``, but of the file that a symbolic link leads to.

    Whatever is no plain file (a device, a pipe, the standard output of this process under its name in /dev) is opened
    and written to as it is.

    Raises:
        UserError: it cannot be written; an old plain file is then untouched.
    """
    with disk_errors(path):
        old = _status(path, follow=True)
        own = None if old is None else _own_output(old)
        if own is not None:
            with open(os.dup(own), "wb") as file:
                yield file
        elif old is not None and not stat.S_ISREG(old.st_mode):
            with open(path, "wb", opener=lambda name, _: os.open(name, os.O_WRONLY)) as file:
                yield file
        else:
            target = Path(os.path.realpath(path))
            if old is not None and not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # a rename would not ask
            target.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(target, old) as file:
                yield file


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes the folder ``path`` that a user named in one step when the block ends well.

    Raises:
        UserError: something lies at ``path`` already, but for an empty folder; or the disk is full or read-only.
    """
    with disk_errors(path):
        if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
            raise UserError(f"{path}: something is there already; expected the name of a new folder, or an empty one")
        made = path.parent / secrets.token_hex(8).join(_LEFTOVER)
        made.mkdir(parents=True)
        try:
            yield made
            os.replace(made, path)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def in_place(path: Path) -> bool:
    """Whether ``output`` would write into what is there, instead of putting a new plain file in its place."""
    old = _status(path, follow=True)
    return old is not None and (not stat.S_ISREG(old.st_mode) or _own_output(old) is not None)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step; raises what ``replacing`` raises."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """``write_text`` of indented JSON with a final newline; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """The text of a JSON file; raises ``ValueError`` for NaN and infinity."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_text(path: Path, cure: str = _CURE, errors: str = "strict") -> str:
    """The UTF-8 text of a file; ``errors`` says what becomes of other bytes, as for ``bytes.decode``.

    A file that is called ``NAME.gz`` is unpacked.

    Raises:
        UserError: missing, no plain file, not text, or (unpacked) of more than 256 MiB; ``cure`` says what to do about
            it.
    """
    with disk_errors(path, "read", cure), open(path, "rb", opener=plain) as file:
        try:
            content = (gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file).read(MOST_BYTES + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: expected a gzip file, found damage ({error}); {cure}") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: expected at most {MOST_BYTES >> 20} MiB, found more; {cure}")
    try:
        return content.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text, found other bytes; {cure}") from error


def read_json(path: Path, cure: str = _CURE) -> Any:
    """The value in a JSON file; every number in it is finite.

    Raises:
        UserError: missing, half-written or not JSON; ``cure`` says what to do about it.
    """
    text = read_text(path, cure)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, found {_damage(text, error)}; {cure}") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text; every number in it is finite.

    Raises:
        ValueError: no JSON, a number too large for a float, or nesting too deep to read.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_not_finite)
    except RecursionError as error:
        raise ValueError("lists in lists too deep to read") from error


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
        for path in folder.glob("*".join(_LEFTOVER)):
            path.unlink(missing_ok=True)


@contextmanager
def _open_tensors(path: Path, framework: str, cure: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    with disk_errors(path, "read", cure), open(path, "rb", opener=plain):
        pass  # safe_open's own error for a missing file carries no errno and it follows links: ask the system first
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path}: expected a whole safetensors file, found damage ({error}); {cure}") from error


@contextmanager
def _replacing(target: Path, old: os.stat_result | None) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``target`` at the end, with the permissions and the owner of ``old``."""
    # random, and made only if it is not there yet: nobody can put a link where this name will be
    temporary = target.parent / secrets.token_hex(8).join(_LEFTOVER)
    # an old file may be private, and then the new one is from its first byte on
    mode = 0o666 if old is None else 0o600
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                _keep_access(file.fileno(), old)
            yield file
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, target)
    except (Exception, KeyboardInterrupt, SystemExit):
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _keep_access(handle: int, old: os.stat_result) -> None:
    """Owner and permissions as they were, as far as this user and this file system can say so."""
    with contextlib.suppress(PermissionError):
        os.fchown(handle, old.st_uid, old.st_gid)
    with contextlib.suppress(PermissionError):
        os.fchmod(handle, old.st_mode & 0o777)


def _status(path: Path, follow: bool) -> os.stat_result | None:
    """What is at ``path``, or where it leads; None if nothing is there."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except FileNotFoundError:
        return None


def _own_output(status: os.stat_result) -> int | None:
    """Which of the standard outputs of this process, sent to a plain file, this is: it is written on where it is."""
    for handle in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(status, os.fstat(handle)):
                return handle
    return None


def _sync(handle: int) -> None:
    """Have what was written on the disk, where the file system can do so."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the entry in the folder is data of the folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # one may write into a folder that one may not read, and then nobody can ask for more
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> Never:
    raise ValueError(f"the number {text[:20]}, which is not finite")


def _damage(text: str, error: ValueError) -> str:
    if not text.strip():
        return "an empty file"
    if isinstance(error, json.JSONDecodeError):
        return f"damage at line {error.lineno} column {error.colno} ({error.msg})"
    return str(error)
