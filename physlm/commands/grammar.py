"""Commands about grammars: grammar show, sample, check, next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from physlm.commands.options import command, opened, stream_name, text_table
from physlm.errors import UserError, counted
from physlm.inputs import bounded_lines
from physlm.tasks.grammar.published import PUBLISHED, find_grammar
from physlm.tasks.grammar.statistics import derivation_entropy, length_statistics, log10_derivations

if TYPE_CHECKING:
    from physlm.tasks.grammar.grammar import Grammar
    from physlm.tasks.grammar.parser import Parser
    from physlm.tasks.grammar.sampler import Sample

BATCH = 256  # strings drawn or checked at once
MOST_CHARACTERS = 1 << 24  # of a string, and about so many of a batch of strings
MOST_STRINGS = 1 << 22  # checked at once: each verdict waits for the last string
_HELP = f"One of {', '.join(PUBLISHED)}, or a file in NLTK's text form, terminals quoted."

SourceArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help=_HELP)]
GrammarOption = Annotated[str, typer.Option("--grammar", metavar="NAME|FILE", help=_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@command
def show(source: SourceArgument) -> None:
    """Print a grammar: its rules in NLTK's text form, its levels, its entropy, its lengths."""
    grammar = find_grammar(source)
    lengths = length_statistics(grammar)
    print(grammar.text())
    rows = []
    for level, names in enumerate(grammar.levels):
        counts = length_statistics(grammar, level)
        rules = len(grammar.rules[level]) if level < grammar.depth else None
        rows.append([level + 1, len(names), rules, counts.mean, counts.min, counts.max, _short(names)])
    print(text_table(["level", "symbols", "rules", "mean in a string", "min", "max", "names"], rows))
    number = counted(sum(map(len, grammar.rules)), "rule")
    print(f"\n{number}, {'equal' if grammar.uniform else 'unequal'} probabilities")
    count = _power(log10_derivations(grammar))
    print(f"derivation entropy {derivation_entropy(grammar):.1f} bits, {count} derivation{'s' * (count != '1')}")
    print(f"length {lengths.min} to {lengths.max} tokens, mean {lengths.mean:.1f}, "
          f"standard deviation {lengths.variance ** 0.5:.1f}")


@command
def sample(
    source: SourceArgument,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many strings.")] = 5,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other strings.")] = 0,
    tree: Annotated[bool, typer.Option("--tree", help="Print the derivation in brackets.")] = False,
) -> None:
    """Print random strings, terminals separated by blanks, one string a line.

    \b
    Examples:
      physlm grammar sample cfg3f --n 5 --seed 0
      physlm grammar sample cfg3b --n 1 --tree
    """
    import torch

    from physlm import rng
    from physlm.tasks.grammar.sampler import Sampler

    grammar = find_grammar(source)
    sampler, key = Sampler(grammar), rng.key("physlm grammar sample", seed)
    for start in range(0, n, BATCH):
        drawn = sampler.draw(torch.arange(start, min(start + BATCH, n)), key, labels=tree)
        for row, length in enumerate(drawn.lengths_B.tolist()):
            words = grammar.decode(drawn.tokens_BW[row, :length].tolist())
            print(_brackets(grammar, drawn, row, words) if tree else " ".join(words))


@command
def check(
    grammar: GrammarOption,
    strings: Annotated[str, typer.Option("--strings", metavar="FILE", help="One string a line, terminals separated by "
                                         "blanks; - is standard input.")],
    as_json: JsonOption = False,
) -> None:
    """Say of each string whether the grammar generates it: valid or invalid, one line a string.

    \b
    With --json a list of objects: valid; parses, the number of parse trees; edits, the least number of tokens to
    replace until it is valid, null where no replacing helps (no string has this length).  An empty line is the empty
    string.  Where a number would take too long to find it is null, and "error" says why.
      physlm grammar sample cfg3b | physlm grammar check --grammar cfg3b --strings -
    """
    from physlm.tasks.grammar.parser import Parser

    parser = Parser(find_grammar(grammar))
    with opened(strings, "expected a file with one string a line, or - for standard input") as file:
        # verdicts wait until every line is read, so that a token outside the alphabet is all that is said
        verdicts = (verdict for first, batch in _batches(parser.grammar, strings, file)
                    for verdict in _verdicts(parser, batch, as_json, strings, first))
        found = list(verdicts) if as_json else bytearray(verdict["valid"] for verdict in verdicts)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for valid in found:
        print("valid" if valid else "invalid")


