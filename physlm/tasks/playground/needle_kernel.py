"""Rows of needles by a compiled loop on a CPU: the bits that ``Needle`` computes with tensors on other devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.tasks.compiled import SOURCES, Call, entry, part, stamp
from physlm.tasks.compiled_rng import (
    UNIFORM_BITS,
    as_uniform,
    below,
    bits,
    distinct,
    keys_of,
    sort,
    uniform,
    uniform_bits,
    work,
)
from physlm.tasks.draws import TEXTS
from physlm.tasks.playground.needle import AROUND, BOS, FIRST_KEY, QUERY

if TYPE_CHECKING:
    from physlm.tasks.playground.needle import NeedleConfig

HERE = Path(__file__).parent


class Settings(NamedTuple):
    """Of the task, as compiled code takes them; ``fillers`` is below 0 where one phrase is repeated."""

    shortest: int
    longest: int
    fewest: int
    most: int
    keys: int
    values: int
    fillers: int


class Keys(NamedTuple):
    """Of the draws of a split and stream, by their names."""

    filler: Any
    window: Any
    needle: Any
    keys: Any
    values: Any
    places: Any
    distractors: Any


def rows(config: NeedleConfig, index_R: npt.NDArray[np.int64], key: int
         ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    """Texts after another in each row, (R, T + 1), and the targets of its first T tokens, -1 but for answers.

    Args:
        key: of all draws of a split and stream.
    """
    fillers = config.fillers if config.filler == "words" else -config.fillers
    settings = Settings(*config.windows, config.least, config.distractors, config.keys, config.values, fillers)
    ids_RW = np.zeros((len(index_R), config.row_tokens + 1), np.int64)
    targets_RT = np.full((len(index_R), config.row_tokens), -1)
    found = np.zeros(settings.most + 1, np.int64)
    _ENTRY(settings, keys_of(Keys, key), index_R, ids_RW, targets_RT, found, work(max(settings.keys, len(found))))
    return ids_RW, targets_RT


@part
def _write_filler(c: Any, key: Any, index: Any, ids: Any) -> None:
    first, own = FIRST_KEY + c.keys + c.values, bits(key, index)
    for place in range(len(ids)):
        ids[place] = first + (below(c.fillers, own, place) if c.fillers > 0 else place % -c.fillers)


@part
def _write(c: Any, k: Any, text: Any, begin: Any, window: Any, ids: Any, found: Any, m: Any) -> None:
    """The text that begins there, as far as the row has room for it."""
    others = c.most
    if c.fewest < c.most:
        room = min(window // 2 - 1, c.most)
        others = c.fewest + np.int64(uniform(k.distractors, text) * (room - c.fewest + 1))
    needle = below(c.keys, k.needle, text)
    distinct(m, found, others, c.most, c.keys - 1, bits(k.keys, text))
    places, values = bits(k.places, text), bits(k.values, text)
    for one in range(others + 1):
        m.value[one] = uniform_bits(places, one)
    sort(m, others + 1, UNIFORM_BITS)
    end, first = begin + window + AROUND, FIRST_KEY + c.keys
    for rank in range(others + 1):
        one = m.order[rank]
        before = np.int64(as_uniform(m.value[one]) * (window - 2 * others - 1))
        at = begin + 1 + before + 2 * rank
        key = needle if one == 0 else found[one - 1] + (needle <= found[one - 1])
        if at < len(ids):
            ids[at] = FIRST_KEY + key
        if at + 1 < len(ids):
            ids[at + 1] = first + below(c.values, values, one)
    ids[begin] = BOS
    if end - 3 < len(ids):
        ids[end - 3] = QUERY
    if end - 2 < len(ids):
        ids[end - 2] = FIRST_KEY + needle
    if end - 1 < len(ids):
        ids[end - 1] = first + below(c.values, values, 0)


def _make(stamped: int) -> Call:
    def fill(c: Any, k: Any, index_R: Any, ids_RW: Any, targets_RT: Any, found: Any, m: Any) -> None:
        for row in range(len(index_R)):
            ids, begin, text = ids_RW[row], 0 * stamped, index_R[row] * TEXTS
            _write_filler(c, k.filler, index_R[row], ids)
            while begin < len(ids):
                window = c.shortest + below(c.longest - c.shortest + 1, k.window, text)
                _write(c, k, text, begin, window, ids, found, m)
                begin, text = begin + window + AROUND, text + 1
                if begin <= len(ids):
                    targets_RT[row, begin - 2] = ids[begin - 1]

    return fill


_ENTRY = entry(_make, stamp((*SOURCES, HERE / "needle.py", HERE / "needle_kernel.py")))
