"""How it looks: one style; a table and a law go in, a matplotlib ``Figure`` comes out.

Sees tables and laws only: may import matplotlib (never pyplot), numpy, pandas and ``physlm.laws``, never torch.
"""
