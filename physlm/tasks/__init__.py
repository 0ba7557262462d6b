"""What is learned: synthetic tasks, each a sampler with labels and its exact information content.

``config`` says what every task's settings say of it, without torch; ``task`` what the task itself offers.
May import ``physlm.config`` and ``physlm.rng`` only.
"""
