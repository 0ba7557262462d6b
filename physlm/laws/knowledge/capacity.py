"""The capacity law: how many bits of knowledge one parameter holds (arXiv 2404.05405).

Each run is one trained model with P parameters (unused embedding rows left out) that has learned ``bits`` of the
``bits_max`` bits which its dataset contains.  ``capacity_models`` says what counts as a bit, and how the best of
several models is chosen on other seeds than those it is judged on.  Five statements are put to the cloud of runs:

    peak         R* = max over sizes and learning rates of  bits / P          "at least 2 bits/parameter"
    most         no single model has more than a little above that            "no R > 2.3"
    line         bits = R P through the origin, over models too small for their data
    constancy    max R / min R over these models, whatever their N and size   one line, not a band
    saturation   bits / bits_max of models with more room than their data need "R = R^max for R^max <= 1.8"

Which models are small and which are large is decided before looking at what they learned, from R^max = bits_max / P
against the published ratio R0(E), which is 2 at E = 1000 exposures and 1 at 100.  In between and beyond we take the
power law through these two points, R0(E) = (E / 100)^log10(2); it sorts models, and says from which N on a peak is as
high as published.

    unsaturated   R^max >= 1.25 R0(E)     2.5 at 1000 exposures, 1.25 at 100: the data cannot be what limits them
    over-sized    R^max <= 0.5 R0(E)      1.0 at 1000 exposures, 0.5 at 100: twice the parameters that are needed
    ample         R^max <= 0.9 R0(E)      1.8 at 1000 exposures: where Result 1 already promises R = R^max

**A law that fails in part of its range** is still one where it begins to hold: ``holds_from_people`` is the N from
which on every peak reaches R0(E), ``constant_from_params`` the P from which on the small models lie on one line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from physlm import interval
from physlm.errors import UserError
from physlm.interval import LEVEL, Interval, mean_of_runs
from physlm.laws import bootstrap
from physlm.laws.forms.lines import ratio_line
from physlm.laws.knowledge.capacity_models import (
    AMPLE,
    CELL,
    ITSELF,
    OVERSIZED,
    PARTS,
    SATURATED,
    UNSATURATED,
    best_of_learning_rates,
    capacity_models,
    held_out,
    mean_over_seeds,
    most_repeated,
    plain,
    published_ratio,
)
from physlm.laws.law import Law, Quantity, gives

__all__ = ["AMPLE", "CONSTANT", "OVERSIZED", "SATURATED", "UNSATURATED", "best_of_learning_rates", "capacity_law",
           "capacity_models", "published_ratio"]  # fmt: skip

RATIO = "bits/parameter"
CONSTANT = 1.25  # max R / min R of models that we call one line, 12 % to either side of their middle

NOTES = (
    (
        "One run is one trained model; n counts runs. Bits are the sum of the signed parts (names, values, strings of "
        "bioD): a negative part is by how many bits the model's own code for it is longer than the uniform one, and "
        "counts against the others."
    ),
    (
        "peak_bits_per_param/N=n: of the (size, learning rate) cells of this N with several seeds, each seed is judged "
        "at the cell that is best on the mean of the other seeds; the mean over seeds, with Student's t over them (or "
        "the interval over people, where that is wider). No run is judged that was chosen by its own number, so that "
        "the choice does not lean upwards. Without a second seed there is no peak. peak_bits_per_param: the largest "
        "over N, with an interval that knows it is one of several (lower end: that of Bonferroni intervals, with "
        "quantiles of t)."
    ),
    (
        "most_bits_per_param: the largest single run of all, which leans upwards by that choice; its interval is over "
        "people, and knows of the choice."
    ),
    (
        "bits_per_param/N=n/size: a size with several seeds, the mean over seeds; where it has several learning rates, "
        "the best, chosen on other seeds. line_bits_per_param: geometric mean over all unsaturated sizes (dataset bits "
        "/ P >= 2.5 at 1000 exposures, 1.25 at 100), each at its best learning rate, random-effects weights, bootstrap "
        "over sizes and their errors; n counts sizes."
    ),
    (
        "constancy: the largest bits / P over the smallest, with the interval of a ratio of two extremes, of the "
        "unsaturated sizes that have several seeds, if these are three or more, so that no best of single runs is held "
        "against the worst; there the best rate is one of those with most seeds. Else of all. slope_per_doubling: by "
        "how much log2(bits / P) of the same sizes rises with each doubling of N, least squares, Student's t on the "
        "residuals; 0 for a constant. constant_from_params: the smallest P from which on they differ by no more than "
        f"{CONSTANT:g} times, if they are two or more. holds_from_people: the smallest N from which on the peak's "
        "interval reaches the published ratio (2 at 1000 exposures, 1 at 100); none, where that of the largest N does "
        "not."
    ),
    (
        "saturation: learned bits / dataset bits of the largest model at each N if it is over-sized (dataset bits / P "
        "<= 1.0 at 1000 exposures, 0.5 at 100); the smallest over N; interval over people only. saturation_ample takes "
        "in every size with dataset bits / P <= 1.8 at 1000 exposures (0.9 at 100), the paper's own, stricter "
        "statement; saturation_ample_mean is their mean."
    ),
    (
        "rate_edges: how many unsaturated sizes of several learning rates are best at the smallest or the largest, so "
        "that a better one may lie outside of the grid, and their R is a lower bound."
    ),
    (
        "name_share, name_, value_ and diversity_bits_per_param, embedding_share: of the runs that the highest peak "
        "was judged on, the share of names in their bits, bits of each part per parameter, and the share of embedding "
        "rows in their parameters; interval over seeds."
    ),
)


@gives("peak_bits_per_param", "most_bits_per_param", "bits_per_param", "line_bits_per_param", "constancy",
       "slope_per_doubling", "constant_from_params", "holds_from_people", "saturation", "saturation_ample",
       "saturation_ample_mean", "rate_edges", "name_share", "embedding_share",
       *(f"{part}_bits_per_param" for part in PARTS))  # fmt: skip
def capacity_law(table: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> Law:
    """Peak, line, constancy and saturation at every number of exposures E in the table.

    Each quantity is called ``name@E``, its parts ``name@E/N=n`` and ``name@E/N=n/size``; ``NOTES`` (which travels in
    ``details["notes"]``) says of each what it is, what its interval means and what it leaves out.  What a table does
    not allow is not there: without a second seed of any cell, no peak.

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
    best, repeated = best_of_learning_rates(models), best_of_learning_rates(most_repeated(models))
    repeated = repeated[repeated["unsaturated"] & (repeated["seeds"] > 1)]
    quantities: list[Quantity] = []
    details: dict[str, Any] = {"peak": {}, "line": {}, "saturation": {}}
    edges: list[str] = []
    for exposures in sorted(models["exposures"].unique(), reverse=True):
        runs, sizes = models[models["exposures"] == exposures], best[best["exposures"] == exposures]
        at = f"@{exposures}"
        small = sizes[sizes["unsaturated"]]
        found, details["peak"][str(exposures)] = _peak(at, runs, float(published_ratio(exposures)))
        quantities += found
        quantities += _replicated(at, sizes)
        found, details["line"][str(exposures)] = _line(at, small, resamples, seed)
        alike = repeated[repeated["exposures"] == exposures]
        quantities += found + _constancy(at, alike if len(alike) > 2 else small)
        found, details["saturation"][str(exposures)] = _saturation(at, sizes, resamples, seed)
        quantities += found
        counted, said = _edges(at, small)
        quantities += counted
        edges += [said] if said else []
    details["models"] = [plain(row) for row in best.to_dict("records")]
    details["learning_rate_at_edge"] = {
        str(exposures): {"models": len(group), "at_edge": int(group["learning_rate_at_edge"].sum())}
        for exposures, group in best.groupby("exposures")
    }
    details["bootstrap"] = {"resamples": resamples, "seed": seed, "level": LEVEL}
    details["notes"] = [*NOTES, *edges]
    return Law(tuple(quantities), details)


