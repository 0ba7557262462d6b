"""Synthetic biographies: people, name and value pools, sentence templates, bioS, bioD and bioR (Parts 3.1 to 3.3).

``config``, ``question_config``, ``augmentation``, ``kinds``, ``texts``, ``surface_forms`` and ``rewrite_grammar`` are
free of torch; ``bios`` and ``biod`` write biographies, ``rewrites`` draws them from the grammar, ``bior`` reads those
that a language model wrote on the ``requests``, and ``biography`` is what they share; ``questions`` asks about the
people of bioS, ``mixed`` does both; ``extractor`` reads facts out of texts, ``pools`` the data files beside it.
"""
