"""What the commands share: options, where the folders are, errors in one line, tables in plain text."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TextIO

import typer

from physlm.commands import completion, terminal
from physlm.commands.completion import VERDICTS
from physlm.config import unknown_key
from physlm.errors import LostProcessError, Stopped, UserError, counted
from physlm.inputs import plain_file
from physlm.lab.executors.contract import check_processes
from physlm.lab.experiment import TIERS, experiment_names, full_name, load_experiment, part_of, place_in_claim
from physlm.lab.folders import folder

if TYPE_CHECKING:
    import torch

    from physlm.lab.experiment import Experiment

P = ParamSpec("P")
GO_ON = "nothing that was finished is lost; the same command goes on from here"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # what a disk has to say
_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM)  # of a path that somebody named
_MOST_SHOWN = 2000  # characters of an error
_GAP = "  "  # between columns
_LEAST_WORDS = 24  # characters of a column of words that go on in further lines

ExperimentsOption = Annotated[
    Path | None,
    typer.Option("--experiments", envvar="PHYSLM_EXPERIMENTS", metavar="DIR",
                 help="Folder of experiment files. Default: ./experiments, or those that came with physlm."),
]
RunsOption = Annotated[
    Path | None,
    typer.Option("--runs", envvar="PHYSLM_RUNS", metavar="DIR",
                 help="Folder of run folders. Default: ./runs, or the one of the checkout that physlm runs from."),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option("--results", envvar="PHYSLM_RESULTS", metavar="DIR",
                 help="Folder of committed results. Default: ./results, or those that came with physlm."),
]
PartOption = Annotated[
    str | None,
    typer.Option("--part", metavar="PART", help="Only claims of a part: 3.1.", autocompletion=completion.parts),
]
VerdictOption = Annotated[
    str | None,
    typer.Option("--verdict", metavar="VERDICT", help=f"Only claims with this verdict: {', '.join(VERDICTS)}.",
                 autocompletion=completion.verdicts),
]
TierOption = Annotated[
    str,
    typer.Option("--tier", metavar="TIER", help=f"One of {', '.join(TIERS)}.", autocompletion=completion.tiers),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given several times."),
]
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="An experiment, or the beginning of its name; physlm list names them.",
                   autocompletion=completion.claims),
]
NamesArgument = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Experiments, or the beginnings of their names; physlm list names them.",
                   autocompletion=completion.claims),
]
OptionalNameArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="An experiment, or the beginning of its name; physlm list names them.",
                   autocompletion=completion.claims),
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn what no traceback explains into one line and an exit code.

    1: a process died; 2: a ``UserError``, an error in the file of a claim, a full disk, an impossible path, memory that
    is not there; 130: Ctrl-C; 141, without a line: the reader of the output has gone; 143: SIGTERM.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _faults_of_claims():
                function(*args, **kwargs)
            sys.stdout.flush()
        except UserError as error:
            fail(str(error))
            raise typer.Exit(2) from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                terminal.discard_output()
                raise typer.Exit(terminal.GONE) from None
            if error.errno in _PATH and error.filename is not None:
                fail(f"{error.filename}: {error.strerror}; expected a path that exists and may be used")
                raise typer.Exit(2) from None
            if error.errno not in _DISK:
                raise
            # storage names its own files: what is left is the output of this process, sent to a file
            terminal.discard_output()
            fail(f"{error.filename or 'standard output'}: cannot write: {error.strerror}; expected free space there")
            raise typer.Exit(2) from None
        except LostProcessError as error:
            fail(f"{error}; {GO_ON}")
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            fail(f"out of memory: {error}; expected settings that need less: fewer --members, a smaller "
                 "train.batch_rows, a smaller task or model")
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            raise typer.Exit(stopped(stop)) from None

    return guarded


@contextlib.contextmanager
def _faults_of_claims() -> Iterator[None]:
    """What the code of a claim raises is its author's to mend, as a ``UserError`` is; physlm's own bugs pass."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if place := place_in_claim(error):
            raise UserError(f"{place}: {type(error).__name__}: {error}") from error
        raise


def fail(message: str) -> None:
    """Print ``error: ...`` in one line on standard error."""
    line = " ".join(message.split())
    if len(line) > _MOST_SHOWN:
        half = _MOST_SHOWN // 2
        line = f"{line[:half]} .. ({len(line) - 2 * half:,} characters) .. {line[-half:]}"
    print(f"error: {printable(line)}", file=sys.stderr)


def printable(text: str) -> str:
    """A text that may hold anything, as it can be shown: some characters are commands to a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Python's and numpy's own error, and torch's: a class of its own on a GPU, a sentence on the CPU."""
    return (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in str(error))


def stopped(stop: KeyboardInterrupt) -> int:
    """Say that Ctrl-C or SIGTERM was understood; the exit code, which is that of the signal."""
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    print(f"{'terminated' if number == signal.SIGTERM else 'interrupted'}: {GO_ON}", file=sys.stderr)
    return 128 + number


