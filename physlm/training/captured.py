"""A step that costs the host nothing: recorded once as a CUDA graph, then replayed.

Small models spend their time on launching kernels, not in them.  On a CPU the step runs as it stands.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # steps before the recording, in which kernels are chosen, compiled and loaded
KNOWN_WARNINGS = (  # the beginnings of what torch says then, which is no news for those who train
    "This instance was constructed with capturable=True",  # of an optimiser that can be captured where it is not
    "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled",  # on purpose
    ".*torch._prims_common.check.*is deprecated",  # by torch 2.11 itself, where it compiles a diagonal
)


def captured(
    step: Callable[[], None], tensors: Callable[[], Iterable[Tensor]], device: torch.device, pool: Any = None,
    warm_up: int = WARM_UP,
) -> Callable[[], None]:
    """``step`` itself on a CPU; on a GPU a replay of what it does.

    Args:
        step: reads and writes the same tensors each time, of fixed shapes, and never asks the device for a number.
        tensors: all that ``step`` changes and later steps read.  Each step done to warm up is undone in them: those
            that were there before get their old values back, others (an optimiser's moments) become zero.
        warm_up: steps before the recording.
        pool: of scratch memory, shared with other recordings that never run at the same time and leave nothing in it.
    """
    if device.type != "cuda":
        return step
    _warm_up(step, tensors, warm_up)
    return _recorded(step, pool)


def captured_around(
    first: Callable[[], None], between: Callable[[], None], then: Callable[[], None],
    tensors: Callable[[], Iterable[Tensor]], device: torch.device,
) -> Callable[[], None]:
    """The same for a step with something ``between`` its halves that is not recorded, as what several processes do
    together.  Arguments else as in ``captured``."""

    def whole() -> None:
        first()
        between()
        then()

    if device.type != "cuda":
        return whole
    _warm_up(whole, tensors, WARM_UP)
    # other threads, as one that watches over the processes' words to each other, may ask the device meanwhile
    halves = [_recorded(half, None, "thread_local") for half in (first, then)]

    def replay() -> None:
        halves[0]()
        between()
        halves[1]()

    return replay


def _warm_up(step: Callable[[], None], tensors: Callable[[], Iterable[Tensor]], times: int) -> None:
    """Do the step so often, beside the stream that is recorded, and undo it."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors()]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message)
        for _ in range(times):
            step()
            with torch.no_grad():
                for tensor in tensors():
                    tensor.zero_()
                for tensor, old in before:
                    tensor.copy_(old)
    torch.cuda.current_stream().wait_stream(stream)


def _recorded(step: Callable[[], None], pool: Any, errors: str = "global") -> Callable[[], None]:
    """A replay of the step, which is not done now."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode=errors):
        step()
    return graph.replay


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One update by the gradient of ``loss``, which can be captured; no gradient is left."""
    learnt = _learnt(optimiser)
    # some may be unused; a fused update wants parameters and gradients laid out alike
    gradients = torch.autograd.grad(loss, learnt, allow_unused=True)
    for parameter, gradient in zip(learnt, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.contiguous()
    optimiser.step()
    optimiser.zero_grad()


def moved_by(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """All that an update changes: the parameters, and from the first one on the moments."""
    return [*_learnt(optimiser), *(moment for one in optimiser.state.values() for moment in one.values())]


def _learnt(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
