"""What a model that solves iGSM has worked out before it writes: six variable probes (arXiv 2407.20311, section 4).

    accuracy   task=nece op=15 query=asked   the share of right answers, on problems of templates held out from training
    majority                                 the best constant answer to the same queries
    balanced                                 the mean over labels of the share of right answers
    matthews                                 correlation of answers and labels
    by_label   .. label=true                 of one label (of values: known, unknown)
    by_distance .. distance=3                ``balanced``, of needed parameters so far from the query; where all labels
                                             are the same, as those of nece are, the share of right answers
    by_need    .. need=unneeded              ``balanced`` of dep(A, B) and can_next(A), by whether A is needed

Controls, asked the same: ``.._untrained``, the model before its first step; ``.._shuffled``, a probe that learns from
the answers to other questions at the same place, and is judged by such.  op: that of the evaluation problems, the
largest of training and half as many again unless the settings say otherwise.  query=reasked: another parameter of the
same kind of graph is asked for, so that more of it is not needed; where that takes fewer than five operations, problems
are fresh and of any template.  n counts problems.

Parameters asked about: those of the dependency graph (``VariableConfig.population``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.igsm.settings import KINDS, SETTINGS, check_run, default_ops, family_of, held_out
from physlm.measures.measure import Measure
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.training.config import RunSpec

PROBLEMS = {"cuda": 1024, "cpu": 48}  # judged, of each op; ten queries about each
CONTROLS = {"": False, "_untrained": False, "_shuffled": True}  # members; which learn from answers to other questions
GROUPS = {"value": ("unknown", "known")}
BY_NEED = ("dep", "can_next")
QUERIES = ("asked", "reasked")


@dataclass(frozen=True)
class Probing(Measure):
    """Six probes of one run.

    Attributes:
        ops: of the evaluation problems; by default the largest of training and half as many again.
        tasks: which probes.
    """

    kind: ClassVar[str] = "igsm_probes"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["igsm_probes"]
    ops: tuple[int, ...] = ()
    tasks: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        wrong = [task for task in self.tasks if task not in KINDS]
        if wrong or not self.tasks:
            raise UserError(f"measure {type(self).kind}: tasks: got {', '.join(map(repr, self.tasks)) or 'none'}, "
                            f"expected some of {', '.join(KINDS)}")

    def check(self, spec: RunSpec) -> None:
        check_run(spec, self.ops)

    def __call__(self, run: Trained) -> list[Row]:
        from physlm.measures.igsm.scores import majority, rows_of
        from physlm.measures.igsm.training import judge, train_probe
        from physlm.measures.knowledge_probes import beside

        config, device = family_of(run.spec), run.device
        setting = SETTINGS[device.type]
        trained = run.ready(run.model)
        model = beside(trained, run.ready(run.untrained), trained)
        rows: list[Row] = []
        for kind in (kind for kind in KINDS if kind in self.tasks):
            probe = train_probe(model, config, kind, setting, tuple(CONTROLS.values()), run.progress)
            for op in self.ops or default_ops(config):
                for query in QUERIES:
                    asked = replace(config, op=op, reask=query == "reasked", templates=held_out(config))
                    found = judge(probe, kind, asked, setting, PROBLEMS[device.type], tuple(CONTROLS.values()))
                    where = {"task": kind, "op": op, "query": query}
                    rows.append(majority(found[0], where))
                    for suffix, judged in zip(CONTROLS, found, strict=True):
                        groups = GROUPS.get(kind, ("false", "true"))
                        rows += rows_of(judged, suffix, groups, kind in BY_NEED, where)
        return rows


measure = Probing()  # that of the table of measures
check = measure.check
