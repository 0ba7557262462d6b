"""How it learns: the optimiser, the schedule, the fast step, the loop, checkpoints.

``config`` is free of torch.  May import ``config``, ``rng``, ``tasks`` and ``models``.
"""
