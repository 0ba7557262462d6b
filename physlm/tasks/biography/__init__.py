"""Synthetic biographies: people, name and value pools, sentence templates, bioS and bioD (Parts 3.1 to 3.3).

``config`` is free of torch; ``bios`` and ``biod`` are the two tasks, ``biography`` is what they share; ``pools`` reads
the data files beside it.
"""
