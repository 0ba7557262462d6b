"""What it means: functional forms, fits with intervals, verdicts.  A table goes in, a ``Law`` comes out.

Sees tables only: may import numpy, scipy, pandas, ``physlm.config`` and ``physlm.errors``, never torch.
"""
