"""Which person is read when: the order of the exposures, shared by every biography task.

Training reads entry 0, 1, 2, ...; entry j belongs to epoch j // N and shows the person at place j mod N of that epoch's
permutation, so that after E * N entries every person has been seen exactly E times.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from physlm import rng
from physlm.tasks.config import SPLITS as TASK_SPLITS

# The counters of a split start at its number times 2**48: two splits can never meet.
SPLITS = {split: number for number, split in enumerate(TASK_SPLITS)}
SPLIT_SIZE = 1 << 48


class Exposure(NamedTuple):
    """``person`` (E,) and ``counter`` (E,), unique to this exposure: every choice in its text is drawn from it.

    ``draw`` is which of the person's texts was asked for; training asks for none.
    """

    person_E: Tensor
    counter_E: Tensor
    draw_E: Tensor | None = None


def exposures(entry_E: Tensor, people: int, stream: int, split: str) -> Exposure:
    """Person and text counter of the given entry numbers."""
    order_key = rng.key("exposures", stream, SPLITS[split])
    person = rng.permute(entry_E % people, people, order_key, entry_E // people)
    return Exposure(person, entry_E + SPLITS[split] * SPLIT_SIZE)


def chosen(person_E: Tensor, draw_E: Tensor, people: int, split: str) -> Exposure:
    """The ``draw``-th text of a given person, for measurements over everybody."""
    return Exposure(person_E, draw_E * people + person_E + SPLITS[split] * SPLIT_SIZE, draw_E)
