"""The generator in plain Python: the oracle that the compiled one (``kernel``) is held against, bit for bit.

    problem = generate(FAMILIES["med"], stream_key(FAMILIES["med"], "train"), 7)
    problem.text(), problem.solution()

One problem: op is drawn; then, until a solution with op operations and a template of the split is there,

    parameters -> structure graph -> necessary part -> its order -> dependencies      (``structure``, ``necessary``)

where an order that fails draws the structure graph again with the same parameters, up to 1,000 times, and
everything else that does not fit draws the parameters again, with the same op.  Then come the unneeded part
(``unneeded``), names, values, the order of the sentences and letters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from physlm.errors import UserError
from physlm.tasks.draws import GOLDEN, MASK, Stream, mix
from physlm.tasks.igsm.config import BINS, LETTERS, SPLIT_FROM, IgsmConfig
from physlm.tasks.igsm.draws import MOST_DRAWS, TEMPLATE_SALT, TRIES
from physlm.tasks.igsm.necessary import Formula, arrange, choose, depend, reachable
from physlm.tasks.igsm.pieces import LAYERS, Pieces, pieces
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.record import RECORD
from physlm.tasks.igsm.structure import Structure, draw_parameters, draw_structure
from physlm.tasks.igsm.unneeded import ask_again, complete, on_graph


def generate(config: IgsmConfig, key: int, index: int, split: str = "train") -> Problem:
    """Problem number ``index`` of the stream ``key`` (``draws.stream_key``).

    Raises:
        UserError: no such problem was found, as where a split's bins hold no template of so few operations.
    """
    stream = Stream.of(key, index)
    record = np.zeros((), RECORD)
    record["stream"] = stream.state
    op = _draw_op(config, stream) if config.op is None else config.op
    found = _draw_problem(config, op, split, stream)
    if found is None:
        raise no_problem(config, op, split)
    record["draws"], record["bin"], record["template"] = found.draws, found.bin, found.template
    _write_graph(record, found)
    _draw_names(record, pieces(config), stream)
    sentences = list(range(len(found.structure.edges)))
    stream.shuffle(sentences)
    letters = list(range(LETTERS))
    operations = found.operations
    drawn = [stream.take(letters) if config.letter_order == "random" else at for at in range(operations)]
    record["op"], record["ip"], record["totals"] = operations, len(sentences), len(found.structure.totals)
    record["sentences"][: len(sentences)] = sentences
    record["letters"][:operations] = drawn
    return Problem(record, config)


def no_problem(config: IgsmConfig, op: int | None, split: str) -> UserError:
    """The error for settings under which no problem is found."""
    return UserError(f"iGSM: {MOST_DRAWS:,} graphs gave no problem of op = {op or 'the one drawn'} of the split "
                     f"{split!r} with {config.title}; expected a larger task.max_ip, a smaller op, or "
                     f"task.templates=all where op is below {SPLIT_FROM}")


def _draw_op(config: IgsmConfig, stream: Stream) -> int:
    if config.op_mix == "uniform":
        return 1 + stream.below(config.max_op)
    return 1 + min(stream.below(config.max_op), stream.below(config.max_op))


class Found(NamedTuple):
    """A problem without its names and the order of its sentences."""

    structure: Structure
    order: list[int]
    whole: list[int]
    graph: set[int]
    formulas: dict[int, Formula]
    values: dict[int, int]
    draws: int
    template: int
    bin: int

    @property
    def operations(self) -> int:
        """Those of the solution."""
        return sum(operations(self.structure, self.formulas, parameter) for parameter in self.order)


def _draw_problem(config: IgsmConfig, op: int, split: str, stream: Stream) -> Found | None:
    draws = 0
    while draws < MOST_DRAWS:
        s = op
        if config.method == "released" and config.op is None:
            s = _draw_op(config, stream)
            while s < op:  # the graph has at most s operations
                s = _draw_op(config, stream)
        parameters = draw_parameters(config, stream, s)
        for _ in range(TRIES):
            draws += 1
            structure = draw_structure(parameters, stream)
            arranged = arrange(structure, choose(structure, parameters, stream), stream)
            if arranged is not None:
                break
        else:
            continue
        order, feeds = arranged
        if reachable(structure, order, s) != op:
            continue
        formulas = depend(structure, order, feeds, op, config, stream)
        template = template_hash(structure, formulas, order)
        if not config.reask and bin_of(template) not in config.bins(split, op):
            continue
        whole = complete(structure, order, formulas, config, stream)
        graph = on_graph(structure, order, formulas)
        if config.reask:
            order, whole = ask_again(structure, whole, graph, formulas, stream)
            template = template_hash(structure, formulas, order)
            again = sum(operations(structure, formulas, parameter) for parameter in order)
            if again > LETTERS or bin_of(template) not in config.bins(split, again):
                continue
        values = _values(structure, formulas, whole, config.modulus)
        return Found(structure, order, whole, graph, formulas, values, draws, template, bin_of(template))
    return None


def operations(structure: Structure, formulas: dict[int, Formula], parameter: int) -> int:
    """max(1, dependencies - 1), RNG being one of them."""
    if structure.is_total(parameter):
        return structure.cost[parameter]
    made = formulas[parameter]
    return max(1, len(made.dependencies) + (made.form > 0) - 1)


def template_hash(structure: Structure, formulas: dict[int, Formula], order: list[int]) -> int:
    """64 bits of what the template says: of each sentence its kind, its form, and the sentences that it depends on.

    Two solutions have equal hashes where their templates are the same text (``Problem.template``).  The papers take
    the SHA-256 of that text; the bins here are as many and as large, but others.
    """
    place = {parameter: at for at, parameter in enumerate(order)}
    state = TEMPLATE_SALT
    for parameter in order:
        if structure.is_total(parameter):
            terms = structure.children[parameter]
            head = 1 + 2 * (len(terms) > 0 and structure.level(parameter) > 1)
            parts = [part for term in terms for part in term if part is not None]
        else:
            made = formulas[parameter]
            head, parts = 4 + 2 * made.form + made.difference, made.dependencies
        for number in (head, len(parts), *(place[part] for part in parts)):
            state = mix((state + (number + 1) * GOLDEN) & MASK)
    return state


def bin_of(template: int) -> int:
    """The bin of a template's hash, uniform in 0 .. 22."""
    return ((template >> 21) * BINS) >> 43


