"""One training step of a population: sample, forward, backward, update, all on the device.

Batches are sampled on the device some steps at a time, since one sampling of many rows costs little more than one of
few.  On a GPU the elementwise work is compiled and everything after the sampling is captured once in a CUDA graph; a
step is then one replay, and the host neither sends nor reads a number.  On the CPU the same code runs as it stands.

Shape letters: M members, U sources of data, S steps sampled at once, B rows, T positions, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.models.cross_entropy import linear_cross_entropy
from physlm.models.decoder import Decoder
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.catalogue import build
from physlm.tasks.rows import IGNORE, Rows
from physlm.tasks.task import Task
from physlm.training.config import RunSpec, shape_key
from physlm.training.objective import hidden_rows, masked_rows
from physlm.training.optimiser import optimiser_for

# Tokens sampled at once, at most: a GPU waits mostly for launches, a CPU wants its caches.
AHEAD_TOKENS = {"cuda": 1 << 23, "cpu": 1 << 19}
AHEAD_STEPS = 1024  # steps sampled at once, at most


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
        initial: for each member the weights of the model of one member that it begins with; None: random weights.

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
    ):
        check_members(specs)
        self.specs, self.device = list(specs), device
        self.spec, self.steps, self.window = specs[0], specs[0].steps, window
        self.step = 0
        # members with the same data share one sampling
        sources = list(dict.fromkeys((spec.task, spec.train.seed) for spec in specs))
        tasks = {config: build(config).to(device) for config in dict.fromkeys(spec.task for spec in specs)}
        self._sources: list[tuple[Task, int]] = [(tasks[config], stream) for config, stream in sources]
        self._source_M = torch.tensor([sources.index((s.task, s.train.seed)) for s in specs], device=device)
        vocabulary = len(self._sources[0][0].vocabulary)
        states = _states(specs, initial)
        seeds = [spec.train.seed if state is None else None for spec, state in zip(specs, states, strict=True)]
        self.model = Decoder(self.spec.model, vocabulary, seeds)
        for m, state in enumerate(states):
            if state is not None:
                self.model.load_member(m, state)
        self.model = self.model.to(device)
        self._on_gpu = device.type == "cuda"
        wrap = compiled if self._on_gpu else _same
        self.optimiser = optimiser_for(self.model, [spec.train for spec in specs], self.steps, wrap)
        if self._on_gpu:
            self.model.compile_parts(wrap)
        self._counter = torch.zeros((), dtype=torch.long, device=device)
        self._losses = torch.zeros(window, len(specs), device=device)
        rows, positions = self.spec.train.batch_rows, self.spec.task.row_tokens
        self._ahead = max(1, min(AHEAD_STEPS, AHEAD_TOKENS[device.type] // (len(sources) * rows * positions)))
        shape = (self._ahead, len(sources), rows, positions)
        self._inputs_SUBT, self._targets_SUBT = (torch.zeros(shape, dtype=torch.long, device=device) for _ in range(2))
        self._scored_SU = torch.ones(self._ahead, len(sources), device=device)
        self._sampled_from: int | None = None
        self._graph: Any = None

    def sample(self, step: int, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Inputs and targets of ``steps`` steps from ``step`` on for every member, (S, M, B, T) each; pure."""
        return tuple(x[:, self._source_M] for x in self._sample_sources(step, steps))  # type: ignore[return-value]

    def _sample_sources(self, step: int, steps: int) -> tuple[Tensor, Tensor]:
        """The same for every source of data, (S, U, B, T) each."""
        rows = self.spec.train.batch_rows
        index = torch.arange(step * rows, (step + steps) * rows, device=self.device)
        drawn = [self._objective(task, index, stream) for task, stream in self._sources]
        inputs = torch.stack([d.inputs_RT.unflatten(0, (steps, rows)) for d in drawn], 1)
        return inputs, torch.stack([d.targets_RT.unflatten(0, (steps, rows)) for d in drawn], 1)

    def _objective(self, task: Task, index: Tensor, stream: int) -> Rows:
        rows, config = task.rows(index, "train", stream), task.config
        if self.spec.model.causal:
            return rows
        if isinstance(config, QuestionsConfig) and config.ask.loss == "answer":
            return hidden_rows(rows, self.model.vocabulary)
        return masked_rows(rows, index, self.spec.train.mask_rate, self.model.vocabulary, rng.key("mask", stream))

    def _sample_ahead(self) -> None:
        """Have the batch of this step in the buffers, whichever step training starts from."""
        first = self.step // self._ahead * self._ahead
        if self._sampled_from != first:
            inputs, targets = self._sample_sources(first, self._ahead)
            self._inputs_SUBT.copy_(inputs)
            self._targets_SUBT.copy_(targets)
            scored_SU = (targets != IGNORE).sum((2, 3))
            if self._sampled_from is None and not scored_SU.any(0).all():  # the host looks once, before the first step
                raise UserError(f"{self.spec.task.title}: nothing is to be predicted in the first {self._ahead} steps; "
                                "expected longer rows, or a larger train.mask_rate of an encoder")
            # A single batch without a place to predict, as an encoder's masks may leave it, has the loss and the
            # gradients 0 of an empty sum.  One mask more, in such batches only, would make some masks likelier.
            self._scored_SU.copy_(scored_SU.clamp(min=1))
            self._sampled_from = first

    def losses(self, inputs_MBT: Tensor, targets_MBT: Tensor, scored_M: Tensor) -> Tensor:
        """Mean nats a scored token for each member, (M,)."""
        hidden, _ = self.model.hidden(inputs_MBT)
        return linear_cross_entropy(hidden, self.model.embedding.weight, targets_MBT) / scored_M

    def _one_step(self) -> None:
        slot = (self._counter % self._ahead).view(1)
        inputs, targets, scored = (
            x.index_select(0, slot)[0].index_select(0, self._source_M)
            for x in (self._inputs_SUBT, self._targets_SUBT, self._scored_SU)
        )
        loss_M = self.losses(inputs, targets, scored)
        gradients = torch.autograd.grad(loss_M.sum(), self.optimiser.parameters)
        self.optimiser.step(gradients, self._counter)
        # index_copy_, not indexing: a 0-dimensional index would be read by the host
        self._losses.index_copy_(0, (self._counter % self.window).view(1), loss_M.detach()[None])
        self._counter += 1

    def advance(self) -> None:
        """Do one step.  The first on a GPU compiles, then captures the graph."""
        self._sample_ahead()
        if self._on_gpu and self._graph is None:
            self._capture()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._one_step()
        self.step += 1

    def _capture(self) -> None:
        """Warm up on a side stream, put everything back as it was, record the step."""
        before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._one_step()
                self._counter.clamp_(max=self.steps - 1)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._one_step()
        self.load(before)

    def recent_losses(self, count: int) -> Tensor:
        """Mean loss of each member over the last ``count`` <= window steps, on the host: (M,)."""
        places = torch.arange(self.step - count, self.step) % self.window
        return self._losses.cpu()[places].double().mean(0)

    def model_of(self, index: int) -> Decoder:
        """Member ``index`` as a model of its own with the float32 master weights, on the CPU."""
        single, masters = Decoder(self.spec.model, self.model.vocabulary, seeds=(None,)), self.optimiser.master_views
        state = {name: masters[name][index : index + 1].cpu() for name in single.state_dict()}
        single.load_state_dict(state)
        return single

    def tensors(self) -> dict[str, Tensor]:
        """All the state of the training; with the specs it decides everything that follows."""
        return {**self.optimiser.tensors(), "step": self._counter}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self.optimiser.load(tensors)
        self._counter.copy_(tensors["step"])
        self.step = int(tensors["step"])


def _states(
    specs: Sequence[RunSpec], initial: Sequence[Mapping[str, Tensor] | None] | None
) -> Sequence[Mapping[str, Tensor] | None]:
    """``initial``, with something for every member that begins with a run."""
    states = [None] * len(specs) if initial is None else initial
    if len(states) != len(specs):
        raise UserError(f"initial: got weights for {len(states)} members, expected {len(specs)}")
    for spec, state in zip(specs, states, strict=True):
        if spec.start is not None and state is None:
            raise UserError(f"initial: got no weights for {spec.title}; expected those of its start")
    return states


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for parts that are shared by many shapes of model: one graph for each, none given up."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
    torch._dynamo.config.automatic_dynamic_shapes = False
    result: Callable[..., Any] = torch.compile(function, fullgraph=True)
    return result


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
