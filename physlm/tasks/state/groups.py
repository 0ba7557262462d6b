"""Finite groups by name: ``A5``, ``S5``, ``Z60``, and products such as ``A4xZ5``.  Free of torch.

Z n are the numbers below n under addition, S n all orders of n things, A n the even ones.  A product of permutations
applies the left one first: (a b)(x) = b(a(x)).  Element 0 is the neutral one.

By Barrington's theorem (1989) the word problem of a group that is not solvable, such as A5 and S5, is as hard as any of
NC1 under AC0 reductions, while those of solvable groups, such as Z60 and A4xZ5, are in ACC0: what arXiv 2404.08819
builds on.
"""

from __future__ import annotations

import functools
import re
from itertools import permutations
from math import factorial, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError

MOST_ELEMENTS = 1000
Table = npt.NDArray[np.int64]


class Group(NamedTuple):
    """The names of the elements and their products: ``table[a, b]`` is a b."""

    names: tuple[str, ...]
    table: Table

    @property
    def order(self) -> int:
        """How many elements there are."""
        return len(self.names)

    @property
    def inverses(self) -> Table:
        """Of each element."""
        return (self.table == 0).argmax(1)

    @property
    def abelian(self) -> bool:
        """Whether a b = b a throughout."""
        return bool((self.table == self.table.T).all())

    def derived_orders(self) -> tuple[int, ...]:
        """Orders of the group, of the subgroup that its commutators generate, of that one's, .. until they stay."""
        inside, orders = np.arange(self.order), [self.order]
        while True:
            a, b = inside[:, None], inside[None]
            commutators = self.table[self.table[self.inverses[a], self.inverses[b]], self.table[a, b]]
            inside = self.generated(np.unique(commutators))
            if len(inside) == orders[-1]:
                return tuple(orders)
            orders.append(len(inside))

    @property
    def solvable(self) -> bool:
        """Whether those orders come down to 1."""
        return self.derived_orders()[-1] == 1

    def generated(self, some: Table) -> Table:
        """The subgroup that some elements generate, sorted."""
        inside = np.unique(np.append(some, 0))
        while True:
            more = np.unique(self.table[np.ix_(inside, inside)])
            if len(more) == len(inside):
                return inside
            inside = more


@functools.cache
def group(name: str) -> Group:
    """The group of this name.

    Raises:
        UserError: there is none, or it has too many elements.
    """
    parts = [re.fullmatch(r"([ZSA])(\d{1,4})", part) for part in name.split("x")]
    found = [(part[1], int(part[2])) for part in parts if part]
    orders = [size if kind == "Z" else factorial(min(size, 9)) // (1 + (kind == "A" and size > 1))
              for kind, size in found]  # fmt: skip
    if len(found) < len(parts) or not 2 <= prod(orders) <= MOST_ELEMENTS:
        raise UserError(f"task.group: got {name!r}, expected Z, S or A and a number, such as S5, or a product of them, "
                        f"such as A4xZ5, of 2 to {MOST_ELEMENTS:,} elements")
    names, table = _factor(*found[0])
    for kind, size in found[1:]:
        other, second = _factor(kind, size)
        names = tuple(f"{one}.{two}" for one in names for two in other)
        both = table[:, None, :, None] * len(other) + second[None, :, None, :]
        table = both.reshape(len(names), len(names))
    return Group(names, table)


def _factor(kind: str, size: int) -> tuple[tuple[str, ...], Table]:
    if kind == "Z":
        numbers = np.arange(size)
        return tuple(map(str, range(size))), (numbers[:, None] + numbers) % size
    orders = np.array([*permutations(range(size))]).reshape(-1, size)
    if kind == "A":
        inversions = sum((orders[:, i] > orders[:, j]).astype(int) for i in range(size) for j in range(i + 1, size))
        orders = orders[np.broadcast_to(inversions, len(orders)) % 2 == 0]
    number = {tuple(order): place for place, order in enumerate(orders.tolist())}
    products = orders[:, orders].swapaxes(0, 1)  # [a, b, x] = b(a(x))
    table = np.array([[number[tuple(product)] for product in row] for row in products.tolist()])
    return tuple("".join(str(1 + thing) for thing in order) for order in orders.tolist()), table
