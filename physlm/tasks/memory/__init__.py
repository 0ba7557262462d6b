"""The tasks of mechanistic architecture design (MAD, arXiv 2403.17844): one file a task, one kind of memory a task.

Recall of pairs, also among noise (``recall``) or of several tokens each (``fuzzy``), a whole sequence kept
(``compression``), words among blanks kept in their order (``selective``), pairs kept in the weights (``memorise``).
All of them are written as next-token tasks, each text after <bos>; each file says where that differs from the source.
"""
