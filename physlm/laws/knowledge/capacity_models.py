"""Trained models out of a table of capacity measurements, and the sizes among them, each at its best learning rate.

A *run* is one trained model, a *size* is one shape of model on one dataset after so many exposures, and a *cell* is a
size at one learning rate, of which there may be several seeds.

**What counts.** bits = the sum of the signed parts (names, values and, of bioD, strings), none of them held at 0 by
itself.  A negative part says that the model's own code for it is longer than the uniform one, by so many bits: the
model puts its probability on words that cannot occur there, or is sure of what is wrong.  Only the sum is a statement
about the model, for the formula of arXiv 2404.05405 gives no part the right to be forgotten.

**Choosing the best, and judging it.** The best of several noisy numbers is too high by itself.  So the learning rate of
a size is chosen on other seeds than those it is judged on, wherever there are other seeds (``held_out``):

    all rates have the same seeds, two or more    each seed is judged at the rate that is best on the mean of the others
    all rates share some seeds, the best has more  chosen on the shared ones, judged on the others
    one rate                                       nothing is chosen
    otherwise                                      chosen on the run that is judged: ``selection`` = "itself",
                                                   which leans upwards, and is said

The mean over held-out seeds may fall short of the best rate's true mean (where the others chose another rate), and
never leans above it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from physlm.errors import UserError
from physlm.interval import Interval, mean_of_runs
from physlm.laws import bootstrap
from physlm.laws.forms.extremes import edge_of

UNSATURATED, OVERSIZED, AMPLE = 1.25, 0.5, 0.9
SATURATED = 0.97
PARTS = ("name", "value", "diversity")
SIZE = ["exposures", "people", "label", "params"]
CELL = [*SIZE, "learning_rate"]
ITSELF, OTHER_SEEDS, NOTHING = "itself", "other seeds", "nothing to choose"

_CONFIG = {
    "train.exposures": "exposures", "task.people": "people", "task.kind": "task", "label": "label",
    "train.learning_rate": "learning_rate", "train.seed": "seed", "params_used": "params",
    "params_nonembedding": "params_nonembedding",
}


def published_ratio(exposures: float) -> float:
    """R0(E) = (E / 100)^log10(2) bits/parameter: 2 at 1000 exposures, 1 at 100.  It sorts models, nothing else."""
    return (exposures / 100.0) ** math.log10(2.0)


def capacity_models(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run, from the long results table.

    Returns:
        Columns run, exposures, people, task, label, learning_rate, seed, params, ratio (bits/parameter) with its
        interval over people lo, hi and standard error, bits (= ratio x params, the signed sum), bits_max, ratio_max
        (= bits_max / params), name, value, diversity (signed bits), embedding (their share of the parameters).

    Raises:
        UserError: missing columns or quantities, no rows, numbers that are none, or two datasets under one N.
    """
    needed = ["run", *_CONFIG, "quantity", "value", "lo", "hi"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise UserError(f"capacity table: the column {missing[0]!r} is missing; expected {', '.join(needed)}")
    signed = _rows_of(table, "bits_signed")
    if signed.empty:
        raise UserError("capacity table: got no bits_signed rows, expected one per run")
    models = signed[list(_CONFIG)].rename(columns=_CONFIG)
    models["bits"] = signed["value"].astype(float)
    for end, column in (("ratio", "value"), ("lo", "lo"), ("hi", "hi")):
        models[end] = signed[column].astype(float) / models["params"].astype(float)
    models["bits_max"] = _rows_of(table, "bits_max")["value"].astype(float)
    for part in PARTS:
        models[part] = _rows_of(table, f"bits_{part}")["value"].astype(float)
    numbers = models.drop(columns=["task", "label"]).astype(float)
    bad = models.index[~np.isfinite(numbers).all(axis=1) | (models["params"] <= 0) | (models["lo"] > models["hi"])]
    if len(bad):
        raise UserError(
            f"capacity table: run {bad[0]!r} has no finite bits_signed (value, lo <= hi), bits_max, "
            f"{', '.join(f'bits_{part}' for part in PARTS)} or positive params_used; measure it again"
        )
    parts = models[list(PARTS)].sum(axis=1)
    away = models.index[~np.isclose(models["bits"], parts, rtol=1e-6, atol=1.0)]
    if len(away):
        raise UserError(f"capacity table: run {away[0]!r} has bits_signed unlike the sum of its parts")
    for (exposures, people), group in models.groupby(["exposures", "people"]):
        if not np.allclose(group["bits_max"], group["bits_max"].iloc[0], rtol=1e-6):
            raise UserError(
                f"capacity table: got different datasets for N = {people} at {exposures} exposures (bits_max from "
                f"{group['bits_max'].min():.6g} to {group['bits_max'].max():.6g}), expected one dataset per N"
            )
    models[["exposures", "people", "seed"]] = models[["exposures", "people", "seed"]].astype(int)
    models["error"] = bootstrap.standard_error(models["lo"].to_numpy(), models["hi"].to_numpy())
    models["ratio_max"] = models["bits_max"] / models["params"]
    models["embedding"] = 1.0 - models["params_nonembedding"] / models["params"]
    twice = models[models.duplicated([*CELL, "seed"])]
    if len(twice):
        raise UserError(f"capacity table: run {twice.index[0]!r} has the size, learning rate and seed of another; "
                        "expected one run of each")
    return models.drop(columns="params_nonembedding").reset_index().sort_values(
        [*CELL, "seed", "run"], ignore_index=True)


def held_out(runs: pd.DataFrame, by: list[str]) -> tuple[pd.DataFrame, str]:
    """Of one group of runs those that the best cell is judged on, see the top of this page.

    Args:
        runs: rows of ``capacity_models``.
        by: columns that name a cell; no cell has a seed twice.

    Returns:
        The judged runs, one a seed, and what they were chosen on: ``ITSELF``, ``OTHER_SEEDS`` or ``NOTHING``.
    """
    cells: dict[tuple[Any, ...], dict[int, Any]] = {}  # the index of each run, by cell and seed
    keys = zip(*(runs[column] for column in by), strict=True)
    for index, key, seed in zip(runs.index, keys, runs["seed"], strict=True):
        cells.setdefault(key, {})[seed] = index
    if len(cells) == 1:
        return runs, NOTHING
    shared = sorted(set.intersection(*(set(seeds) for seeds in cells.values())))

    def best_on(seeds: list[int]) -> dict[int, Any]:
        """The cell with the highest mean over these seeds, or over its own where there are none."""
        return max(cells.values(), key=lambda cell: float(np.mean([
            runs.at[index, "ratio"] for seed, index in cell.items() if not seeds or seed in seeds])))

    if len(shared) > 1:
        judged = [best_on([other for other in shared if other != seed])[seed] for seed in shared]
        return runs.loc[judged], OTHER_SEEDS
    best = best_on(shared)
    others = [index for seed, index in best.items() if shared and seed not in shared]
    return runs.loc[others or list(best.values())], OTHER_SEEDS if others else ITSELF


def most_repeated(models: pd.DataFrame) -> pd.DataFrame:
    """Of each size the runs at those learning rates that were trained from the most seeds.

    Where the rates at the ends of a grid have one seed and the others several, a lucky run at an end is left out.
    """
    seeds = models.groupby(CELL)["seed"].transform("size")
    return models[seeds == seeds.groupby([models[column] for column in SIZE]).transform("max")]


def mean_over_seeds(runs: pd.DataFrame) -> Interval:
    """Bits per parameter, the mean over these runs, which differ in their seeds; n counts runs.

    The interval holds Student's t over seeds, where there are two or more, and that over people
    (``physlm.interval.mean_of_runs``); that of one run is over people alone.
    """
    return mean_of_runs([Interval(row.ratio, min(row.lo, row.ratio), max(row.hi, row.ratio), 1)
                         for row in runs.itertuples()])


def best_of_learning_rates(models: pd.DataFrame) -> pd.DataFrame:
    """Every (exposures, N, size) at its best learning rate, largest sizes last.

    Returns:
        The columns of ``capacity_models``, with ratio, its interval and bits being those of the judged runs' mean
        (``held_out``); run, name, value and diversity those of the first; and: seeds (judged), selection (what the
        rate was chosen on), runs (how many of this size there are), learning_rate (best of the mean over seeds),
        learning_rates (how many different ones), learning_rate_at_edge (of two or more, the best is the smallest or
        the largest), fraction (= bits / bits_max), saturated (fraction >= 0.97), unsaturated, oversized and ample
        (by R^max alone).
    """
    rows = []
    for _, group in models.groupby(SIZE, sort=True):
        judged, selection = held_out(group, ["learning_rate"])
        mean = mean_over_seeds(judged)
        rates = group["learning_rate"].unique().tolist()
        rate = float(judged["learning_rate"].mode().iloc[0])
        first = judged[judged["learning_rate"] == rate].iloc[0].to_dict()
        rows.append({**first, "ratio": mean.value, "lo": mean.lo, "hi": mean.hi, "covers": mean.covers,
                     "bits": mean.value * first["params"], "seeds": len(judged), "selection": selection,
                     "runs": len(group), "learning_rates": len(rates),
                     "learning_rate_at_edge": len(rates) > 1 and bool(edge_of(rate, rates))})
    best = pd.DataFrame(rows).sort_values(["exposures", "people", "params", "label"], ignore_index=True)
    best["error"] = bootstrap.standard_error(best["lo"].to_numpy(), best["hi"].to_numpy())
    reference = best["exposures"].map(published_ratio)
    best["fraction"] = best["bits"] / best["bits_max"]
    best["saturated"] = best["fraction"] >= SATURATED
    best["unsaturated"] = best["ratio_max"] >= UNSATURATED * reference
    best["oversized"] = best["ratio_max"] <= OVERSIZED * reference
    best["ample"] = best["ratio_max"] <= AMPLE * reference
    return best


def plain(row: dict[Any, Any]) -> dict[str, Any]:
    """JSON values in place of numpy's."""
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in row.items()}


def _rows_of(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of one quantity, indexed by run."""
    rows = table[table["quantity"] == quantity].set_index("run")
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()][0]
        raise UserError(f"capacity table: got {quantity} of run {twice!r} more than once, expected one row")
    return rows
