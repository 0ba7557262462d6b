"""One problem: parameters by name, dependencies, values, texts, template, and what probes are asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from physlm.tasks.igsm import noise as noises
from physlm.tasks.igsm import writing
from physlm.tasks.igsm.chains import shortened
from physlm.tasks.igsm.config import Chain, IgsmConfig, Noise, Retry
from physlm.tasks.igsm.necessary import Formula
from physlm.tasks.igsm.pieces import ALPHABET, ANSWER, BOS, PROBLEM, SOLUTION, join, pieces
from physlm.tasks.igsm.writing import Parameter

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a record says, by name.  Parameters are numbers, as ``record`` explains; P is how many there are.

    Attributes:
        record: one item of ``record.RECORD``.
        config: the family; of its settings modulus, names, order and retry are used.
    """

    record: Any
    config: IgsmConfig

    @property
    def op(self) -> int:
        """Operations of the solution, which is its number of semicolons."""
        return int(self.record["op"])

    @property
    def ip(self) -> int:
        """Instance parameters, which is the number of sentences of the problem's text."""
        return int(self.record["ip"])

    @property
    def modulus(self) -> int:
        """Of all arithmetic."""
        return self.config.modulus

    @cached_property
    def layers(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Category and items of each layer of the structure graph, from the containing to the contained."""
        record, table = self.record, pieces(self.config)
        categorisation, first = int(record["categorisation"]), int(record["first_layer"])
        return tuple(
            (table.category(categorisation, first + layer),
             tuple(table.item(categorisation, first + layer, int(record["groups"][layer]), place)
                   for place in record["items"][layer, : int(record["sizes"][layer])].tolist()))
            for layer in range(int(record["layers"])))  # fmt: skip

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All edges, then all totals."""
        categories, items = zip(*self.layers, strict=True)
        edges = (Parameter(items[layer][owner], items[layer + 1][owned], False)
                 for layer, owner, owned in self.record["edge"][: self.ip].tolist())  # fmt: skip
        totals = (Parameter(items[layer][owner], categories[deeper], True)
                  for layer, owner, deeper in self.record["total"][: int(self.record["totals"])].tolist())
        return (*edges, *totals)

    def is_total(self, parameter: int) -> bool:
        """Whether it is an abstract parameter."""
        return parameter >= self.ip

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All parameters, each after its dependencies, those of the solution first."""
        return tuple(self.record["order"][: self.ip + int(self.record["totals"])].tolist())

    @property
    def needed(self) -> tuple[int, ...]:
        """The parameters of the solution, in its order."""
        return self.order[: int(self.record["needed"])]

    @property
    def query(self) -> int:
        """The parameter that is asked for."""
        return self.needed[-1]

    @cached_property
    def graph(self) -> frozenset[int]:
        """The parameters of the dependency graph: all edges, and the totals that a sentence or the query uses."""
        return frozenset(np.flatnonzero(self.record["graph"]).tolist())

    @property
    def values(self) -> tuple[int, ...]:
        """The value of each parameter."""
        return tuple(self.record["value"][: len(self.order)].tolist())

    @property
    def answer(self) -> int:
        """The query's value."""
        return self.values[self.query]

    @property
    def sentences(self) -> tuple[int, ...]:
        """The edges in the order of the problem's text."""
        return tuple(self.record["sentences"][: self.ip].tolist())

    @property
    def letters(self) -> tuple[str, ...]:
        """In the order in which the solution introduces them."""
        return tuple(ALPHABET[letter] for letter in self.record["letters"][: self.op].tolist())

    @cached_property
    def formulas(self) -> Mapping[int, Formula]:
        """How each edge is computed, as its sentence says."""
        record = self.record
        columns = (record[field][: self.ip].tolist() for field in ("dependencies", "count", "form", "constant",
                                                                   "difference"))  # fmt: skip
        return {edge: Formula(dependencies[:count], form, constant, bool(difference)) for edge,
                (dependencies, count, form, constant, difference) in enumerate(zip(*columns, strict=True))}  # fmt: skip

    @cached_property
    def children(self) -> Mapping[int, tuple[tuple[int, int | None], ...]]:
        """The terms of each total: an edge, alone or times the child's total."""
        edges = self.record["edge"][: self.ip].tolist()
        totals = self.record["total"][: int(self.record["totals"])].tolist()
        number = {tuple(total): self.ip + place for place, total in enumerate(totals)}
        return {me: tuple((edge, number.get((layer + 1, child, deeper))) for edge, (above, by, child)
                          in enumerate(edges) if (above, by) == (layer, owner))
                for (layer, owner, deeper), me in number.items()}  # fmt: skip

    @cached_property
    def direct(self) -> Mapping[int, frozenset[int]]:
        """What each parameter is computed from at once: named in its sentence, or implicit needs of a total."""
        named = {edge: frozenset(made.dependencies) for edge, made in self.formulas.items()}
        implicit = {total: frozenset(part for term in terms for part in term if part is not None)
                    for total, terms in self.children.items()}  # fmt: skip
        return {**named, **implicit}

    def text(self, order: Literal["pq", "qp"] | None = None, noise: Noise | None = None) -> str:
        """The problem: its sentences, and the question last (pq) or first (qp); by default as in the settings.

        With noise where ``noise`` is given; all but graphs needs words that the family's vocabulary may not have.
        """
        return join(writing.problem_tokens(self, order or self.config.order, self._sentences(noise or Noise())))

    def solution(self, retry: Retry | None = None, chain: Chain | None = None) -> str:
        """The solution; with wrong starts where ``retry`` is given; shorter where ``chain`` is."""
        tokens = writing.solution_tokens(self, retry)[0]
        return join(shortened(tokens, chain, int(self.record["stream"])) if chain else tokens)

    def template(self) -> str:
        """The text whose SHA-256 the papers take: the solution without names and numbers."""
        return writing.template(self)

    def wrong_starts(self, retry: Retry) -> list[list[int]]:
        """The parameters that wrong starts name, before each sentence of the solution."""
        return writing.wrong_starts(self, retry)

    def tokens(self) -> tuple[list[str], list[bool]]:
        """``<bos> <problem> P <solution> S <answer> v``, with noise and wrong starts and shortened as in the settings;
        which of them are no targets."""
        solution, lost = self._written
        problem = writing.problem_tokens(self, self.config.order, self._sentences(self.config.noise))
        before = [BOS, PROBLEM, *problem, SOLUTION]
        return [*before, *solution, ANSWER, str(self.answer)], [*[False] * len(before), *lost, False, False]

    @cached_property
    def _written(self) -> tuple[list[str], list[bool]]:
        """The family's solution, and which of its tokens are no targets."""
        tokens, lost = writing.solution_tokens(self, self.config.retry)
        if self.config.chain.drop == "none":
            return tokens, lost
        short = shortened(tokens, self.config.chain, int(self.record["stream"]))
        return short, [False] * len(short)  # of whole chains alone some are no targets

    def _sentences(self, noise: Noise) -> list[list[str]]:
        """Those of the problem's text in their order; noise has what room the rest leaves."""
        own = [writing.sentence_tokens(self, edge) for edge in self.sentences]
        if noise.sentences == "none":
            return own
        around = [BOS, PROBLEM, *writing.problem_tokens(self, "pq", own), SOLUTION, *self._written[0], ANSWER, "7"]
        return noises.sentences(self, noise, len(around))

    def ids(self) -> list[int]:
        """``tokens`` as token ids."""
        return pieces(self.config).vocabulary.encode(self.tokens()[0])

    # What probes are asked: P all edges and all totals (``graph`` says which are on the dependency graph), N sentences
    # of the solution, place 0 before the first of them.

    @cached_property
    def dep_PP(self) -> Bools:
        """Whether the first parameter depends on the second one, directly or not."""
        dep_PP = np.zeros((len(self.order), len(self.order)), dtype=bool)
        for parameter in self.order:
            for before in self.direct[parameter]:
                dep_PP[parameter] |= dep_PP[before]
                dep_PP[parameter, before] = True
        return dep_PP

    @cached_property
    def nece_P(self) -> Bools:
        """Whether the solution computes the parameter."""
        nece_P = np.zeros(len(self.order), dtype=bool)
        nece_P[list(self.needed)] = True
        return nece_P

    @cached_property
    def graph_P(self) -> Bools:
        """Whether the parameter is on the dependency graph."""
        return np.asarray(self.record["graph"][: len(self.order)], dtype=bool)

    @cached_property
    def known_NP(self) -> Bools:
        """(N + 1, P): whether the parameter has been computed after n sentences."""
        known_NP = np.zeros((len(self.needed) + 1, len(self.order)), dtype=bool)
        for done, parameter in enumerate(self.needed):
            known_NP[done + 1 :, parameter] = True
        return known_NP

    @cached_property
    def can_next_NP(self) -> Bools:
        """(N + 1, P): whether it is not computed yet, and all that it depends on is."""
        direct_PP = np.zeros((len(self.order), len(self.order)), dtype=int)
        for parameter, before in self.direct.items():
            direct_PP[parameter, list(before)] = 1
        missing_NP = (~self.known_NP).astype(int) @ direct_PP.T
        return ~self.known_NP & (missing_NP == 0)

    @property
    def nece_next_NP(self) -> Bools:
        """(N + 1, P): ``can_next`` and ``nece``."""
        return self.can_next_NP & self.nece_P

    @property
    def value_NP(self) -> Ints:
        """(N + 1, P): the value of what has been computed, the modulus for what has not."""
        return np.where(self.known_NP, np.array(self.values), self.modulus)

    @cached_property
    def distance_P(self) -> Ints:
        """Edges of the shortest way from the query down to the parameter; -1 where the query does not depend on it."""
        distance_P = np.full(len(self.order), -1)
        here, steps = {self.query}, 0
        while here:
            distance_P[list(here)] = steps
            here = {before for parameter in here for before in self.direct[parameter] if distance_P[before] < 0}
            steps += 1
        return distance_P
