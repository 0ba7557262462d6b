"""Value embeddings: each token adds a row of a table to its values (modded-nanogpt, nanochat).  Free of torch.

    v_t <- v_t + 2 sigmoid(x_t W) E[token_t modulo rows]        a number for each head of values, times its channels

W begins at 0, where the factor is 1.

Shape letters: M members, B rows, T positions, G heads of values, k channels of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from physlm.models.parts.weight import GATE_MATRIX, LOOKED_UP, Constant, Normal, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.module import Weights


def table_weights(rows: int, width: int, heads: int, channels: int) -> tuple[Weight, ...]:
    """E and W of one layer: for activations of ``width``, and values of so many heads and channels of all together."""
    if not rows:
        return ()
    return (Weight("values", (rows, channels), Normal(), LOOKED_UP, share=1 / rows),
            Weight("value_gate", (width, heads), Constant(0.0), GATE_MATRIX))


def looked_up(w: Weights, x: Tensor, ids_MBT: Tensor, rows: int) -> Tensor:
    """What is added to the values, (M B, G, T, k) in the dtype of the table."""
    from physlm.models.cross_entropy import embedding
    from physlm.models.parts.recurrent import widened

    gate = 2 * widened(w.value_gate(x)).sigmoid()
    found = embedding(ids_MBT % rows, w.values).unflatten(-1, (-1, w.model.head_width))
    return (gate[..., None] * found).to(w.values.dtype).flatten(0, 1).transpose(1, 2)
