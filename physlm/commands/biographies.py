"""Commands about rewritten biographies: requests to a language model, the check of its texts, the grammar's own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from physlm import storage
from physlm.commands.options import command, text_table
from physlm.errors import counted
from physlm.tasks.biography.config import MOST_TEXTS, BioSConfig
from physlm.tasks.biography.texts import Line, read_lines, tokenise

if TYPE_CHECKING:
    from physlm.tasks.biography.rewrite_audit import Audit

PeopleOption = Annotated[int, typer.Option("--people", metavar="N", help="People 0 .. N-1 of bioS.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other people.")]
PoolOption = Annotated[int, typer.Option("--pool-size", metavar="N",
                                         help="As the setting of bioS: cuts the pools of values.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NAMED = 10  # people that the summary names
MOST_AUDITED = 1 << 20  # texts of one audit: their 4-grams are held in memory
LEAST_READ = 0.999


@command
def ask(
    people: PeopleOption,
    texts: Annotated[int, typer.Option("--texts", metavar="M", min=1, max=MOST_TEXTS, help="Requests a person.")] = 1,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write; - is standard output.")] = "-",
    seed: SeedOption = 0,
    pool_size: PoolOption = 0,
) -> None:
    """Write requests for biographies of the people of bioS, one JSON object a line.

    \b
    Each holds person, number (0 .. M-1), prompt, and values (the name and the six values that the text must have).
    Give each prompt to a language model of yours, and write what it answers as lines of
      {"person": 0, "text": "..."}
    which physlm biographies check takes.
    \b
    Example:
      physlm biographies ask --people 1000 --texts 5 --out prompts.jsonl
    """
    from physlm.tasks.biography.requests import requests

    config = BioSConfig(people, seed=seed, pool_size=pool_size)
    asked = _shown(requests(config, texts), "writing requests", people * texts)
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in asked)
    if out == "-":
        sys.stdout.writelines(lines)
        return
    _write(out, lines)
    print(f"{counted(people * texts, 'request')} in {out}", file=sys.stderr)


@command
def check(
    texts: Annotated[str, typer.Option("--texts", metavar="FILE", help='Lines of {"person": 0, "text": "..."}; a '
                                       "person may have several.")],
    people: PeopleOption,
    out: Annotated[str | None, typer.Option("--out", metavar="FILE", help="Write the accepted texts there.")] = None,
    seed: SeedOption = 0,
    pool_size: PoolOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Accept the texts that have the person's full name and all six values, word for word.

    \b
    A value counts at a place of its own: a city of birth that is the place of work too must stand there twice.
    The task bior reads what --out writes:
      physlm biographies check --texts answers.jsonl --people 1000 --out accepted.jsonl
      physlm data sample bior --set people=1000 --set file=accepted.jsonl
    With --json an object: texts, accepted, rejected, missing (texts without each of the facts; a text may lack
    several), people, people_with_text, and people_without, their numbers.
    """
    from physlm.tasks.biography.facts import ABSENT, FIELDS, Facts, places

    BioSConfig(people, seed=seed, pool_size=pool_size)  # its limits
    facts, missing, accepted = Facts(people, seed, pool_size), Counter[str](), Counter[int]()
    rejected = 0

    def kept() -> Iterator[str]:
        nonlocal rejected
        for line in _shown(read_lines(texts, people), "checking texts"):
            found = places(tokenise(line.text), facts.words(line.person))
            lacking = [name for name, place in zip(FIELDS, found, strict=True) if place == ABSENT]
            missing.update(lacking)
            rejected += bool(lacking)
            if not lacking:
                accepted[line.person] += 1
                yield _line(line)

    if out is None:
        for _ in kept():
            pass
    else:
        _write(out, kept())
    summary = {
        "texts": accepted.total() + rejected, "accepted": accepted.total(), "rejected": rejected,
        "missing": {name: missing[name] for name in FIELDS}, "people": people, "people_with_text": len(accepted),
        "people_without": [person for person in range(people) if person not in accepted],
    }  # fmt: skip
    print(json.dumps(summary, indent=1) if as_json else _summary(summary))


