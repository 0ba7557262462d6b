"""What is measured on a trained model; each measure turns a run into rows of value, unit, n and interval.

``MEASURES`` is the table of measures: name -> "module:function", imported when it is used.  A measure is a function
of a ``Trained`` run that returns a list of ``Row``.  ``CHECKS`` names, in the same way, functions of a ``RunSpec`` that
raise UserError where a measure could not be taken; they are asked for every run before the first is trained.
May import ``config``, ``rng``, ``tasks``, ``models``, ``training``.
"""

MEASURES = {
    "capacity": "physlm.measures.capacity:measure",
    "completion": "physlm.measures.completion:measure",
    "trees": "physlm.measures.trees:measure",
    "attention": "physlm.measures.tree_attention:measure",
    "bags": "physlm.measures.bags:measure",
    "robustness": "physlm.measures.robustness:measure",
    "knowledge": "physlm.measures.knowledge:measure",
    "answers": "physlm.measures.answers:measure",
    "recall": "physlm.measures.recall:measure",
    "without_layer": "physlm.measures.without_layer:measure",
}
CHECKS = {
    "knowledge": "physlm.measures.knowledge:check",
    "answers": "physlm.measures.answers:check",
    "recall": "physlm.measures.recall:check",
    "without_layer": "physlm.measures.answers:check",
}
