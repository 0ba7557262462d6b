"""What iGSM's probes are asked, and the answers, for many problems at once (arXiv 2407.20311, section 4).

    nece(A)       A is computed in the solution; asked at the end of problem and question
    dep(A, B)     A depends on B, directly or not, A != B; asked at the end of the problem: where the question follows
                  it, before the question
    known(A)      A has been computed; this and the following are asked at a sentence's end of the solution, or before
    value(A)      its value, or the modulus where it has not been computed
    can_next(A)   A has not been computed, all that it depends on has
    nece_next(A)  can_next(A) and nece(A)

Two numbers of a parameter say what is true of it after n sentences.  ``rank`` is the number of its sentence, from 0;
``ready`` is the number of sentences after which all that it depends on has been computed; both are ``NEVER`` where that
does not happen.

    known: rank < n          can_next: ready <= n <= rank

``physlm.tasks.igsm.problem.Problem`` says the same of one problem, by its sentences.

Shape letters: B problems, P parameters (``EDGES`` edges, then totals), N sentences, R rows of a grid of questions
(places, or parameters A of dep), Q queries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from physlm import rng
from physlm.measures.igsm.settings import Kind, Population
from physlm.measures.probes import IGNORE
from physlm.tasks.igsm.config import MOST_EDGES, IgsmConfig
from physlm.tasks.igsm.pieces import LAYERS, pieces
from physlm.tasks.igsm.record import MOST_PARAMETERS

EDGES, PARAMETERS = MOST_EDGES, MOST_PARAMETERS
NEVER = PARAMETERS + 1  # later than any sentence
CELLS = 1 << 13  # more than questions about one problem
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Graphs(NamedTuple):
    """What the records of B problems say of each parameter.  An edge has its number of the record; total t has number
    ``EDGES`` + t, in every problem.

    Attributes:
        exists_BP: edges of the structure graph, and all totals.
        graph_BP: those of the dependency graph: all edges, and totals that a sentence or the query uses.
        direct_BPP: whether the first is computed from the second at once.
        rank_BP, ready_BP: see the module.
        value_BP: its value.
        names_BP2: the tokens of its owner, and of what is owned.
        query_B: the parameter that is asked for.
        needed_B: sentences of the solution.
        modulus: of all arithmetic.
    """

    exists_BP: Bools
    graph_BP: Bools
    direct_BPP: Bools
    rank_BP: Ints
    ready_BP: Ints
    value_BP: Ints
    names_BP2: Ints
    query_B: Ints
    needed_B: Ints
    modulus: int

    @property
    def nece_BP(self) -> Bools:
        """Whether the solution computes it."""
        return self.rank_BP < NEVER

    @property
    def depends_BPP(self) -> Bools:
        """Whether the first depends on the second, directly or not."""
        reach_BPP = self.direct_BPP
        while True:  # ways of up to 2, 4, .. steps, until there are no longer ones
            wide_BPP = reach_BPP.astype(np.float32)
            longer_BPP = reach_BPP | (np.matmul(wide_BPP, wide_BPP) > 0)
            if (longer_BPP == reach_BPP).all():
                return reach_BPP
            reach_BPP = longer_BPP

    @property
    def distance_BP(self) -> Ints:
        """Edges of the shortest way from the query down to it; -1 where the query does not depend on it."""
        at_B = np.arange(len(self.query_B))
        distance_BP = np.full(self.direct_BPP.shape[:2], -1)
        here_BP = np.zeros_like(distance_BP, dtype=bool)
        here_BP[at_B, self.query_B] = True
        steps = 0
        while here_BP.any():
            distance_BP[here_BP] = steps
            here_BP = (here_BP[:, :, None] & self.direct_BPP).any(1) & (distance_BP < 0)
            steps += 1
        return distance_BP


class Drawn(NamedTuple):
    """Queries that were drawn, (B, Q) each; where there were too few, the label is ``IGNORE``.

    Attributes:
        place: sentences that are read before it is asked; 0 of what is asked in the problem.
        first, second: the parameters that it names; ``second`` is -1 where there is one.
        labels: the answers.
    """

    place: Ints
    first: Ints
    second: Ints
    labels: Ints


def graphs(records_B: NDArray[Any], config: IgsmConfig) -> Graphs:
    """What records say of all parameters."""
    count, at_B1 = len(records_B), np.arange(len(records_B))[:, None]
    ip_B1, totals_B1 = (records_B[name][:, None].astype(np.int64) for name in ("ip", "totals"))
    place_P = _place(np.arange(PARAMETERS)[None], ip_B1)  # of a parameter's number in the record
    edge_BE, total_BT = np.arange(EDGES) < ip_B1, np.arange(PARAMETERS - EDGES) < totals_B1
    exists_BP = np.concatenate((edge_BE, total_BT), 1)

    def moved(field: str) -> Ints:
        """By number of the record -> by parameter as here."""
        found = np.zeros((count, PARAMETERS), np.int64)
        np.put_along_axis(found, place_P, records_B[field][:, :PARAMETERS].astype(np.int64), 1)
        return np.where(exists_BP, found, 0)

    direct_BPP = _direct(records_B, exists_BP, ip_B1)
    needed_B = records_B["needed"].astype(np.int64)
    rank_BP = np.full((count, PARAMETERS + 1), NEVER)
    order_BN = _place(records_B["order"].astype(np.int64), ip_B1)
    inside_BN = np.arange(PARAMETERS) < needed_B[:, None]
    rank_BP[at_B1, np.where(inside_BN, order_BN, PARAMETERS)] = np.where(inside_BN, np.arange(PARAMETERS), NEVER)
    rank_BP = rank_BP[:, :PARAMETERS]
    done_BP = np.minimum(rank_BP + 1, NEVER)
    ready_BP = np.where(direct_BPP, done_BP[:, None], 0).max(-1)
    query_B = order_BN[np.arange(count), needed_B - 1]
    return Graphs(exists_BP, (moved("graph") > 0) & exists_BP, direct_BPP, rank_BP, ready_BP, moved("value"),
                  _names(records_B, config), query_B, needed_B, config.modulus)


def answers(kind: Kind, g: Graphs, population: Population) -> Ints:
    """(B, R, P) the answers to all that can be asked; ``IGNORE`` where nothing can be.

    R is one row (nece), the parameter A (dep), or the sentences that have been read (the others).

    Args:
        population: the parameters asked about: those of the dependency graph, or all edges and totals.
    """
    asked_BP = g.graph_BP if population == "graph" else g.exists_BP
    if kind == "nece":
        return np.where(asked_BP, g.nece_BP, IGNORE)[:, None]
    if kind == "dep":
        allowed_BPP = asked_BP[:, :, None] & asked_BP[:, None] & ~np.eye(PARAMETERS, dtype=bool)
        return np.where(allowed_BPP, g.depends_BPP, IGNORE)
    n_N1 = np.arange(int(g.needed_B.max()) + 1)[:, None]
    rank, ready = g.rank_BP[:, None], g.ready_BP[:, None]
    known = rank < n_N1
    found = {
        "known": known, "value": np.where(known, g.value_BP[:, None], g.modulus), "can_next": (ready <= n_N1) & ~known,
        "nece_next": (ready <= n_N1) & ~known & g.nece_BP[:, None],
    }[kind]  # fmt: skip
    return np.where(asked_BP[:, None] & (n_N1 <= g.needed_B[:, None, None]), found, IGNORE)


def positive(kind: Kind, labels: Ints, modulus: int) -> Bools:
    """Which of two groups of labels a label is in: true; of values, known."""
    return labels != modulus if kind == "value" else labels == 1


def classes(kind: Kind, modulus: int) -> int:
    """Answers that there are."""
    return modulus + 1 if kind == "value" else 2


def draw(kind: Kind, g: Graphs, numbers_B: Ints, queries: int, key: int, population: Population,
         balanced: bool) -> Drawn:  # fmt: skip
    """At most ``queries`` different questions about each problem, uniformly of all that can be asked.

    Args:
        numbers_B: of the problems; the draws are a pure function of key and number.
        balanced: half of them of each group of labels, as far as there are so many.
    """
    grid_BRP = answers(kind, g, population)
    labels_BC = grid_BRP.reshape(len(grid_BRP), -1)
    asked_BC = labels_BC != IGNORE
    if balanced:
        yes_BC = positive(kind, labels_BC, g.modulus)
        parts = [(asked_BC & yes_BC, (queries + 1) // 2), (asked_BC & ~yes_BC, queries // 2)]
    else:
        parts = [(asked_BC, queries)]
    chosen = [_chosen(some_BC, most, key, numbers_B) for some_BC, most in parts]
    cells_BQ, there_BQ = (np.concatenate(both, 1) for both in zip(*chosen, strict=True))
    labels_BQ = np.where(there_BQ, np.take_along_axis(labels_BC, cells_BQ, 1), IGNORE)
    row_BQ, parameter_BQ = np.divmod(cells_BQ, PARAMETERS)
    if kind == "dep":
        return Drawn(np.zeros_like(row_BQ), row_BQ, parameter_BQ, labels_BQ)
    return Drawn(row_BQ, parameter_BQ, np.full_like(row_BQ, -1), labels_BQ)


def _chosen(some_BC: Bools, most: int, key: int, numbers_B: Ints) -> tuple[Ints, Bools]:
    """The numbers of the first true cells of each row by their draws, (B, ``most``), and which of these are there.

    Where a row has fewer, the numbers are 0.  Only true cells are drawn for, as few cells are true.
    """
    row_N, cell_N = np.nonzero(some_BC)
    order_N = np.lexsort((rng.host_uniform(key, numbers_B[row_N] * CELLS + cell_N), row_N))  # by row, then by draw
    place_N = np.arange(len(row_N)) - np.searchsorted(row_N, row_N)  # within the row
    first_N = place_N < most
    chosen_BQ, there_BQ = np.zeros((len(some_BC), most), np.int64), np.zeros((len(some_BC), most), np.bool_)
    where = row_N[first_N], place_N[first_N]  # rows in order stay as they are
    chosen_BQ[where], there_BQ[where] = cell_N[order_N][first_N], True
    return chosen_BQ, there_BQ


def _place(number: Ints, ip: Ints) -> Ints:
    """A parameter's number in the record as it is here: a permutation, numbers that no parameter has included."""
    totals = PARAMETERS - EDGES
    return np.where(number < ip, number, np.where(number - ip < totals, EDGES + number - ip, number - totals))


