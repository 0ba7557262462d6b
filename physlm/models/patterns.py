"""Patterns of layers that see each other's tokens in different ways.  Free of torch.

    ModelConfig(layers=8, heads=4, width=256, mixer=irope(chunk=64))
    ModelConfig(layers=8, heads=4, width=256, mixer=hybrid(GatedDeltaNet(), 4))
"""

from __future__ import annotations

import dataclasses

from physlm.errors import UserError
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Mixer


def hybrid(mixer: Mixer, interval: int = 4, attention: Mixer | None = None) -> tuple[Mixer, ...]:
    """Of every ``interval`` layers the last one is softmax attention, the others are ``mixer``: a memory of fixed size,
    and now and then a look at all tokens (3 : 1 in Kimi Linear and Qwen3-Next, 7 : 1 in Jamba; arXiv 2507.06457).

    Args:
        interval: 1 is attention alone.
        attention: the layers that see all; None: without positions, which the others know by their order.
    """
    _check_interval(interval)
    return (mixer,) * (interval - 1) + (attention or Attention(rope=0.0),)


def irope(chunk: int, interval: int = 4, local: Attention | None = None) -> tuple[Attention, ...]:
    """iRoPE as Llama 4 was released: of every ``interval`` layers the last one sees all and has no positions, the
    others are rotary and see their own chunk of the row alone.

    Chunks begin with the row, so that the first token of each sees itself alone, in the middle of an answer too.  The
    temperature of the layers without positions is for inference: ``retuned(model, among="unrotated", floor=...)``.

    Args:
        chunk: tokens of a chunk; from the row's length on the rotary layers are plain.
        interval: 1 is a model without positions.
        local: other settings of the rotary layers; Llama 4 has ``Attention(rope_base=500_000.0, qk_norm="unit")``.
    """
    return _global_and(interval, dataclasses.replace(local or Attention(), chunk=chunk))


def rotary_windows(window: int, interval: int = 4, local: Attention | None = None) -> tuple[Attention, ...]:
    """RNoPE-SWA (arXiv 2501.18795): of every ``interval`` layers the last one sees all and has no positions, the others
    are rotary and see the last ``window`` tokens."""
    return _global_and(interval, dataclasses.replace(local or Attention(), window=window))


def _global_and(interval: int, local: Attention) -> tuple[Attention, ...]:
    _check_interval(interval)
    if not local.reach:
        raise UserError("chunk, window: got 0, expected at least 1 token")
    return (local,) * (interval - 1) + (Attention(rope=0.0),)


def _check_interval(interval: int) -> None:
    if interval < 1:
        raise UserError(f"interval: got {interval}, expected at least 1 layer")
