"""physlm: the laboratory for the physics of language models.

Import what you need from the subpackages, in the order of the pipeline: ``config``, ``rng``, ``tasks``, ``models``,
``training``, ``measures``, ``laws``, ``figures``, ``lab``.  Importing ``physlm`` itself loads nothing heavy.
"""

__version__ = "0.1.0"
