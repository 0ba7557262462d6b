"""What another measure finds of checkpoints merged into one model: every budget of one run, without training.

    step=9259  span=0    way=none    checkpoints=1     the weights after that step, as they are: the control
    step=9259  span=0.2  way=linear  checkpoints=9     the mean of all that were kept in the last fifth of these steps
                         way=sqrt                      by the weights of a decay by 1 - sqrt over that span

Each row is one of the measure that is taken, of these weights, with these places beside its own.  The run keeps weights
at equal distances (``train.kept``), at a constant rate (``train.stable=1``) if merging is to stand for a decay.
Formulas and source: ``physlm.measures.merging``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, cast, get_args

from physlm.errors import UserError, counted
from physlm.measures import MEASURES, QUANTITIES
from physlm.measures.measure import Measure, check, take
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import Decay, RunSpec

if TYPE_CHECKING:
    from physlm.models.decoder import Decoder

WAYS = get_args(Decay)


@dataclass(frozen=True)
class Merged(Measure):
    """See the module.

    Attributes:
        of: the measure that is taken of each merged model, a name in ``physlm.measures.MEASURES``.
        ends: budgets, as shares of the run's steps; weights are kept after each.
        spans: the last share of a budget whose checkpoints are merged; 0 is the last checkpoint alone.
        ways: which decay the weights of a merge stand for.
    """

    kind: ClassVar[str] = "merged"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["merged"]
    of: str = "capacity"
    ends: tuple[float, ...] = (1.0,)
    spans: tuple[float, ...] = (0.0, 0.2)
    ways: tuple[str, ...] = ("linear", "sqrt")

    def __post_init__(self) -> None:
        for end in self.ends:
            if not 0.0 < end <= 1.0:
                raise UserError(f"measure merged: ends: got {end}, expected a share of all steps, above 0, at most 1")
        for span in self.spans:
            if not 0.0 <= span < 1.0:
                raise UserError(f"measure merged: spans: got {span}, expected a share of a budget, from 0 to below 1")
        for way in self.ways:
            if way not in WAYS:
                raise UserError(f"measure merged: ways: got {way!r}, expected {', '.join(WAYS)}")
        for name in ("ends", "spans", "ways"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"measure merged: {name}: got {list(values)}, expected at least one, each once")
        if self.of not in MEASURES or self.of == self.kind:
            raise UserError(f"measure merged: of: got {self.of!r}, expected one of {', '.join(MEASURES)}")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run that keeps too few weights, keeps them at unequal distances, or that ``of`` refuses."""
        check(self.of, spec)
        list(merges(self, spec))

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        plain = dataclasses.replace(run.spec, train=dataclasses.replace(run.spec.train, snapshots=0, kept=()))
        rows = []
        for merge in merges(self, run.spec):
            one = dataclasses.replace(run, spec=plain, load=partial(_merged, run, merge))
            rows += [dataclasses.replace(row, where={**row.where, **merge.places}) for row in take(self.of, one)]
        return rows


@dataclass(frozen=True)
class Merge:
    """One merged model: of the weights after these steps, rising."""

    span: float
    way: str
    steps: tuple[int, ...]

    @property
    def weights(self) -> list[float]:
        """c_0 .. c_k."""
        from physlm.measures.merging import decay_weights, merge_weights

        return merge_weights(decay_weights(cast(Decay, self.way), len(self.steps) - 1)) if self.span else [1.0]

    @property
    def places(self) -> dict[str, int | float | str]:
        """The places of its rows."""
        return {"step": self.steps[-1], "span": self.span, "way": self.way, "checkpoints": len(self.steps)}


def merges(measure: Merged, spec: RunSpec) -> Iterator[Merge]:
    """All merged models of a run, in the order of the rows.

    Raises:
        UserError: no weights are kept at an end, or within a span fewer than two, or at unequal distances.
    """
    kept = (*spec.kept_steps, spec.steps)
    for share in measure.ends:
        end = _part_of(spec.steps, share)
        if end not in kept:
            raise UserError(f"measure merged: got a run that keeps weights after {_listed(spec)}, expected step {end} "
                            f"among them, {share:g} of all (train.kept)")
        for span in measure.spans:
            begin = _part_of(end, 1 - span)
            steps = tuple(step for step in kept if begin <= step <= end)
            gaps = {second - first for first, second in pairwise(steps)}
            if span and (not gaps or max(gaps) - min(gaps) > 1):
                wanted = "equal distances" if gaps else "at least two"
                raise UserError(f"measure merged: got a run that keeps weights after {_listed(spec)}, expected "
                                f"{wanted} in the last {span:g} of {counted(end, 'step')} (train.kept)")
            for way in measure.ways if span else ("none",):
                yield Merge(span, way, steps)


def kept_for(steps: int, ends: tuple[float, ...], span: float, intervals: int) -> tuple[int, ...]:
    """Steps to keep weights after, so that the last ``span`` before each end has ``intervals`` equal ones."""
    found = {_part_of(_part_of(steps, share), 1 - span * i / intervals) for share in ends for i in range(intervals + 1)}
    return tuple(sorted(step for step in found if 0 < step < steps))


def _part_of(steps: int, share: float) -> int:
    """The nearest step to a share of them; the same for shares that differ in their last digits alone."""
    return round(round(share * steps, 6))


def merged_model(load: Callable[[int], Decoder], merge: Merge) -> Decoder:
    """The merged model of the weights that ``load`` reads by their step."""
    model = load(merge.steps[-1])
    if len(merge.steps) > 1:
        from physlm.measures.merging import merged_state

        states = (load(step).state_dict() for step in merge.steps)
        model.load_state_dict(merged_state(states, merge.weights))
    return model


def _merged(run: Trained, merge: Merge, step: int) -> Decoder:
    """The merged model, whatever step is asked for: it is all that there is."""
    return merged_model(run.load, merge)


def _listed(spec: RunSpec) -> str:
    kept = [*map(str, spec.kept_steps), f"{spec.steps} steps"]
    return ", ".join(kept if len(kept) < 12 else [*kept[:5], "...", *kept[-5:]])


measure = Merged()  # that of the table of measures
check_run = measure.check
