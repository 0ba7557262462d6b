"""What the commands share: options, where the folders are, errors in one line, tables in plain text."""

from __future__ import annotations

import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

import physlm
from physlm.config import unknown_key
from physlm.errors import UserError

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # what a disk has to say

ExperimentsOption = Annotated[
    Path | None,
    typer.Option("--experiments", envvar="PHYSLM_EXPERIMENTS", metavar="DIR",
                 help="Folder of experiment files. Default: ./experiments, or the one beside the package."),
]
RunsOption = Annotated[
    Path | None,
    typer.Option("--runs", envvar="PHYSLM_RUNS", metavar="DIR",
                 help="Folder of run folders. Default: ./runs, or the one beside the package."),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option("--results", envvar="PHYSLM_RESULTS", metavar="DIR",
                 help="Folder of committed results. Default: ./results, or the one beside the package."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given several times."),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An experiment; physlm list names them.")]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Experiments; physlm list names them.")
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn a ``UserError`` or a full disk into one line and exit code 2, Ctrl-C into one line and exit code 130."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except UserError as error:
            fail(str(error))
            raise typer.Exit(2) from None
        except OSError as error:
            if error.errno not in _DISK:
                raise
            # storage names its own files: what is left is the output of this process, sent to a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to write the rest when it ends
            fail(f"{error.filename or 'standard output'}: cannot write: {error.strerror}; expected free space there")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            interrupted()
            raise typer.Exit(130) from None

    return guarded


def fail(message: str) -> None:
    """Print ``error: ...`` in one line on standard error."""
    print("error: " + " ".join(message.split()), file=sys.stderr)


def interrupted() -> None:
    """Say that Ctrl-C was understood."""
    print("interrupted: nothing that was finished is lost; the same command goes on from here", file=sys.stderr)


def folder(name: str, given: Path | None) -> Path:
    """Where ``experiments``, ``runs`` or ``results`` is: as given, else here, else in the checkout of the package."""
    if given is not None:
        return given
    here, checkout = Path(name), _checkout()
    return here if checkout is None or checkout == Path.cwd() or here.is_dir() else checkout / name


def trusted(experiments: Path, given: Path | None) -> bool:
    """Whether every file of a folder of experiments may be run without being named.

    Experiment files are code.  Those beside the package are as much physlm as the package is; others run where the
    folder was ``given`` by an option, or one by one when they are named.  A folder is not trusted for standing in it.
    """
    checkout = _checkout()
    own = checkout is not None and experiments.resolve() == (checkout / "experiments").resolve()
    return own or given is not None


def note_not_loaded(experiments: Path, names: Sequence[str], so: str) -> None:
    """Say in one line on standard error that a folder is not trusted, and so what."""
    files = "its experiment file is" if len(names) == 1 else f"its {len(names)} experiment files are"
    print(f"note: {experiments} is not physlm's own, and {files} code that nobody asked to run: {so}; --experiments "
          f"{shlex.quote(str(experiments))} runs all, and physlm show NAME the one that it names", file=sys.stderr)


def _checkout() -> Path | None:
    """The checkout that physlm runs from; None where it was installed as a copy, among packages of others."""
    root = Path(physlm.__file__).parents[1]
    return root if (root / "pyproject.toml").is_file() and (root / "experiments").is_dir() else None


def choose_device(name: str | None, processes: int = 1) -> torch.device:
    """The device asked for; by default the GPU if there is one.

    Raises:
        UserError: another name than cpu or cuda, cuda without a GPU, or fewer GPUs than ``processes``.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UserError(unknown_key("device", name, ("cpu", "cuda")))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: got 'cuda', but torch finds no GPU here; expected cpu")
    if name == "cuda" and processes > torch.cuda.device_count():
        raise UserError(f"--processes: got {processes}, but torch finds {torch.cuda.device_count()} GPUs here; "
                        "expected at most as many")
    return torch.device(name)


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of equal width; numbers to the right, None as a dash.

    Example: ``text_table(["a", "b"], [["x", 1.0], ["yy", None]])``.
    """
    cells = [[number(value) for value in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows)
             for i in range(len(header))]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    lines = []
    for line in [list(header), ["-" * width for width in widths], *cells]:
        padded = [text.rjust(width) if to_right else text.ljust(width)
                  for text, width, to_right in zip(line, widths, right, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def number(value: Any) -> str:
    """A cell: floats to four digits, whole numbers with commas, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
