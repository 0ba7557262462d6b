"""The synthetic playground of Part 4.1 (arXiv 2512.17351) and its neighbours: one file a task, one skill a task.

Mano is mental arithmetic, Depo steps along a cycle, Brevo a whole branch of a graph.  Lano is the task ``grammar``,
Capo the biographies of ``bioS`` at 100 exposures.
"""
