"""The recurrences by name, each in its forms: for whole rows, cut into chunks, and for one token more."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from physlm.models.recurrences.chunks import Chunked
from physlm.models.recurrences.decayed import decayed, decayed_chunks, decayed_step
from physlm.models.recurrences.delta import delta, delta_chunks, delta_step


class Core(NamedTuple):
    """Each takes q, k, v and the gates of the recurrence; ``step`` also the memory, which it gives back moved on."""

    rows: Callable[..., tuple[Tensor, Tensor]]
    chunks: Callable[..., Chunked]
    step: Callable[..., tuple[Tensor, Tensor]]


CORES = {"decayed": Core(decayed, decayed_chunks, decayed_step), "delta": Core(delta, delta_chunks, delta_step)}