@command
def rewrites(
    texts: Annotated[int, typer.Option("--texts", metavar="N", min=1, max=MOST_AUDITED,
                                       help="Texts to read, 40 a person.")] = 10_000,
    seed: SeedOption = 0,
    pool_size: PoolOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure the grammar that rewrites biographies without a language model: are all facts told, how varied is it?

    \b
    An extractor that knows the pools of values, but no rule of the grammar, reads the name, the gender and the six
    values of each text.  Varied is what has many different runs of four words; beside it as many texts of bioS.
    The command ends with exit code 1 if more than one text in a thousand is read wrong.
    The task bios reads such texts, fresh ones or M of each person:
      physlm data sample bios --set texts=40 --set rewritten=true
    With --json an object: texts, people, right, wrong (up to ten texts), entropy_bits (of the form of a text, under the
    grammar), knowledge_bits (that texts tell of a person), and for rewrites and bios: fourgrams, forms (these with one
    sign for each value and name), forms_a_person (in the texts of one), distinct (people without two equal texts),
    tokens.
    """
    from physlm.tasks.biography.rewrite_audit import audit

    found = audit(texts, seed, pool_size)
    both = {name: getattr(found, name)._asdict() for name in ("rewrites", "bios")}
    print(json.dumps({**found._asdict(), **both}, indent=1) if as_json else _audited(found))
    if found.right < LEAST_READ * texts:
        raise typer.Exit(1)


def _audited(found: Audit) -> str:
    """For readers: what was read, the bits, and how varied the texts are."""
    shown = {"fourgrams": "distinct 4-grams", "forms": "with one sign a value and name",
             "forms_a_person": "of these in the texts of a person", "distinct": "people without two equal texts",
             "tokens": "tokens a text"}  # fmt: skip
    rows = [[title, getattr(found.rewrites, name), getattr(found.bios, name)] for name, title in shown.items()]
    share = 100 * found.right / found.texts
    told = f"{found.right:,} of {counted(found.texts, 'text')} read right ({share:.3f} %)"
    lines = [f"{told}, {counted(found.people, 'person')}",
             f"{found.knowledge_bits:.2f} bits of knowledge a person, {found.entropy_bits:.2f} bits of form a text",
             text_table(["", "rewrites", "bioS"], rows)]
    return "\n".join([*lines, *(f"read wrong: {text}" for text in found.wrong)])


def _line(line: Line) -> str:
    return json.dumps({"person": line.person, "text": line.text}, ensure_ascii=False) + "\n"


def _write(out: str, lines: Iterable[str]) -> None:
    with storage.output(Path(out)) as file:
        for line in lines:
            file.write(line.encode())


def _shown(items: Iterable[Any], doing: str, total: int | None = None) -> Iterable[Any]:
    """The items, with a progress bar on a terminal if they take longer than a second."""
    return tqdm(items, desc=doing, total=total, leave=False, disable=None, delay=1)


def _summary(found: dict[str, Any]) -> str:
    """For readers: counts, what was missing where texts were rejected, who has no text."""
    lines = [f"{counted(found['texts'], 'text')}: {found['accepted']:,} accepted, {found['rejected']:,} rejected"]
    reasons = [[name.replace("_", " "), count] for name, count in found["missing"].items() if count]
    if reasons:
        lines.append(text_table(["not told", "texts"], reasons))
    lines.append(f"{found['people_with_text']:,} of {counted(found['people'], 'person')} with an accepted text")
    without = found["people_without"]
    if without:
        more = ", ..." if len(without) > _NAMED else ""
        lines.append(f"without: {', '.join(map(str, without[:_NAMED]))}{more}")
    return "\n".join(lines)
