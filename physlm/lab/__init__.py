"""Who runs it: ``Experiment`` and its tiers, the planner, the run store, the sweep, and the results of a claim.

All but ``sweep``, ``worker`` and ``bench`` are free of torch.  May import everything except ``physlm.cli`` and
``physlm.commands``; never imports ``experiments``, which are loaded by path.
"""
