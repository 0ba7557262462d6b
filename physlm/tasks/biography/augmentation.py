"""The published names of the augmented bioS datasets.  Free of torch.

    >>> augmentation("multi5+permute")
    {'texts': 5, 'permute': 1}
    >>> augmentation("single+permute2+fullname")
    {'texts': 1, 'permute': 2, 'fullname': True}

Sources: arXiv 2309.14316 (the 16 datasets and the couples), 2309.14402 (reverse).
"""

from __future__ import annotations

import re
from typing import Any

from physlm.errors import UserError

_PERMUTE = ("permute1", "permute2", "permute5")
# the 16 datasets of 2309.14316
AUGMENTATIONS = (
    "single", "single+fullname", *(f"single+{p}" for p in _PERMUTE), *(f"single+{p}+fullname" for p in _PERMUTE),
    "multi2", "multi2+fullname", "multi2+permute", "multi2+permute+fullname",
    "multi5", "multi5+fullname", "multi5+permute", "multi5+permute+fullname",
)  # fmt: skip
REVERSED = ("multi5+reverse1", "multi5+reverse2", "multi5+reverse6", "multi5+permute+reverse6")
COUPLES = ("single+couple1", "single+couple2", "single+couple5")
_FORM = re.compile(r"(single|multi([1-9]\d*))(?:\+(permute|couple)([1-9]\d*)?)?(\+rewritten)?(\+fullname)?"
                   r"(?:\+reverse([1-6]))?")


def augmentation(name: str) -> dict[str, Any]:
    """Settings of ``BioSConfig`` for a published name: ``BioSConfig(people=1000, **augmentation("multi5+permute"))``.

    The name is ``single`` or ``multiM``, then in this order, each only if wanted: ``+permute`` (one order a text),
    ``+permuteP``, ``+couple`` or ``+coupleP``; ``+rewritten`` (ours); ``+fullname``; ``+reverse1`` to ``+reverse6``.

    Raises:
        UserError: a name of another form.
    """
    match = _FORM.fullmatch(name)
    if match is None:
        raise UserError(f"augmentation: got {name!r}, expected a name such as {', '.join(AUGMENTATIONS)}, "
                        f"{', '.join(COUPLES)} or {', '.join(REVERSED)}")
    _, texts, word, orders, rewritten, fullname, reverse = match.groups()
    settings: dict[str, Any] = {"texts": int(texts or 1)}
    if word:
        settings["permute"] = int(orders or 1)
    if word == "couple":
        settings["couples"] = True
    if rewritten:
        settings["rewritten"] = True
    if fullname:
        settings["fullname"] = True
    if reverse:
        settings["reverse"] = int(reverse)
    return settings
