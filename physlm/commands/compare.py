"""The command compare: mixers by tasks, over all claims that compare them, from results alone."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physlm import storage
from physlm.commands import completion
from physlm.commands.options import ExperimentsOption, ResultsOption, RunsOption, command
from physlm.commands.tables import paragraph
from physlm.commands.terminal import width
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.committed import committed_claims
from physlm.lab.experiment import LISTED, TIERS, experiment_names
from physlm.lab.folders import folder
from physlm.laws.words import QUANTITIES

if TYPE_CHECKING:
    from physlm.laws.compared import Cell, Comparison

COST_TITLES = {"params_used": "params", "flops_per_token": "FLOPs", "state_bytes": "state",
               "tokens_per_second": "tok/s"}  # fmt: skip
GAP = "  "
CELL, MOST_NAME = 13, 34


@command
def compare(
    names: Annotated[list[str] | None, typer.Argument(
        metavar="CLAIM", help="Default: all beyond the series and of Part 4.1.")] = None,
    tier: Annotated[str, typer.Option("--tier", metavar="TIER", help="Whose results.",
                                      autocompletion=completion.tiers)] = "gpu",
    figure: Annotated[Path | None, typer.Option(
        "--figure", metavar="FILE", help="Draw the table into this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object instead of a table.")] = False,
    runs: RunsOption = None,
    results: ResultsOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Print one table over all claims that compare mixers: rows mixers, columns tasks, with what each mixer costs.

    A cell is the score at the best learning rate with its 95 % interval, in per cent where it is a share. Costs are
    those of softmax attention in the same columns, times: parameters, FLOPs a token, bytes that a row leaves for the
    next token, tokens trained on in a second.

    \b
    Examples:
      physlm compare
      physlm compare beyond_flip_flop --tier demo --figure mixers.png
    """
    from physlm.lab.compare import comparable, tables_of
    from physlm.laws.compared import compared

    if tier not in TIERS:
        raise UserError(unknown_key("tier", tier, TIERS))
    where, found, ran = folder("experiments", experiments), folder("results", results), folder("runs", runs)
    known = sorted({*committed_claims(found), *(experiment_names(where) if where.is_dir() else ())})
    for name in names or ():
        if name not in known:
            raise UserError(unknown_key("claim", name, known, LISTED))
    asked = comparable(known, names or ())
    tables = tables_of(asked, tier, found, ran)
    missing = [name for name in asked if name not in tables]
    if not tables:
        raise UserError(f"compare: none of {', '.join(asked) or 'no claims'} has results of tier {tier}; give physlm "
                        f"run {asked[0] if asked else 'CLAIM'} --tier {tier}")
    comparison = compared(table for table in tables.values() if "model.mixer" in table)
    if not comparison.rows:
        raise UserError(f"compare: {', '.join(tables)}: found no answers, tokens or bits of models whose mixers "
                        "their tables name; expected claims that compare mixers, as those beyond the series and of "
                        "Part 4.1 do")
    if figure is not None:
        from physlm.figures.compared import png

        with storage.output(figure) as file:
            file.write(png(comparison))
    if as_json:
        print(json.dumps({**as_object(comparison), "claims": list(tables), "missing": missing}, indent=2,
                         allow_nan=False))
        return
    print("\n".join(lines(comparison)))
    print(*paragraph(f"Tier {tier}, of {', '.join(tables)}."), sep="\n")
    if missing:
        print(*paragraph(f"Without results of this tier: {', '.join(missing)}."), sep="\n")
    if figure is not None:
        print(f"figure   {figure}")


def as_object(comparison: Comparison) -> dict[str, Any]:
    """Everything, for programs."""
    from physlm.laws.compared import COSTS

    return {
        "columns": [{"title": one.title, "quantity": one.quantity, "setting": one.setting}
                    for one in comparison.columns],
        "rows": [{"mixer": row, "cost_over_softmax": {name: comparison.cost(row, name) for name in COSTS},
                  "cells": [_object(one.cells.get(row)) for one in comparison.columns]} for row in comparison.rows],
    }


def _object(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {**asdict(cell.found), "unit": cell.unit, "learning_rate": cell.rate, "rates": cell.rates,
            "model": cell.label, **cell.costs}


def lines(comparison: Comparison) -> list[str]:
    """The table in blocks of columns that fit, each with the names of the rows; and what the columns are of."""
    names = [row if len(row) <= MOST_NAME else f"{row[: MOST_NAME - 1]}…" for row in comparison.rows]
    first = max(len("mixer"), *map(len, names))
    told: list[str] = []
    costs = [(title, [_times(comparison.cost(row, name)) for row in comparison.rows])
             for name, title in COST_TITLES.items()]
    room = width() - first - sum(len(GAP) + 6 for _ in costs)
    columns = [(one.title, [_text(one.cells.get(row)) for row in comparison.rows]) for one in comparison.columns]
    while columns or not told:
        many = max(1, room // (len(GAP) + CELL))
        told += [*([""] if told else []), *_block(first, names, costs, columns[:many])]
        columns, costs, room = columns[many:], [], width() - first
    told += ["", *paragraph("Costs are times those of softmax attention (RoPE, or else no positions) in the same "
                            "columns: parameters, FLOPs and tokens a second of training, bytes of state. In brackets "
                            "or behind ±: 95 %. -: no run of this mixer in this setting, or a cost that was not "
                            "kept. 6 x 256: layers that a token goes through, and dimensions.")]
    for one in comparison.columns:
        told += textwrap.wrap(f"{one.title}: {QUANTITIES.get(one.quantity, one.quantity)}, {one.setting}", width(),
                              subsequent_indent="  ")
    return told


def _block(first: int, names: list[str], costs: list[tuple[str, list[str]]],
           columns: list[tuple[str, list[str]]]) -> list[str]:
    """Some of the columns; titles go on in further lines."""
    sizes = [*(6 for _ in costs), *(CELL for _ in columns)]
    heads = [textwrap.wrap(title, size) or [""] for (title, _), size in zip([*costs, *columns], sizes, strict=True)]
    high = max(map(len, heads), default=1)
    heads = [[""] * (high - len(head)) + head for head in heads]
    rows = [("mixer" if line == high - 1 else "", [head[line] for head in heads]) for line in range(high)]
    rows.append(("-" * first, ["-" * size for size in sizes]))
    rows += [(name, [texts[place] for _, texts in (*costs, *columns)]) for place, name in enumerate(names)]
    return [GAP.join([name.ljust(first), *(text.rjust(size) for text, size in zip(texts, sizes, strict=True))]).rstrip()
            for name, texts in rows]


def _text(cell: Cell | None) -> str:
    """``97 [95, 99]`` of a share in per cent, else three digits."""
    if cell is None:
        return "-"
    found = cell.found
    if cell.unit == "1":
        return f"{100 * found.value:.0f} [{100 * found.lo:.0f}, {100 * found.hi:.0f}]"
    return f"{found.value:.2f}±{max(found.hi - found.value, found.value - found.lo):.2f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"
