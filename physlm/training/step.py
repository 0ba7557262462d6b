"""One training step of a population: sample, forward, backward, update, all on the device.

On a GPU the elementwise work is compiled and the whole step is captured once in a CUDA graph; a step is then one
replay, and the host neither sends nor reads a number.  On the CPU the same code runs as it stands.

Shape letters: M members, B rows, T positions, d width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from physlm.config import override, to_dict
from physlm.errors import UserError
from physlm.models.cross_entropy import linear_cross_entropy
from physlm.models.decoder import Decoder
from physlm.tasks.catalogue import build
from physlm.tasks.rows import IGNORE
from physlm.training.config import MEMBER_FIELDS, RunSpec
from physlm.training.optimiser import AdamW

AHEAD = 32  # steps sampled at once on the CPU


def check_members(specs: Sequence[RunSpec]) -> None:
    """Members of a population may differ in ``MEMBER_FIELDS`` only."""
    if not specs:
        raise UserError("a population needs at least one run")
    same = {str(to_dict(override(spec, [f"{field}=0" for field in MEMBER_FIELDS]))) for spec in specs}
    if len(same) > 1:
        raise UserError(f"members of a population may differ in {', '.join(MEMBER_FIELDS)} only")


class Population:
    """M runs of one shape in training.

    Attributes:
        step: updates done so far, on the host.
        steps: updates of the whole schedule.
        window: steps whose losses are kept on the device between two readings.
    """

    def __init__(self, specs: Sequence[RunSpec], device: torch.device, window: int = 1):
        check_members(specs)
        self.specs, self.device = list(specs), device
        self.spec, self.steps, self.window = specs[0], specs[0].steps, window
        self.step = 0
        # members with the same data share one sampling
        sources = list(dict.fromkeys((spec.task.seed, spec.train.seed) for spec in specs))
        tasks = {spec.task.seed: build(spec.task).to(device) for spec in specs}
        self._sources = [(tasks[task_seed], stream) for task_seed, stream in sources]
        self._source_M = torch.tensor([sources.index((s.task.seed, s.train.seed)) for s in specs], device=device)
        vocabulary = len(self._sources[0][0].vocabulary)
        self.model = Decoder(self.spec.model, vocabulary, [spec.train.seed for spec in specs]).to(device)
        self._on_gpu = device.type == "cuda"
        wrap = functools.partial(torch.compile, dynamic=False) if self._on_gpu else _same
        self.optimiser = AdamW(self.model, [spec.train for spec in specs], self.steps, wrap)
        self._sample: Callable[[Tensor], tuple[Tensor, Tensor]] = wrap(self.sample)
        if self._on_gpu:
            self.model.compile_parts(wrap)
        self._counter = torch.zeros((), dtype=torch.long, device=device)
        self._losses = torch.zeros(window, len(specs), device=device)
        self._ahead: tuple[int, Tensor, Tensor] | None = None
        self._graph: Any = None

    def sample(self, step: Tensor, steps: int = 1) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the next ``steps`` steps for every member, (M, steps B, T) each.

        A pure function of the step's number.
        """
        rows = self.spec.train.batch_rows
        index = step * rows + torch.arange(steps * rows, device=step.device)
        drawn = [task.rows(index, "train", stream) for task, stream in self._sources]
        if len(drawn) == 1:
            shape = (len(self.specs), *drawn[0].inputs_RT.shape)
            return drawn[0].inputs_RT.expand(shape).contiguous(), drawn[0].targets_RT.expand(shape).contiguous()
        inputs = torch.stack([d.inputs_RT for d in drawn])[self._source_M]
        return inputs, torch.stack([d.targets_RT for d in drawn])[self._source_M]

    def losses(self, inputs_MBT: Tensor, targets_MBT: Tensor) -> Tensor:
        """Mean nats a scored token for each member, (M,)."""
        hidden, _ = self.model.hidden(inputs_MBT)
        targets = targets_MBT.flatten(1)
        nll_M = linear_cross_entropy(hidden.flatten(1, 2), self.model.embedding.weight, targets)
        return nll_M / (targets != IGNORE).sum(1)

    def _next_batch(self) -> tuple[Tensor, Tensor]:
        """The batch of this step.  On the CPU many steps are sampled at once: small batches cost mostly overhead."""
        if self._on_gpu:
            return self._sample(self._counter)
        rows, first = self.spec.train.batch_rows, self.step // AHEAD * AHEAD
        if self._ahead is None or self._ahead[0] != first:
            self._ahead = (first, *self.sample(torch.tensor(first), AHEAD))
        here = slice((self.step - first) * rows, (self.step - first + 1) * rows)
        return self._ahead[1][:, here], self._ahead[2][:, here]

    def _one_step(self) -> None:
        loss_M = self.losses(*self._next_batch())
        gradients = torch.autograd.grad(loss_M.sum(), self.optimiser.parameters)
        self.optimiser.step(gradients, self._counter)
        # index_copy_, not indexing: a 0-dimensional index would be read by the host
        self._losses.index_copy_(0, (self._counter % self.window).view(1), loss_M.detach()[None])
        self._counter += 1

    def advance(self) -> None:
        """Do one step.  The first on a GPU compiles, then captures the graph."""
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
        single = self.model.member(index)
        masters = self.optimiser.master_views
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


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
