"""Peak arithmetic of known accelerators, for model-FLOP utilisation."""

from __future__ import annotations

import torch

# Dense matrix FLOP/s by the makers' datasheets: bfloat16, then float32 with TF32 tensor cores.
_PEAKS = {
    "H200": (989e12, 494e12),
    "H100": (989e12, 494e12),
    "A100": (312e12, 156e12),
    "L40S": (362e12, 183e12),
    "RTX 4090": (165e12, 83e12),
    "RTX 3090": (71e12, 36e12),
}


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of ``device`` at ``precision``, or None where it is not known (every CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for known, (bf16, tf32) in _PEAKS.items():
        if known in name:
            return bf16 if precision == "bf16" else tf32
    return None
