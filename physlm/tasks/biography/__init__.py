"""Synthetic biographies: people, name and value pools, sentence templates, bioS, bioD and bioR (Parts 3.1 to 3.3).

``config``, ``question_config``, ``augmentation``, ``kinds`` and ``texts`` are free of torch; ``bios`` and ``biod``
write biographies, ``rewrites`` draws them from a grammar, whose rules are in ``surface_forms``, ``bior`` reads those that
a language model wrote on the ``requests``, and ``biography`` is what they share; ``questions`` asks about the people of
bioS, ``mixed`` does both; ``pools`` reads the data files beside it.
"""
