"""What an architecture of transformers is to our models, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.gated import Gated

State = dict[str, Tensor]
ACTS = {"gelu": "gelu_pytorch_tanh", "relu2": "relu2", "silu": "silu"}  # ours and theirs


@dataclass(frozen=True)
class Architecture:
    """One way to say a model of ours in transformers.

    Attributes:
        name: its ``model_type``.
        fits: whether a model has this shape.
        settings: of its config, but for those that all have.
        to_hf: weights of ours, without the axis of members, under its names.
        to_ours: and back.
        shape: the shape that a config of it has.
    """

    name: str
    fits: Callable[[ModelConfig], bool]
    settings: Callable[[ModelConfig], dict[str, Any]]
    to_hf: Callable[[ModelConfig, Mapping[str, Tensor]], State]
    to_ours: Callable[[ModelConfig, Mapping[str, Tensor]], State]
    shape: Callable[[Any], ModelConfig]


def one_kind(config: ModelConfig, *settings: str) -> bool:
    """Whether all blocks are alike and passed once, without local mixing and learnt positions, and of attention all but
    the rotation and these ``settings`` is plain."""
    mixer = config.mixer[0]
    return (len({*config.mixers}) == len({*config.mlps}) == config.loops == 1 and not config.local
            and not config.absolute and isinstance(mixer, Attention)
            and mixer == Attention(**{name: getattr(mixer, name) for name in ("rope", "rope_base", *settings)}))


def turned(weight: Tensor) -> Tensor:
    """(inputs, outputs) of ours as (outputs, inputs), and back; a gain as it is."""
    return weight if weight.dim() == 1 else weight.T


def gated(hidden: int, width: int, act: Any) -> Gated:
    """A gated MLP of so many hidden units, by the usual ratio where that has as many."""
    for mlp in (Gated(act=act), Gated(ratio=hidden / width, act=act)):
        if mlp.hidden(ModelConfig(width=width)) == hidden:
            return mlp
    raise UserError(f"import from hf: intermediate_size: got {hidden}, expected a multiple of 8")


def expect(theirs: Any, **settings: tuple[Any, ...]) -> None:
    """Raises UserError for a setting of a config of theirs that is not among those allowed."""
    for name, allowed in settings.items():
        if getattr(theirs, name) not in allowed:
            raise UserError(f"import from hf: {name}: got {getattr(theirs, name)!r}, expected "
                            f"{' or '.join(dict.fromkeys(map(repr, allowed)))}")


def rotary(theirs: Any, share: float, group: int = 1) -> Attention:
    """Of the config's ``rope_parameters``; ``share`` of a head is rotated where they do not say."""
    rotation = theirs.rope_parameters
    if rotation.get("rope_type", "default") != "default":
        raise UserError(f"import from hf: rope_type: got {rotation['rope_type']!r}, expected 'default'")
    return Attention(rope=float(rotation.get("partial_rotary_factor", share)), rope_base=float(rotation["rope_theta"]),
                     group=group)
