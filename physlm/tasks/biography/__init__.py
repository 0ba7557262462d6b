"""Synthetic biographies: people, name and value pools, sentence templates, bioS and bioD (Parts 3.1 to 3.3).

``config``, ``question_config``, ``augmentation`` and ``kinds`` are free of torch; ``bios`` and ``biod`` write
biographies and ``biography`` is what they share, ``questions`` asks about the people of bioS, ``mixed`` does both;
``pools`` reads the data files beside it.
"""