def _values(structure: Structure, formulas: dict[int, Formula], whole: list[int], modulus: int) -> dict[int, int]:
    values: dict[int, int] = {}
    for parameter in whole:
        if structure.is_total(parameter):
            terms = structure.children[parameter]
            values[parameter] = sum(values[edge] * (1 if total is None else values[total])
                                    for edge, total in terms) % modulus  # fmt: skip
        else:
            values[parameter] = formulas[parameter].value(values, modulus)
    return values


def _write_graph(record: np.ndarray, found: Found) -> None:
    """Structure, order, formulas and values as the record has them."""
    structure = found.structure
    record["layers"] = len(structure.sizes)
    record["sizes"][: len(structure.sizes)] = structure.sizes
    record["edge"][: len(structure.edges)] = structure.edges
    record["total"][: len(structure.totals)] = structure.totals
    record["needed"] = len(found.order)
    record["order"][: len(found.whole)] = found.whole
    record["graph"][sorted(found.graph)] = 1
    for parameter, value in found.values.items():
        record["value"][parameter] = value
    for edge, made in found.formulas.items():
        record["form"][edge], record["constant"][edge], record["difference"][edge] = (
            made.form, made.constant, made.difference)  # fmt: skip
        record["count"][edge] = len(made.dependencies)
        record["dependencies"][edge, : len(made.dependencies)] = made.dependencies


def _draw_names(record: np.ndarray, table: Pieces, stream: Stream) -> None:
    """A categorisation, consecutive layers of it, and one group a layer, with distinct items; all uniform."""
    layers = int(record["layers"])
    record["categorisation"] = categorisation = stream.below(table.categorisations)
    record["first_layer"] = first = stream.below(LAYERS - layers + 1)
    for layer in range(layers):
        record["groups"][layer] = group = stream.below(table.groups)
        pool = list(range(table.group_sizes[categorisation][first + layer][group]))
        for item in range(record["sizes"][layer]):
            record["items"][layer, item] = stream.take(pool)
