"""Commands about tasks: sample and export."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physlm import storage
from physlm.commands.options import SetOption, command
from physlm.config import override, unknown_key
from physlm.errors import UserError
from physlm.tasks.biography.config import BioDConfig, BiographyConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import QuestionsConfig

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Entries
    from physlm.tasks.vocabulary import Vocabulary

Config = BiographyConfig | QuestionsConfig
TASKS: dict[str, type[Config]] = {
    "bios": BioSConfig, "biod": BioDConfig, "bior": BioRConfig, "bioqa": QuestionsConfig,
}  # fmt: skip
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
      physlm sample bios --set texts=5 --set permute=1 --set fullname=true
      physlm sample bior --set people=100 --set file=accepted.jsonl   (see physlm biographies)
      physlm sample bioqa --n 6 --set ask.half=test
      physlm sample bioqa --set 'ask.kinds=["month_mod2", "luck_minus"]' --set ask.hints=0.5
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
    with storage.output(Path(out)) as file:
        file.write(first.encode())
        for line in lines:
            file.write(line.encode())
    print(f"{n} texts in {out}", file=sys.stderr)


def _config(name: str, settings: list[str] | None, seed: int | None) -> Config:
    kind = name.lower()
    if kind not in TASKS:
        raise UserError(unknown_key("task", name, TASKS))
    config: Config = override(TASKS[kind](), settings or ())
    return config if seed is None else override(config, [f"seed={seed}"])


def _entries(config: Config, n: int, split: str) -> Iterator[dict[str, Any]]:
    """Texts 0 .. n-1: person (or question) i mod N, draw i // N; as many words, ids and labels as the text is long."""
    import torch

    if split not in SPLITS:
        raise UserError(unknown_key("split", split, SPLITS))
    task = _Texts(config)
    for start in range(0, n, BATCH):
        number = torch.arange(start, min(start + BATCH, n))
        item, draw = number % task.count, number // task.count
        entries = task.entries(item, draw, split)
        rows = zip(task.people(item), item.tolist(), draw.tolist(), entries.ids_RW.tolist(), entries.roles_RW.tolist(),
                   entries.lengths_R.tolist(), strict=True)
        for who, what, which, ids, roles, length in rows:
            kind = {"kind": task.kinds[what % len(task.kinds)]} if task.kinds else {}
            yield {"person": who, "draw": which, **kind, "text": task.vocabulary.decode(ids[:length]),
                   "ids": ids[:length], "labels": [task.roles[role] for role in roles[:length]]}


class _Texts:
    """What biographies and questions have in common here: ``count`` things to write a text about."""

    def __init__(self, config: Config):
        from physlm.tasks.catalogue import build

        self.kinds: tuple[str, ...] = ()
        if isinstance(config, QuestionsConfig):
            questions = build(config)
            self.count, self.kinds, self._asked = questions.count, config.ask.kinds, questions.tables.asked_A
            self.vocabulary: Vocabulary = questions.vocabulary
            self.roles: tuple[str, ...] = questions.roles
            self._write: Callable[[Tensor, Tensor, str], Entries] = questions.entries
        else:
            task = build(config)
            self.count, self.vocabulary, self.roles = config.people, task.vocabulary, task.roles
            self._write = task.entries

    def entries(self, item: Tensor, draw: Tensor, split: str) -> Entries:
        """The ``draw``-th text of each."""
        return self._write(item, draw, split)

    def people(self, item: Tensor) -> list[int]:
        """Who the texts are about."""
        people: list[int] = (self._asked[item // len(self.kinds)] if self.kinds else item).tolist()
        return people
