"""Rows of copies by a compiled loop on a CPU: the bits that ``Copy`` computes with tensors on other devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.tasks.compiled import SOURCES, Call, entry, part, stamp
from physlm.tasks.compiled_rng import below, bits, distinct, keys_of, sort, work
from physlm.tasks.playground.copying import BOS, FIRST_WORD, ORDER_BITS, QUERY

if TYPE_CHECKING:
    from physlm.tasks.playground.copying import CopyConfig

HERE = Path(__file__).parent
_LEFT_OUT = np.uint64(64 - ORDER_BITS)


class Settings(NamedTuple):
    """Of the task, as compiled code takes them."""

    shortest: int
    longest: int
    words: int


class Keys(NamedTuple):
    """Of the draws of a split and stream, by their names."""

    length: Any
    order: Any
    first: Any
    words: Any


def rows(config: CopyConfig, index_R: npt.NDArray[np.int64], key: int
         ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    """Instances after another in each row, (R, T + 1), and the targets of its first T tokens, -1 but for answers.

    Args:
        key: of all draws of a split and stream.
    """
    settings = Settings(config.shortest or config.length, config.length, config.words)
    ids_RW = np.zeros((len(index_R), config.row_tokens + 1), np.int64)
    targets_RT = np.full((len(index_R), config.row_tokens), -1)
    _ENTRY(settings, keys_of(Keys, key), index_R, ids_RW, targets_RT, np.arange(config.length), work(config.words))
    return ids_RW, targets_RT


@part
def _write(c: Any, length: Any, from_: Any, begin: Any, ids: Any, targets: Any, words: Any, m: Any) -> None:
    """Words in the order of ``m``, <query>, and the words again."""
    ids[begin] = BOS
    query = begin + 1 + length
    if query < len(ids):
        ids[query] = QUERY
    for rank in range(min(length, len(ids) - begin - 1)):
        word = FIRST_WORD + words[(m.order[rank] + from_) % c.longest]
        ids[begin + 1 + rank] = word
        again = query + 1 + rank
        if again < len(ids):
            ids[again] = targets[again - 1] = word


def _make(stamped: int) -> Call:
    def fill(c: Any, k: Any, index_R: Any, ids_RW: Any, targets_RT: Any, words: Any, m: Any) -> None:
        listed = (ids_RW.shape[1] + c.longest) // 2  # as ``Copy`` has it: of the last instance not all words need be
        for row in range(len(index_R)):
            ids, targets, index = ids_RW[row], targets_RT[row], index_R[row]
            lengths, order, firsts = bits(k.length, index), bits(k.order, index), bits(k.first, index)
            if c.longest < c.words:
                distinct(m, words, c.longest, c.longest, c.words, bits(k.words, index))
            begin = number = place = 0 * stamped
            while begin < len(ids):
                length = c.shortest + below(c.longest - c.shortest + 1, lengths, number)
                from_ = below(c.longest, firsts, number) if c.shortest < c.longest else 0
                here = min(length, listed - place)
                for one in range(here):
                    m.value[one] = bits(order, place + one) >> _LEFT_OUT
                sort(m, here, ORDER_BITS)
                _write(c, length, from_, begin, ids, targets, words, m)
                begin, number, place = begin + 2 * length + 2, number + 1, place + length

    return fill


_ENTRY = entry(_make, stamp((*SOURCES, HERE / "copying.py", HERE / "copying_kernel.py")))
