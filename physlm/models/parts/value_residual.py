"""Value residual: the values of the first layer, mixed into those of each later one (ResFormer, arXiv 2410.17897).

    fixed     v_l <- (1 - s) v_l + s v_1              s in [0, 1]; 0: plain attention, 1: the values of the first
    learnt    v_l <- l_1 v_1 + l_2 v_l                l_1, l_2 of each layer, which begin at s and 1 - s

s = 1/2 is the paper's fixed form up to the scale of ``out``; s = 1 in all layers is its SVFormer, but that here each
layer still keeps values of its own.  v_1 are the values as attention uses them, before any mixing; a token of later
layers needs those of its own place alone, so that nothing more is kept for generation.  Layers that are looped: the
first layer never mixes, and v_1 are those of its first pass.

Shape letters: M members, B rows, T positions, G heads of values, k channels of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from physlm.models.parts.weight import GAIN, Given, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.module import Weights


def residual_weights(share: float, learnt: bool) -> tuple[Weight, ...]:
    """l_1 and l_2 of one layer."""
    return (Weight("value_residual", (2,), Given((share, 1 - share)), GAIN),) * learnt


def mixed_values(w: Weights, own_NGTk: Tensor, first_MBGTk: Tensor, share: float, learnt: bool) -> Tensor:
    """The values of a later layer, (M B, G, T, k) in their dtype."""
    from physlm.models.parts.recurrent import widened

    first, own = widened(first_MBGTk), widened(own_NGTk).unflatten(0, first_MBGTk.shape[:2])
    if not learnt:
        mixed = own.lerp(first, share)
    elif w.members == 1:  # no axes of one: see module.per_member
        mixed = w.value_residual[0, 0] * first + w.value_residual[0, 1] * own
    else:
        of_first, of_own = w.value_residual[:, :, None, None, None, None].unbind(1)
        mixed = of_first * first + of_own * own
    return mixed.to(own_NGTk.dtype).flatten(0, 1)
