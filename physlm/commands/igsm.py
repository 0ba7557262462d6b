"""Commands about iGSM problems: igsm sample, check, show."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from physlm import storage
from physlm.commands.data import SplitOption
from physlm.commands.options import SetOption, command, opened, printable, stream_name, text_table
from physlm.commands.tables import folded
from physlm.config import override, unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import check_split
from physlm.tasks.igsm.chains import check_chain
from physlm.tasks.igsm.checker import ERRORS, NOT_A_PROBLEM, NOT_A_SOLUTION, RIGHT, Verdict
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.reading import MODULUS, Reader
from physlm.tasks.igsm.submitted import MODULI, Submitted, read_objects, read_texts

if TYPE_CHECKING:
    from physlm.tasks.igsm.problem import Problem

BATCH = 1024  # problems made at once
MOST_SOLUTIONS = 1 << 18  # checked at once: the verdicts wait for the last of them
MOST_TESTS = 10_000_000  # of --generated and --planted
MOST_SHOWN = 3  # cases in which the checker fails
FIGURES = (".pdf", ".png", ".svg")
_FILES = "expected a file of JSON lines, or - for standard input, or two files of text"

FamilyOption = Annotated[str, typer.Option("--family", metavar="NAME", help=f"One of {', '.join(FAMILIES)}.")]
OpOption = Annotated[
    int | None, typer.Option("--op", metavar="N",
                             help="Exactly so many operations. Default: drawn, up to the family's max_op.")
]
IpOption = Annotated[int | None, typer.Option("--ip", metavar="N",
                                              help="At most so many sentences. Default: the family's.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other problems.")]
OrderOption = Annotated[
    str | None, typer.Option("--order", metavar="pq|qp", help="The question after the problem, or before it.")
]
ReaskOption = Annotated[bool, typer.Option("--reask", help="Ask for another parameter of the same graph.")]
RetryOption = Annotated[
    float | None, typer.Option("--retry", metavar="RATE", help="Wrong starts (BACK) before sentences, at this rate.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@command
def sample(
    family: FamilyOption = "med",
    op: OpOption = None,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many problems.")] = 3,
    ip: IpOption = None,
    seed: SeedOption = 0,
    split: SplitOption = "evaluation",
    order: OrderOption = None,
    reask: ReaskOption = False,
    retry: RetryOption = None,
    as_json: JsonOption = False,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write; - is standard output.")] = "-",
    settings: SetOption = None,
) -> None:
    """Print problems with their solutions: problem 0, 1, ... of a seed and a split.

    \b
    With --json one object a line: problem, solution, answer, op, ip, modulus, retry, template (its hash) and bin,
    query, parameters (of each value, formula, dependencies, and if it is a total, needed, on the graph), needed and
    order (names, as they can be computed), sentences (names, as the text has them), layers; index, split, seed.
    Problems of training and of tests have different templates; below op = 5 there are few of these, and
    --set templates=long takes any there, as tests of models do; all takes any everywhere. --set reaches every other
    setting of the task, such as modulus and layers.
    \b
    Examples:
      physlm igsm sample --family med --op 15 --n 3
      physlm igsm sample --family hard --n 1000 --split train --json --out problems.jsonl
      physlm igsm sample --n 5 --retry 0.2 --json | physlm igsm check -
    """
    config = _config(family, settings, op=op, max_ip=ip, seed=seed, order=order, reask=reask or None,
                     **{"retry.rate": retry})  # fmt: skip
    check_split(split)
    made = _problems(config, range(n), split)
    lines = (_line(problem, index, split) if as_json else _text(problem, index) for index, problem in enumerate(made))
    quiet = True if out == "-" and sys.stdout.isatty() else None
    shown = iter(tqdm(lines, desc="writing", total=n, unit=" problems", leave=False, disable=quiet, delay=1))
    first = next(shown)  # that there are no such problems is said before a file is opened
    if out == "-":
        sys.stdout.writelines(itertools.chain([first], shown))
        return
    with storage.output(Path(out)) as file:
        file.writelines(line.encode() for line in itertools.chain([first], shown))
    print(f"{counted(n, 'problem')} in {out}", file=sys.stderr)


@command
def check(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE|-", help="JSON lines with problem and solution, as physlm igsm sample --json "
                       "writes them; or two files of text, problems and solutions, one a line."),
    ] = None,
    modulus: Annotated[
        int | None, typer.Option("--modulus", metavar="N", min=MODULI[0], max=MODULI[1],
                                 help=f"Of the arithmetic. Default: what the line says, else {MODULUS}.")
    ] = None,
    retries: Annotated[bool, typer.Option("--retries", help="Allow wrong starts: Define A's B as BACK.")] = False,
    answers: Annotated[bool, typer.Option("--answers", help="Demand an answer to each problem.")] = False,
    as_json: JsonOption = False,
    generated: Annotated[
        int | None, typer.Option("--generated", metavar="N", min=1, max=MOST_TESTS, help="Test the checker: check N "
                                 "solutions of the generator.")
    ] = None,
    planted: Annotated[
        int | None, typer.Option("--planted", metavar="N", min=1, max=MOST_TESTS, help="Test the checker: find N "
                                 f"errors of {len(ERRORS)} kinds planted in right solutions.")
    ] = None,
    twin: Annotated[
        int | None, typer.Option("--twin", metavar="N", min=1, max=MOST_TESTS, help="Test the generator: make N "
                                 "problems with the compiled one and with its plain twin, and check them.")
    ] = None,
) -> None:
    """Say of each solution whether it is right, or which sentence is wrong and how.

    \b
    The exit code is 0 if all are right, 1 if not, 2 for input that cannot be read. A line may hold answer, which is
    then checked too, and modulus and retry, as those of physlm igsm sample --json do.
    With --json an object: solutions (of each line, kind, sentence, text, answer, sentences, operations, and how many
    of them are unneeded), count, right, kinds.
    With --twin N problems of all families and settings are made twice: records, token ids, lengths and masks have to be
    equal bit for bit, and right; every difference is named with its family and number.
    \b
    Examples:
      physlm igsm sample --n 100 --json | physlm igsm check -
      physlm igsm check problems.txt solutions.txt --json
      physlm igsm check --generated 200000
      physlm igsm check --planted 10000
      physlm igsm check --twin 20000
    """
    tests = {"--generated": generated, "--planted": planted, "--twin": twin}
    asked = [name for name, count in tests.items() if count]
    if bool(files) + len(asked) != 1 or len(files or ()) > 2:
        got = " and ".join([*(files or ()), *asked]) or "nothing"
        raise UserError(f"physlm igsm check: got {got} to check; {_FILES}; or one of {', '.join(tests)}")
    if generated:
        _test_generated(generated, as_json)
    elif planted:
        _test_planted(planted, as_json)
    elif twin:
        _test_twins(twin, as_json)
    else:
        _check_files(files or (), modulus, retries, answers, as_json)


@command
def show(
    index: Annotated[int, typer.Option("--index", metavar="N", min=0, max=1 << 40, help="Number of the problem.")] = 0,
    family: FamilyOption = "med",
    op: OpOption = None,
    ip: IpOption = None,
    seed: SeedOption = 0,
    split: SplitOption = "evaluation",
    order: OrderOption = None,
    reask: ReaskOption = False,
    retry: RetryOption = None,
    as_json: JsonOption = False,
    figure: Annotated[
        str | None, typer.Option("--figure", metavar="FILE", help=f"Draw the dependency graph ({', '.join(FIGURES)}).")
    ] = None,
    settings: SetOption = None,
) -> None:
    """Print all about one problem: both graphs, every parameter with formula and value, solution, template.

    \b
    Options and numbers are those of physlm igsm sample. With --figure the dependency graph is drawn: parameters by
    their distance from the query, needed ones filled.
      physlm igsm show --family med --op 10 --index 3 --figure graph.png
    """
    from physlm.tasks.igsm.readable import description

    kind = Path(figure or "x.png").suffix.lower()
    if kind not in FIGURES:
        raise UserError(f"--figure: got {figure}, expected a name that ends with one of {', '.join(FIGURES)}")
    config = _config(family, settings, op=op, max_ip=ip, seed=seed, order=order, reask=reask or None,
                     **{"retry.rate": retry})  # fmt: skip
    check_split(split)
    (problem,) = _problems(config, range(index, index + 1), split)
    if figure is not None:
        from physlm.figures import style

        with storage.output(Path(figure)) as file:
            style.save(drawn(problem), file, format=kind[1:])
    print(_line(problem, index, split) if as_json else folded(f"Problem {index} of {description(problem)}"), end="")
    print(end="" if as_json else "\n")


def drawn(problem: Problem) -> Any:
    """The figure of a problem's dependency graph."""
    from physlm.figures.igsm.dependencies import Node, dependency_graph

    numbers = sorted(problem.graph)
    place = {number: i for i, number in enumerate(numbers)}
    nodes = [Node(problem.parameters[number].owner, problem.parameters[number].owned, problem.values[number],
                  tuple(sorted(place[need] for need in problem.direct[number])), int(problem.distance_P[number]),
                  problem.is_total(number)) for number in numbers]  # fmt: skip
    return dependency_graph(nodes, problem.config.title)