def _direct(records_B: NDArray[Any], exists_BP: Bools, ip_B1: Ints) -> Bools:
    """(B, P, P): whether the first is computed from the second at once."""
    count = len(records_B)
    direct_BPP = np.zeros((count, PARAMETERS, PARAMETERS), dtype=bool)
    needs_BE4 = _place(records_B["dependencies"].astype(np.int64), ip_B1[..., None])
    there_BE4 = np.arange(4) < records_B["count"][..., None]
    there_BE4 &= exists_BP[:, :EDGES, None]
    b, e, _ = np.nonzero(there_BE4)
    direct_BPP[b, e, needs_BE4[there_BE4]] = True
    (e_layer, e_owner, e_owned), (t_layer, t_owner, t_deeper) = (
        np.moveaxis(records_B[name].astype(np.int64), -1, 0) for name in ("edge", "total"))
    # an edge of the total's owner, and what its child has in the same deeper layer
    of_owner_BTE = ((e_layer[:, None] == t_layer[..., None]) & (e_owner[:, None] == t_owner[..., None])
                    & exists_BP[:, None, :EDGES] & exists_BP[:, EDGES:, None])  # fmt: skip
    direct_BPP[:, EDGES:, :EDGES] = of_owner_BTE
    of_child_BET = (e_layer[..., None] + 1 == t_layer[:, None]) & (e_owned[..., None] == t_owner[:, None])
    through_BTT = np.matmul(of_owner_BTE.astype(np.float32), of_child_BET.astype(np.float32)) > 0
    same_BTT = t_deeper[..., None] == t_deeper[:, None]
    direct_BPP[:, EDGES:, EDGES:] = through_BTT & same_BTT & exists_BP[:, None, EDGES:]
    return direct_BPP


