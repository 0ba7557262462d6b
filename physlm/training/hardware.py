"""Peak arithmetic of known accelerators, for model-FLOP utilisation and predicted costs.  Free of torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Dense bf16 tensor-core peak in TFLOP/s, from the makers' data sheets, by the word in the driver's name.
PEAK_TFLOPS = {"B200": 2250.0, "H200": 989.0, "H100": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0,
               "L40S": 362.0, "A40": 150.0, "A10": 125.0, "L4": 121.0, "V100": 125.0, "T4": 65.0,
               "4090": 165.0, "3090": 71.0}  # fmt: skip


def peak_tflops(name: str) -> float | None:
    """The bf16 peak of a GPU by name; None if it is not in the table."""
    return next((PEAK_TFLOPS[word] for word in re.split(r"[\s-]+", name.upper()) if word in PEAK_TFLOPS), None)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of ``device`` in bf16; None on a CPU, for an unknown GPU and in float32."""
    if device.type != "cuda" or precision != "bf16":
        return None
    import torch

    peak = peak_tflops(torch.cuda.get_device_name(device))
    return None if peak is None else peak * 1e12
