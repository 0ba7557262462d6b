"""Filler, and things at random places in it: what needles and facts lie among.  Importing this does not import torch.

Filler is words that mean nothing, ``<filler_1>`` .. : each of them at random (``words``), or one phrase of them all
over and over (``repeat``).  The filler of a text is cut at random places, uniform and independent, and one part (a
pair, a sentence, an edge of a graph) is put in at each.  ``fill`` does that to the questions of any task whose
vocabulary has ``filler_words`` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from physlm.config import unknown_key
from physlm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.prompts import Prompts

FILLERS = ("words", "repeat")


def filler_words(count: int) -> tuple[str, ...]:
    """Names of the words of filler."""
    return tuple(f"<filler_{i}>" for i in range(1, count + 1))


def check_filler(filler: str) -> None:
    """``UserError`` for a kind of filler that there is not."""
    if filler not in FILLERS:
        raise UserError(unknown_key("task.filler", filler, FILLERS))


def filler(kind: str, words: int, key: int, number_R: Tensor, width: int) -> Tensor:
    """Numbers of filler words below ``words``, (R, width); the phrase begins at the first position."""
    import torch

    from physlm import rng
    from physlm.tasks.playground.drawing import own_key

    if kind == "repeat":
        return (torch.arange(width, device=number_R.device) % words).expand(len(number_R), width).contiguous()
    return rng.below(words, own_key(rng.key("filler", key), number_R), torch.arange(width, device=number_R.device))


def begins(share_SU: Tensor, filler_S: Tensor, size_SU: Tensor) -> Tensor:
    """Where parts begin, (S, U): part u stands after floor(share (filler + 1)) tokens of filler and the parts before.

    Args:
        share_SU: in (0, 1) and in the order of the parts.
        filler_S: tokens of filler.
        size_SU: tokens of each part.
    """
    before_SU = (share_SU * (filler_S[..., None] + 1)).long()
    return before_SU + size_SU.cumsum(-1) - size_SU


def guessed(prompts: Prompts, first: int, after: int, key: int) -> Tensor:
    """Prompts with one of their tokens in first .. after - 1 behind them, each place as likely; (B, P + 1)."""
    import torch
    import torch.nn.functional as F

    from physlm import rng

    ids_BP, lengths_B1 = prompts.ids_BP, prompts.lengths_B[:, None]
    inside_BP = torch.arange(ids_BP.shape[1], device=ids_BP.device) < lengths_B1
    fits_BP = (ids_BP >= first) & (ids_BP < after) & inside_BP
    number_BP = fits_BP.cumsum(1)
    which_B1 = (rng.uniform(key, torch.arange(len(ids_BP), device=ids_BP.device))[:, None] * number_BP[:, -1:]).long()
    at_B1 = (fits_BP & (number_BP == 1 + which_B1)).long().argmax(1, keepdim=True)
    return F.pad(ids_BP, (0, 1)).scatter_(1, lengths_B1, ids_BP.gather(1, at_B1))


def fill(prompts: Prompts, opens_BP: Tensor, tokens: int, kind: str, words: int, first: int, key: int) -> Prompts:
    """The same questions with ``tokens`` tokens of filler in each prompt: how any problem fills a share of a window.

    Args:
        opens_BP: tokens that open a part of the prompt, a sentence, say; filler may stand only in front of these.  The
            last part of a prompt, its question, comes after all filler; so with one opening all of it is in one place.
        tokens: how many; with 0 nothing changes.
        kind, words, first: the filler, as in the module's description, and the id of its first word.
        key: of the draws; prompt i always has the same.

    Raises:
        UserError: a prompt has no place for filler, or ``tokens`` is below 0.
    """
    import torch

    from physlm import rng
    from physlm.tasks.playground.drawing import own_key

    at_P = torch.arange(prompts.ids_BP.shape[1], device=prompts.ids_BP.device)
    inside_BP = at_P < prompts.lengths_B[:, None]
    part_BP = (opens_BP & inside_BP).cumsum(1)  # 0 in front of the first one
    count_B1 = part_BP[:, -1:]
    if tokens < 0 or bool((count_B1 == 0).any()):
        raise UserError(f"fill: got {tokens} tokens of filler and prompts with {int(count_B1.min())} parts or more, "
                        "expected at least 0 tokens and 1 part")
    number_B, parts = torch.arange(len(part_BP), device=part_BP.device), int(count_B1.max())
    part_U = torch.arange(parts, device=part_BP.device)
    drawn_BU = rng.uniform(own_key(rng.key("places", key), number_B), part_U)
    drawn_BU = drawn_BU.where(part_U < count_B1 - 1, 2.0).sort(dim=1).values
    before_BU = (drawn_BU * (tokens + 1)).long().clamp_max(tokens)
    moved_BP = before_BU.gather(1, (part_BP - 1).clamp_min(0)).where(part_BP > 0, 0)
    width = len(at_P) + tokens
    ids_BW = first + filler(kind, words, key, number_B, width + 1)
    ids_BW.scatter_(1, (at_P + moved_BP).where(inside_BP, width), prompts.ids_BP)
    lengths_B = prompts.lengths_B + tokens
    beyond_BW = torch.arange(width, device=part_BP.device) >= lengths_B[:, None]
    return prompts._replace(ids_BP=ids_BW[:, :width].masked_fill(beyond_BW, 0), lengths_B=lengths_B)
