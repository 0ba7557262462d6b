"""What a model that solves iGSM has worked out before it writes: six variable probes (arXiv 2407.20311, section 4).

    Experiment(measures=(Probing(),), ...)

    accuracy   task=nece op=15 query=asked     the share of right answers, on problems of templates held out from training
    majority                                   the best constant answer to the same queries
    balanced                                   the mean over labels of the share of right answers
    matthews                                   correlation of answers and labels
    by_label   .. label=true                   of one label (of values: known, unknown)
    by_distance .. distance=3                  ``balanced``, of needed parameters so far from the query; where all labels
                                               are the same, as those of nece are, the share of right answers
    by_need    .. need=unneeded                ``balanced`` of dep(A, B) and can_next(A), by whether A is needed

``.._untrained`` is the model before its first step, ``.._shuffled`` a probe that learns from answers to other questions;
both are asked the same.  op: that of the evaluation problems, the largest of training and half as many again unless the
settings say otherwise.  query=reasked: another parameter of the same kind of graph is asked for, so that more of it is
not needed.  n counts problems.

Parameters asked about: those of the dependency graph (``VariableConfig.population``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from physlm.errors import UserError
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.labels import KINDS, Kind, positive
from physlm.measures.igsm.scores import Judged, rows_of
from physlm.measures.igsm.training import SETTINGS, VariableConfig, source_of, train_probe
from physlm.measures.knowledge_probes import beside
from physlm.measures.measure import Measure
from physlm.measures.probes import IGNORE
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import IgsmConfig
from physlm.training.config import RunSpec

PROBLEMS = {"cuda": 1024, "cpu": 48}  # judged, of each op; ten queries about each
CONTROLS = {"": 0, "_untrained": 1, "_shuffled": 2}
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
    quantities: ClassVar[tuple[str, ...]] = ("majority", *(
        f"{name}{control}" for name in ("accuracy", "balanced", "matthews", "by_label", "by_distance", "by_need")
        for control in CONTROLS))
    ops: tuple[int, ...] = ()
    tasks: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        wrong = [task for task in self.tasks if task not in KINDS]
        if wrong or not self.tasks:
            raise UserError(f"measure {type(self).kind}: tasks: got {', '.join(map(repr, self.tasks)) or 'none'}, "
                            f"expected some of {', '.join(KINDS)}")

    def check(self, spec: RunSpec) -> None:
        check_run(spec, type(self).kind)
        for op in self.ops:
            replace(family_of(spec), op=op)

    def __call__(self, run: Trained) -> list[Row]:
        config, device = family_of(run.spec), run.device
        setting = SETTINGS[device.type]
        trained = run.ready(run.model)
        model = beside(trained, run.ready(run.untrained), trained)
        rows: list[Row] = []
        for kind in (kind for kind in KINDS if kind in self.tasks):
            probe = train_probe(model, config, kind, setting, (False, False, True), run.progress)
            for op in self.ops or default_ops(config):
                for query in QUERIES:
                    asked = replace(config, op=op, reask=query == "reasked")
                    judged = judge(probe, kind, asked, setting, PROBLEMS[device.type])
                    rows += rows_of(judged, CONTROLS, GROUPS.get(kind, ("false", "true")), kind in BY_NEED,
                                    {"task": kind, "op": op, "query": query})
        return rows


def family_of(spec: RunSpec) -> IgsmConfig:
    """The problems of a run, for measures of iGSM.

    Raises:
        UserError: it reads none.
    """
    if not isinstance(spec.task, IgsmConfig):
        raise UserError(f"measure of iGSM: got a run on {spec.task.title}, expected one on iGSM")
    return spec.task


def check_run(spec: RunSpec, measure: str) -> None:
    """Refuse a run whose model cannot be asked.

    Raises:
        UserError: it does not read iGSM; an encoder, or a model that mixes neighbouring tokens or has positions that
            only whole rows have.
    """
    family_of(spec)
    if not Decoder(replace(spec.model, layers=max(len(spec.model.mixer), len(spec.model.mlp), len(spec.model.local), 1)),
                   len(spec.task.vocabulary()), (None,)).has_among:  # fmt: skip
        raise UserError(f"measure {measure}: got the model {spec.model.label}, expected a causal one of attention by "
                        "contents without local mixing: queries stand beside one text")


def default_ops(config: IgsmConfig) -> tuple[int, ...]:
    """The largest op of training, and half as many again, as far as there are such problems."""
    return tuple(dict.fromkeys((config.max_op, min(config.max_op * 3 // 2, config.most_op))))


@torch.no_grad()
def judge(probe: VariableProbe, kind: Kind, config: IgsmConfig, setting: VariableConfig, problems: int) -> Judged:
    """The answers of a trained probe to uniform queries about held-out problems of these settings."""
    parts = []
    device = probe.maps.device
    for batch in source_of(kind, config, setting, device, balanced=False).of(problems, "evaluation"):
        neutral_MBQ, prior_MBQ = (found.cpu().numpy() for found in probe.answers(batch.asked))
        drawn, found = batch.drawn, batch.graphs
        asked_BQ, row_B1 = drawn.labels != IGNORE, np.arange(len(drawn.labels))[:, None]
        labels = drawn.labels[asked_BQ]
        parts.append(Judged(
            labels, positive(kind, labels, config.modulus),
            np.broadcast_to(batch.numbers_B[:, None], asked_BQ.shape)[asked_BQ],
            found.nece_BP[row_B1, drawn.first][asked_BQ], found.distance_BP[row_B1, drawn.first][asked_BQ],
            neutral_MBQ[:, asked_BQ], prior_MBQ[:, asked_BQ],
        ))  # fmt: skip
    return Judged(*(np.concatenate(arrays, -1) for arrays in zip(*parts, strict=True)))
