"""The one rule for numbers that are not finite: a measure refuses them by name, and never turns them into others.

An argmax over NaN is a token, a count of right answers then an accuracy; a NaN that is masked out or clamped is a zero.
The sweep takes ``NotFiniteError`` as the sign that the run has diverged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from physlm.errors import NotFiniteError


def check_finite(values: Tensor | np.ndarray[Any, Any], what: str) -> None:
    """Raise NotFiniteError, naming ``what`` the values are, if one of them is infinite or NaN."""
    finite = values.isfinite() if isinstance(values, Tensor) else np.isfinite(values)
    if not finite.all():
        raise NotFiniteError(f"got {what} that are not finite")


def likeliest(logits: Tensor, what: str) -> Tensor:
    """The argmax over the last axis; rows of no logits have none.

    Raises:
        NotFiniteError: a logit is NaN or +inf, or all of a row are -inf.
    """
    highest, which = torch.max(logits, -1)
    check_finite(highest, what)
    return which
