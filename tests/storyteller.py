"""The language model of the tests: biographies from a few phrases in random order, between random words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from physlm.tasks.biography.facts import FIELDS, Facts

PHRASES = {
    "name": ("{} is the name of this person", "Everybody knows {}", "This is {}’s story"),
    "birth_date": ("She was born on {}", "He saw the light of day on {}", "Birthday: {}"),
    "birth_city": ("She grew up in {}", "It all began in {}"),
    "university": ("She is proud of {}", "He went to {}, of all places"),
    "major": ("She read {}", "The subject was {}"),
    "employer": ("She works for {}", "{} pays the rent"),
    "employer_city": ("She has a desk in {}", "The office is in {}"),
}
FILLER = ("well-known", "quietly", "indeed", "café", "don't", "(so they say)", "1,000", "walks", "sings", "often")
World = tuple[int, int]  # seed and pool_size


def story(facts: Sequence[str], draw: random.Random, told: Sequence[str] = FIELDS, name_first: bool = False) -> str:
    """A text that tells each fact of ``told`` once, in a random order."""
    values, sentences = dict(zip(FIELDS, facts, strict=True)), []
    order = draw.sample(told, len(told))
    for name in sorted(order, key=lambda name: name != "name") if name_first else order:
        filler = draw.choices(FILLER, k=draw.randrange(4))
        sentences.append(" ".join((draw.choice(PHRASES[name]).format(values[name]), *filler)) + draw.choice(".!"))
    return draw.choice((" ", "\n", "  ")).join(sentences)


def stories(people: int, counts: Sequence[int], seed: int = 0, worlds: Sequence[World] = ((0, 0),),
            name_first: bool = False) -> list[list[str]]:  # fmt: skip
    """The texts of each person; person i has counts[i mod len(counts)].  A text tells the facts of all worlds."""
    draw, facts = random.Random(seed), [Facts(people, *world) for world in worlds]
    return [
        [" ".join(story(each.of(person), draw, name_first=name_first) for each in facts)
         for _ in range(counts[person % len(counts)])]
        for person in range(people)
    ]  # fmt: skip


def write(path: Path, texts: Sequence[Sequence[str]]) -> str:
    """A file of these texts, of the last person first; return its name."""
    lines = [json.dumps({"person": person, "text": text}) for person, mine in enumerate(texts) for text in mine]
    path.write_text("\n".join(reversed(lines)) + "\n")
    return str(path)