def _config(family: str, settings: list[str] | None, **given: Any) -> IgsmConfig:
    """A family with what the options change, then what --set changes."""
    if family not in FAMILIES:
        raise UserError(unknown_key("--family", family, FAMILIES))
    changes = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    return override(FAMILIES[family], [*changes, *(settings or ())])


def _problems(config: IgsmConfig, numbers: range, split: str) -> Iterator[Problem]:
    import numpy as np

    from physlm.tasks.igsm import kernel
    from physlm.tasks.igsm.problem import Problem

    for start in range(numbers.start, numbers.stop, BATCH):
        batch = kernel.problems(config, np.arange(start, min(start + BATCH, numbers.stop)), split)
        yield from (Problem(record, config) for record in batch.records_N)


def _line(problem: Problem, index: int, split: str) -> str:
    """A problem as JSON."""
    from physlm.tasks.igsm.readable import as_json

    about = {"index": index, "split": split, "seed": problem.config.seed}
    return json.dumps({**as_json(problem), **about}, ensure_ascii=False) + "\n"


def _text(problem: Problem, index: int) -> str:
    """A problem for readers."""
    from physlm.tasks.igsm.readable import solution, text

    record = problem.record
    return (f"problem {index}, op {problem.op}, ip {problem.ip}, template {int(record['template']):016x}, "
            f"bin {int(record['bin'])}:\n  problem   {text(problem)}\n  solution  {solution(problem)}\n"
            f"  answer    {problem.answer}\n\n")  # fmt: skip


