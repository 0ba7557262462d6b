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
    step: Callable[[], None], tensors: Callable[[], Iterable[Tensor]], device: torch.device, pool: Any = None
) -> Callable[[], None]:
    """``step`` itself on a CPU; on a GPU a replay of what it does.

    Args:
        step: reads and writes the same tensors each time, of fixed shapes, and never asks the device for a number.
        tensors: all that ``step`` changes and later steps read.  Each step done to warm up is undone in them: those
            that were there before get their old values back, others (an optimiser's moments) become zero.
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
        for _ in range(WARM_UP):
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
