"""What is measured on a trained model; each measure turns a run into rows of value, unit, n and interval.

``MEASURES`` is the table of measures: name -> "module:function", imported when it is used.  A measure is a function
of a ``Trained`` run that returns a list of ``Row``.  ``CHECKS`` names, in the same way, functions of a ``RunSpec`` that
raise UserError where a measure could not be taken; they are asked for every run before the first is trained.
``QUANTITIES`` says what the rows of each may be called, ``*`` for any text.  A measure that needs a later station lives
there, and is imported only when it is taken.  A claim may bring a measure of its own:
``physlm.measures.measure``.
May import ``config``, ``rng``, ``tasks``, ``models``, ``training``.
"""

MEASURES = {
    "capacity": "physlm.measures.capacity:measure",
    "quantised": "physlm.measures.quantised:measure",
    "merged": "physlm.measures.merged:measure",
    "completion": "physlm.measures.completion:measure",
    "trees": "physlm.measures.trees:measure",
    "attention": "physlm.measures.tree_attention:measure",
    "bags": "physlm.measures.bags:measure",
    "robustness": "physlm.measures.robustness:measure",
    "knowledge": "physlm.measures.knowledge:measure",
    "answers": "physlm.measures.answers:measure",
    "forced": "physlm.measures.forced:measure",
    "recall": "physlm.measures.recall:measure",
    "memorised": "physlm.measures.memorised:measure",
    "without_layer": "physlm.measures.without_layer:measure",
    "expert_load": "physlm.measures.experts:measure",
    "solutions": "physlm.measures.igsm.solutions:measure",
    "distraction": "physlm.measures.igsm.distraction:measure",
    "igsm_probes": "physlm.measures.igsm.probing:measure",
    "regret": "physlm.measures.igsm.regret:measure",
    "length": "physlm.measures.length.accuracy:measure",
    "needle_attention": "physlm.measures.length.needle:measure",
    "filled": "physlm.measures.length.filled:measure",
    "index": "physlm.battery.measure:measure",
    "regular": "physlm.measures.regular:measure",
}
CHECKS = {
    "capacity": "physlm.measures.capacity:check",
    "completion": "physlm.measures.completion:check",
    "trees": "physlm.measures.trees:check",
    "attention": "physlm.measures.tree_attention:check",
    "bags": "physlm.measures.bags:check",
    "robustness": "physlm.measures.robustness:check",
    "quantised": "physlm.measures.quantised:check",
    "merged": "physlm.measures.merged:check_run",
    "knowledge": "physlm.measures.knowledge:check",
    "answers": "physlm.measures.answers:check",
    "forced": "physlm.measures.forced:check",
    "recall": "physlm.measures.recall:check",
    "memorised": "physlm.measures.memorised:check",
    "without_layer": "physlm.measures.answers:check",
    "expert_load": "physlm.measures.experts:check",
    "solutions": "physlm.measures.igsm.solutions:check",
    "distraction": "physlm.measures.igsm.distraction:check",
    "igsm_probes": "physlm.measures.igsm.probing:check",
    "regret": "physlm.measures.igsm.regret:check",
    "length": "physlm.measures.length.accuracy:check",
    "needle_attention": "physlm.measures.length.needle:check",
    "filled": "physlm.measures.length.filled:check",
    "index": "physlm.battery.measure:check",
    "regular": "physlm.measures.regular:check",
}
_TREES = tuple(f"{kind}{control}{ending}" for kind in ("ancestor", "boundary")
               for control in ("", "_untrained", "_shuffled") for ending in ("", "_balanced"))
_RESIDUALS = ("to_end", "nearest_end", "end_to_end", "adjacent")
QUANTITIES = {
    "capacity": ("bits", "bits_signed", "bits_name", "bits_value", "bits_diversity", "bits_per_param", "bits_max",
                 "bits_untrained", "name_nats", "value_nats", "value1_nats"),
    "quantised": ("bits", "bits_signed", "bits_name", "bits_value", "bits_diversity", "bits_per_param",
                  "bits_kept", "bits_per_stored_bit", "stored_bits_per_param"),
    "merged": ("*",),  # those of the measure that it takes
    "completion": ("accuracy", "accuracy_untrained", "kl", "kl_untrained", "entropy_derivation", "entropy_truth",
                   "entropy_model", "entropy_generated", "length_truth", "length_generated", "distinct",
                   "distinct_truth"),
    "trees": (*_TREES, "ancestor_majority", "boundary_majority"),
    "attention": ("by_distance", *(f"{name}{control}" for name in _RESIDUALS
                                   for control in ("", "_shuffled", "_untrained"))),
    "bags": ("gap", "gap_untrained", "gap_permuted", "p_value", "neighbours", "clusters", "neighbours_permuted",
             "clusters_permuted", "similarity", "bag"),
    "robustness": ("accuracy",),
    "knowledge": tuple(f"{probe}_probe{control}" for probe in "pq" for control in (
        "", "_untrained", "_majority", "_first_word", "_unmapped", "_shuffled")),
    # a task of its own may ask under conditions of its own
    "answers": ("answer", "answer_*", "hint", "hint_*", "majority", "guess"),
    "forced": ("forced", "forced_untrained", "forced_majority"),
    "recall": ("recall", "recall_*"),
    "memorised": ("memorised", "memorised_untrained"),
    "without_layer": ("answer_without",),
    "expert_load": ("expert_load", "expert_dropped"),
    "solutions": ("solved", "number", "number_constant", "cut", "error", "shortest", "unneeded_parameters",
                  "unneeded_operations", "unneeded_unplanned", "retries", "solved_after", "solved_untrained",
                  "solved_truth", "solution_tokens"),
    "distraction": ("solved", "drop", "lost", "noise_tokens", "solved_truth"),
    "igsm_probes": ("majority", *(f"{name}{control}" for name in (
        "accuracy", "balanced", "matthews", "by_label", "by_distance", "by_need")
        for control in ("", "_untrained", "_shuffled"))),
    "regret": ("called_wrong", "called_right", "called_wrong_untrained", "called_right_untrained", "solved", "gain",
               "retries"),
    "length": ("answered", "answered_untrained", "answered_constant", "answered_guess", "tokens"),
    "filled": ("solved", "solved_untrained", "solved_constant", "solved_guess", "tokens"),
    "index": ("indexed", "indexed_untrained", "indexed_truth", "unindexed", "told", "index_questions"),
    "regular": tuple(f"{quantity}{control}" for quantity in ("allowed", "distance")
                     for control in ("", "_untrained", "_uniform", "_ngram")),
    "needle_attention": ("mass", "entropy", "mass_untrained", "entropy_untrained", "mass_even", "entropy_even"),
}