@functools.lru_cache(maxsize=16)
def _reader(modulus: int) -> Reader:
    return Reader(CATEGORISATIONS, modulus)


def _check_files(files: Sequence[str], modulus: int | None, retries: bool, answers: bool, as_json: bool) -> None:
    """The verdicts wait until every line is read, so that a line that is none is all that is said."""
    found, lines, counts = list[dict[str, Any]](), list[str](), Counter[str]()
    with contextlib.ExitStack() as stack:
        for one in _bounded(_submitted(files, stack), " and ".join(map(stream_name, files))):
            verdict = check_chain(one.problem, one.solution, one.chain, answer=answers,
                                  reader=_reader(modulus or one.modulus or MODULUS), retries=retries or one.retries)
            counts[verdict.kind] += 1
            if as_json:
                found.append(_object(one.line, verdict))
            else:
                lines.append(_sentence(one.line, verdict))
    total = counts.total()
    if not total:
        raise UserError(f"{stream_name(files[0])}: got no solution, {_FILES}")
    kinds = [kind for kind in (RIGHT, *ERRORS, NOT_A_SOLUTION, NOT_A_PROBLEM) if counts[kind]]
    if as_json:
        summary = {"count": total, "right": counts[RIGHT], "kinds": {kind: counts[kind] for kind in kinds}}
        print(json.dumps({"solutions": found, **summary}, indent=1))
    else:
        print("\n".join(lines) + "\n")
        print(text_table(["verdict", "solutions", "share"], [[kind, counts[kind], counts[kind] / total]
                                                            for kind in kinds]))  # fmt: skip
        print(f"\n{counted(total, 'solution')}: {counts[RIGHT]:,} right, {total - counts[RIGHT]:,} wrong")
    if counts[RIGHT] < total:
        raise typer.Exit(1)


def _submitted(files: Sequence[str], stack: contextlib.ExitStack) -> Iterator[Submitted]:
    if files.count("-") > 1:
        raise UserError(f"standard input: got it twice; {_FILES}")
    streams = [stack.enter_context(opened(name, _FILES)) for name in files]
    names = [stream_name(name) for name in files]
    if len(files) == 1:
        yield from read_objects(streams[0], names[0])
    else:
        yield from read_texts(streams[0], streams[1], (names[0], names[1]))