Fit = tuple[list[Quantity], dict[str, Any]]


def _quantity(name: str, found: Interval, unit: str = "1", remark: str = "", n: int | None = None) -> list[Quantity]:
    return [Quantity.of(name, replace(found, n=n or found.n), unit, remark)]


def _peak(at: str, runs: pd.DataFrame, reference: float) -> Fit:
    """The best cell of each N, judged on other seeds; the largest of them, and what its bits are made of."""
    top = runs.loc[runs["ratio"].idxmax()]
    every = [Interval(row.ratio, min(row.lo, row.ratio), max(row.hi, row.ratio), 1) for row in runs.itertuples()]
    quantities = _quantity(f"most_bits_per_param{at}", interval.most(every), RATIO, n=len(runs))
    detail: dict[str, Any] = {"most": _named(top), "people": {}}
    peaks: dict[int, tuple[Interval, pd.DataFrame]] = {}
    for people, group in runs.groupby("people"):
        counts = group.groupby(CELL)["seed"].transform("size")
        if counts.max() < 2:
            continue
        candidates = group[counts == counts.max()]
        judged, selection = held_out(candidates, CELL)
        if selection == ITSELF or len(judged) < 2:
            continue  # the cells have too few seeds in common
        found = mean_over_seeds(judged)
        peaks[int(people)] = found, judged
        single = group.loc[group["ratio"].idxmax()]
        remark = "" if single["run"] in set(candidates["run"]) else (
            f"{single['label']} at {single['learning_rate']:g}, without other seeds, has {single['ratio']:.3g}")
        quantities += _quantity(f"peak_bits_per_param{at}/N={people}", found, RATIO, remark)
        detail["people"][str(people)] = {"judged": judged["run"].tolist(), "cells": len(candidates.groupby(CELL))}
    if peaks:
        parts = [found for found, _ in peaks.values()]
        quantities += _quantity(f"peak_bits_per_param{at}", _largest(parts), RATIO)
        quantities += _holds_from(at, {people: found for people, (found, _) in peaks.items()}, reference)
        people = max(peaks, key=lambda one: peaks[one][0].value)
        quantities += _made_of(at, peaks[people][1])
        top = peaks[people][1].iloc[0]
        detail["at"] = {**_named(top), "judged": peaks[people][1]["run"].tolist()}
    # At the edge of the sizes the knee is not bracketed: a smaller or larger model might do better still.
    params = runs.loc[runs["people"] == top["people"], "params"]
    detail["size_at_edge"] = bool(top["params"] in (params.min(), params.max()))
    return quantities, detail


