"""What variable probes found: accuracies, by label, distance and need, with intervals over problems.

Two rules of decision.  ``accuracy`` and ``matthews`` are of answers that allow for how frequent labels are among
uniform queries, as a probe that was trained on such queries would give them; ``balanced``, the mean over the two groups
of labels (false and true; of values unknown and known) of the share of right answers, and all splits are of answers
that favour neither group, as the probe was trained.

Matthews correlation of C classes with confusion matrix n, row sums t and column sums p (Gorodkin 2004; of two classes
the usual one), 0 where all answers, or all labels, are the same:

    (s sum_k n_kk - sum_k t_k p_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2)),     s = sum n

Its interval is that of the bootstrap over problems.

Shape letters: N queries, S problems, C classes, D resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from physlm import rng
from physlm.measures.igsm.labels import Bools, Ints
from physlm.measures.intervals import Intervals, balanced_share, share
from physlm.measures.rows import Row
from physlm.places import Place

RESAMPLES = 400
Floats = NDArray[np.float64]


class Judged(NamedTuple):
    """Queries, and what one member's probe answered.

    Attributes:
        label_N, group_N: the right answer, and whether it is true (known).
        problem_N: the place of the problem, 0 .. S - 1.
        needed_N, distance_N: of the parameter, the first one of dep.
        neutral_N, prior_N: the answers: of a rule that favours no group, and of one that knows how frequent labels are.
    """

    label_N: Ints
    group_N: Bools
    problem_N: Ints
    needed_N: Bools
    distance_N: Ints
    neutral_N: Ints
    prior_N: Ints


def rows_of(judged: Judged, suffix: str, groups: tuple[str, str], by_need: bool,
            where: Mapping[str, Place]) -> list[Row]:  # fmt: skip
    """All rows of one kind of probe.

    Args:
        suffix: of the quantities, of a control.
        groups: the names of the two groups, false first.
        by_need: whether needed and unneeded parameters are told apart.
        where: of all rows.
    """
    everything = np.ones(len(judged.label_N), dtype=bool)
    accuracy = _share(judged, judged.prior_N == judged.label_N, everything)
    rows = [
        _row(f"accuracy{suffix}", judged, accuracy, everything, where),
        _matthews(f"matthews{suffix}", judged, where),
        *_balanced(f"balanced{suffix}", judged, everything, where),
    ]
    right_N = judged.neutral_N == judged.label_N
    for group, name in enumerate(groups):
        kept_N = judged.group_N == bool(group)
        if kept_N.any():
            rows.append(_row(f"by_label{suffix}", judged, _share(judged, right_N, kept_N), kept_N,
                             {**where, "label": name}))
    for distance in np.unique(judged.distance_N[judged.distance_N >= 0]).tolist():
        at_N = judged.distance_N == distance
        rows += _balanced(f"by_distance{suffix}", judged, at_N, {**where, "distance": distance})
    for need, name in ((True, "needed"), (False, "unneeded")) if by_need else ():
        rows += _balanced(f"by_need{suffix}", judged, judged.needed_N == need, {**where, "need": name})
    return rows


def majority(judged: Judged, where: Mapping[str, Place]) -> Row:
    """The best constant answer to the same queries."""
    everything = np.ones(len(judged.label_N), dtype=bool)
    hits_N = judged.label_N == np.bincount(judged.label_N).argmax()
    return _row("majority", judged, _share(judged, hits_N, everything), everything, where)


def matthews(confusion: Floats) -> Floats:
    """The correlation of confusion matrices (..., C, C)."""
    total = confusion.sum((-2, -1))
    labels, answers = confusion.sum(-1), confusion.sum(-2)
    above = total * np.trace(confusion, axis1=-2, axis2=-1) - (labels * answers).sum(-1)
    below = np.sqrt((total**2 - (answers**2).sum(-1)) * (total**2 - (labels**2).sum(-1)))
    found: Floats = np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
    return found


def _balanced(quantity: str, judged: Judged, kept_N: Bools, where: Mapping[str, Place]) -> list[Row]:
    """The mean over groups, where anything was asked."""
    if not kept_N.any():
        return []
    hits_N = judged.neutral_N == judged.label_N
    groups = [judged.group_N == bool(group) for group in (0, 1)]
    hits_CS = np.stack([_by_problem(judged, kept_N & hits_N & group) for group in groups])
    counts_CS = np.stack([_by_problem(judged, kept_N & group) for group in groups])
    return [_row(quantity, judged, balanced_share(hits_CS, counts_CS), kept_N, where)]


def _share(judged: Judged, hits_N: Bools, kept_N: Bools) -> Intervals:
    return share(_by_problem(judged, kept_N & hits_N), _by_problem(judged, kept_N))


def _by_problem(judged: Judged, some_N: Bools) -> Floats:
    """How many of these queries each problem has, (S,)."""
    return np.bincount(judged.problem_N[some_N], minlength=int(judged.problem_N.max()) + 1).astype(float)


def _row(quantity: str, judged: Judged, found: Intervals, kept_N: Bools, where: Mapping[str, Place]) -> Row:
    """n counts problems, which are independent."""
    return found.row(quantity, len(np.unique(judged.problem_N[kept_N])), where=where)


def _matthews(quantity: str, judged: Judged, where: Mapping[str, Place]) -> Row:
    classes = int(max(judged.label_N.max(), judged.prior_N.max())) + 1
    problems = int(judged.problem_N.max()) + 1
    confusion = np.zeros((problems, classes, classes))
    np.add.at(confusion, (judged.problem_N, judged.label_N, judged.prior_N), 1.0)
    picked = rng.below(problems, rng.key("bootstrap of problems"), torch.arange(RESAMPLES * problems))
    at = torch.arange(RESAMPLES).repeat_interleave(problems) * problems + picked
    times_DS = torch.bincount(at, minlength=RESAMPLES * problems).view(RESAMPLES, problems).double().numpy()
    drawn = matthews((times_DS @ confusion.reshape(problems, -1)).reshape(RESAMPLES, classes, classes))
    value = float(matthews(confusion.sum(0)))
    lo, hi = (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    return Row(quantity, value, "1", len(np.unique(judged.problem_N)), min(lo, value), max(hi, value), where)
