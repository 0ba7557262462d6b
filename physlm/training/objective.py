"""What a row is trained on: the next token, or tokens that were hidden.

Shape letters: R rows, T positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm import rng
from physlm.tasks.rows import IGNORE, Rows


def masked_rows(rows: Rows, index_R: Tensor, rate: float, vocabulary: int, key: int) -> Rows:
    """Predict a random ``rate`` of all scored tokens from what is around them (arXiv 1810.04805, section 3.1).

    Of the chosen tokens 80 % are shown as the mask token, whose id is ``vocabulary``, 10 % as a random token and 10 %
    as they are.  Padding is never chosen; where answers alone are scored, nothing else is.

    Args:
        rows: next-token rows, of which the inputs are read.
        index_R: the rows' numbers; with ``key`` they decide all draws.

    Returns:
        Inputs, and targets that are ``IGNORE`` wherever nothing is to be predicted.
    """
    tokens = rows.inputs_RT
    counter = index_R[:, None] * tokens.shape[1] + torch.arange(tokens.shape[1], device=tokens.device)
    draw = rng.uniform(key, 2 * counter)
    # The target of a place is the token one place on, so whether a token is scored stands one place before it.  That of
    # the first token stands nowhere; it is chosen where the second may be: a window of running text may begin anywhere.
    scored = F.pad((rows.targets_RT != IGNORE)[:, :-1], (1, 0))
    scored[:, 0] = rows.targets_RT[:, 0] != IGNORE
    chosen = (draw < rate) & scored
    shown = torch.where(draw < 0.8 * rate, vocabulary, tokens)
    other = rng.below(vocabulary, key, 2 * counter + 1)
    shown = torch.where((draw >= 0.8 * rate) & (draw < 0.9 * rate), other, shown)
    return Rows(torch.where(chosen, shown, tokens), torch.where(chosen, tokens, IGNORE))


def hidden_rows(rows: Rows, vocabulary: int) -> Rows:
    """Predict all tokens that next-token rows score, every one shown as the mask token, whose id is ``vocabulary``.

    So an encoder learns to answer questions: of an answer nothing is to be seen but its length (GBERT of arXiv
    2309.14316).  A token that only follows the inputs is left out.

    Returns:
        Inputs, and targets that are ``IGNORE`` wherever nothing is to be predicted.
    """
    tokens = rows.inputs_RT
    scored = F.pad(rows.targets_RT[:, :-1] != IGNORE, (1, 0))  # a target is the token one place on
    return Rows(tokens.masked_fill(scored, vocabulary), torch.where(scored, tokens, IGNORE))
