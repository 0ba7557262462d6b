"""The command line: claims (list, show, run, figure, verify, report, compare), data (data, biographies), grammars
(grammar), mathematics (igsm), models (model), the four tasks for any model (battery), speed (bench).

The commands live in ``physlm.commands``.  Importing this module does not import torch, so that everything that needs no
training answers at once.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated

import typer

import physlm
from physlm.commands import battery as batteries
from physlm.commands import (
    biographies,
    claims,
    compare,
    data,
    grammar,
    igsm,
    models,
    parts,
    report,
    results,
    solving,
    terminal,
)
from physlm.commands.options import command, signals_stop, stopped
from physlm.errors import UserError

app = typer.Typer(
    help="physlm: a laboratory for the physics of language models. A claim goes in, a verdict comes out.",
    epilog="Start with: physlm list, physlm show p33_capacity, physlm run p33_capacity --tier demo",
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)
bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")
grammars = typer.Typer(help="Show, sample and check context-free grammars (Part 1).", no_args_is_help=True,
                       rich_markup_mode=None)
app.add_typer(grammars, name="grammar")
grammars.command("show")(grammar.show)
grammars.command("sample")(grammar.sample)
grammars.command("check")(grammar.check)
grammars.command("next")(grammar.next_token)
mathematics = typer.Typer(help="Write, check and show problems of grade-school mathematics, iGSM (Part 2).",
                          no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mathematics, name="igsm")
mathematics.command("sample")(igsm.sample)
mathematics.command("check")(igsm.check)
mathematics.command("show")(igsm.show)
mathematics.command("solve")(solving.solve)
texts = typer.Typer(help="Look at the data of any task, and write it for use elsewhere.", no_args_is_help=True,
                    rich_markup_mode=None)
app.add_typer(texts, name="data")
texts.command("sample")(data.sample)
texts.command("export")(data.export)
trained = typer.Typer(help="List the parts of models; take trained models out to other libraries, and others in.",
                      no_args_is_help=True, rich_markup_mode=None)
app.add_typer(trained, name="model")
trained.command("export")(models.export)
trained.command("import")(models.import_model)
trained.command("parts")(parts.parts)
battery = typer.Typer(help="Ask any language model the four tasks of Part 3.2, and grade the answers.",
                      cls=batteries.RunFirst, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(battery, name="battery")
battery.command("run")(batteries.run)
battery.command("prompts")(batteries.prompts)
battery.command("grade")(batteries.grade)
written = typer.Typer(help="Biographies that a language model or a grammar rewrites (bioR).", no_args_is_help=True,
                      rich_markup_mode=None)
app.add_typer(written, name="biographies")
written.command("ask")(biographies.ask)
written.command("check")(biographies.check)
written.command("rewrites")(biographies.rewrites)
app.command("list")(claims.list_claims)
app.command("show")(claims.show)
app.command("run")(claims.run)
app.command("figure")(results.figure)
app.command("verify")(results.verify)
app.command("report")(report.report)
app.command("compare")(compare.compare)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"physlm {physlm.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@bench.callback()
def _bench() -> None:
    pass


@bench.command("train")
@command
def bench_train(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and few steps: a check, not a number.")] = False,
) -> None:
    """Print training speed by model size and population, and the speed of data generation alone."""
    from physlm.lab.bench import bench_train as run_bench

    run_bench(quick=quick)


@bench.command("parallel")
@command
def bench_parallel(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps.")] = False,
) -> None:
    """Print how much faster one 12 x 768 model trains on 2, 4 and more GPUs than on one."""
    from physlm.lab.bench_parallel import bench_parallel as run_bench

    run_bench(quick=quick)


@bench.command("rows")
@command
def bench_rows(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer lines and shorter times.")] = False,
) -> None:
    """Print how fast attention within short rows is beside torch's, alone and in models. Needs a GPU."""
    from physlm.lab.bench_rows import bench_rows as run_bench

    run_bench(quick=quick)


