"""A small example of every task, found by its kind.

A task that is not named here is taken with its own defaults, so that a new one is tested from its first commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storyteller import stories, write

from physlm.config import override
from physlm.tasks.config import TaskConfig

PEOPLE = 12
# for speed; of bioR for the file that it cannot be without
SETTINGS: dict[str, tuple[str, ...]] = {
    "bioS": (f"people={PEOPLE}", "entries_per_row=2", "row_tokens=100"),
    "bioD": (f"people={PEOPLE}", "attributes=2", "entries_per_row=2", "row_tokens=60"),
    "bioJunk": (f"people={PEOPLE}", "entries_per_row=2", "row_tokens=100", "share=0.75", "domain=true"),
    "bioQA": (f"people={PEOPLE}", "entries_per_row=3", "row_tokens=60", 'ask.kinds=["birth_city", "month_mod2"]',
              "ask.hints=0.5"),
    "bioMixed": (f"people={PEOPLE}", "entries_per_row=2", "row_tokens=100", "share=0.5", "questions_per_row=5"),
    "grammar": ("row_tokens=64",),
    "copy": ("length=6", "words=9", "shortest=3", "row_tokens=64"),
    "depo": ("nodes=9", "hops=5", "row_tokens=600"),
    "needle": ("window=20", "shortest=8", "distractors=2", "row_tokens=64"),
    "hops": ("people=3", "window=40", "row_tokens=128"),
    "flipflop": ("write=0.2", "read=0.2", "row_tokens=32"),
    "regular": ("states=6", "letters=8", "longest=9", "automata=20", "row_tokens=64"),
    "recall": ("noisy=0.2", "noises=5", "row_tokens=32"),
    "fuzzy": ("row_tokens=64",),
    "compression": ("words=9", "length=6", "row_tokens=64"),
    "selective": ("copied=4", "window=16", "row_tokens=64"),
    "memorise": ("keys=15",),
}  # fmt: skip


def kinds() -> tuple[str, ...]:
    """Of the package; tests may define others while they run."""
    return tuple(TaskConfig.table)


def example(kind: str, folder: Path) -> Any:
    """A small task of this kind; ``folder`` is for files that it reads."""
    settings = SETTINGS.get(kind, ())
    if kind == "bioR":
        file = write(folder / "texts.jsonl", stories(PEOPLE, [2]))
        settings = (f"people={PEOPLE}", f"file={file}", "entries_per_row=2", "row_tokens=400")
    return override(TaskConfig.of_kind(kind)(), settings)
