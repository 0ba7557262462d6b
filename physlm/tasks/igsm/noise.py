"""Noise in a problem: sentences that provably have nothing to do with its answer; compiled: ``compiled.noise``.

    graph   The number of each Silk Quarter's Tea House equals 5.       of another structure graph
    style   Write in green ink.                                        one of ``pieces.ORDERS``
    facts   Note that Gel Pen's Nib is at least 0.    Note that Maple Academy's Physics Lab is at most 22.

Why they are irrelevant.  The answer is a function of the sentences of the needed parameters: the query and all that it
depends on.

    graph   No item of these graphs is one of the problem's, so no needed parameter is named, and nothing that is named
            depends on one.  They are whole graphs, so that the text as a whole is a problem of several components, of
            which the question asks about one; every sentence has the form of an unneeded one (``unneeded.complete``).
    style   An order names no parameter and no number.  Tokens have no ink and no tone, so that obeying it changes
            nothing in the solution.
    facts   Bounds are told that hold of every number modulo 23, "at least 0" and "at most 22": they say nothing about
            any value.  Which parameters they are about, and which of the two it is, is drawn without a look at what is
            needed.  Values of unneeded parameters would say nothing about the answer either, but who learns that they
            are told of unneeded ones alone has a part of the plan.

Noise has random draws of its own, so the problem and its solution are the same without it.  Its sentences come in
random order and uniformly among the problem's own, which keep theirs; the question stays at its end.  ``reading``
reads it with the problem: graphs are more components of one, orders and facts are asides.

Kinds: arXiv 2504.02111 (irrelevant context, pathological orders, relevant facts, and their combination).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from physlm.tasks.draws import GOLDEN, MASK, Stream, as_share, mix
from physlm.tasks.igsm import pieces as p
from physlm.tasks.igsm.config import Noise
from physlm.tasks.igsm.draws import NOISE_STREAM
from physlm.tasks.igsm.necessary import Formula
from physlm.tasks.igsm.structure import Structure, draw_parameters, draw_structure
from physlm.tasks.igsm.unneeded import complete
from physlm.tasks.igsm.writing import Parameter, name, sentence_tokens

if TYPE_CHECKING:
    from physlm.tasks.igsm.problem import Problem

ORDER_TOKENS, FACT_TOKENS = 2, 7
LEAST_GRAPH = 14  # tokens: two edges, which a graph of two layers has at least, of constants
MISFITS = 20  # graphs without room or names, one after another, before no more are drawn

Sentence = list[str]


def sentences(problem: Problem, noise: Noise, length: int) -> list[Sentence]:
    """The sentences of a problem's text in their order, with noise among them.

    Args:
        length: tokens of the problem with its solution and answer and without noise.
    """
    own = [sentence_tokens(problem, edge) for edge in problem.sentences]
    stream = Stream(mix((int(problem.record["stream"]) * GOLDEN + NOISE_STREAM) & MASK))
    others = _draw(problem, noise, length, stream)
    mixed: list[Sentence] = []
    while own or others:
        mixed.append((own if not others or stream.below(len(own) + len(others)) < len(own) else others).pop(0))
    return mixed


def _draw(problem: Problem, noise: Noise, length: int, stream: Stream) -> list[Sentence]:
    """The sentences of noise, shuffled."""
    if noise.sentences == "none" or not stream.chance(as_share(noise.rate)):
        return []
    room = problem.config.row_tokens - length
    room = min(int(noise.share * problem.config.row_tokens), room) if noise.tokens is None else noise.tokens
    room = max(room, 0)
    if noise.amount == "uniform":
        room = stream.below(room + 1)
    drawn: list[Sentence] = []
    if noise.sentences in ("style", "all"):
        drawn += _orders(1 if noise.sentences == "all" else len(p.ORDERS), room, stream)
        room -= ORDER_TOKENS * len(drawn)
    if noise.sentences in ("facts", "all"):
        facts = _facts(problem, room // 2 if noise.sentences == "all" else room, stream)
        room -= FACT_TOKENS * len(facts)
        drawn += facts
    if noise.sentences in ("graph", "all"):
        drawn += _graphs(problem, room, stream)
    order = list(range(len(drawn)))
    stream.shuffle(order)
    return [drawn[place] for place in order]


def _orders(most: int, room: int, stream: Stream) -> list[Sentence]:
    """Different ones."""
    pool = list(range(len(p.ORDERS)))
    return [[p.ORDERS[stream.take(pool)], p.STOP] for _ in range(min(most, room // ORDER_TOKENS))]


def _facts(problem: Problem, room: int, stream: Stream) -> list[Sentence]:
    """One about each parameter of the dependency graph at most."""
    pool = sorted(problem.graph)
    facts = []
    for _ in range(min(len(pool), room // FACT_TOKENS)):
        parameter = stream.take(pool)
        told = [p.AT_LEAST, "0"] if stream.coin() else [p.AT_MOST, str(problem.modulus - 1)]
        facts.append([p.NOTE, *name(problem, parameter), *told, p.STOP])
    return facts


class _Described(NamedTuple):
    """A structure graph with names: what ``writing.sentence_tokens`` reads."""

    parameters: tuple[Parameter, ...]
    formulas: dict[int, Formula]


def _graphs(problem: Problem, room: int, stream: Stream) -> list[Sentence]:
    """Whole structure graphs under names of their own, as long as one fits."""
    names = _Names(problem, stream)
    drawn: list[Sentence] = []
    misfits = 0
    while room >= LEAST_GRAPH and misfits < MISFITS:
        structure = draw_structure(draw_parameters(problem.config, stream, 1 + stream.below(problem.config.max_op)),
                                   stream)  # fmt: skip
        if not names.allow(len(structure.sizes)):
            continue
        formulas: dict[int, Formula] = {}
        complete(structure, [], formulas, problem.config, stream)
        parameters = names.draw(structure)
        misfits += 1
        if parameters is None:
            continue
        made = [sentence_tokens(_Described(parameters, formulas), edge) for edge in range(len(structure.edges))]
        if sum(map(len, made)) > room:
            continue
        misfits = 0
        names.take()
        room -= sum(map(len, made))
        drawn += made
    return drawn


class _Names:
    """Names of other graphs: of other categorisations; where there is only one, of its other items.

    Where there is only one, these graphs keep to the layers of the problem's, so that no total of the problem's items
    reaches over a layer that is theirs alone.
    """

    def __init__(self, problem: Problem, stream: Stream):
        self.stream, self.record, self.table = stream, problem.record, p.pieces(problem.config)
        self.taken: set[tuple[int, int, int, int]] = set()  # categorisation, layer, group, number
        self.last: list[tuple[int, int, int, int]] = []
        categorisation, first = int(self.record["categorisation"]), int(self.record["first_layer"])
        for layer in range(int(self.record["layers"])):
            group, count = int(self.record["groups"][layer]), int(self.record["sizes"][layer])
            self.taken |= {(categorisation, first + layer, group, number)
                           for number in self.record["items"][layer, :count].tolist()}  # fmt: skip

    def allow(self, layers: int) -> bool:
        """Whether a graph may have so many layers."""
        return self.table.categorisations > 1 or layers <= int(self.record["layers"])

    def draw(self, structure: Structure) -> tuple[Parameter, ...] | None:
        """The parameters of a graph by name; None where too few names are left in one of its layers."""
        categorisation, first = self._layers(len(structure.sizes))
        items: list[list[str]] = []
        self.last = []
        for layer, size in enumerate(structure.sizes, first):
            free = [[number for number in range(count) if (categorisation, layer, group, number) not in self.taken]
                    for group, count in enumerate(self.table.group_sizes[categorisation][layer])]
            groups = [group for group in range(self.table.groups) if len(free[group]) >= size]
            if not groups:
                return None
            group = groups[self.stream.below(len(groups))]
            numbers = [self.stream.take(free[group]) for _ in range(size)]
            self.last += [(categorisation, layer, group, number) for number in numbers]
            items.append([self.table.item(categorisation, layer, group, number) for number in numbers])
        edges = [Parameter(items[layer][owner], items[layer + 1][owned], False)
                 for layer, owner, owned in structure.edges]
        totals = [Parameter(items[layer][owner], self.table.category(categorisation, first + deeper), True)
                  for layer, owner, deeper in structure.totals]
        return (*edges, *totals)

    def take(self) -> None:
        """The names that were drawn last are free no more."""
        self.taken.update(self.last)

    def _layers(self, layers: int) -> tuple[int, int]:
        """Categorisation and first layer."""
        own, first = int(self.record["categorisation"]), int(self.record["first_layer"])
        if self.table.categorisations == 1:
            return own, first + self.stream.below(int(self.record["layers"]) - layers + 1)
        other = self.stream.below(self.table.categorisations - 1)
        return other + (other >= own), self.stream.below(p.LAYERS - layers + 1)
