"""What is learned: synthetic tasks, each a sampler with labels and its exact information content.

``config`` names the task configs without importing torch; ``build`` in ``catalogue`` turns one into a task.
May import ``physlm.config`` and ``physlm.rng`` only.
"""
