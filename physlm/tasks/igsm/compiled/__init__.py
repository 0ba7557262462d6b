"""The parts of the compiled generator, each beside its plain twin of the same name; ``physlm.tasks.igsm.kernel`` runs
them.

``c`` are the settings, ``w`` the working memory of one problem at a time, ``r`` its record: one item each of the
types in ``layout``.  Sets of parameters, edges, places or items are bits of one word, so that a uniform pick from a set
is "clear the k lowest bits".  The twin picks from the same sets as sorted lists.
"""
