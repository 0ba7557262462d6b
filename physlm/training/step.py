"""One training step of a population: sample, forward, backward, update, all on the device.

On a GPU the elementwise work is compiled and everything after the sampling is captured once in a CUDA graph; a step is
then one replay, and the host neither sends nor reads a number.  On the CPU the same code runs as it stands.  Where
several processes train together, the step is two graphs, and between them the gradients are summed.

Shape letters: M members, S steps, B rows, T positions, K losses in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from physlm import rng
from physlm.errors import UserError, counted
from physlm.machine import keep_freed_memory
from physlm.models.cross_entropy import linear_cross_entropy, linear_cross_entropy_z
from physlm.models.decoder import Decoder
from physlm.models.retuning import retuned_state
from physlm.models.upcycling import upcycled
from physlm.tasks.rows import Rows
from physlm.tasks.task import Task
from physlm.training.batches import Batches
from physlm.training.captured import captured, captured_around
from physlm.training.choosing import optimiser_for
from physlm.training.config import RunSpec, shape_key
from physlm.training.objective import hidden_rows, masked_rows
from physlm.training.parallel import ALONE, Ranks


def check_members(specs: Sequence[RunSpec]) -> None:
    """Members of a population may differ in their ``member_fields`` and in the runs that they begin with only."""
    if not specs:
        raise UserError("a population needs at least one run")
    if len({shape_key(spec) for spec in specs}) > 1:
        raise UserError(f"members of a population may differ in {', '.join(specs[0].member_fields)} and start only, "
                        "and have equally many tokens")


class Population:
    """M runs of one shape in training.

    Args:
        initial: for each member the weights of the model of one member that it begins with, those of its start; None:
            random weights.
        ranks: the processes that train this population together.

    Attributes:
        step: updates done so far, on the host.
        steps: updates of the whole schedule.
        window: steps whose losses are kept on the device between two readings.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        device: torch.device,
        window: int = 1,
        initial: Sequence[Mapping[str, Tensor] | None] | None = None,
        ranks: Ranks = ALONE,
    ):
        check_members(specs)
        ranks.check(specs)
        self.specs, self.device, self.ranks = list(specs), device, ranks
        self.spec, self.steps, self.window = specs[0], specs[0].steps, window
        self.step = 0
        self.batches = Batches(specs, device, self._objective, ranks)
        states = _states(specs, initial)
        seeds = [spec.train.seed if state is None else None for spec, state in zip(specs, states, strict=True)]
        self.model = Decoder(self.spec.model, self.batches.vocabulary, seeds)
        for m, (spec, state) in enumerate(zip(specs, states, strict=True)):
            if state is not None:
                self.model.load_member(m, _grown(spec, state, self.batches.vocabulary))
        self.model = self.model.to(device).train()
        self._on_gpu = device.type == "cuda"
        if not self._on_gpu:
            keep_freed_memory()
        wrap = compiled if self._on_gpu else _same
        self.optimiser = optimiser_for(self.model, [spec.train for spec in specs], self.steps, wrap, ranks.count > 1)
        if self._on_gpu:
            self.model.compile_parts(wrap)
        self._counter = torch.zeros((), dtype=torch.long, device=device)
        self.loss_names = ("loss", *self._auxiliary())
        self._losses_WKM = torch.zeros(window, len(self.loss_names), len(specs), device=device)
        self._advance: Callable[[], None] | None = None

    def _auxiliary(self) -> tuple[str, ...]:
        """Names of what is added to the cross-entropy: the parts' own losses, and the z-loss."""
        z = ("z_loss",) if self.spec.train.z_loss else ()
        return tuple(dict.fromkeys((*(name for part in self.spec.model.parts for name in part.losses), *z)))

    def _objective(self, task: Task, rows: Rows, index_R: Tensor, stream: int) -> Rows:
        if self.spec.model.causal or task.config.tags:
            return rows
        if task.config.hides_answers:
            return hidden_rows(rows, len(task.vocabulary))
        return masked_rows(rows, index_R, self.spec.train.mask_rate, len(task.vocabulary), rng.key("mask", stream))

    def sample(self, step: int, steps: int = 1) -> tuple[Tensor, Tensor]:
        """This process's inputs and targets of ``steps`` steps from ``step`` on for every member, (S, M, B, T) each;
        pure."""
        return self.batches.sample(step, steps)

    def losses(self, inputs_MBT: Tensor, targets_MBT: Tensor, scored_M: Tensor) -> dict[str, Tensor]:
        """``loss``, the mean nats a scored token, and what is added to it, by name: each (M,); of each its part in the
        sum over processes."""
        hidden, auxiliary = self.model.hidden_with_losses(inputs_MBT)
        table, z = self.model.output_table, self.spec.train.z_loss
        if not z:
            return {"loss": linear_cross_entropy(hidden, table, targets_MBT) / scored_M, **auxiliary}
        both_M, squares_M = linear_cross_entropy_z(hidden, table, targets_MBT, z)
        z_M = z * squares_M / scored_M  # without a gradient: that is in ``both``
        return {"loss": both_M / scored_M - z_M, **auxiliary, "z_loss": z_M}

    def _backward(self) -> None:
        losses = self.losses(*self.batches.at(self._counter))
        losses_KM = torch.stack([losses[name] for name in self.loss_names])
        gradients = torch.autograd.grad(losses_KM.sum(), self.optimiser.parameters)
        self.optimiser.take(gradients)
        # index_copy_, not indexing: a 0-dimensional index would be read by the host
        self._losses_WKM.index_copy_(0, (self._counter % self.window).view(1), losses_KM.detach()[None])

    def _reduce(self) -> None:
        self.ranks.sum(self.optimiser.gradient)

    def _update(self) -> None:
        self.optimiser.update(self._counter)
        self._counter += 1

    def _one_step(self) -> None:
        self._backward()
        self._update()

    def _ready(self) -> Callable[[], None]:
        """The step, compiled and recorded on a GPU."""
        def tensors() -> Iterable[Tensor]:
            return self.tensors().values()

        if self.ranks.count > 1:
            return captured_around(self._backward, self._reduce, self._update, tensors, self.device)
        return captured(self._one_step, tensors, self.device)

    def advance(self) -> None:
        """Do one step.  The first on a GPU compiles, then captures the graph."""
        self.batches.prepare(self.step)
        if self._advance is None:
            self._advance = self._ready()
            self.load(self.tensors())  # what follows from the state is as it was, too
        self._advance()
        self.step += 1

    def close(self) -> None:
        """End the work that is done ahead of the next step, if any; the state stays as it is."""
        self.batches.close()

    def recent_losses(self, count: int) -> dict[str, Tensor]:
        """Means over the last ``count`` <= window steps, on the host: by name, (M,) each.  Asked by all processes."""
        places = torch.arange(self.step - count, self.step) % self.window
        means_KM = self._losses_WKM.cpu()[places].double().mean(0)
        self.ranks.sum(means_KM)
        return dict(zip(self.loss_names, means_KM, strict=True))

    def model_of(self, index: int) -> Decoder:
        """Member ``index`` as a model of its own with the float32 master weights, on the CPU."""
        single = Decoder(self.spec.model, self.model.vocabulary, seeds=(None,))
        masters = {**dict(self.model.named_buffers()), **self.optimiser.master_views}
        state = {name: masters[name][index : index + 1].cpu() for name in single.state_dict()}
        single.load_state_dict(state)
        return single

    def tensors(self) -> dict[str, Tensor]:
        """All the state of the training; with the specs it decides everything that follows."""
        return {**self.optimiser.tensors(), **self._buffers(), "step": self._counter}

    def _buffers(self) -> dict[str, Tensor]:
        """What parts keep beside their parameters."""
        return {f"buffer.{name}": buffer for name, buffer in self.model.named_buffers()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self.optimiser.load(tensors)
        for name, buffer in (*self._buffers().items(), ("step", self._counter)):
            buffer.copy_(tensors[name])
        self.step = int(tensors["step"])


def _states(
    specs: Sequence[RunSpec], initial: Sequence[Mapping[str, Tensor] | None] | None
) -> Sequence[Mapping[str, Tensor] | None]:
    """``initial``, with something for every member that begins with a run."""
    states = [None] * len(specs) if initial is None else initial
    if len(states) != len(specs):
        raise UserError(f"initial: got weights for {counted(len(states), 'member')}, expected {len(specs)}")
    for spec, state in zip(specs, states, strict=True):
        if spec.start is not None and state is None:
            raise UserError(f"initial: got no weights for {spec.title}; expected those of its start")
    return states


def _grown(spec: RunSpec, state: Mapping[str, Tensor], vocabulary: int) -> Mapping[str, Tensor]:
    """The weights of a start as the run begins with them: of a dense one as a mixture of experts, and with the first
    values of scales that it has not learnt."""
    if spec.start is None or not (spec.upcycled or spec.retuned):
        return state
    start = Decoder(spec.start.model, vocabulary, (None,))
    start.load_member(0, state)  # refuses those of another model
    state = retuned_state(start.state_dict(), spec.start.model, spec.model, vocabulary)
    if not spec.upcycled:
        return state
    return upcycled(state, spec.start.model, spec.model, spec.train.redrawn, spec.train.seed)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for parts that are shared by many shapes of model: one graph for each, none given up."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    torch._dynamo.config.automatic_dynamic_shapes = False
    result: Callable[..., Any] = torch.compile(function, fullgraph=True)
    return result


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
