"""Rows of Mano by a compiled loop on a CPU: the bits that ``Mano`` computes with tensors on other devices.

An expression is written from left to right.  A position with operations under it draws how many its first operand has,
which tells where the second operand begins; from right to left, values follow from those of both operands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physlm.tasks.compiled import SOURCES, Call, entry, stamp
from physlm.tasks.compiled_rng import below, uniform, unsigned

BOS_TO_EXPRESSION, AROUND = 2, 5  # tokens before an expression, and beside its 2 l operators and operands


def written(row_R: npt.NDArray[np.int64], width: int, limits: tuple[int, int], ids: tuple[int, int],
            keys: tuple[int, int, int, int]) -> npt.NDArray[np.int64]:  # fmt: skip
    """Instances after another in each row, (R, W).

    Args:
        row_R: the first counter of each row.
        limits: the most operations, and the modulus.
        ids: of the value 0, and the one before <len_1>.
        keys: of the draws of lengths, splits, operations and values.
    """
    ids_RW = np.zeros((len(row_R), width), np.int64)
    _ENTRY(row_R, ids_RW, *limits, *ids, unsigned(keys))
    return ids_RW


def _make(stamped: int) -> Call:
    def fill(row_R: Any, ids_RW: Any, most: Any, modulus: Any, zero: Any, markers: Any, keys: Any) -> None:
        # of each token of one expression: operations under it, where its second operand begins, operation, and value
        work = np.zeros((4 + 0 * stamped, 2 * most + 3), np.int64)
        under, second, operation, value = work[0], work[1], work[2], work[3]
        for r in range(len(ids_RW)):
            ids, row, begin, number = ids_RW[r], row_R[r], 0, 0
            while begin < len(ids):
                length = 1 + below(most, keys[0], row + number)
                base, size = begin + BOS_TO_EXPRESSION, 2 * length + 1
                ids[begin] = 0
                if begin + 1 < len(ids):
                    ids[begin + 1] = markers + length
                under[0] = length
                for place in range(min(size, len(ids) - base)):
                    counter = row + base + place
                    if under[place] == 0:
                        second[place], value[place] = 0, below(modulus, keys[3], counter)
                        ids[base + place] = zero + value[place]
                        continue
                    first = np.int64(uniform(keys[1], counter) * under[place])
                    second[place] = place + 2 + 2 * first
                    under[place + 1], under[second[place]] = first, under[place] - 1 - first
                    operation[place] = below(3, keys[2], counter)
                    ids[base + place] = 1 + operation[place]
                if base + size < len(ids):
                    ids[base + size] = markers + most + length
                if base + size + 1 < len(ids):
                    for place in range(size - 1, -1, -1):
                        if second[place] > 0:
                            a, b = value[place + 1], value[second[place]]
                            found = a + b if operation[place] == 0 else a - b if operation[place] == 1 else a * b
                            value[place] = (found + modulus) % modulus
                    ids[base + size + 1] = zero + value[0]
                begin += 2 * length + AROUND
                number += 1

    return fill


_ENTRY = entry(_make, stamp((*SOURCES, Path(__file__))))