def _names(records_B: NDArray[Any], config: IgsmConfig) -> Ints:
    """Tokens of owner and owned, (B, P, 2)."""
    table = pieces(config)
    firsts = np.array(table.first_items)  # (categorisation, layer, group)
    at_B1, kind_B1 = np.arange(len(records_B))[:, None], records_B["categorisation"][:, None].astype(np.int64)
    first_B1 = records_B["first_layer"][:, None].astype(np.int64)

    def item(layer: Ints, number: Ints) -> Ints:
        layer = np.minimum(layer, LAYERS - 1)
        begin = firsts[kind_B1, np.minimum(first_B1 + layer, LAYERS - 1), records_B["groups"][at_B1, layer]]
        found: Ints = begin + records_B["items"][at_B1, layer, number]
        return found

    (e_layer, e_owner, e_owned), (t_layer, t_owner, t_deeper) = (
        np.moveaxis(records_B[name].astype(np.int64), -1, 0) for name in ("edge", "total"))
    owner_BP = np.concatenate((item(e_layer, e_owner), item(t_layer, t_owner)), 1)
    category_BT = table.first_category + LAYERS * kind_B1 + first_B1 + t_deeper
    owned_BP = np.concatenate((item(e_layer + 1, e_owned), category_BT), 1)
    return np.stack((owner_BP, owned_BP), -1)
