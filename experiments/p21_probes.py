"""Part 2.1: what a model has worked out before it writes, by six probes: ``physlm run p21_probes --tier demo``."""

from _part2 import DEVIATIONS, probed_runs, setting

from physlm.figures.plots import curves
from physlm.lab.experiment import TIERS, Experiment
from physlm.laws.forms import Above, Least, Shares, largest, laws
from physlm.laws.verdict import bound, own_test
from physlm.measures.igsm.settings import KINDS, default_ops

BEYOND = {"at.op": largest, "at.query": "asked"}  # half as many operations again as in training
BALANCED = Shares("balanced", {"task": "at.task"}, BEYOND)
WORDS = {"nece": "what is necessary", "dep": "on what it depends", "known": "what is known", "value": "its value",
         "can_next": "computable next", "nece_next": "necessary and next"}  # fmt: skip
ACCURACY, MAJORITY, MATTHEWS = BALANCED.of("accuracy"), BALANCED.of("majority"), BALANCED.of("matthews")
UNTRAINED = BALANCED.of("balanced_untrained", "untrained")
REASKED = BALANCED.of("balanced", "reasked", query="reasked")  # more of the graph is not needed
DISTANCE = Shares("by_distance", {"task": "at.task", "distance": "at.distance"}, BEYOND)
LABEL = Shares("by_label", {"task": "at.task", "label": "at.label"}, BEYOND)
NEED = Shares("by_need", {"task": "at.task", "need": "at.need"}, {**BEYOND, "at.query": "reasked"})
NAMES = {"nece": "necessary", "dep": "depends (A, B)", "known": "already computed", "value": "its value",
         "can_next": "can be computed next", "nece_next": "necessary and next"}  # fmt: skip
OPS = dict.fromkeys(default_ops(setting(tier).task)[-1] for tier in TIERS)
LEAST = {"nece": 0.9, "dep": 0.9, "known": 0.95, "value": 0.9, "can_next": 0.9, "nece_next": 0.9}

EXPERIMENT = Experiment(
    name="p21_probes",
    claim=(
        "Before it writes a sentence, a model that solves problems has worked out which parameters are necessary, "
        "known and computable next, and on what they depend, even of those that it will never need."
    ),
    source="arXiv:2407.20311, Results 4 and 5, Figures 7 and 8",
    runs=probed_runs,
    measures=("igsm_probes",),
    law=laws(BALANCED, ACCURACY, MAJORITY, Above("above_majority", ACCURACY, MAJORITY), MATTHEWS, UNTRAINED,
             Above("above_untrained", BALANCED, UNTRAINED), Least("least", BALANCED), REASKED, NEED,
             Above("need_above_untrained", NEED, NEED.of("by_need_untrained", "need_untrained")), LABEL, DISTANCE,
             BALANCED.of("balanced_shuffled", "shuffled"), items="problems"),
    figure=curves(DISTANCE, "distance", "task", control=DISTANCE.of("by_distance_untrained"),
                  control_name="untrained model", names=NAMES, log=False, xlabel="steps from the query",
                  ylabel="balanced accuracy (%)", title="Probes of needed parameters, by distance"),
    expect=(
        *(bound(f"balanced@task={kind}", "at least", LEAST[kind], "Figure 7: far above the majority",
                "the paper's cells are pictures; the number is ours", label=f"read: {WORDS[kind]}") for kind in KINDS),
        *(bound(f"above_untrained@task={kind}", "at least", 0.1, "Figure 7: far above a random model", "ours",
                label=f"over an untrained model: {WORDS[kind]}")
          for kind in KINDS),
        bound("reasked@task=nece", "at least", 0.9, "Figure 7", "of problems of which more is not needed; ours",
              label="read of problems asked again: what is necessary"),
        bound("by_need@task=dep/need=unneeded", "at least", 0.85, "Result 5: dep is known of unneeded parameters",
              "level 2; ours", label="read of what is never needed: on what it depends"),
        bound("by_need@task=can_next/need=unneeded", "at least", 0.85, "Result 5", "level 2; ours",
              label="read of what is never needed: computable next"),
        own_test("shuffled@task=nece", "at most", 0.6, "answers to other questions are not found",
                 label="answers to other questions read: what is necessary"),
        own_test("shuffled@task=dep", "at most", 0.6, "answers to other questions are not found",
                 label="answers to other questions read: on what it depends"),
    ),
    deviations=(
        *DEVIATIONS,
        (
            "Probes: at tiers gpu and paper 4,000 steps of up to 320 queries instead of 100,000 of 256 (128 for "
            "iGSM-hard), 5 % of the published queries; the update of the embedding has rank 8 as published, START, "
            "MID and END are vectors of their own. In training half of the queries have the answer true; accuracy "
            "allows for how frequent labels are, balanced accuracy does not."
        ),
        (
            "Asked about are the parameters of the dependency graph, as the paper says; its released code labels all "
            "candidates, absent edges too, of which more are false. The paper states of one cell alone a number: "
            "can_next is right in about 99 % at 23 and 32 operations (arXiv 2408.16293, Section 3)."
        ),
        (
            "Probes learn from problems like those of training, and are judged on held-out ones of half as many "
            "operations again. Unneeded parameters are those of problems with another question (reask), since a "
            "problem of many operations needs nearly all of its own. dep is asked at the end of the problem, before "
            "its question: unneeded is there what a question that the model has not read yet will not need."
        ),
        "Tiers smoke and demo: 200 steps of up to 80 queries at a rate of 1e-2.",
    ),
    found=(
        "What is written so far (known, value) is known as published. What has to be planned is known worse, hardly "
        "better at 8 operations (nece 0.81), where this model solves 0.58, than at 12 (0.78): it solves most of them "
        "without having planned all. One seed, the weaker one; the probes of the other were not finished."
    ),
    columns=tuple(f"balanced/task={kind}/op={op}/query=asked" for kind in KINDS for op in OPS),
)  # fmt: skip