def _largest(parts: list[Interval]) -> Interval:
    """The largest of k means over seeds, each with Student's t: ``interval.most``, its lower end with quantiles of t.

    The lower end is the highest lower end of the k intervals at the level 1 - 0.05 / k.
    """
    from scipy.special import stdtrit  # half a second, which the command line need not wait for at its start

    tail = (1.0 - LEVEL) / 2.0
    wider = [stdtrit(one.runs - 1, 1.0 - tail / len(parts)) / stdtrit(one.runs - 1, 1.0 - tail) for one in parts]
    lo = max(one.value - factor * one.down for one, factor in zip(parts, wider, strict=True))
    return replace(interval.most(parts), lo=float(lo), n=sum(one.n for one in parts))


def _holds_from(at: str, peaks: dict[int, Interval], reference: float) -> list[Quantity]:
    """The smallest N from which on all peaks reach the published ratio."""
    holds = None
    for people in sorted(peaks, reverse=True):
        if peaks[people].hi < reference:
            break
        holds = people
    if holds is None:
        return []
    found = Interval.exact(holds, sum(people >= holds for people in peaks))
    return _quantity(f"holds_from_people{at}", found, "people")


def _made_of(at: str, judged: pd.DataFrame) -> list[Quantity]:
    """Names and values in the bits of these runs, and embedding rows in their parameters."""

    def mean(values: pd.Series) -> Interval:
        return mean_of_runs([Interval.exact(float(value)) for value in values])

    quantities = []
    for part in PARTS:
        if judged[part].any():
            quantities += _quantity(f"{part}_bits_per_param{at}", mean(judged[part] / judged["params"]), RATIO)
    if (judged["bits"] > 0).all():
        quantities += _quantity(f"name_share{at}", mean(judged["name"] / judged["bits"]))
    return quantities + _quantity(f"embedding_share{at}", mean(judged["embedding"]))


def _replicated(at: str, sizes: pd.DataFrame) -> list[Quantity]:
    """Bits per parameter of every size that was judged on several seeds."""
    return [one for row in sizes[sizes["seeds"] > 1].itertuples()
            for one in _quantity(f"bits_per_param{at}/N={row.people}/{row.label}", _interval(row), RATIO)]


def _interval(row: Any) -> Interval:
    """The number of a row of ``best_of_learning_rates``; n counts the runs judged."""
    return Interval(float(row.ratio), min(float(row.lo), float(row.ratio)), max(float(row.hi), float(row.ratio)),
                    int(row.seeds), covers=row.covers)


def _line(at: str, small: pd.DataFrame, resamples: int, seed: int) -> Fit:
    """log bits = log R + log P with slope one: log R is the weighted mean of log(bits / P)."""
    name = f"line_bits_per_param{at}"
    # A model that learned nothing has no logarithm; it is left out here and named, and constancy still sees it.
    fitted = small[small["ratio"] > 0]
    detail: dict[str, Any] = {
        "models": fitted["run"].tolist(), "left_out": small.loc[small["ratio"] <= 0, "run"].tolist(),
        "chosen_on_itself": fitted.loc[fitted["selection"] == ITSELF, "run"].tolist(),
    }
    if fitted.empty:
        return [], detail
    found, detail["weights"] = ratio_line(name, [_interval(row) for row in fitted.itertuples()], resamples, seed)
    return _quantity(name, found, RATIO, n=len(fitted)), detail


