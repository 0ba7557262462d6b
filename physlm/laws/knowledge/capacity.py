"""The capacity law: how many bits of knowledge one parameter holds (arXiv 2404.05405).

Each run is one trained model with P parameters (unused embedding rows left out) that has learned ``bits`` of the
``bits_max`` bits which its dataset contains.  Three statements are fitted to the cloud of runs:

    peak         R* = max over sizes and learning rates of  bits / P          "at least 2 bits/parameter"
    line         bits = R P through the origin, over models too small for their data
    saturation   bits / bits_max of models far larger than their data needs   "they learn all of it"

Which models are small and which are large is decided before looking at what they learned, from R^max = bits_max / P
against the published ratio R0(E), which is 2 at E = 1000 exposures and 1 at 100.  In between and beyond we take the
power law through these two points, R0(E) = (E / 100)^log10(2); it sorts models and is never compared with a result.

    unsaturated   R^max >= 1.25 R0(E)     2.5 at 1000 exposures, 1.25 at 100: the data cannot be what limits them
    over-sized    R^max <= 0.5 R0(E)      1.0 at 1000 exposures, 0.5 at 100: twice the parameters that are needed
    ample         R^max <= 0.9 R0(E)      1.8 at 1000 exposures: where Result 1 already promises R = R^max

**Best of learning rates.**  Every size is trained at several learning rates and the best run counts, as in the paper.
That is a maximum over noisy numbers and so a little too high; ``details`` names the rate that won and says whether
it lies at the edge of the grid (then a better one may lie outside: the value is a lower bound).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from physlm.errors import UserError
from physlm.interval import LEVEL, Interval
from physlm.laws import bootstrap
from physlm.laws.forms.extremes import edge_of
from physlm.laws.forms.lines import ratio_line
from physlm.laws.law import Law, Quantity, gives

UNSATURATED, OVERSIZED, AMPLE = 1.25, 0.5, 0.9
SATURATED = 0.97
RATIO = "bits/parameter"
MODELS = "items and models"  # that an interval covers

_CONFIG = {
    "train.exposures": "exposures", "task.people": "people", "task.kind": "task", "label": "label",
    "train.learning_rate": "learning_rate", "params_used": "params",
}
_SHAPE = ["exposures", "people", "label", "params"]

NOTES = (
    (
        "One run is one trained model. peak_bits_per_param is the best of all sizes and learning rates; n counts the "
        "runs it was chosen from."
    ),
    (
        "Interval of a peak: 95 % percentile bootstrap. Each resample draws the runs of every (exposures, N) with "
        "replacement, moves each by its error over people, and takes the maximum; the interval is widened to enclose "
        "the observed maximum. The runs differ in size and learning rate and are no replicates of one experiment, so "
        "the lower end says how much hangs on single lucky runs, not what another seed would give. The maximum of a "
        "resample never exceeds its largest perturbed run, so a better size or rate outside the grid is not covered; "
        "being a maximum over noisy runs, it leans upwards. Runs over one dataset share their people; the correlation "
        "of their errors is ignored."
    ),
    (
        "line_bits_per_param: geometric mean of bits / P over the unsaturated best-of-learning-rate models (dataset "
        "bits / P >= 2.5 at 1000 exposures, 1.25 at 100), random-effects weights, bootstrap over models and people; "
        "n counts those models."
    ),
    (
        "saturation: learned bits / dataset bits of the largest model at each N if it is over-sized (dataset bits / P "
        "<= 1.0 at 1000 exposures, 0.5 at 100); the smallest over N; interval over people only. saturation_ample takes "
        "in every best-of-learning-rate model with dataset bits / P <= 1.8 at 1000 exposures (0.9 at 100), the paper's "
        "own, stricter statement."
    ),
)


def published_ratio(exposures: float) -> float:
    """R0(E) = (E / 100)^log10(2) bits/parameter: 2 at 1000 exposures, 1 at 100.  It sorts models, nothing else."""
    return (exposures / 100.0) ** math.log10(2.0)


def capacity_models(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run, from the long results table.

    Returns:
        Columns run, exposures, people, task, label, learning_rate, params, ratio (bits/parameter) with its interval
        over people lo, hi and standard error, bits (= ratio x params), bits_max, ratio_max (= bits_max / params).

    Raises:
        UserError: missing columns or quantities, no rows, numbers that are none, or two datasets under one N.
    """
    needed = ["run", *_CONFIG, "quantity", "value", "lo", "hi"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise UserError(f"capacity table: the column {missing[0]!r} is missing; expected {', '.join(needed)}")
    ratio = _rows_of(table, "bits_per_param")
    if ratio.empty:
        raise UserError("capacity table: got no bits_per_param rows, expected one per run")
    models = ratio[list(_CONFIG)].rename(columns=_CONFIG)
    models[["ratio", "lo", "hi"]] = ratio[["value", "lo", "hi"]].astype(float)
    for quantity in ("bits", "bits_max"):
        models[quantity] = _rows_of(table, quantity)["value"].astype(float)
    numbers = models.drop(columns=["task", "label"]).astype(float)
    bad = models.index[~np.isfinite(numbers).all(axis=1) | (models["params"] <= 0) | (models["lo"] > models["hi"])]
    if len(bad):
        raise UserError(
            f"capacity table: run {bad[0]!r} has no finite bits_per_param (value, lo <= hi), bits, bits_max or "
            "positive params_used; measure it again"
        )
    away = models.index[~np.isclose(models["bits"], models["ratio"] * models["params"], rtol=1e-3, atol=1.0)]
    if len(away):
        raise UserError(f"capacity table: run {away[0]!r} has bits unlike bits_per_param x params_used")
    for (exposures, people), group in models.groupby(["exposures", "people"]):
        if not np.allclose(group["bits_max"], group["bits_max"].iloc[0], rtol=1e-6):
            raise UserError(
                f"capacity table: got different datasets for N = {people} at {exposures} exposures (bits_max from "
                f"{group['bits_max'].min():.6g} to {group['bits_max'].max():.6g}), expected one dataset per N"
            )
    models[["exposures", "people"]] = models[["exposures", "people"]].astype(int)
    models["error"] = bootstrap.standard_error(models["lo"].to_numpy(), models["hi"].to_numpy())
    models["ratio_max"] = models["bits_max"] / models["params"]
    return models.reset_index().sort_values([*_SHAPE, "learning_rate", "run"], ignore_index=True)


def best_of_learning_rates(models: pd.DataFrame) -> pd.DataFrame:
    """The best run of every (exposures, N, size), largest sizes last.

    Returns:
        The columns of ``capacity_models`` and: runs (how many it is the best of), learning_rates (how many
        different ones), learning_rate_at_edge (the winner is the smallest or the largest of the grid),
        fraction (= bits / bits_max), saturated (fraction >= 0.97), unsaturated, oversized and ample (by R^max alone).
    """
    rows = []
    for _, group in models.groupby(_SHAPE, sort=True):
        rates = group["learning_rate"]
        winner = group.loc[group["ratio"].idxmax()].to_dict()
        edge = bool(edge_of(winner["learning_rate"], rates.unique().tolist()))
        rows.append({**winner, "runs": len(group), "learning_rates": rates.nunique(), "learning_rate_at_edge": edge})
    best = pd.DataFrame(rows).sort_values(["exposures", "people", "params", "label"], ignore_index=True)
    reference = best["exposures"].map(published_ratio)
    best["fraction"] = best["bits"] / best["bits_max"]
    best["saturated"] = best["fraction"] >= SATURATED
    best["unsaturated"] = best["ratio_max"] >= UNSATURATED * reference
    best["oversized"] = best["ratio_max"] <= OVERSIZED * reference
    best["ample"] = best["ratio_max"] <= AMPLE * reference
    return best


@gives("peak_bits_per_param", "line_bits_per_param", "saturation", "saturation_ample")
def capacity_law(table: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> Law:
    """Fit peak, line and saturation at every number of exposures E in the table.

    Quantities, where the table allows them: ``peak_bits_per_param@E`` and ``.../N=n`` for every N;
    ``line_bits_per_param@E``; ``saturation@E`` and ``.../N=n``; ``saturation_ample@E``.  ``NOTES`` (which travels in
    ``details["notes"]``) says what each interval means and what it leaves out.  Above all, the interval of a peak
    is no confidence interval for "the best model that could be trained": members differ in size and learning rate
    and are not replicates, the maximum of a resample never exceeds the largest perturbed member, and the people
    errors of runs over one dataset are taken as independent though they share their people.

    Args:
        table: the long results table, one row per (run, quantity).
        resamples: B, the number of bootstrap resamples.
        seed: of the bootstrap; equal tables and seeds give equal laws.

    Raises:
        UserError: the table is not one of capacity measurements.
    """
    if resamples < 1:
        raise UserError(f"capacity law: got {resamples} resamples, expected at least 1")
    models = capacity_models(table)
    best = best_of_learning_rates(models)
    quantities: list[Quantity] = []
    details: dict[str, Any] = {"peak": {}, "line": {}, "saturation": {}}
    for exposures in sorted(models["exposures"].unique(), reverse=True):
        runs, winners = models[models["exposures"] == exposures], best[best["exposures"] == exposures]
        for part, fit in (("peak", _peak), ("line", _line), ("saturation", _saturation)):
            found, detail = fit(f"@{exposures}", runs, winners, resamples, seed)
            quantities += found
            details[part][str(exposures)] = detail
    details["models"] = [_plain(row) for row in best.to_dict("records")]
    details["learning_rate_at_edge"] = {
        str(exposures): {"models": len(group), "at_edge": int(group["learning_rate_at_edge"].sum())}
        for exposures, group in best.groupby("exposures")
    }
    details["bootstrap"] = {"resamples": resamples, "seed": seed, "level": LEVEL}
    details["notes"] = list(NOTES)
    return Law(tuple(quantities), details)


Fit = tuple[list[Quantity], dict[str, Any]]


def _peak(at: str, models: pd.DataFrame, best: pd.DataFrame, resamples: int, seed: int) -> Fit:
    """The largest ratio over all runs, and over the runs of each N."""

    def quantity(name: str, runs: pd.DataFrame) -> Quantity:
        value = float(runs["ratio"].max())
        groups = [(g["ratio"].to_numpy(), g["error"].to_numpy()) for _, g in runs.groupby("people")]
        samples = bootstrap.resampled_max(groups, resamples, bootstrap.generator(seed, name))
        return Quantity(name, value, *bootstrap.percentile_interval(samples, value), len(runs), RATIO, MODELS)

    name = f"peak_bits_per_param{at}"
    quantities = [quantity(name, models)]
    quantities += [quantity(f"{name}/N={people}", runs) for people, runs in models.groupby("people")]
    top = best.loc[best["ratio"].idxmax()]
    sizes = best.loc[best["people"] == top["people"], "params"]
    detail = _plain({key: top[key] for key in ("run", "people", "label", "params", "learning_rate",
                                               "learning_rates", "learning_rate_at_edge", "fraction")})
    detail["people_interval"] = [float(top["lo"]), float(top["hi"])]
    # At the edge of the sizes the knee is not bracketed: a smaller or larger model might do better still.
    detail["size_at_edge"] = bool(top["params"] in (sizes.min(), sizes.max()))
    return quantities, detail


def _line(at: str, models: pd.DataFrame, best: pd.DataFrame, resamples: int, seed: int) -> Fit:
    """log bits = log R + log P with slope one: log R is the weighted mean of log(bits / P)."""
    name = f"line_bits_per_param{at}"
    small = best[best["unsaturated"]]
    # A model that learned nothing has no logarithm; it is left out here and named, and the peak still sees it.
    fitted = small[small["ratio"] > 0]
    detail: dict[str, Any] = {
        "models": fitted["run"].tolist(), "left_out": small.loc[small["ratio"] <= 0, "run"].tolist(),
        "least_dataset_bits_per_param": UNSATURATED * published_ratio(float(best["exposures"].iloc[0])),
    }
    if fitted.empty:
        return [], detail
    points = zip(fitted["ratio"], fitted["lo"], fitted["hi"], strict=True)
    found, detail["weights"] = ratio_line(name, [Interval(*point, 1) for point in points], resamples, seed)
    return [Quantity.of(name, found, RATIO)], detail


def _saturation(at: str, models: pd.DataFrame, best: pd.DataFrame, resamples: int, seed: int) -> Fit:
    """bits / bits_max of the largest model at each N if over-sized; and of every ample model."""

    def quantity(name: str, rows: pd.DataFrame) -> Quantity:
        value = float(rows["fraction"].min())
        errors = (rows["error"] / rows["ratio_max"]).to_numpy()
        samples = bootstrap.perturbed_min(rows["fraction"].to_numpy(), errors, resamples,
                                          bootstrap.generator(seed, name))
        return Quantity(name, value, *bootstrap.percentile_interval(samples, value), len(rows), "1", "items")

    largest = best.loc[best.groupby("people")["params"].idxmax()]
    over, ample = largest[largest["oversized"]], best[best["ample"]]
    quantities = []
    if len(over):
        quantities.append(quantity(f"saturation{at}", over))
        quantities += [quantity(f"saturation{at}/N={people}", rows) for people, rows in over.groupby("people")]
    if len(ample):
        quantities.append(quantity(f"saturation_ample{at}", ample))
    return quantities, {"oversized": over["run"].tolist(), "ample": ample["run"].tolist(),
                        "people_without_oversized_model": largest.loc[~largest["oversized"], "people"].tolist()}


def _rows_of(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The rows of one quantity, indexed by run."""
    rows = table[table["quantity"] == quantity].set_index("run")
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()][0]
        raise UserError(f"capacity table: got {quantity} of run {twice!r} more than once, expected one row")
    return rows


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """JSON values in place of numpy's."""
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