def _bounded(solutions: Iterable[Submitted], name: str) -> Iterator[Submitted]:
    """The solutions, of which there may be so many, with a progress bar on a terminal if they take long."""
    bar = tqdm(solutions, desc="checking", unit=" solutions", leave=False, disable=None, delay=1)
    for number, one in enumerate(bar, 1):
        if number > MOST_SOLUTIONS:
            raise UserError(f"{name}: got more than {MOST_SOLUTIONS:,} solutions, expected at most as many")
        yield one


def _object(line: int, verdict: Verdict) -> dict[str, Any]:
    names = ("kind", "sentence", "text", "answer", "sentences", "operations", "unneeded_parameters",
             "unneeded_operations", "retries")  # fmt: skip
    return {"line": line, "right": verdict.right, **{name: getattr(verdict, name) for name in names}}


def _sentence(line: int, verdict: Verdict) -> str:
    """A verdict for readers."""
    parts = [f"{line}: {verdict.kind}"]
    if verdict.right:
        parts.append(f", answer {verdict.answer}, op {verdict.operations}")
    else:
        parts.append(f" in sentence {verdict.sentence}" * (verdict.sentence > 0) + f": {verdict.text}")
    for name, count in (("unneeded parameters", verdict.unneeded_parameters), ("wrong starts", verdict.retries)):
        parts.append(f", {name}: {count}" * (count > 0))
    return printable(" ".join("".join(parts).split()))


def _test_generated(count: int, as_json: bool) -> None:
    """Right solutions are right."""
    from physlm.tasks.igsm.audit import check_generated

    seconds, wrong = 0.0, list[str]()
    for one in tqdm(check_generated(count), desc="checking", total=count, leave=False, disable=None, delay=1):
        seconds += one.seconds
        wrong += [one.wrong] if one.wrong else []
    _report({"generated": count, "right": count - len(wrong), "solutions_per_second": round(count / seconds)},
            f"{counted(count, 'solution')} of the generator: {count - len(wrong):,} right with all its numbers; "
            f"{count / seconds:,.0f} checked a second and core", wrong, as_json)  # fmt: skip


def _test_planted(count: int, as_json: bool) -> None:
    """Planted errors are caught, in their sentence and under their name."""
    from physlm.tasks.igsm.planted_errors import generated_texts, planted_errors

    planted, caught, missed = Counter[str](), Counter[str](), list[str]()
    cases = planted_errors(count, generated_texts())
    for kind, case in tqdm(cases, desc="planting", total=count, leave=False, disable=None, delay=1):
        planted[kind] += 1
        caught[kind] += case is None
        missed += [case] if case else []
    rows = [[kind, planted[kind], caught[kind]] for kind in ERRORS if planted[kind]]
    found = {"planted": planted.total(), "caught": caught.total(), "kinds": dict(caught)}
    _report(found, f"{text_table(['kind of error', 'planted', 'caught and named'], rows)}\n\n"
            f"{planted.total():,} planted: {caught.total():,} caught and named", missed, as_json)  # fmt: skip


def _test_twins(count: int, as_json: bool) -> None:
    """Kernel and twin make the same problems, and the checker calls them right."""
    from physlm.tasks.igsm.audit import compare_twins

    made, equal, seconds, wrong = Counter[str](), Counter[str](), 0.0, list[str]()
    for one in tqdm(compare_twins(count), desc="comparing", total=count, leave=False, disable=None, delay=1):
        made[one.family] += 1
        equal[one.family] += one.wrong is None
        seconds += one.seconds
        wrong += [one.wrong] if one.wrong else []
    rows = [[family, made[family], equal[family]] for family in made]
    found = {"problems": made.total(), "equal": equal.total(), "problems_per_second": round(count / seconds, 1),
             "families": {family: {"problems": made[family], "equal": equal[family]} for family in made}}
    _report(found, f"{text_table(['family', 'problems', 'equal and right'], rows)}\n\n"
            f"{counted(made.total(), 'problem')} of kernel and twin: {equal.total():,} equal bit for bit and right; "
            f"{count / seconds:,.0f} made twice and checked a second and core", wrong, as_json, every=True)  # fmt: skip


def _report(found: dict[str, Any], text: str, wrong: list[str], as_json: bool, every: bool = False) -> None:
    """Print what was found, then the first few cases that are wrong, or every one."""
    print(json.dumps(found) if as_json else text)
    for case in wrong if every else wrong[:MOST_SHOWN]:
        print(f"\n{case}", file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
