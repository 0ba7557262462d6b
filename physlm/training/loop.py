"""Train one population from start, or from its checkpoint, to the end of its schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.models.counting import training_flops
from physlm.models.decoder import Decoder
from physlm.storage import load_tensors, save_tensors
from physlm.training.config import RunSpec
from physlm.training.hardware import peak_flops
from physlm.training.parallel import ALONE, Ranks
from physlm.training.schedule import schedule
from physlm.training.step import Population, check_members

LOGS = 100  # log points of a run
TIMES = ("seconds", "tokens_per_second")  # of a record: what a repetition does not repeat
CHECKPOINT_SHARE = 0.02  # of the time of training that may go into writing checkpoints, on slow disks


def train_population(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    checkpoint: Path,
    log: Callable[[dict[str, Any]], None],
    rewind: Callable[[int], None] = lambda step: None,
    snapshot: Callable[[int, list[Decoder]], None] = lambda step, models: None,
    initial: Sequence[Mapping[str, torch.Tensor] | None] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
    ranks: Ranks = ALONE,
) -> list[Decoder]:
    """Train ``specs`` together and return each member as a model of its own, on the CPU in float32.

    A member whose loss and weights are no longer finite harms nobody and is kept beside the others; where no other is
    left, training ends at the next log point.  What such a member is returned with are the weights that it has then.

    Args:
        checkpoint: one safetensors file for the whole population; resumed from when it exists, written atomically
            after each ``checkpoint_seconds`` (later where writing takes long) and at the end, never deleted here.
        log: called at each of about 100 log points, and at the end, once a member, with a record: see ``_records``.
        snapshot: called with the step and each member as a model of its own after each of ``kept_steps``; after a
            resumption perhaps once more, with the same weights.
        initial: for each member the ``state_dict`` of the model of one member that it begins with, or None for random
            weights; needed where ``spec.start`` is set, also when training is resumed.
        rewind: called once before the first step, with the step that training goes on from (0 without a checkpoint).
        ranks: the processes that train this population together, each of which calls this function with the same
            arguments.  The first alone writes the checkpoint, which all read; what else is written is the caller's.

    Raises:
        UserError: the checkpoint belongs to other runs, or the weights to begin with are missing or of another shape.
    """
    check_members(specs)
    every = max(1, specs[0].steps // LOGS)
    kept = set(specs[0].kept_steps)
    population = Population(specs, device, window=every, initial=initial, ranks=ranks)
    if checkpoint.exists():
        _resume(population, checkpoint)
    rewind(population.step)
    rates = schedule(specs[0].train, population.steps)
    checkpoints = _Checkpoints(checkpoint, checkpoint_seconds, ranks.first)
    diverged: set[int] = set()  # a weight that is not finite stays so; a loss may recover
    with closing(population), _Bar(population, progress) as bar:
        while population.step < population.steps:
            target = min((population.step // every + 1) * every, population.steps)
            count, since = target - population.step, time.perf_counter()
            while population.step < target:
                population.advance()
                if population.step in kept:
                    snapshot(population.step, _models(population))
            losses = population.recent_losses(count)
            seconds = time.perf_counter() - since
            bar.show(count, losses["loss"])
            for record in _records(population, losses, count, seconds, float(rates[population.step - 1])):
                log(record)
                i = record["member"]
                if record["loss"] is None and i not in diverged and not _has_finite_weights(population.model_of(i)):
                    diverged.add(i)
            if len(diverged) == len(specs):
                break
            checkpoints.write_if_due(population)
    return _models(population)


class _Checkpoints:
    """Writes a population's checkpoint from time to time, and at its last step.

    Args:
        seconds: between two of them, at least; more where writing takes long.
        writes: whether this process is the one that writes.
    """

    def __init__(self, path: Path, seconds: float, writes: bool):
        self._path, self._seconds, self._writes = path, seconds, writes
        self._written, self._wait = time.monotonic(), seconds

    def write_if_due(self, population: Population) -> None:
        """Write it, if it is time."""
        begun = time.monotonic()
        if begun - self._written < self._wait and population.step < population.steps:
            return
        if self._writes:
            _save(population, self._path)
        self._written = time.monotonic()
        self._wait = _pause(self._seconds, self._written - begun)


def _records(
    population: Population, losses: Mapping[str, torch.Tensor], steps: int, seconds: float, rate: float
) -> Iterator[dict[str, Any]]:
    """What a log point says of each member, of the ``steps`` steps since the last one, which took so many seconds.

    step, member; loss and what is added to it, means in nats a token; tokens seen by this member since the start;
    learning_rate and gradient_norm (Euclidean, before the update) of the last step; seconds, from the first step with
    the compilation, without what checkpoints and logging take; tokens_per_second of this member.  What is not finite
    is None: JSON has no NaN.  The norms are of the gradients that the last step left behind: no step computes them.
    """
    spec, norms_M = population.spec, population.optimiser.gradient_norms().cpu()
    a_step = spec.train.batch_rows * spec.task.row_tokens
    for i, one in enumerate(population.specs):
        values = {name: float(loss_M[i]) for name, loss_M in losses.items()}
        last = {"learning_rate": rate * one.train.learning_rate, "gradient_norm": float(norms_M[i])}
        times = {"seconds": seconds, "tokens_per_second": steps * a_step / max(seconds, 1e-9)}
        finite = {name: x if math.isfinite(x) else None for name, x in {**values, **last, **times}.items()}
        yield {"step": population.step, "member": i, "tokens": population.step * a_step, **finite}


def _models(population: Population) -> list[Decoder]:
    return [population.model_of(i) for i in range(len(population.specs))]


def _has_finite_weights(model: Decoder) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def _pause(seconds: float, cost: float) -> float:
    """Seconds until the next checkpoint, if one took ``cost`` to write; 0 asks for one at every log point."""
    return seconds and max(seconds, cost / CHECKPOINT_SHARE)


def _hashes(population: Population) -> str:
    return ",".join(content_hash(spec) for spec in population.specs)


def _save(population: Population, checkpoint: Path) -> None:
    tensors = {name: tensor.cpu() for name, tensor in population.tensors().items()}
    save_tensors(checkpoint, tensors, {"members": _hashes(population)})


def _resume(population: Population, checkpoint: Path) -> None:
    tensors, metadata = load_tensors(checkpoint)
    if metadata.get("members") != _hashes(population):
        raise UserError(f"{checkpoint}: this checkpoint belongs to other runs; delete it to start these afresh")
    for name, ours in population.tensors().items():
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (ours.shape, ours.dtype):
            got = "nothing" if found is None else f"{tuple(found.shape)} {found.dtype}"
            raise UserError(f"{checkpoint}: {name}: got {got}, expected {tuple(ours.shape)} {ours.dtype}; delete this "
                            "file to start its runs afresh")
    if not 0 <= int(tensors["step"]) <= population.steps:
        raise UserError(f"{checkpoint}: step: got {int(tensors['step'])}, expected 0 to {population.steps}; delete "
                        "this file to start its runs afresh")
    population.load(tensors)


class _Bar:
    """Progress of one population: mean loss, tokens/s over all members, model-FLOP utilisation, time left."""

    def __init__(self, population: Population, shown: bool):
        spec = population.spec
        self._members = len(population.specs)
        self._tokens = spec.train.batch_rows * spec.task.row_tokens * self._members
        vocabulary = len(spec.task.vocabulary())
        self._flops = training_flops(spec.model, vocabulary, spec.task.row_tokens)
        peak = peak_flops(population.device, spec.train.precision)
        self._peak = peak and peak * population.ranks.count
        name = f"{spec.task.title} {spec.model.label} x{self._members}"
        self._bar = tqdm(total=population.steps, initial=population.step, desc=name, unit="step", leave=False,
                         disable=None if shown else True, dynamic_ncols=True)  # fmt: skip
        self._since = time.monotonic()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, steps: int, losses: torch.Tensor) -> None:
        """After ``steps`` more steps."""
        now = time.monotonic()
        rate = steps * self._tokens / max(now - self._since, 1e-9)
        self._since = now
        utilisation = f"{rate * self._flops / self._peak:.1%}" if self._peak else "n/a"
        lost = "" if losses.isfinite().all() else f", {int((~losses.isfinite()).sum())} of {len(losses)} not finite"
        text = f"loss {losses[losses.isfinite()].mean():.3f}{lost}, {rate / 1e6:.2f}M tok/s, MFU {utilisation}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(steps)
