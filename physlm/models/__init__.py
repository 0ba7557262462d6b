"""What learns: one decoder with pluggable parts, a leading member axis, exact parameter counts, taps.

``config`` is free of torch.  May import ``physlm.config`` and ``physlm.rng`` only.
"""
