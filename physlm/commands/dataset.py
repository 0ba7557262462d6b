"""A task as a folder of data for other trainers: every split, the vocabulary, a data card.

    DIR/
      train.jsonl  validation.jsonl  evaluation.jsonl       (jsonl), or .parquet (parquet), or a folder each (hf)
      vocabulary.json                                       all words in the order of their ids
      task.json                                             the settings of the task
      README.md                                             the card; load_dataset("DIR") reads the splits from it

The columns are what a text is about (such as ``person``, ``draw``), ``text``, ``ids``, ``labels`` (the role of each
token), and for questions ``prompt`` and ``answer``.  parquet needs pyarrow, hf the library datasets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from physlm import storage
from physlm.config import to_dict
from physlm.errors import counted
from physlm.extras import needed
from physlm.tasks.config import SPLITS, TaskConfig, check_split

if TYPE_CHECKING:
    from physlm.tasks.task import Text
    from physlm.tasks.vocabulary import Vocabulary

BATCH = 1024  # texts made at once
_MEANINGS = {
    "text": "readable text", "ids": "token ids, places in vocabulary.json", "labels": "the role of each token",
    "prompt": "the beginning of the text that asks", "answer": "what should follow the prompt",
    "levels": "of each level of the grammar: symbols, subtrees and ends",
}  # fmt: skip


def texts_of(config: TaskConfig, n: int, split: str) -> Iterator[Text]:
    """Texts 0 .. n-1."""
    import torch

    check_split(split)
    task = config.build()
    for start in range(0, n, BATCH):
        yield from task.texts(torch.arange(start, min(start + BATCH, n)), split)


def record(text: Text, vocabulary: Vocabulary) -> dict[str, Any]:
    """What is exported of a text."""
    plain = {"text": vocabulary.decode(text.ids), "ids": text.ids, "labels": text.labels}
    return {**text.about, **plain, **text.more}


def lines_of(config: TaskConfig, n: int, split: str) -> Iterator[str]:
    """The records of texts as JSON, one a line."""
    vocabulary = config.vocabulary()
    for text in texts_of(config, n, split):
        yield json.dumps(record(text, vocabulary), ensure_ascii=False) + "\n"


def write_folder(config: TaskConfig, n: int, to: str, folder: Path) -> str:
    """Write ``n`` texts of each split; the folder appears whole or not at all.

    Returns:
        how many texts of the other splits stand in train, in words; empty where none does.

    Raises:
        UserError: something lies there already, or a library is missing.
    """
    write = FORMATS[to]()  # what is missing is said before anything is made
    vocabulary, columns = config.vocabulary(), dict[str, None]()
    marks: dict[str, list[int]] = {split: [] for split in SPLITS}
    with storage.new_folder(folder) as made:
        for split in SPLITS:
            texts = tqdm(texts_of(config, n, split), split, n, leave=False, disable=None, delay=1)
            records = (record(text, vocabulary) for text in texts)
            columns |= dict.fromkeys(write(made / split, _marked(records, marks[split])))
        known = also_in_train(marks)
        storage.write_json(made / "vocabulary.json", vocabulary.words)
        storage.write_json(made / "task.json", to_dict(config))
        storage.write_text(made / "README.md", card(config, n, to, list(columns), known))
    return known


def _marked(records: Iterable[dict[str, Any]], marks: list[int]) -> Iterator[dict[str, Any]]:
    """The same records, each of whose texts leaves a number by which it is known again."""
    for one in records:
        marks.append(hash(tuple(one["ids"])))
        yield one


def also_in_train(marks: Mapping[str, Sequence[int]]) -> str:
    """How many texts of the other splits stand in train; empty where none does.

    Of some tasks all texts are fixed by their settings, and a split is only another order of them.
    Example: ``also_in_train({"train": [1, 2], "evaluation": [2, 3]})`` is "1 of 2 texts of evaluation".
    """
    first, *others = marks
    train = set(marks[first])
    counts = {split: sum(mark in train for mark in marks[split]) for split in others}
    return ", ".join(f"{count:,} of {counted(len(marks[split]), 'text')} of {split}"
                     for split, count in counts.items() if count)


Write = Callable[[Path, Iterable[dict[str, Any]]], Iterable[str]]  # (path without ending, records) -> columns


def _jsonl() -> Write:
    def write(path: Path, records: Iterable[dict[str, Any]]) -> Iterable[str]:
        columns: dict[str, None] = {}
        with storage.replacing(path.with_suffix(".jsonl")) as file:
            for one in records:
                columns |= dict.fromkeys(one)
                file.write((json.dumps(one, ensure_ascii=False) + "\n").encode())
        return columns

    return write


def _parquet() -> Write:
    arrow, parquet = needed("pyarrow", "parquet"), needed("pyarrow.parquet", "parquet")

    def write(path: Path, records: Iterable[dict[str, Any]]) -> Iterable[str]:
        columns = _columns(records)
        parquet.write_table(arrow.table(columns), path.with_suffix(".parquet"))
        return columns

    return write


def _hf() -> Write:
    datasets = needed("datasets", "datasets")
    datasets.disable_progress_bars()  # ours says how far it is, on a terminal

    def write(path: Path, records: Iterable[dict[str, Any]]) -> Iterable[str]:
        columns = _columns(records)
        datasets.Dataset.from_dict(columns).save_to_disk(path)
        storage.write_json(path.parent / "dataset_dict.json", {"splits": list(SPLITS)})  # load_from_disk("DIR")
        return columns

    return write


FORMATS: dict[str, Callable[[], Write]] = {"jsonl": _jsonl, "parquet": _parquet, "hf": _hf}


def _columns(records: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Records as columns; where some texts are questions, the others have no prompt."""
    rows = list(records)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def card(config: TaskConfig, n: int, to: str, columns: Sequence[str], known: str) -> str:
    """The README of the folder, whose head says to the library datasets which file is which split.

    Args:
        known: the texts of the other splits that stand in train, in words.
    """
    files = "".join(f"  - split: {split}\n    path: {split}.{to}\n" for split in SPLITS)
    head = f"configs:\n- config_name: default\n  data_files:\n{files}" if to != "hf" else ""
    load = 'load_dataset("DIR")' if to != "hf" else 'load_from_disk("DIR")'
    rows = "\n".join(f"| `{name}` | {_MEANINGS.get(name, 'what the text is about')} |" for name in columns)
    settings = "\n".join(f"{key}={json.dumps(value)}" for key, value in to_dict(config).items())
    return f"""---
{head}tags: [physlm, synthetic]
---
# {config.title}

{counted(n, 'text')} of each split ({", ".join(SPLITS)}), made by physlm, a laboratory for the physics of
language models. All of it is invented. The data is a pure function of the settings below, the split and the number of
the text.
Texts that stand in train, too: {known or "none"}.

```python
from datasets import {load.partition("(")[0]}

data = {load}
```

| column | |
|---|---|
{rows}

The vocabulary has {len(config.vocabulary()):,} words, one token each: `vocabulary.json`, in the order of their ids.
`physlm model export` writes it as a tokenizer beside a model.

## Settings

`task.json` has them, too.

```
{settings}
```
"""
