"""Compiled shorter solutions; the twin is ``physlm.tasks.igsm.chains``."""

from __future__ import annotations

from typing import Any

import numpy as np

from physlm.tasks.compiled import part
from physlm.tasks.compiled_draws import below, mix
from physlm.tasks.draws import GOLDEN
from physlm.tasks.igsm.compiled.layout import NO_DEFINE, NO_NAMES, NO_SUMS
from physlm.tasks.igsm.draws import CHAIN_STREAM
from physlm.tasks.igsm.pieces import AS, DEFINE, ID, OWNS, SEMICOLON, SO, STOP

_GOLDEN, _CHAIN_STREAM = np.uint64(GOLDEN), np.uint64(CHAIN_STREAM)
_AS, _DEFINE, _OWNS, _SEMICOLON, _SO, _STOP = (ID[token] for token in (AS, DEFINE, OWNS, SEMICOLON, SO, STOP))


@part
def mark_dropped(c: Any, w: Any, r: Any, ids: Any, gone: Any) -> None:
    """Which of the ``w.at`` tokens of a solution are left out, in ``gone``."""
    for at in range(w.at):
        gone[at] = c.chain != NO_NAMES and c.chain != NO_SUMS and (ids[at] == _DEFINE or ids[at] == _AS)
    if c.chain != NO_DEFINE and c.chain != NO_SUMS:
        _drop_names(w, ids, gone)
    if c.chain != NO_DEFINE and c.chain != NO_NAMES:
        _drop_sums(w, ids, gone)
    if c.chain_at_random:
        left = 0
        for at in range(w.at):
            left += gone[at]
        w.state = mix(r.stream * _GOLDEN + _CHAIN_STREAM)
        for at in range(w.at):
            gone[at] = below(w, w.at - at) < left
            left -= gone[at]


@part
def _drop_names(w: Any, ids: Any, gone: Any) -> None:
    for at in range(w.at):
        if ids[at] == _OWNS:
            for name in (at - 1, at + 1):
                for earlier in range(name):
                    if ids[earlier] == ids[name]:
                        gone[name] = gone[at] = 1
                        break


@part
def _drop_sums(w: Any, ids: Any, gone: Any) -> None:
    first = so = -1
    for at in range(w.at):
        if ids[at] == _SEMICOLON and first < 0:
            first = at
        elif ids[at] == _SO:
            so = at
        elif ids[at] == _STOP:
            for place in range(first + 1, so):
                gone[place] = 1
            for place in range(so + 3, at - 1):
                gone[place] = 1
            first = -1
