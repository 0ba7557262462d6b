"""Commands about the data of any task: data sample, data export."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from physlm import storage
from physlm.commands import completion
from physlm.commands.dataset import FORMATS, lines_of, texts_of, write_folder
from physlm.commands.options import ExperimentsOption, SetOption, command, named_experiment
from physlm.config import override, unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import SPLITS, TaskConfig

FILE_FORMATS = ("jsonl",)

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help=f"One of {', '.join(kind.lower() for kind in TaskConfig.kinds())}.",
                        autocompletion=completion.tasks)
]
SeedOption = Annotated[int | None, typer.Option("--seed", metavar="N", help="Another seed is another dataset.")]
SplitOption = Annotated[str, typer.Option("--split", metavar="SPLIT", help=f"One of {', '.join(SPLITS)}.",
                                          autocompletion=completion.one_of(SPLITS))]
ExperimentOption = Annotated[
    str | None, typer.Option("--experiment", metavar="NAME", help="Load this experiment, for a task defined there.",
                             autocompletion=completion.claims)
]


@command
def sample(
    task: TaskArgument,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many texts.")] = 3,
    settings: SetOption = None,
    seed: SeedOption = None,
    split: SplitOption = "evaluation",
    experiment: ExperimentOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Print readable samples of a task: questions with prompt and answer, strings of grammars level by level.

    \b
    Examples:
      physlm data sample bios --n 3
      physlm data sample biod --set people=100 --set diversity=10
      physlm data sample bios --set texts=5 --set permute=1 --set fullname=true
      physlm data sample bios --set texts=40 --set rewritten=true
      physlm data sample bior --set people=100 --set file=accepted.jsonl   (see physlm biographies)
      physlm data sample bioqa --n 6 --set ask.half=test
      physlm data sample bioqa --set 'ask.kinds=["month_mod2", "luck_minus"]' --set ask.hints=0.5
      physlm data sample grammar --n 1 --set grammar=cfg3f
    """
    config = task_config(task, settings, seed, experiment, experiments)
    vocabulary = config.vocabulary()
    for text in texts_of(config, n, split):
        about = ", ".join(f"{name} {value}" for name, value in text.about.items() if name != "draw" or value)
        lines = [f"{about}:", *(f"  {line}" for line in text.lines)]
        print("\n".join(lines if text.lines else [f"{about}: {vocabulary.decode(text.ids)}"]) + "\n")


@command
def export(
    task: TaskArgument,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1,
                                   help="How many texts; people come in order, again and again.")] = 1000,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write; - is standard output. With "
                                     "--to a new folder.")] = "-",
    to: Annotated[
        str | None, typer.Option("--to", metavar="KIND", help=f"Write a folder with every split, the vocabulary and a "
                                 f"data card: {' | '.join(FORMATS)}.", autocompletion=completion.one_of(FORMATS))
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option("--vocabulary", metavar="FILE", help="The file of the vocabulary. Default: beside "
                                 "--out, x.vocabulary.json for x.jsonl.")
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="Of a file; jsonl is the only one.")
    ] = FILE_FORMATS[0],
    settings: SetOption = None,
    seed: SeedOption = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="SPLIT", help=f"One of {', '.join(SPLITS)}; of a file. Default: "
                                 f"{SPLITS[0]}.", autocompletion=completion.one_of(SPLITS))
    ] = None,
    experiment: ExperimentOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Write texts of a task for use with other trainers, one JSON object a line, and its vocabulary.

    \b
    Each line holds what the text is about (such as person and draw), text, ids (token ids) and labels (the role of each
    token, such as name or birth_city); questions also prompt and answer; strings of grammars also levels: for each
    level symbols, subtrees and ends. The vocabulary is a JSON list of all tokens, in the order of their ids.
      physlm data export bios --n 1000 --format jsonl --out bios.jsonl
    With --to all splits go into a folder, n texts each: jsonl, parquet (pip install 'physlm[parquet]'), or hf (a
    dataset that load_from_disk loads; pip install 'physlm[datasets]').
      physlm data export bioqa --n 1000 --to parquet --out questions
    """
    if file_format not in FILE_FORMATS:
        raise UserError(unknown_key("format", file_format, FILE_FORMATS))
    config = task_config(task, settings, seed, experiment, experiments)
    if to is not None:
        amiss = "no --out" if out == "-" else "--vocabulary" if vocabulary is not None else "--split" if split else ""
        return _write_splits(config, n, to, out, amiss)
    _write_lines(lines_of(config, n, split or SPLITS[0]), n, out)
    beside = vocabulary or _beside(out)
    if beside is not None:
        with storage.output(Path(beside)) as file:
            file.write(storage.json_text(config.vocabulary().words).encode())
    written = [f"{counted(n, 'text')} in {out}"] if out != "-" else []
    vocabularies = f"vocabulary in {beside}" if beside else "vocabulary not written; expected --vocabulary FILE for it"
    print(", ".join([*written, vocabularies]), file=sys.stderr)


def _write_splits(config: TaskConfig, n: int, to: str, out: str, amiss: str) -> None:
    """A folder of every split, and what stands in two of them.

    Args:
        amiss: what was given, or not given, that does not go with a folder.
    """
    if to not in FORMATS:
        raise UserError(unknown_key("to", to, FORMATS))
    if amiss:
        raise UserError(f"--to: got {amiss}, expected --out DIR alone: the vocabulary and every split lie in that "
                        "folder")
    known = write_folder(config, n, to, Path(out))
    print(f"{counted(n, 'text')} of each split in {out}, {counted(len(config.vocabulary()), 'word')} in "
          f"{out}/vocabulary.json",
          file=sys.stderr)
    if known:
        print(f"note: {known} stand in train, too; expected other settings where a test needs new ones, as "
              "ask.half=test of questions", file=sys.stderr)


def task_config(name: str, settings: list[str] | None, seed: int | None, experiment: str | None,
                experiments: Path | None) -> TaskConfig:
    """The settings of a task; one of an experiment is known when that is loaded."""
    if experiment is not None:
        named_experiment(experiment, experiments)
    kinds = {kind.lower(): kind for kind in TaskConfig.kinds()}
    if name.lower() not in kinds:
        own = "" if experiment else "; a task that a claim's file defines needs --experiment NAME of that claim"
        raise UserError(f"{unknown_key('task', name, kinds)}{own}")
    config: TaskConfig = override(TaskConfig.of_kind(kinds[name.lower()])(), settings or ())
    return config if seed is None else override(config, [f"seed={seed}"])


def _write_lines(lines: Iterator[str], n: int, out: str) -> None:
    """Into a file, or to standard output."""
    first = next(lines)  # a bad setting is reported before a file is opened
    quiet = True if out == "-" and sys.stdout.isatty() else None  # else on a terminal, if it takes long
    with tqdm(total=n, desc="exporting", unit=" texts", leave=False, disable=quiet, delay=1) as bar:
        if out == "-":
            for line in _counted(first, lines, bar):
                sys.stdout.write(line)
        else:
            with storage.output(Path(out)) as file:
                for line in _counted(first, lines, bar):
                    file.write(line.encode())


def _counted(first: str, lines: Iterator[str], bar: tqdm[Any]) -> Iterator[str]:
    yield first
    bar.update()
    for line in lines:
        yield line
        bar.update()


def _beside(out: str) -> str | None:
    """Where the vocabulary goes by itself: beside a file, nowhere beside a pipe or a device."""
    path = Path(out)
    if out == "-" or storage.in_place(path):
        return None
    return str(path.with_suffix(".vocabulary.json"))
