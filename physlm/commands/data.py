"""Commands about tasks: sample and export."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physlm import storage
from physlm.commands.options import SetOption, command
from physlm.config import override, unknown_key
from physlm.errors import UserError
from physlm.tasks.biography.config import BioDConfig, BiographyConfig, BioSConfig

if TYPE_CHECKING:
    from physlm.tasks.task import BiographyTask

TASKS: dict[str, type[BiographyConfig]] = {"bios": BioSConfig, "biod": BioDConfig}
SPLITS = ("train", "validation", "evaluation")
BATCH = 1024

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help=f"One of {', '.join(TASKS)}.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Another seed is another dataset.")]
SplitOption = Annotated[str, typer.Option("--split", metavar="SPLIT", help=f"One of {', '.join(SPLITS)}.")]


@command
def sample(
    task: TaskArgument,
    n: Annotated[int, typer.Option("--n", min=1, help="How many texts.")] = 3,
    settings: SetOption = None,
    seed: SeedOption = None,
    split: SplitOption = "evaluation",
) -> None:
    """Print readable samples of a task.

    \b
    Examples:
      physlm sample bios --n 3
      physlm sample biod --set people=100 --set diversity=10
    """
    for entry in _entries(_config(task, settings, seed), n, split):
        print(f"person {entry['person']}: {entry['text']}\n")


@command
def export(
    task: TaskArgument,
    n: Annotated[int, typer.Option("--n", min=1, help="How many texts; people come in order, again and again.")] = 1000,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write; - is standard output.")] = "-",
    file_format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="jsonl is the only one.")] = "jsonl",
    settings: SetOption = None,
    seed: SeedOption = None,
    split: SplitOption = "train",
) -> None:
    """Write texts for use with other trainers, one JSON object a line.

    \b
    Each holds person, draw, text, ids (token ids) and labels (the role of each token, such as name or birth_city):
      physlm export bios --n 1000 --format jsonl --out bios.jsonl
    """
    if file_format != "jsonl":
        raise UserError(unknown_key("format", file_format, ("jsonl",)))
    entries = _entries(_config(task, settings, seed), n, split)
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    if out == "-":
        sys.stdout.writelines(lines)
        return
    first = next(lines)  # a bad setting is reported before a file is opened
    with storage.replacing(Path(out)) as file:
        file.write(first.encode())
        for line in lines:
            file.write(line.encode())
    print(f"{n} texts in {out}", file=sys.stderr)


def _config(name: str, settings: list[str] | None, seed: int | None) -> BiographyConfig:
    kind = name.lower()
    if kind not in TASKS:
        raise UserError(unknown_key("task", name, TASKS))
    config: BiographyConfig = override(TASKS[kind](), settings or ())
    return config if seed is None else override(config, [f"seed={seed}"])


def _entries(config: BiographyConfig, n: int, split: str) -> Iterator[dict[str, Any]]:
    """Texts 0 .. n-1: person i mod N, draw i // N; as many words, ids and labels as the text is long."""
    import torch

    from physlm.tasks.catalogue import build

    if split not in SPLITS:
        raise UserError(unknown_key("split", split, SPLITS))
    task: BiographyTask = build(config)
    for start in range(0, n, BATCH):
        number = torch.arange(start, min(start + BATCH, n))
        person, draw = number % config.people, number // config.people
        entries = task.entries(person, draw, split=split)
        rows = zip(person.tolist(), draw.tolist(), entries.ids_RW.tolist(), entries.roles_RW.tolist(),
                   entries.lengths_R.tolist(), strict=True)
        for who, which, ids, roles, length in rows:
            yield {"person": who, "draw": which, "text": task.vocabulary.decode(ids[:length]),
                   "ids": ids[:length], "labels": [task.roles[role] for role in roles[:length]]}
