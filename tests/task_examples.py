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
# ways to sample that these examples do not take
OTHERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "bioS": (("people=60", "texts=2", "permute=3", "celebrities=20", "row_tokens=120"), ("people=60", "rewritten=true"),
             ("people=60", "fresh=false", "reverse=2", "pool_size=8")),
    "bioJunk": (("people=60", "junk=50", "share=0.5"),),
    "grammar": (("grammar=cfg3f", "noise=token", "noise_fraction=0.5"), ("grammar=cfg3b", "row_tokens=300")),
    "mano": (("length=3", "modulus=5", "row_tokens=63"),),
    "copy": (("length=6", "words=6", "row_tokens=40"), ("length=63", "words=1024", "shortest=1", "row_tokens=128")),
    "mqar": (("gap=0.37", "words=256", "row_tokens=64"), ("gap=1.7", "pairs=30", "row_tokens=128"),
             ("reassigned=2", "pairs=16", "words=128", "gap=0.37"), ("reassigned=3", "keys=2", "pairs=20")),
    "needle": (("shortest=16", "distractors=112", "fewest=3"), ("filler=repeat", "shortest=30", "distractors=3"),
               ("distractors=99", "window=220")),
    "hops": (("hops=2", "people=3"), ("filler=repeat", "shortest=60")),
    "cycles": (("filler=edges",), ("filler=repeat", "fillers=5"), ("filler=words", "share=0.3", "hops=2", "nodes=16"),
               ("window=220", "share=0.9", "row_tokens=256")),
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


def examples(kind: str, folder: Path) -> list[Any]:
    """The small task, the one with its own defaults where it needs no file, and those that sample in other ways."""
    own = TaskConfig.of_kind(kind)()
    found = [example(kind, folder), *(override(own, settings) for settings in OTHERS.get(kind, ()))]
    return found if any(not getattr(own, name) for name in own.file_fields) else [*found, own]
