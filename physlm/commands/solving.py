"""The command igsm solve: one problem, a trained model's solution, and what the checker says of each sentence."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from physlm.commands.options import (
    ExperimentsOption,
    NameArgument,
    RunsOption,
    choose_device,
    command,
    named_experiment,
)
from physlm.errors import UserError, counted
from physlm.lab.folders import folder

if TYPE_CHECKING:
    from physlm.lab.run import Run
    from physlm.measures.igsm.solving import Written

WIDTH = 110
MOST_NUMBER = 10_000  # all problems up to the one that is shown are made


@command
def solve(
    name: NameArgument,
    tier: Annotated[str, typer.Option("--tier", metavar="TIER", help="Of which tier the model is.")] = "demo",
    run: Annotated[int, typer.Option("--run", metavar="N", min=0, help="Which of the tier's runs.")] = 0,
    op: Annotated[int | None, typer.Option("--op", metavar="N",
                                           help="Exactly so many operations. Default: drawn as in training.")
                  ] = None,
    index: Annotated[int, typer.Option("--index", metavar="N", min=0, max=MOST_NUMBER,
                                       help="Number of the problem.")] = 0,
    runs: RunsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Print a problem, the solution that a trained model writes, and the checker's reading of it.

    \b
    The model is one that physlm run NAME --tier TIER has trained; problems are of the split evaluation.
    Example: physlm igsm solve p21_accuracy --tier demo --op 4
    """
    from physlm.lab.store import Store

    claim, store = named_experiment(name, experiments), Store(folder("runs", runs))
    specs = claim.specs(tier)
    if run >= len(specs):
        raise UserError(f"--run: got {run}, expected between 0 and {len(specs) - 1}, the runs of tier {tier} of "
                        f"{claim.name}")
    print(shown(_solved(store.run(specs[run]), f"physlm run {claim.name} --tier {tier}", op, index)))


def shown(found: Written) -> str:
    """The problem, the solution with a mark at each sentence, and the verdict."""
    verdict = found.verdict
    lines = [f"problem {found.number} of {found.title}", *_wrapped(found.problem, "  "), "", "the model writes"]
    for number, sentence in enumerate(found.sentences, 1):
        mark = "right" if verdict.right or number < verdict.sentence else "WRONG" if number == verdict.sentence else "-"
        lines += _wrapped(sentence, f"  {number:2}  {mark:5}  ")
    lines += [f"  answer {'-' if verdict.answer is None else verdict.answer}, true answer {found.answer}"
              + ("" if found.ended else "; cut, for there was no more room"), ""]
    if verdict.right:
        spare = verdict.unneeded_parameters
        lines.append(f"the checker: right, {counted(verdict.sentences, 'sentence')}, "
                     f"{counted(verdict.operations, 'operation')}, "
                     f"{counted(spare, 'unneeded parameter') if spare else 'no unneeded parameters'}")
    else:
        place = f" in sentence {verdict.sentence}" if verdict.sentence else ""
        lines += _wrapped(f"{verdict.kind}{place}: {verdict.text}", "the checker: ")
    return "\n".join(lines)


def _wrapped(text: str, begin: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin)) or [begin.rstrip()]


def _solved(run: Run, train: str, op: int | None, number: int) -> Written:
    from physlm.lab.loading import load_model
    from physlm.measures.igsm.solutions import check
    from physlm.measures.igsm.solving import written
    from physlm.measures.trained import Trained

    check(run.spec)
    if not run.model_path.exists():
        raise UserError(f"{run.path}: no trained model here; first {train}")
    device = choose_device(None)
    trained = Trained(run.spec, device, lambda step: load_model(run.spec, run.model_path, device))
    return written(trained, op, number)
