"""Triton kernels of the fast step; imported only when tensors are on a CUDA device, so that triton stays optional.

The public functions, with the obvious implementation of each, are in ``physlm.models.cross_entropy``.
All kernels are deterministic (no atomics), never synchronise with the host and can be captured in a CUDA graph.
"""
