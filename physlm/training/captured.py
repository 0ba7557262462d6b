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
    before = [(tensor, tensor.detach().clone()) for tensor in tensors()]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), warnings.catch_warnings():
        # an optimiser that can be captured warns where it is not, as here
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        for _ in range(warm_up):
            step()
            with torch.no_grad():
                for tensor in tensors():
                    tensor.zero_()
                for tensor, old in before:
                    tensor.copy_(old)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
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
