"""iGSM problems for tests of the checker, written by a small random writer of their own, apart from the generator.

Their distribution is nobody's; every form of sentence occurs: all forms of formulas with and without constant, totals
over one layer and over more, with one child, several and none, unneeded parameters, either place of the question.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from string import ascii_letters

from physlm.tasks.igsm.names import CATEGORISATIONS


@dataclass
class Written:
    """A problem, its shortest solution, and what a checker should find in them."""

    problem: str
    solution: str
    parameters: list[str]  # needed ones, as the solution defines them
    values: dict[str, int]  # of all parameters
    extra: list[str]  # sentences of unneeded parameters, which continue the solution as far as letters go
    operations: int  # of the solution


class Writer:
    """Draws one problem: items, edges, an order of parameters, a formula for each edge."""

    def __init__(self, rng: random.Random, modulus: int = 23, widest: int = 3, depth: int | None = None):
        self.rng, self.modulus = rng, modulus
        depth = depth or rng.randint(2, 4)
        first = rng.randint(0, 4 - depth)
        layers = rng.choice(CATEGORISATIONS).layers[first : first + depth]
        self.categories = [layer.name for layer in layers]
        self.items = [rng.sample(rng.choice(layer.groups), rng.randint(1, widest)) for layer in layers]
        self.children: dict[str, list[str]] = {item: [] for layer in self.items for item in layer}
        for above, below in zip(self.items, self.items[1:], strict=False):
            for item in below:
                for parent in rng.sample(above, rng.randint(1, len(above)) if rng.random() < 0.4 else 1):
                    self.children[parent].append(item)
        self.edges = [f"{item}'s {child}" for item, children in self.children.items() for child in children]
        self.terms: dict[str, list[tuple[str, ...]]] = {}  # of totals: what is multiplied, for each summand
        for i, layer in enumerate(self.items):
            for k in range(i + 1, depth):
                for item in layer:
                    pairs = [(f"{item}'s {child}", f"{child}'s {self.categories[k]}") for child in self.children[item]]
                    self.terms[f"{item}'s {self.categories[k]}"] = [pair[: 1 + (k > i + 1)] for pair in pairs]

    def write(self) -> Written:
        """The texts."""
        rng, modulus = self.rng, self.modulus
        values: dict[str, int] = {}
        needs: dict[str, list[str]] = {}
        formulas: dict[str, tuple[int | None, str, str]] = {}  # constant, its operator, operator between dependencies
        sentences = []
        for edge in rng.sample(self.edges, len(self.edges)):
            needs[edge] = rng.sample(list(values), rng.choice([0, 0, 1, 1, 2, 2, 3, 4])) if len(values) > 3 else []
            joined = "-" if len(needs[edge]) == 2 and rng.random() < 0.5 else "+"
            operator = rng.choice("+*") if needs[edge] and rng.random() < 0.5 else ""
            constant = rng.randrange(modulus) if operator or not needs[edge] else None
            formulas[edge] = constant, operator, joined
            sentences.append(f"The number of each {edge} equals {self._right(needs[edge], *formulas[edge])}.")
            total = sum(values[need] * (-1) ** (joined == "-" and i) for i, need in enumerate(needs[edge]))
            value = total if constant is None else constant * total if operator == "*" else constant + total
            values[edge] = value % modulus
            for parameter in sorted(self.terms, key=lambda _: rng.random()) * len(self.categories):
                parts = [part for term in self.terms[parameter] for part in term]
                if parameter not in values and all(part in values for part in parts):
                    needs[parameter] = parts
                    values[parameter] = sum(values[t[0]] * values[t[-1]] ** (len(t) - 1)
                                            for t in self.terms[parameter]) % modulus
        query = rng.choice(list(values))
        wanted = {query}
        for parameter in reversed(values):
            wanted.update(needs[parameter] if parameter in wanted else ())
        letters = iter(rng.sample(ascii_letters, 52))
        of: dict[str, str] = {}
        operations = 0
        texts: dict[bool, list[str]] = {True: [], False: []}
        for needed in (True, False):
            for parameter in values:
                if (parameter in wanted) is needed and operations < 30:
                    steps = self._steps(parameter, needs[parameter], formulas.get(parameter), letters, of, values)
                    text = "; ".join(steps)
                    texts[needed].append(f"Define {parameter} as {of[parameter]}; {text}.")
                    operations += len(steps)
                if needed and parameter == query:
                    count = operations
        rng.shuffle(sentences)
        item, child = query.split("'s ")
        question = f"How many {child} does {item} have?"
        problem = " ".join([*sentences, question] if rng.random() < 0.5 else [question, *sentences])
        return Written(problem, " ".join(texts[True]), [p for p in values if p in wanted], values, texts[False], count)

    def _right(self, needs: list[str], constant: int | None, operator: str, joined: str) -> str:
        if not needs:
            return str(constant)
        names = [f"each {need}" for need in needs]
        head = "" if constant is None else f"{constant} {'more than' if operator == '+' else 'times as much as'} "
        if joined == "-":
            return f"{head}the difference of {names[0]} and {names[1]}"
        return head + (names[0] if len(names) == 1 else f"the sum of {', '.join(names[:-1])} and {names[-1]}")

    def _steps(self, parameter, needs, formula, letters, of, values) -> list[str]:
        """The sentence's steps of a parameter; gives it its letter."""
        of[parameter] = next(letters)
        pending: list[tuple[str, str, int]] = []  # letter part, number part, value of operations

        def joined(left: tuple[str, int], operator: str, right: tuple[str, int]) -> tuple[str, int]:
            value = eval(f"{left[1]} {operator} {right[1]}") % self.modulus
            pending.append((f"{left[0]} {operator} {right[0]}", f"{left[1]} {operator} {right[1]}", value))
            names.append(next(letters))
            return names[-1], value

        names: list[str] = []
        if formula is None:
            summands = []
            for term in self.terms[parameter]:
                factors = [(of[part], values[part]) for part in term]
                summands.append(factors[0] if len(term) == 1 else joined(factors[0], "*", factors[1]))
                if len(summands) == 2:
                    summands = [joined(summands[0], "+", summands[1])]
            last = summands[0] if summands else ("", 0)
        else:
            constant, operator, between = formula
            last = (of[needs[0]], values[needs[0]]) if needs else ("", constant)
            for need in needs[1:]:
                last = joined(last, between, (of[need], values[need]))
            if operator:
                last = joined((str(constant), constant), operator, last)
        if not pending:
            return [f"so {of[parameter]} = {last[0]} = {last[1]}" if last[0] else f"so {of[parameter]} = {last[1]}"]
        names[-1] = f"so {of[parameter]}"
        return [f"{name} = {' = '.join(map(str, parts))}" for name, parts in zip(names, pending, strict=True)]


def written(seed: int, modulus: int = 23) -> Written:
    """Problem ``seed``, of at most about 30 operations, since letters end."""
    rng = random.Random(seed)
    while True:
        draw = Writer(rng, modulus).write()
        if draw.solution.count(".") == len(draw.parameters):
            return draw
