"""The text of an iGSM problem, read back into its graph: with the tables of names, without the generator's records.

    The number of each Zoo's Lion equals 7 more than each Farm's Cow. ... How many Lion does Zoo have?

Every sentence describes one edge of the structure graph, an instance parameter: items of neighbouring layers, and the
formula of their number.  Totals ("Zoo's Animal", Animal the category of a deeper layer) are not described; they follow
from the edges: over the next layer the sum of the item's edges, over a deeper one the sum over its children of edge
times the child's total, and 0 for an item without children.  Sentences that describe no edge are kept as asides: those
that do not begin with "The number of each", and facts about totals, which add nothing to the edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from physlm.errors import UserError
from physlm.tasks.igsm.expressions import Expression, Product, added, combined, evaluated

if TYPE_CHECKING:
    from physlm.tasks.igsm.names import Categorisation

MODULUS = 23
DESCRIBES = "The number of each "
ASKS = "How many "


class NotAProblem(UserError):
    """A text that does not read as an iGSM problem, with the part that does not fit and what was expected there."""


class Formula(NamedTuple):
    """How a parameter is computed."""

    expression: Expression
    needs: tuple[str, ...]  # the parameters in it
    operators: str  # those in it, one character each


class Names:
    """Where each name stands: (categorisation, layer) of all items and of all categories."""

    def __init__(self, categorisations: Sequence[Categorisation]):
        self.items: dict[str, tuple[int, int]] = {}
        self.categories: dict[str, tuple[int, int]] = {}
        for c, categorisation in enumerate(categorisations):
            for i, layer in enumerate(categorisation.layers):
                self.categories[layer.name] = c, i
                self.items |= dict.fromkeys((item for group in layer.groups for item in group), (c, i))


class Graph:
    """Edges, formulas and query of one problem.

    Attributes:
        query: the parameter that is asked for, such as ``"Zoo's Lion"``.
        described: instance parameter -> formula, in the order of the sentences.
        children: item -> its children, as far as it has any.
        needed: the query and all that it depends on, each after its own needs.
        asides: sentences that describe no edge.
    """

    def __init__(self, names: Names, query: str, described: dict[str, Formula], asides: tuple[str, ...]):
        self.query, self.described, self.asides = query, described, asides
        self.children: dict[str, list[str]] = {}
        self._names = names
        self._items: set[str] = set()  # the items that occur
        self._totals: dict[str, Formula | None] = {}
        for edge in described:
            item, _, child = edge.partition("'s ")
            self.children.setdefault(item, []).append(child)
            self._items.add(child)
        self._items.update(self.children)
        self._layers = {names.items[item] for item in self._items}
        for edge, formula in described.items():
            for parameter in formula.needs:
                if parameter not in described:
                    self._admit(parameter, f"'{edge}' is computed from")
        self._admit(query, "the question asks for")
        self.needed = self._order()

    def formula(self, parameter: str) -> Formula | None:
        """The formula of an instance parameter or total; None for what is no parameter of this problem."""
        found = self.described.get(parameter)
        if found is None and parameter not in self._totals:
            self._totals[parameter] = self._total(parameter)
        return found or self._totals[parameter]

    def value(self, modulus: int) -> int:
        """The answer."""
        values: dict[str, int] = {}
        for parameter in self.needed:
            formula = self.formula(parameter)
            assert formula is not None, parameter
            values[parameter] = evaluated(formula.expression, values) % modulus
        return values[self.query]

    def _total(self, parameter: str) -> Formula | None:
        item, _, category = parameter.partition("'s ")
        if item not in self._items or category not in self._names.categories:
            return None
        kind, layer = self._names.items[item]
        target = self._names.categories[category]
        if target[0] != kind or target[1] <= layer or target not in self._layers:
            return None
        children = self.children.get(item, ())
        edges = [f"{item}'s {child}" for child in children]
        if target[1] == layer + 1:
            return Formula(added(list[Expression](edges)), tuple(edges), "+" * (len(edges) - 1))
        totals = [f"{child}'s {category}" for child in children]
        products: list[Expression] = [Product(pair) for pair in zip(edges, totals, strict=True)]
        return Formula(added(products), (*edges, *totals), "*" * len(edges) + "+" * (len(edges) - 1))

    def _admit(self, parameter: str, where: str) -> None:
        """A total in the text makes its item occur, though it may have no edge; whatever else is no parameter."""
        item, _, category = parameter.partition("'s ")
        if item in self._names.items and category in self._names.categories:
            self._items.add(item)
        if self.formula(parameter) is None:
            raise NotAProblem(f"problem: {where} '{clip(parameter)}', expected a described parameter, or an item's "
                              "total over a deeper layer of the problem")

    def _order(self) -> tuple[str, ...]:
        """Depth first from the query, without recursion: a text may hold a chain of any length."""
        order: dict[str, None] = {}
        open_: dict[str, Iterator[str]] = {self.query: iter(self._needs(self.query))}
        while open_:
            parameter, needs = next(reversed(open_.items()))
            for need in needs:
                if need in open_:
                    raise NotAProblem(f"problem: '{need}' depends on itself, expected formulas without a circle")
                if need not in order:
                    open_[need] = iter(self._needs(need))
                    break
            else:
                order[parameter] = None
                del open_[parameter]
        return tuple(order)

    def _needs(self, parameter: str) -> tuple[str, ...]:
        formula = self.formula(parameter)
        assert formula is not None, parameter
        return formula.needs


class Reader:
    """Reads problems written with given names, modulo ``modulus``."""

    def __init__(self, categorisations: Sequence[Categorisation], modulus: int = MODULUS):
        self.names = Names(categorisations)
        self.modulus = modulus
        self.numbers = {str(value): value for value in range(modulus)}

    def read(self, text: str) -> Graph:
        """The problem of a text, question first or last.

        Raises:
            NotAProblem: there is no question or more than one, a sentence about a number does not read, two sentences
                describe one parameter differently, or the query hangs on something that the text does not give.
        """
        before, asks, after = text.partition(ASKS)
        question, mark, behind = after.partition("?")
        if not asks or not mark or ASKS in behind:
            count = text.count(ASKS)
            raise NotAProblem(f"problem: {count} questions in '{clip(text)}', expected one: 'How many B does A have?'")
        words, verb, rest = question.partition(" does ")
        item, have, end = rest.rpartition(" have")
        if not verb or not have or end:
            raise NotAProblem(f"problem: '{ASKS}{clip(question)}?', expected 'How many B does A have?'")
        described: dict[str, Formula] = {}
        asides = []
        for sentence in [*before.split("."), *behind.split(".")]:
            sentence = sentence.strip()
            edge, formula = self._description(sentence) if sentence.startswith(DESCRIBES) else ("", None)
            if formula is not None:
                if described.setdefault(edge, formula) != formula:
                    raise NotAProblem(f"problem: '{edge}' is described twice, expected one formula for a parameter")
            elif sentence:
                asides.append(sentence)
        return Graph(self.names, f"{item}'s {words}", described, tuple(asides))

    def _description(self, sentence: str) -> tuple[str, Formula | None]:
        """Parameter and formula; no formula for a total, whatever is said about it."""
        edge, equals, right = sentence[len(DESCRIBES):].partition(" equals ")
        item, _, child = edge.partition("'s ")
        above, below = self.names.items.get(item), self.names.items.get(child)
        formula = self._formula(right)
        if formula is not None and above is not None and child in self.names.categories:
            return edge, None
        if not equals or above is None or below is None or formula is None or below != (above[0], above[1] + 1):
            unknown = [name for name, place in ((item, above), (child, below)) if place is None]
            expected = ("'The number of each A's B equals ...', with a formula" if not equals or formula is None
                        else f"a name of the tables for '{clip(unknown[0])}'" if unknown
                        else "an item and one of the next deeper layer")
            raise NotAProblem(f"problem: '{clip(sentence)}.', expected {expected}")
        return edge, formula

    def _formula(self, right: str) -> Formula | None:
        """What stands after "equals"; None where it does not read."""
        value = self.numbers.get(right)
        if value is not None:
            return Formula(value, (), "")
        head, more, rest = right.partition(" more than ")
        if not more:
            head, times, rest = right.partition(" times as much as ")
            if not times:
                head, rest = "", right
        minus = False
        if rest.startswith("the sum of "):
            front, joined, last = rest[11:].rpartition(" and ")
            names = [*front.split(", "), last]
        elif rest.startswith("the difference of "):
            first, joined, last = rest[18:].partition(" and ")
            names, minus = [first, last], True  # exactly two
        else:
            names, joined = [rest], " and "
        if not joined or len(set(names)) < len(names):
            return None
        if not all([name.startswith("each ") and "'s " in name and "," not in name for name in names]):
            return None
        needs = tuple([name[5:] for name in names])
        body = combined(needs[0], "-", needs[1]) if minus else added(needs)
        operators = "-" if minus else "+" * (len(needs) - 1)
        if not head:
            return Formula(body, needs, operators)
        value = self.numbers.get(head)
        if value is None:
            return None
        operator = "+" if more else "*"
        return Formula(combined(value, operator, body), needs, operator + operators)


def clip(text: str, most: int = 80) -> str:
    """A text as messages quote it: its beginning, where it is long."""
    return text if len(text) <= most else text[:most] + " ..."
