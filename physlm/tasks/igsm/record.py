"""The record of one problem: all that was drawn, as numbers.  Twin and kernel fill it alike, ``Problem`` reads it.

Parameters have numbers: first the edges of the structure graph ("A's B", described by one sentence each), by layer,
owner and owned; then the totals ("A's <category>"), by owner's layer from the lowest up, owner and category.  So a
total's needs have smaller numbers than the total itself.

Free of torch and numba.
"""

from __future__ import annotations

import numpy as np

from physlm.tasks.igsm.config import LETTERS, MOST_EDGES

MOST_TOTALS = 24  # four layers of four items: 4 x 3 + 4 x 2 + 4 x 1
MOST_PARAMETERS = MOST_EDGES + MOST_TOTALS  # fits one word of 64 bits
RNG = MOST_PARAMETERS  # the number of the random generator among dependencies that are drawn

PLAIN, CONSTANT, MORE, TIMES = range(4)  # how an edge uses the random generator: not, alone, c + rest, c * rest

RECORD = np.dtype([
    ("stream", "u8"),                   # the problem's own stream of random bits
    ("op", "i4"),                       # operations of the solution = its letters = its semicolons
    ("ip", "i4"),                       # edges
    ("totals", "i4"),                   # number of totals, on the graph or not
    ("draws", "i4"),                    # structure graphs that were drawn until this one
    ("bin", "i4"),                      # of the template
    ("template", "u8"),                 # its hash
    ("layers", "i4"),
    ("sizes", "i2", 4),                 # items of each layer
    ("categorisation", "i4"),
    ("first_layer", "i4"),              # of the categorisation
    ("groups", "i2", 4),                # of each layer
    ("items", "i2", (4, 4)),            # place of each item in its layer's group
    ("edge", "i2", (MOST_EDGES, 3)),    # owner's layer, owner, owned item of the next layer
    ("total", "i2", (MOST_TOTALS, 3)),  # owner's layer, owner, deeper layer
    ("needed", "i4"),                   # parameters of the solution; the query is the last of them
    ("order", "i2", MOST_PARAMETERS),   # all parameters, each after its dependencies, those of the solution first
    ("graph", "i2", MOST_PARAMETERS),   # 1: of the dependency graph; every edge is, a total only where it is used
    ("form", "i2", MOST_EDGES),         # PLAIN, CONSTANT, MORE or TIMES
    ("constant", "i4", MOST_EDGES),
    ("difference", "i2", MOST_EDGES),   # 1: of its two dependencies, otherwise their sum
    ("count", "i2", MOST_EDGES),        # of dependencies, RNG apart
    ("dependencies", "i2", (MOST_EDGES, 4)),  # in the order of the sentence
    ("value", "i4", MOST_PARAMETERS),
    ("sentences", "i2", MOST_EDGES),    # edges in the order of the problem's text
    ("letters", "i2", LETTERS),         # in the order in which the solution introduces them
])  # fmt: skip
