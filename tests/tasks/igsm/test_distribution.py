"""The distribution of iGSM problems: means within four standard errors of those of another implementation.

The numbers are of 20,000 problems of each set, of an implementation of the same recipe that was compared with the
released code; so the standard error of a difference is sqrt(2) times ours.  Half a unit of the last printed digit is
added.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from families import HARD, MED

from physlm.tasks.igsm import kernel
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.problem import Problem

COUNT = 20_000
SETS: dict[str, IgsmConfig] = {
    "med released": replace(MED, method="released"),
    "med": MED,
    **{f"med {op}": MED.exactly(op) for op in (15, 20, 23)},
    "hard released": replace(HARD, method="released"),
    "hard": HARD,
    **{f"hard {op}": HARD.exactly(op) for op in (21, 28, 32)},
}
# op, ip, sentences, needed totals, whether the query is a total, whether the answer is 0, draws; None: of another loop
PUBLISHED = {
    "med released": ("5.50", "9.06", "4.71", "1.20", ".405", ".122", None),
    "med": ("5.50", "9.25", "4.79", "1.20", ".381", ".122", "1.49"),
    "med 15": ("15", "10.60", "11.29", "3.43", ".541", ".134", "2.30"),
    "med 20": ("20", "11.32", "14.06", "4.57", ".570", ".147", "8.4"),
    "med 23": ("23", "11.67", "15.57", "5.29", ".593", ".156", "10.6"),
    "hard released": ("7.49", "10.96", "6.00", "1.44", ".403", ".103", None),
    "hard": ("7.49", "11.23", "6.12", "1.44", ".373", ".103", "1.62"),
    "hard 21": ("21", "13.24", "14.54", "4.12", ".539", ".109", "13"),
    "hard 28": ("28", "14.30", "18.00", "5.51", ".578", ".124", "21"),
    "hard 32": ("32", "14.97", "20.00", "6.42", ".594", ".125", "27"),
}
QUANTILES = {  # of ip, at .05 .25 .50 .75 .95
    "med released": (3, 6, 9, 12, 16), "med": (4, 6, 9, 12, 16), "med 15": (6, 8, 10, 13, 17),
    "med 20": (6, 9, 11, 14, 17), "med 23": (7, 9, 11, 14, 17), "hard released": (4, 7, 10, 15, 21),
    "hard": (4, 8, 10, 15, 21), "hard 21": (7, 9, 12, 16, 22), "hard 28": (8, 11, 14, 17, 23),
    "hard 32": (9, 12, 14, 18, 24),
}  # fmt: skip


@functools.cache
def records(name: str) -> npt.NDArray[np.void]:
    return kernel.problems(replace(SETS[name], templates="all"), np.arange(COUNT)).records_N


def queries(records_N: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    return np.take_along_axis(records_N["order"], records_N["needed"][:, None] - 1, 1)[:, 0]


def needed(records_N: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """(N, places of the order): whether the solution goes so far."""
    return np.arange(records_N["order"].shape[1]) < records_N["needed"][:, None]


def near(x_N: npt.NDArray[np.generic], published: str) -> None:
    """The mean of x is the published one, as far as both are known."""
    x_N = x_N.astype(float)
    half_a_unit = 0.5 * 10.0 ** -len(published.partition(".")[2])
    error = (2 * x_N.var() / len(x_N)) ** 0.5
    assert abs(x_N.mean() - float(published)) <= 4 * error + half_a_unit, (x_N.mean(), published, error)


@pytest.mark.parametrize("name", SETS)
def test_means_of_the_sets(name: str) -> None:
    got = records(name)
    is_total_NP = got["order"] >= got["ip"][:, None]
    value_N = np.take_along_axis(got["value"], queries(got)[:, None], 1)[:, 0]
    columns = (got["op"], got["ip"], got["needed"], (is_total_NP & needed(got)).sum(1), queries(got) >= got["ip"],
               value_N == 0, got["draws"])  # fmt: skip
    for x_N, published in zip(columns, PUBLISHED[name], strict=True):
        if published is not None:
            near(x_N, published)
    for level, quantile in zip((0.05, 0.25, 0.5, 0.75, 0.95), QUANTILES[name], strict=True):
        slack = 4 * (2 * level * (1 - level) / COUNT) ** 0.5
        assert (got["ip"] < quantile).mean() <= level + slack and (got["ip"] <= quantile).mean() >= level - slack


@pytest.mark.parametrize(("name", "most"), [("med", 15), ("med released", 15), ("hard", 21), ("hard released", 21)])
def test_op_is_the_smaller_of_two_draws(name: str, most: int) -> None:
    counts = np.bincount(records(name)["op"], minlength=most + 1)[1:]
    shares = (2 * (most - np.arange(1, most + 1)) + 1) / most**2
    assert len(counts) == most
    assert (abs(counts - COUNT * shares) < 4 * (COUNT * shares * (1 - shares)) ** 0.5 + 1).all()
    uniform = kernel.problems(replace(SETS[name], op_mix="uniform"), np.arange(4000)).records_N["op"]
    assert abs(uniform.mean() - (most + 1) / 2) < 4 * uniform.std() / 4000**0.5


def test_layers_items_and_widths() -> None:
    got = records("med released")
    # of 943 problems of the released code, so that its own standard error is what counts
    for layers, share in ((2, 0.36), (3, 0.38), (4, 0.26)):
        assert abs((got["layers"] == layers).mean() - share) < 4 * (share * (1 - share) / 943) ** 0.5 + 0.005
    assert abs(got["layers"].mean() - 2.91) < 4 * got["layers"].std() / 943**0.5 + 0.005
    items = got["sizes"].sum(1)
    assert abs(items.mean() - 8.14) < 4 * items.std() / 943**0.5 + 0.005


@pytest.mark.parametrize(("name", "published", "released"), [
    ("med released", (56, 29, 11, 4), 943), ("med 23", (36, 31, 21, 12), 106), ("hard 32", (35, 29, 23, 13), 106),
])
def test_dependencies_of_needed_instances(name: str, published: tuple[int, ...], released: int) -> None:
    got = records(name)
    counts_NE = got["count"] + (got["form"] > 0)
    orders = np.where(needed(got) & (got["order"] < got["ip"][:, None]), got["order"], -1)
    needed_NE = (orders[:, :, None] == np.arange(got["count"].shape[1])).any(1)
    for count, share in zip((1, 2, 3, 4), published, strict=True):
        of_problem = ((counts_NE == count) & needed_NE).sum(1)
        ratio = of_problem.sum() / needed_NE.sum()
        error = (of_problem - ratio * needed_NE.sum(1)).std() / needed_NE.sum(1).mean() / released**0.5
        assert abs(ratio - share / 100) < 4 * error + 0.005, (count, ratio, share, error)


@pytest.mark.parametrize(("name", "published", "share"), [
    ("med", (0.21, 0.30, 0.25, 0.14, 0.06, 0.03, 0.01), 0.46), ("med 23", None, 0.92),
    ("hard 32", (0.05, 0.15, 0.27, 0.25, 0.14, 0.07, 0.04), 0.94)])  # fmt: skip
def test_distances_to_the_query_and_share_of_the_graph(name: str, published: tuple[float, ...] | None,
                                                       share: float) -> None:  # fmt: skip
    some = [Problem(record, SETS[name]) for record in records(name)[:2000]]
    far = [problem.distance_P[list(problem.needed)] for problem in some]
    for distance, expected in enumerate(published or ()):
        of_problem = np.array([(one == distance).sum() for one in far])
        whole = np.array([len(one) for one in far])
        ratio = of_problem.sum() / whole.sum()
        error = (of_problem - ratio * whole).std() / whole.mean() / len(far) ** 0.5
        assert abs(ratio - expected) < 4 * error + 0.005, (distance, ratio, expected, error)
    on_graph = np.array([len(problem.needed) / len(problem.graph) for problem in some])
    assert abs(on_graph.mean() - share) < 4 * on_graph.std() / len(some) ** 0.5 + 0.005


@pytest.mark.parametrize(("config", "mean", "quantiles", "most", "above"), [
    (MED.exactly(20), 7.8, (1, 2, 6, 13, 20), 15, 0.18), (HARD.exactly(28), 10.4, (1, 3, 8, 16, 28), 21, 0.15),
])
def test_questions_asked_again(config: IgsmConfig, mean: float, quantiles: tuple[int, ...], most: int,
                               above: float) -> None:  # fmt: skip
    # the published numbers are of 1,500 problems
    op = kernel.problems(replace(config, reask=True, templates="all"), np.arange(COUNT)).records_N["op"]
    assert abs(op.mean() - mean) < 4 * op.std() / 1500**0.5
    assert (abs(np.quantile(op, (0.05, 0.25, 0.5, 0.75, 0.95)) - quantiles) <= 1).all()
    assert abs((op > most).mean() - above) < 4 * (above * (1 - above) / 1500) ** 0.5
    assert op.max() <= 52


def test_names_letters_and_orders_are_uniform() -> None:
    got = records("med")
    for field, most in (("categorisation", 4),):
        counts = np.bincount(got[field], minlength=most)
        assert abs(counts - COUNT / most).max() < 4 * (COUNT * 3 / 16) ** 0.5
    for layers in (2, 3, 4):
        first = got["first_layer"][got["layers"] == layers]
        counts = np.bincount(first, minlength=5 - layers)
        assert len(counts) == 5 - layers and abs(counts / len(first) - 1 / (5 - layers)).max() < 0.03
    counts = np.bincount(got["items"][:, 0, 0], minlength=20)
    assert len(counts) == 20 and abs(counts - COUNT / 20).max() < 4 * (COUNT / 20) ** 0.5
    assert len({(row[0], row[1]) for row in got["items"][:, 0, :2].tolist()}) == 380, "distinct items"
    counts = np.bincount(got["letters"][:, 0], minlength=52)
    assert len(counts) == 52 and abs(counts - COUNT / 52).max() < 4.5 * (COUNT / 52) ** 0.5
    edges = got[got["ip"] == 8]["sentences"][:, :8]
    assert (np.sort(edges, 1) == np.arange(8)).all() and abs(edges.mean(0) - 3.5).max() < 4 * 2.3 / len(edges) ** 0.5