@command
def next_token(
    grammar: GrammarOption,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TOKENS", help="Terminals separated by blanks.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the exact probability of each next token after a prefix, and of the end of the string.

    \b
    Example:
      physlm grammar next --grammar cfg3b --prefix "2 1 3"
    """
    from physlm.tasks.grammar.likelihood import Likelihood

    rules = find_grammar(grammar)
    try:
        tokens = rules.encode(prefix.split())
    except UserError as error:
        raise UserError(f"--prefix: {error}") from None
    likelihood = Likelihood(rules)
    rows = likelihood.next_token(tokens)
    if rows[-1, 0] != rows[-1, 0]:  # NaN: an impossible prefix
        possible = next(i for i in range(len(rows)) if rows[i, 0] != rows[i, 0]) - 1
        if as_json:
            print(json.dumps({"possible": False, "longest_possible": possible}))
        else:
            print(f"impossible: no string of this grammar begins with these {len(tokens)} tokens, only with the first "
                  f"{possible}")
        return
    probabilities: list[float] = rows[-1].tolist()
    if as_json:
        nexts = dict(zip(rules.terminals, probabilities[1:], strict=True))
        print(json.dumps({"possible": True, "end": probabilities[0], "next": nexts}))
        return
    named = zip(["end of string", *rules.terminals], probabilities, strict=True)
    print(text_table(["next", "probability"], [[name, f"{p:.10g}"] for name, p in named]))


def _short(names: tuple[str, ...], limit: int = 12) -> str:
    return " ".join(names) if len(names) <= limit else f"{' '.join(names[:limit])} .."


def _power(log10: float) -> str:
    """A possibly huge integer, readable, from its logarithm."""
    if log10 < 6:
        return f"{round(10**log10):,}"
    return f"{10 ** (log10 % 1):.2f}e{int(log10)}"


def _brackets(grammar: Grammar, drawn: Sample, row: int, words: list[str]) -> str:
    """The derivation as nltk.Tree prints it: (22 (20 (16 ..) ..) ..)."""
    ancestors, subtrees, ends = (label[:, row].tolist() for label in drawn[2:])
    parts = []
    for place, word in enumerate(words):
        for level in range(grammar.depth):
            if place == 0 or subtrees[level][place] != subtrees[level][place - 1]:
                parts.append(f"{' ' if level else ''}({grammar.levels[level][ancestors[level][place]]}")
        closed = sum(ends[level][place] for level in range(grammar.depth))
        parts.append(f" {word}{')' * closed}")
    return "".join(parts)


def _batches(grammar: Grammar, name: str, file: TextIO) -> Iterator[tuple[int, list[list[int]]]]:
    """The strings of a file, some at a time, with the number of the first line; lines end where Python says so."""
    first, room, batch = 1, MOST_CHARACTERS, list[list[int]]()
    try:
        for number, line in enumerate(bounded_lines(file, stream_name(name), MOST_CHARACTERS), start=1):
            if number > MOST_STRINGS:
                raise UserError(f"{stream_name(name)}: got more than {MOST_STRINGS:,} strings, expected at most as "
                                "many")
            try:
                batch.append(grammar.encode(line.split()))
            except UserError as error:
                raise UserError(f"{stream_name(name)} line {number}: {error}") from None
            room -= len(line)
            if len(batch) == BATCH or room < 0:
                yield first, batch
                first, room, batch = number + 1, MOST_CHARACTERS, []
    except UnicodeDecodeError as error:
        raise UserError(f"{stream_name(name)}: got bytes that are no {error.encoding.upper()} text, expected one "
                        "string a line") from None
    if batch:
        yield first, batch


def _verdicts(parser: Parser, batch: list[list[int]], details: bool, name: str, first: int) -> Iterator[dict[str, Any]]:
    """The verdicts of a batch whose first line is number ``first``.

    Where counting parses or edits would take too long the two are null, and ``error`` says why.
    """
    valid_B: list[bool] = []
    try:
        valid_B = parser.valid(batch).tolist()
    except UserError:
        for number, string in enumerate(batch, start=first):  # find the one that is too hard
            try:
                valid_B += parser.valid([string]).tolist()
            except UserError as error:
                raise UserError(f"{stream_name(name)} line {number}: {error}") from None
    for string, valid in zip(batch, valid_B, strict=True):
        if not details:
            yield {"valid": valid}
            continue
        try:
            yield {"valid": valid, "parses": parser.count(string) if valid else 0,
                   "edits": 0 if valid else parser.edits(string)}
        except UserError as error:
            yield {"valid": valid, "parses": None if valid else 0, "edits": 0 if valid else None, "error": str(error)}
