"""Products of float32 matrices on tensor cores, with sums in float32."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot(a, b):
    """A B of TF32, 10 bits behind the point, as ``physlm.models.recurrences.matmul`` multiplies them.

    Tensor cores cut the other bits off.  Inputs that are rounded before are three times as exact, and take registers
    that the kernels of PaTH do not have: compiled for sm_90, those of its chunks spilled up to 768 bytes a thread.
    """
    return tl.dot(a, b, input_precision="tf32")


@triton.jit
def fine_dot(a, b):
    """A B with the digits of float32, from three products."""
    return tl.dot(a, b, input_precision="tf32x3")
