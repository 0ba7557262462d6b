"""What a model keeps of the rows that it is reading: the states of its blocks.

``Decoder.remember`` gives an empty one, ``read`` and ``step`` fill it; ``Block.kept`` says what the state of a block
consists of.  A state is a dictionary of tensors by place and name, and of such dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from physlm.models.parts.part import Kept, Mixer


class Reading(NamedTuple):
    """What a model keeps of the rows that it is reading, for up to L ``positions``.

    Attributes:
        states, kept: of each block, at each pass: tensors by place and name, and what they are.
        shared: what each kind of mixer has once for all its blocks.
    """

    positions: int
    states: tuple[dict[str, Any], ...]
    kept: tuple[dict[str, Any], ...]
    shared: dict[Mixer, tuple[Tensor, ...]]

    def upto(self, positions: int) -> Reading:
        """The first positions, in the same storage: a step at an early one need not look at all."""
        states = tuple(narrowed(*pair, positions) for pair in zip(self.states, self.kept, strict=True))
        return self._replace(positions=positions, states=states)

    def clear(self) -> None:
        """Forget what was read, for rows that begin with ``step``; ``read`` begins anew by itself."""
        for state in self.states:
            cleared(state)


def cleared(state: Mapping[str, Any]) -> None:
    """Set a state to zeros, in its storage."""
    for one in state.values():
        if isinstance(one, Tensor):
            one.zero_()
        else:
            cleared(one)


def narrowed(state: Mapping[str, Any], kept: Mapping[str, Any], positions: int) -> dict[str, Any]:
    """The first positions of a state, in the same storage."""
    found: dict[str, Any] = {}
    for name, one in state.items():
        how = kept[name]
        if isinstance(how, Kept):
            found[name] = one if how.axis is None else one.narrow(2 + how.axis, 0, min(positions, how.shape[how.axis]))
        else:
            found[name] = narrowed(one, how, positions)
    return found
