"""Expressions are the same exactly if they differ in the order of terms and factors and in idle brackets only."""

from __future__ import annotations

import pytest

from physlm.tasks.igsm.expressions import Expression, combined, leaves, normal, written

A, B, C = "Zoo's Lion", "Zoo's Bear", "Farm's Cow"


def read(text: str) -> Expression:
    """The expression of Python text over a, b, c and numbers."""

    class Part:
        def __init__(self, it: Expression):
            self.it = it

        def __add__(self, other: Part) -> Part:
            return Part(combined(self.it, "+", other.it))

        def __sub__(self, other: Part) -> Part:
            return Part(combined(self.it, "-", other.it))

        def __mul__(self, other: Part) -> Part:
            return Part(combined(self.it, "*", other.it))

    names = {"a": Part(A), "b": Part(B), "c": Part(C), **{f"n{i}": Part(i) for i in range(10)}}
    return eval("".join(f"n{sign}" if sign.isdigit() else sign for sign in text), names).it


@pytest.mark.parametrize("same", [
    ("a + b", "b + a"), ("(a + b) + c", "a + (b + c)", "c + b + a"), ("a * b * c", "a * (b * c)", "c * b * a"),
    ("5 + (a - b)", "(5 + a) - b", "5 - (b - a)", "a - (b - 5)"), ("a * (b + c)", "(c + b) * a"),
    ("a * b + c * a", "a * c + b * a"), ("a - b - c", "a - (b + c)", "a - c - b"),
])  # fmt: skip
def test_the_same(same: tuple[str, ...]) -> None:
    assert len({normal(read(text)) for text in same}) == 1


def test_different() -> None:
    texts = (
        "a", "5", "a + b", "a - b", "b - a", "a * b", "a + a", "a * a", "2 * a", "5 + a", "2 + 3 + a", "5 * a",
        "a - b + c", "a + b - c", "a - b - c", "a * b + c", "a * (b + c)", "a * b + a * c", "a + b * c", "a * b * c",
        "a + b + c", "5 * (a - b)", "5 * (b - a)", "5 * a - b", "5 - a", "0", "0 * a", "0 + a", "a - a", "a * (b - c)",
    )  # fmt: skip
    assert len({normal(read(text)) for text in texts}) == len(texts)


def test_leaves_and_words() -> None:
    expression = read("5 * (a - b) + c * a")
    assert sorted(leaves(expression), key=str) == [5, C, B, A, A]
    assert written(expression) == "5 * (Zoo's Lion - Zoo's Bear) + Farm's Cow * Zoo's Lion"
    assert [written(read(text)) for text in ("7", "a", "a - (b - c)")] == ["7", A, f"{A} - {B} + {C}"]