@contextlib.contextmanager
def signals_stop() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise ``Stopped`` wherever the main thread is; those that are ignored stay so.

    Not KeyboardInterrupt itself: where that came inside of ``exec`` of a text, as imports have it, Python ends with the
    signal in place of the exit code, also if it was caught.
    """

    def stop(number: int, _: object) -> None:
        raise Stopped(number)

    ours = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
              if signal.getsignal(number) in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def opened(name: str, expected: str) -> Iterator[TextIO]:
    """A file of text that a user named, to read; ``-`` is standard input.

    Args:
        expected: what a good file is, for the error.
    """
    if name == "-":
        yield sys.stdin
        return
    with plain_file(name, expected) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        yield text


def stream_name(name: str) -> str:
    """How errors call such a file."""
    return "standard input" if name == "-" else name


def named_experiment(name: str, experiments: Path | None) -> Experiment:
    """The experiment that a user named, by its name or by a beginning that only one name has.

    Args:
        experiments: the folder that was given by an option.
    """
    where = folder("experiments", experiments)
    return load_experiment(full_name(name, experiment_names(where), "experiment"), where)


def results_to_read(given: Path | None) -> Path:
    """The folder of results that a command reads; one that was named and is not there, as of a typing error, is said.

    Args:
        given: the folder that was given by an option.
    """
    if given is not None:
        try:
            given.stat()
        except FileNotFoundError:
            print(f"note: {printable(str(given))}: there is no such folder, and so no results", file=sys.stderr)
    return folder("results", given)


def of_part(names: Sequence[str], part: str | None) -> list[str]:
    """The claims of a part, or all of them.

    Raises:
        UserError: no claim is of that part.
    """
    parts = [part_of(name) for name in names]
    if part is not None and part not in parts:
        raise UserError(unknown_key("part", part, parts))
    return [name for name, its in zip(names, parts, strict=True) if part in (None, its)]


def wanted_verdict(verdict: str | None) -> str | None:
    """The verdict that was asked for; ``not-run`` is ``not run``.

    Raises:
        UserError: there is no such verdict.
    """
    plain = None if verdict is None else " ".join(verdict.replace("-", " ").split())
    if plain is not None and plain not in VERDICTS:
        raise UserError(unknown_key("verdict", verdict, VERDICTS))
    return plain


def note_not_loaded(experiments: Path, names: Sequence[str], so: str) -> None:
    """Say in one line on standard error that a folder is not trusted, and so what."""
    files = "its experiment file is" if len(names) == 1 else f"its {len(names)} experiment files are"
    print(f"note: {experiments} is not physlm's own, and {files} code that nobody asked to run: {so}; --experiments "
          f"{shlex.quote(str(experiments))} runs all, and physlm show NAME the one that it names", file=sys.stderr)


def choose_device(name: str | None, processes: int = 1) -> torch.device:
    """The device asked for; by default the GPU if there is one.

    Raises:
        UserError: another name than cpu or cuda, cuda without a GPU, or too few GPUs for so many ``processes``.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UserError(unknown_key("device", name, ("cpu", "cuda")))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: got 'cuda', but torch finds no GPU here; expected cpu")
    if name == "cuda":
        gpus = torch.cuda.device_count()
        check_processes(processes, gpus, f"torch finds {counted(gpus, 'GPU')} here")
    return torch.device(name)


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of equal width; numbers to the right, None as a dash; no line wider than the screen if that can be.

    Words of the last column go on in further lines. Columns that find no room beside the others follow in a table
    below, behind those that tell the rows apart.
    Example: ``text_table(["a", "b"], [["x", 1.0], ["yy", None]])``.
    """
    cells = [[number(value) for value in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows)
             for i in range(len(header))]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    keys = _telling_apart(cells, widths)
    if not right[-1] and len(header) > 1:
        least = max(_LEAST_WORDS, len(header[-1]))
        beside_all, beside_keys = (terminal.width() - _wide(widths[:n]) - len(_GAP) for n in (len(widths) - 1, keys))
        widths[-1] = min(widths[-1], beside_all if beside_all >= least else max(least, beside_keys))
    columns = [_column(head, [line[i] for line in cells], widths[i], right[i]) for i, head in enumerate(header)]
    return "\n\n".join(_beside([columns[i] for i in shown]) for shown in _in_turn(widths, keys))


def _wide(widths: Sequence[int]) -> int:
    """Of columns side by side."""
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _telling_apart(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> int:
    """How many of the first columns tell the rows apart, where they leave half of the screen to others; else one."""
    most = len(widths) - 1
    apart = next((n for n in range(1, most) if len({tuple(line[:n]) for line in cells}) == len(cells)), 1)
    return apart if _wide(widths[:apart]) <= terminal.width() // 2 else 1


def _in_turn(widths: Sequence[int], keys: int) -> Iterator[list[int]]:
    """The numbers of the columns of each table: the first ``keys``, and behind them those that fit."""
    first = list(range(min(keys, len(widths))))
    shown = list(first)
    for i in range(len(first), len(widths)):
        if len(shown) > len(first) and _wide([widths[column] for column in (*shown, i)]) > terminal.width():
            yield shown
            shown = list(first)
        shown.append(i)
    yield shown


def _column(head: str, cells: Sequence[str], width: int, to_right: bool) -> list[list[str]]:
    """Head, rule and cells, each as its lines, of equal width."""
    wrap = functools.partial(textwrap.wrap, width=width, break_long_words=False, break_on_hyphens=False)
    texts = [[head], ["-" * width], *((wrap(cell) or [""]) if len(cell) > width else [cell] for cell in cells)]
    return [[line.rjust(width) if to_right else line.ljust(width) for line in text] for text in texts]


def _beside(columns: Sequence[list[list[str]]]) -> str:
    """Columns side by side; a cell of fewer lines than its neighbours goes on empty."""
    lines = []
    for row in zip(*columns, strict=True):
        height = max(map(len, row))
        filled = [cell + [" " * len(cell[0])] * (height - len(cell)) for cell in row]
        lines += [_GAP.join(parts).rstrip() for parts in zip(*filled, strict=True)]
    return "\n".join(lines)


def number(value: Any) -> str:
    """A cell: floats to four digits, whole numbers with commas, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
