"""Commands that ask any model the four tasks: battery run, prompts, grade."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from physlm import storage
from physlm.battery.settings import ASKED, TASK_OF, WAYS, Battery
from physlm.commands import completion
from physlm.commands.options import choose_device, command, text_table

if TYPE_CHECKING:
    from physlm.battery.card import Report

PeopleOption = Annotated[int, typer.Option("--people", metavar="N", help="Invented people; half of them are held out.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Which people.")]
PoolOption = Annotated[int, typer.Option("--pool-size", metavar="N",
                                         help="Cut every pool of values to so many; 0: whole pools.")]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="A kind of question; may be given several times. "
                                   f"Default: {', '.join(ASKED)}.", autocompletion=completion.one_of(TASK_OF))]
MostOption = Annotated[int, typer.Option("--most", metavar="N",
                                         help="Held-out people that each kind is asked about, at most.")]
SpacedOption = Annotated[
    bool, typer.Option("--spaced", help="Punctuation apart from words, as tokenizers of physlm model export read it.")]


class RunFirst(TyperGroup):
    """``physlm battery --model ...`` is ``physlm battery run --model ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with the command that is meant."""
        if args and args[0].startswith("--") and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


@command
def run(
    model: Annotated[str, typer.Option("--model", metavar="DIR|NAME", help="A folder that a causal model of "
                                       "transformers and its tokenizer were saved into, or a name on the Hugging Face "
                                       "hub.")],
    finetune: Annotated[str | None, typer.Option("--finetune", metavar="|".join(WAYS), help="Train it on "
                        "the biographies of everybody and on questions about half of the people: all weights, low-rank "
                        "updates (LoRA), or those of its relatives, which train fewer numbers. "
                        "Default: it is asked as it is.",
                                               autocompletion=completion.one_of(WAYS))
                  ] = None,
    passes: Annotated[int, typer.Option("--passes", metavar="N",
                                        help="Of training: times that every person is read.")] = 100,
    rate: Annotated[float, typer.Option("--learning-rate", metavar="RATE",
                                        help="Of training; 0: 5e-5, with lora and singlora 3e-4, with vera "
                                             "3e-3.")] = 0.0,
    weight_decay: Annotated[float, typer.Option("--weight-decay", metavar="RATE", help="Of training.")] = 0.01,
    batch_rows: Annotated[int, typer.Option("--batch-rows", metavar="N", help="Of a step of training.")] = 16,
    row_tokens: Annotated[int, typer.Option("--row-tokens", metavar="N", help="Tokens in a row.")] = 256,
    questions: Annotated[float, typer.Option("--questions", metavar="SHARE",
                                             help="Share of the tokens that are of questions.")] = 0.5,
    lora_rank: Annotated[int, typer.Option("--lora-rank", metavar="N",
                                           help="Of low-rank updates; VeRA can do with many, such as 256.")] = 16,
    people: PeopleOption = 200,
    seed: SeedOption = 0,
    pool_size: PoolOption = 0,
    kinds: KindOption = None,
    most: MostOption = 500,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder for the card, the numbers, all "
                                             "answers, the index and the trained model.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="cpu|cuda",
                                               help="cpu or cuda. Default: a GPU if there is one.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Let transformers run code that comes "
                                                    "with the model.")] = False,
) -> None:
    """Ask a causal model the four tasks, after finetuning it on invented people, and print one table and a card.

    \b
    Needs pip install 'physlm[battery]'. Examples:
      physlm battery --model DIR --finetune full --passes 120 --learning-rate 3e-3 --out report
      physlm battery run --model NAME --finetune lora --people 1000
    """
    battery = _battery(people, seed, pool_size, kinds, most, spaced=False)
    chosen = choose_device(device)
    from physlm.battery.finetune import Finetuning
    from physlm.battery.running import run as whole

    how = None if finetune is None else Finetuning(finetune, passes, questions, batch_rows, row_tokens, rate,
                                                   weight_decay, lora_rank, seed)
    report = whole(model, battery, how, chosen, out, trust_remote_code, sys.stderr.isatty())
    _show(report)
    if out is not None:
        print(f"\ncard     {out / 'card.md'}")


@command
def prompts(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    answers: Annotated[bool, typer.Option("--answers", help="Write the right answers beside the prompts.")] = False,
    people: PeopleOption = 200,
    seed: SeedOption = 0,
    pool_size: PoolOption = 0,
    kinds: KindOption = None,
    most: MostOption = 500,
    spaced: SpacedOption = False,
) -> None:
    """Write the prompts, texts to train on, and tasks for lm-evaluation-harness, for a model of any kind.

    \b
    Example:
      physlm battery prompts --people 100 --out people
      physlm battery grade answers.jsonl --of people
    """
    from physlm.battery.files import write_folder

    asked = write_folder(_battery(people, seed, pool_size, kinds, most, spaced), out, answers)
    print(f"{out}: {len(asked):,} prompts about people held out of finetune.jsonl, biographies of {people:,} people\n"
          f'  answers as JSON lines {{"id": ..., "answer": ...}}: physlm battery grade ANSWERS --of {out}')


@command
def grade(
    files: Annotated[list[str], typer.Argument(metavar="ANSWERS", help="Files of JSON lines with id and answer.")],
    of: Annotated[Path, typer.Option("--of", metavar="DIR", help="The folder that physlm battery prompts wrote.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the card, too.")] = None,
) -> None:
    """Grade anybody's answers exactly, such as those of an API, and print the table with controls.

    \b
    Example:
      physlm battery grade answers.jsonl --of people --out card.md
    """
    from physlm.battery.card import Report, card
    from physlm.battery.files import read_answers, read_settings
    from physlm.battery.grading import scores
    from physlm.battery.oracle import Oracle
    from physlm.battery.questions import prompts as all_prompts

    battery = read_settings(of)
    asked, given = all_prompts(battery), read_answers(files)
    truth = dict(zip([one.id for one in asked], Oracle(battery)([one.prompt for one in asked]), strict=True))
    report = Report(", ".join(files), battery, scores(asked, given, truth))
    _show(report)
    if out is not None:
        with storage.output(out) as file:
            file.write(card(report).encode())


def _battery(people: int, seed: int, pool_size: int, kinds: Sequence[str] | None, most: int, spaced: bool) -> Battery:
    return Battery(people, seed, pool_size, tuple(kinds or ASKED), most, spaced)


def _show(report: Report) -> None:
    from physlm.battery.card import HEADER, more, rows
    from physlm.battery.grading import by_task

    print(f"{report.title}: {report.trained or 'asked as it is'}\n")
    print(text_table(HEADER, rows(by_task(report.scores))))
    for line in ["", *more(report)]:
        print(line)
