"""How far a change of one token reaches, layer by layer: the impulse response of a causal model.

One token of each row is replaced by another one, all others stay.  With h_l the stream after layer l (h_0: the
embedding) and h' the same of the changed rows,

    r_l(s) = |h'_l[t + s] - h_l[t + s]| / |h'_0[t] - h_0[t]|        s = 0, 1, .. tokens after the changed one, t

with root mean squares over the rows.  A Canon layer is a filter of four taps (arXiv 2512.17351): where nothing else
mixes tokens, each of its places moves r three tokens further.  Attention in windows of w moves it w - 1 tokens a layer;
attention to all tokens reaches all later ones at once, each a little.

Shape letters: M members, B rows, T positions, J layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.models.decoder import Decoder

SEEN = 1e-4  # of the change of the embedding: less is rounding


@torch.no_grad()
def impulse_response(model: Decoder, ids_MBT: Tensor, place: int) -> Tensor:
    """r of the embedding and after each layer, (M, J + 1, T - ``place``) float64; the token at ``place`` becomes the
    next one of the vocabulary.

    Raises:
        UserError: a place outside of the rows.
    """
    positions = ids_MBT.shape[-1]
    if not 0 <= place < positions:
        raise UserError(f"impulse: got the place {place}, expected 0 to {positions - 1}, a token of the rows")
    changed = ids_MBT.clone()
    changed[..., place] = (changed[..., place] + 1) % model.vocabulary
    taps = ("embedding", *(f"block.{layer}.out" for layer in range(model.config.depth)))
    both = [model.hidden(ids, taps)[1] for ids in (ids_MBT, changed)]
    moved = torch.stack([(both[1][tap].double() - both[0][tap].double())[:, :, place:] for tap in taps], 1)
    sizes = moved.square().sum(-1).mean(2).sqrt()  # (M, J + 1, T - place)
    return sizes / sizes[:, :1, :1]


def reach(response: Tensor, least: float = SEEN) -> Tensor:
    """The farthest token after the changed one at which r is at least ``least``, (M, J + 1) int64."""
    distance = torch.arange(response.shape[-1], device=response.device)
    return torch.where(response >= least, distance, 0).amax(-1)
