"""Formulas of iGSM as expression trees, compared exactly.

An expression is a parameter ("Zoo's Lion", a string), a constant (an integer), a sum of signed terms, or a product of
factors.  Sums of sums are one sum and products of products one product, so brackets that change nothing are gone:
(a + b) + c, a + (b + c) and c + (b + a) are the same expression, and so are 5 + (a - b), (5 + a) - b and 5 - (b - a).
Nothing is multiplied out and nothing is computed: 5 * (a + b) is not 5 * a + 5 * b, and 3 + (4 + a) is not 7 + a.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Sum(NamedTuple):
    """Terms, each with True where it is subtracted."""

    terms: tuple[tuple[bool, Expression], ...]


class Product(NamedTuple):
    """Factors."""

    factors: tuple[Expression, ...]


Expression = str | int | Sum | Product
OPERATORS = ("+", "-", "*")


def combined(left: Expression, operator: str, right: Expression) -> Expression:
    """``left operator right``, flattened."""
    if operator == "*":
        return Product(_factors(left) + _factors(right))
    terms = _terms(right)
    if operator == "-":
        terms = tuple([(not minus, term) for minus, term in terms])
    return Sum(_terms(left) + terms)


def added(parts: tuple[Expression, ...] | list[Expression]) -> Expression:
    """The sum of parts that are no sums themselves; one part alone is itself, none is 0."""
    if len(parts) < 2:
        return parts[0] if parts else 0
    return Sum(tuple([(False, part) for part in parts]))


def normal(expression: Expression) -> str:
    """A string that two expressions share exactly if they are the same up to the order of terms and factors."""
    if isinstance(expression, str):
        return expression
    if isinstance(expression, int):
        return str(expression)
    if isinstance(expression, Sum):
        return "(" + " ".join(sorted([("-" if minus else "+") + normal(e) for minus, e in expression.terms])) + ")"
    return "[" + "*".join(sorted([normal(factor) for factor in expression.factors])) + "]"


def leaves(expression: Expression) -> Iterator[str | int]:
    """Parameters and constants, each as often as it stands there."""
    if isinstance(expression, Sum):
        for _, term in expression.terms:
            yield from leaves(term)
    elif isinstance(expression, Product):
        for factor in expression.factors:
            yield from leaves(factor)
    else:
        yield expression


def evaluated(expression: Expression, values: Mapping[str, int]) -> int:
    """Its value, of the parameters' values."""
    if isinstance(expression, Sum):
        return sum([-evaluated(e, values) if minus else evaluated(e, values) for minus, e in expression.terms])
    if isinstance(expression, Product):
        return math.prod([evaluated(factor, values) for factor in expression.factors])
    return expression if isinstance(expression, int) else values[expression]


def written(expression: Expression) -> str:
    """For readers: ``5 * (Zoo's Lion - Farm's Cow)``."""
    if isinstance(expression, Sum):
        signs = [" - " if minus else " + " for minus, _ in expression.terms]
        parts = [f"({written(e)})" if isinstance(e, Sum) else written(e) for _, e in expression.terms]
        return parts[0] + "".join(sign + part for sign, part in zip(signs[1:], parts[1:], strict=True))
    if isinstance(expression, Product):
        return " * ".join(f"({written(e)})" if isinstance(e, Sum) else written(e) for e in expression.factors)
    return str(expression)


def _terms(expression: Expression) -> tuple[tuple[bool, Expression], ...]:
    return expression.terms if isinstance(expression, Sum) else ((False, expression),)


def _factors(expression: Expression) -> tuple[Expression, ...]:
    return expression.factors if isinstance(expression, Product) else (expression,)