@bench.command("sharing")
@command
def bench_sharing(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer processes and shorter times.")] = False,
) -> None:
    """Print how much faster several processes train on one GPU than one, in turns and at the same time."""
    from physlm.lab.bench_sharing import bench_sharing as run_bench

    run_bench(quick=quick)


@bench.command("grammar")
@command
def bench_grammar(
    quick: Annotated[bool, typer.Option("--quick", help="Few strings: a check, not a number.")] = False,
) -> None:
    """Print the speed of parsing, of exact next-token distributions, and of sampling with labels."""
    from physlm.lab.bench_grammar import bench_grammar as run_bench

    run_bench(quick=quick)


@bench.command("igsm")
@command
def bench_igsm(
    quick: Annotated[bool, typer.Option("--quick", help="Few problems: a check, not a number.")] = False,
) -> None:
    """Print the speed of making and checking iGSM problems, and of training on them beside biographies."""
    from physlm.lab.bench_igsm import bench_igsm as run_bench

    run_bench(quick=quick)


@bench.command("tasks")
@command
def bench_tasks(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="KIND", help="Tasks, such as depo or mqar. Default: all.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few rows and texts: a check, not a number.")] = False,
) -> None:
    """Print how fast every task is sampled and verified on one core, and trained on beside biographies."""
    from physlm.lab.bench_tasks import bench_tasks as run_bench

    run_bench(kinds or (), quick=quick)


@bench.command("mixers")
@command
def bench_mixers(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="KIND", help="Mixers, such as gla or fox. Default: all.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few steps; on a GPU at most three minutes, and what is left "
                                                        "out is named.")] = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="In place of mixers the recurrences alone, in chunks of each "
                                                          "size; KIND is decayed, channels, delta or path.")] = False,
    fla: Annotated[bool, typer.Option("--fla", help="In place of whole models fla-core's kernels beside ours: errors, "
                                                    "speed, verdict. Needs a GPU and the extra linear.")] = False,
) -> None:  # fmt: skip
    """Print how fast every mixer trains and generates beside softmax attention in a model of the same shape."""
    if chunks and fla:
        raise UserError("--chunks, --fla: got both, expected one of them")
    if chunks:
        from physlm.lab.bench_chunks import bench_chunks

        bench_chunks(kinds or (), quick=quick)
    elif fla:
        from physlm.lab.bench_fla import bench_fla

        bench_fla(kinds or (), quick=quick)
    else:
        from physlm.lab.bench_mixers import bench_mixers as run_bench

        run_bench(kinds or (), quick=quick)


@bench.command("probes")
@command
def bench_probes(
    quick: Annotated[bool, typer.Option("--quick", help="Few steps, the whole is projected from them.")] = False,
) -> None:
    """Print how long the P-probes of one model take, 11 targets at six places, and how fast a probe of iGSM learns."""
    from physlm.lab.bench_probes import bench_probes as run_bench

    run_bench(quick=quick)


def _whole_summaries(group: typer.Typer) -> None:
    """Lists of commands show the first sentence of each whole, where typer would cut it to one line."""
    for one in group.registered_commands:
        text = " ".join((one.callback.__doc__ or "").split()) if one.callback else ""
        one.short_help = re.split(r"(?<=\.)\s", text, maxsplit=1)[0]
    for other in group.registered_groups:
        if other.typer_instance is not None:
            other.short_help = other.typer_instance.info.help
            _whole_summaries(other.typer_instance)


_whole_summaries(app)


def main() -> None:
    """The console script.

    Exit codes: 0 done, 1 a process died, 2 bad input, 130 interrupted, 141 nobody reads the output any more, 143
    terminated.
    """
    # OpenMP reads them when torch is imported.  Threads that wait at work nap, or two threads on cores that others use
    # as well are many times slower than one; but not before some 20 microseconds, which is how long they wait within a
    # step of a small model: to fall asleep and be woken takes longer, and then two threads are no faster than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    terminal.prepare()
    try:
        with signals_stop():
            app(prog_name="physlm")
    except KeyboardInterrupt as stop:
        sys.exit(stopped(stop))