def _constancy(at: str, small: pd.DataFrame) -> list[Quantity]:
    """How far the models that are too small for their data are from one line, and where it begins."""
    rows = small.sort_values("params")
    parts = [_interval(row) for row in rows.itertuples()]
    if len(parts) < 2:
        return []
    quantities = []
    spread = interval.ratio(interval.most(parts), interval.least(parts))
    if spread is not None:
        low, high = rows.loc[rows["ratio"].idxmin()], rows.loc[rows["ratio"].idxmax()]
        remark = (f"{low['label']} of N = {low['people']:,} has {low['ratio']:.3g}, {high['label']} of "
                  f"N = {high['people']:,} {high['ratio']:.3g}")
        quantities += _quantity(f"constancy{at}", spread, "1", remark, len(parts))
    quantities += _slope(at, rows[rows["ratio"] > 0])
    for first in sorted(rows["params"].unique()):
        ratios = rows.loc[rows["params"] >= first, "ratio"]
        if len(ratios) > 1 and ratios.min() > 0 and ratios.max() <= CONSTANT * ratios.min():
            found = Interval.exact(int(first), len(ratios))
            return quantities + _quantity(f"constant_from_params{at}", found, "parameters")
    return quantities


def _slope(at: str, rows: pd.DataFrame) -> list[Quantity]:
    """log2 R against log2 N by least squares."""
    from scipy.special import stdtrit  # half a second, which the command line need not wait for at its start

    if len(rows) < 3 or rows["people"].nunique() < 2:
        return []
    x, y = np.log2(rows["people"].to_numpy(float)), np.log2(rows["ratio"].to_numpy(float))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x @ x)))
    half = float(stdtrit(len(x) - 2, 0.5 + LEVEL / 2.0)) * error
    return _quantity(f"slope_per_doubling{at}", Interval(slope, slope - half, slope + half, len(x), covers="models"))


def _saturation(at: str, sizes: pd.DataFrame, resamples: int, seed: int) -> Fit:
    """bits / bits_max of the largest model at each N if over-sized; and of every ample model."""

    def quantity(name: str, rows: pd.DataFrame, remark: str = "") -> list[Quantity]:
        value = float(rows["fraction"].min())
        errors = (rows["error"] / rows["ratio_max"]).to_numpy()
        samples = bootstrap.perturbed_min(rows["fraction"].to_numpy(), errors, resamples,
                                          bootstrap.generator(seed, name))
        return [Quantity(name, value, *bootstrap.percentile_interval(samples, value), len(rows), "1", "items", remark)]

    largest = sizes.loc[sizes.groupby("people")["params"].idxmax()]
    over, ample = largest[largest["oversized"]], sizes[sizes["ample"]]
    quantities = []
    if len(over):
        quantities += quantity(f"saturation{at}", over)
        for people, rows in over.groupby("people"):
            quantities += quantity(f"saturation{at}/N={people}", rows)
    if len(ample):
        worst = ample.loc[ample["fraction"].idxmin()]
        remark = f"{worst['label']} of N = {worst['people']:,}, R^max {worst['ratio_max']:.2f}"
        quantities += quantity(f"saturation_ample{at}", ample, remark)
        shares = [Interval(row.fraction, row.lo / row.ratio_max, row.hi / row.ratio_max, 1)
                  for row in ample.itertuples()]
        quantities += _quantity(f"saturation_ample_mean{at}", interval.mean_of(shares), n=len(ample))
    return quantities, {"oversized": over["run"].tolist(), "ample": ample["run"].tolist(),
                        "people_without_oversized_model": largest.loc[~largest["oversized"], "people"].tolist()}


def _edges(at: str, small: pd.DataFrame) -> tuple[list[Quantity], str]:
    """How many best learning rates lie at an edge of their grid, and which, in a sentence."""
    tried = small[small["learning_rates"] > 1]
    if tried.empty:
        return [], ""
    rows = tried[tried["learning_rate_at_edge"]]
    count = _quantity(f"rate_edges{at}", Interval.exact(len(rows), len(tried)), "sizes")
    named = ", ".join(f"{row.label} of N = {row.people:,} ({row.learning_rate:g})" for row in rows.itertuples())
    return count, "" if rows.empty else f"Best learning rates at an edge of their grid{at}: {named}."


def _named(row: pd.Series) -> dict[str, Any]:
    """Which model a row is."""
    return plain({key: row[key] for key in ("run", "people", "label", "params", "learning_rate", "seed", "ratio",
                                            "ratio_max")})
