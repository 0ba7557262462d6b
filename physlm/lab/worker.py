"""What a job of a sweep does: train a population, or measure a run that is trained, wherever it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from physlm import storage
from physlm.config import content_hash
from physlm.errors import NotFiniteError, UserError
from physlm.lab.cost import amount
from physlm.lab.env import environment
from physlm.lab.loading import load_model
from physlm.lab.planner import Population
from physlm.lab.run import MetricsLog, Run
from physlm.lab.store import Store
from physlm.lab.trackers import NO_TRACKERS, TrackedLog, Trackers
from physlm.measures.measure import AnyMeasure, take
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

Train = Callable[..., "Sequence[Any]"]
Load = Callable[[RunSpec, Path, torch.device], Any]
Take = Callable[..., "list[Row]"]


def members_of(work: Population | RunSpec) -> tuple[RunSpec, ...]:
    """The runs that are trained or measured."""
    return (work,) if isinstance(work, RunSpec) else work.members


def describe(work: Population | RunSpec) -> str:
    """One line about a population or a run: its size, task, model, exposures and tokens."""
    members = members_of(work)
    spec, count = members[0], len(members)
    return f"{count} x {spec.title}, {amount(count * spec.tokens)} tokens"


def train_here(*args: Any, **kwargs: Any) -> Sequence[Any]:
    """``train_population``, which is imported when something is trained."""
    from physlm.training.loop import train_population

    return train_population(*args, **kwargs)


@dataclass(frozen=True)
class Worker:
    """What all jobs of one sweep share."""

    asked: Mapping[str, Mapping[str, AnyMeasure]]  # measures by the hashes of the runs to measure, and by name
    store: Store
    device: torch.device
    progress: bool
    train: Train = train_here
    load: Load = load_model
    measure: Take = take
    track: Trackers = NO_TRACKERS

    def do(self, work: Population | RunSpec, whole: bool) -> None:
        """One job, in one of several processes.  ``whole``: who trains a population measures its members, too."""
        if isinstance(work, RunSpec):
            self.measure_run(self.store.run(work))
        else:
            self.train_population(work)
            asked = () if whole else self.to_measure(work)
            for run in map(self.store.run, work.members):
                if run.spec not in asked and not run.finished():
                    self.measure_run(run)
        self.leave_gpu()

    def leave_gpu(self) -> None:
        """Other processes of this sweep may be next on the same GPU, or share it."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def finish_population(self, population: Population) -> None:
        """Train a population, then measure every member and close the population."""
        trained = self.train_population(population)
        if trained is None:
            return
        for run in map(self.store.run, trained.members):
            if not run.finished():
                self.measure_run(run)
        self.store.close_population(trained)

    def train_population(self, population: Population) -> Population | None:
        """Train a population and write every model.

        Returns:
            The population without the members that begin with a diverged run, which are finished; None if all do.
        """
        members = tuple(spec for spec in population.members if not self._finish_without_start(spec))
        if not members:
            return None
        population = Population(members)
        runs = {i: self.store.run(spec) for i, spec in enumerate(members)}
        # A member with a model is left as it is: it trains along only because it did so before.
        unfinished = {i: run for i, run in runs.items() if not run.trained()}
        self.store.open_population(population)
        if any(run.spec.kept_steps and not run.path.exists() for run in unfinished.values()):
            # its folder was deleted, and with it weights along the way that come before the checkpoint
            storage.remove(self.store.checkpoint(population))
        for run in unfinished.values():
            run.start(environment(self.device.type, run.spec.train.precision))
        if unfinished:  # else a process was lost after it had written all models
            self._train_models(population, unfinished)
        return population

    def to_measure(self, population: Population) -> list[RunSpec]:
        """The members of a trained population that lack measures."""
        return [run.spec for run in map(self.store.run, population.members)
                if not run.finished() and run.diverged() is None and self.missing(run)]

    def lacks(self, run: Run) -> bool:
        """Whether a run is not finished, or lacks a measure that it was asked for.  Raises what ``Run.has`` does."""
        return not run.has(self.asked.get(run.hash, ()))

    def missing(self, run: Run) -> dict[str, AnyMeasure]:
        """The measures that a run was asked for and lacks, by name."""
        taken = run.measures()
        return {name: one for name, one in self.asked.get(run.hash, {}).items() if name not in taken}

    def _finish_without_start(self, spec: RunSpec) -> bool:
        """Whether a run begins with one that diverged; it has then diverged itself, and is finished."""
        start, run = spec.start, self.store.run(spec)
        if start is None or self.store.run(start).diverged() is None:
            return False
        if not run.trained():
            run.start(environment(self.device.type, spec.train.precision))
            self._give_up(run, f"it begins with {self.store.run(start).name}, which diverged")
        run.finish()
        return True

    def _give_up(self, run: Run, reason: str) -> None:
        run.write_diverged(reason)
        if self.progress:
            tqdm.write(f"diverged: {run.name}: {reason}")

    def measure_run(self, run: Run) -> None:
        """Take the measures that a trained run lacks, then declare it finished.

        A run that others begin with, that only trained along, or that diverged has none to take.
        """
        if run.diverged() is None:
            try:
                self._measure(run)
            except NotFiniteError as error:
                self._give_up(run, str(error))
        run.finish()

    def _measure(self, run: Run) -> None:
        if missing := self.missing(run):
            trained = Trained(run.spec, self.device, lambda step: self._weights(run, step), self.progress,
                              self._load_start(run))
            for name, one in missing.items():
                start = time.perf_counter()
                try:
                    rows = self.measure(one, trained)
                except torch.cuda.OutOfMemoryError as error:
                    raise UserError(f"the GPU has too little memory to take the measure {name} of {run.name}, whose "
                                    "weights are kept; give the same command again when others have left it") from error
                run.keep_seconds(name, time.perf_counter() - start)  # before the rows, which end it
                run.add_measure(name, rows)

    def _weights(self, run: Run, step: int) -> Any:
        return self.load(run.spec, run.weights_path(step), self.device)

    def _load_start(self, run: Run) -> Callable[[], Any] | None:
        """What reads the weights that a run begins with, if they are there: a finished run does not need them."""
        start = run.spec.start
        if start is None or not self.store.run(start).model_path.exists():
            return None
        return lambda: self.load(start, self.store.run(start).model_path, self.device)

    def _initial(self, population: Population) -> list[Any]:
        """The weights that each member begins with, on the CPU; None where they are random."""
        starts = {content_hash(spec.start): spec.start for spec in population.members if spec.start is not None}
        states = {
            name: self.load(start, self.store.run(start).model_path, torch.device("cpu")).state_dict()
            for name, start in starts.items()
        }
        return [None if spec.start is None else states[content_hash(spec.start)] for spec in population.members]

    def _train_models(self, population: Population, unfinished: dict[int, Run]) -> None:
        checkpoint = self.store.checkpoint(population)
        metrics, tracked = MetricsLog(unfinished), TrackedLog(self.track, unfinished)
        if not checkpoint.exists():
            metrics.rewind(-1)
        metrics.first_step = metrics.last_step = 0
        start = time.perf_counter()

        def log(record: Mapping[str, Any]) -> None:
            metrics.log(record)
            tracked.log(record)

        def snapshot(step: int, models: Sequence[Any]) -> None:
            for i, run in unfinished.items():
                run.write_snapshot(step, models[i].state_dict())

        try:
            models = self.train(
                population.members, self.device, checkpoint=checkpoint, log=log, rewind=metrics.rewind,
                snapshot=snapshot, initial=self._initial(population), progress=self.progress,
            )
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(f"the GPU has too little memory for {describe(population)}; expected fewer members, give "
                            f"--members {max(1, len(population.members) // 2)}, or fewer --processes where they share "
                            "a GPU") from error
        finally:
            metrics.close()
            tracked.close()
        timing = _timing(population, metrics.first_step, metrics.last_step, time.perf_counter() - start)
        for i, run in unfinished.items():
            run.write_timing(timing)
            state = models[i].state_dict()
            if (reason := _why_diverged(run, state)) is None:
                run.write_model(state)
            else:
                self._give_up(run, reason)


def _why_diverged(run: Run, state: Mapping[str, torch.Tensor]) -> str | None:
    """Why a run whose training is over has diverged; None if its last losses and its weights are finite."""
    if (lost := run.loss_lost_at()) is not None:
        return f"its loss is not finite from step {lost:,} of {run.spec.steps:,} on"
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        return f"its weights are not finite after its last step, {run.spec.steps:,}"
    return None


def _timing(population: Population, first_step: int, last_step: int, seconds: float) -> dict[str, Any]:
    """How fast the last part of the training was; ``first_step`` > 0 says that it resumed."""
    spec = population.members[0]
    tokens = len(population.members) * spec.tokens * (last_step - first_step) / spec.steps
    return {"seconds": seconds, "first_step": first_step, "last_step": last_step, "members": len(population.members),
            "tokens_per_second_all_members": tokens / seconds if seconds > 0 else None}
