"""Which settings of ``Attention`` are refused: those that mean nothing, and those that do not fit a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from physlm.errors import UserError

if TYPE_CHECKING:
    from physlm.models.config import ModelConfig
    from physlm.models.parts.attention import Attention

# what an encoder cannot have: it counts tokens before the query
_CAUSAL = {"bias": "none", "window": 0, "chunk": 0, "log_n": False, "floor": 0}


def check_settings(mixer: Attention) -> None:
    """Raise UserError where they mean nothing in any model."""
    if not 0.0 <= mixer.rope <= 1.0:
        raise UserError(f"model.mixer.rope: got {mixer.rope}, expected a share from 0 to 1 of a head's dimensions")
    if not 0.0 < mixer.rope_heads <= 1.0:
        raise UserError(f"model.mixer.rope_heads: got {mixer.rope_heads}, expected a share of the heads, above 0 "
                        "and at most 1; rope=0 turns none")
    for name in ("rope_base", "scale"):
        if not getattr(mixer, name) > 0:
            raise UserError(f"model.mixer.{name}: got {getattr(mixer, name)}, expected a number above 0")
    for name, none in (("window", "all tokens before are seen"), ("chunk", "there are no chunks"),
                       ("floor", "the scale does not grow"), ("value_rows", "values are of the activations alone")):
        if getattr(mixer, name) < 0:
            raise UserError(f"model.mixer.{name}: got {getattr(mixer, name)}, expected at least 1 token, or 0, "
                            f"where {none}")
    if not 0.0 <= mixer.value_residual <= 1.0:
        raise UserError(f"model.mixer.value_residual: got {mixer.value_residual}, expected a share from 0 to 1")
    if mixer.group < 1:
        raise UserError(f"model.mixer.group: got {mixer.group}, expected at least 1")
    if mixer.window and mixer.chunk:
        raise UserError(f"model.mixer.window, model.mixer.chunk: got {mixer.window} and {mixer.chunk}, expected one "
                        "of them to be 0")


def check_within(mixer: Attention, model: ModelConfig) -> None:
    """Raise UserError where they do not fit the model."""
    turned = mixer.turned_heads(model)
    if mixer.rope and (mixer.dims(model) % 2 or not mixer.dims(model)):
        raise UserError(f"model.mixer.rope: got {mixer.rope} of {model.head_width} dimensions a head, expected an "
                        "even number of rotated dimensions, at least 2, or 0")
    if abs(model.heads * mixer.rope_heads - turned) > 1e-6 or not turned:
        raise UserError(f"model.mixer.rope_heads: got {mixer.rope_heads} of {model.heads} heads, expected a whole "
                        "number of heads, at least 1")
    if model.heads % mixer.group or turned % mixer.group:
        those = "" if mixer.rope_heads == 1 else f", and {turned}, those that are turned"
        raise UserError(f"model.mixer.group: got {mixer.group}, expected a number that divides {model.heads}, the "
                        f"heads{those}")
    if mixer.bias == "hard_alibi" and model.heads < 2:
        raise UserError("model.mixer.bias: got hard_alibi, of half of the heads, with 1 head; expected at least 2 "
                        "heads")
    if model.absolute and mixer.reach > model.absolute:
        name = "window" if mixer.window else "chunk"
        raise UserError(f"model.mixer.{name}: got {mixer.reach}, expected at most {model.absolute}, the rows of the "
                        "table of absolute positions")
    for name, none in _CAUSAL.items():
        if not model.causal and getattr(mixer, name) != none:
            raise UserError(f"model.causal: got false with model.mixer.{name}={getattr(mixer, name)}, which is "
                            "about earlier tokens; expected true")
