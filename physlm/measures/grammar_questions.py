"""The questions that Part 1 puts to hidden states: a token's ancestors, and where subtrees end (arXiv 2305.13673).

    targets = grammar_targets(sizes, levels=(1, 2))
    batch = grammar_labels(ids, tokens, ancestors, boundaries, levels=(1, 2))      # for ``physlm.measures.probes``

Shape letters: B sentences, W positions, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.probe_heads import Mask
from physlm.measures.probes import IGNORE, Labelled, Target


def grammar_targets(sizes: Sequence[int], levels: Sequence[int], mask: Mask | None = None) -> list[Target]:
    """The questions of Part 1 about some levels of a layered grammar: ``s<l>`` ancestor symbol, ``b<l>`` subtree end.

    Args:
        sizes: the number of symbols of every level of the grammar, the root's first.
        levels: which levels, counted from 0 (the root's); names count from 1 as the papers do.
        mask: as in ``Target``; a mask that is given is put behind the names, ``s2 diagonal``.
    """
    tail = f" {mask}" if mask else ""
    ancestors = [Target(f"s{level + 1}{tail}", sizes[level], "ancestors", mask) for level in levels]
    return ancestors + [Target(f"b{level + 1}{tail}", 2, "boundaries", mask) for level in levels]


def grammar_labels(
    ids_BW: Tensor, token_BW: Tensor, ancestors_LBW: Tensor, boundaries_LBW: Tensor, levels: Sequence[int],
    ends_only: bool = False,
) -> Labelled:  # fmt: skip
    """Sentences with the answers to ``grammar_targets``.

    The subset to report on its own is, for the ancestor at level l, the last tokens of the level-l subtrees; for the
    end of a level-l subtree, the ends of level l + 1 subtrees, among which it must be told (every level-l end is one).

    Args:
        token_BW: which positions are tokens of the sentence.
        ancestors_LBW, boundaries_LBW: of all levels, the root's first and the terminals' last.
        levels: as in ``grammar_targets``; the terminals' level is not allowed.
        ends_only: ask for ancestors at the subset only; with the masked kinds this asks what is stored there.
    """
    if not all(0 <= level < len(ancestors_LBW) - 1 for level in levels):
        raise UserError(f"probe: levels: got {list(levels)}, expected numbers from 0 to {len(ancestors_LBW) - 2}")
    ends = boundaries_LBW.bool() & token_BW
    of_symbols = [ends[level] for level in levels]
    of_ends = [ends[level + 1] for level in levels]
    asked = torch.stack((of_symbols if ends_only else [token_BW] * len(levels)) + [token_BW] * len(levels), -1)
    answers = [ancestors_LBW[level].long() for level in levels] + [ends[level].long() for level in levels]
    labels = torch.stack(answers, -1).where(asked, IGNORE)
    return Labelled(ids_BW[None], labels[None], token_BW[None], torch.stack(of_symbols + of_ends, -1)[None])
