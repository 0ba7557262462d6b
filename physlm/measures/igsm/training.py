"""How variable probes are trained (``settings`` says for how long) and asked.

Cost.  A step of one kind reads ``problems`` rows of each member, a text and ten queries of 5 or 9 tokens, forward and
backward through frozen weights: 4 FLOPs a weight and token.  For iGSM-med, 32 x (about 190 + 50) tokens of three
members (trained, untrained, shuffled) in a model of 12 x 768 are 7.8 TFLOP; 4,000 steps of six kinds, 190 PFLOP.

A model of 6 x 256 needs 2 to 3 ms a step on an H100 for arithmetic alone; launched one by one, its kernels took 26 to
32.  So a step is recorded for each length of rows (``learner``): iGSM-med has four to seven, of 192 to 576 tokens.  A
batch of 32 problems of iGSM-med costs one core of the host 2 ms, of dep 4; a thread makes eight of them while the
device learns from the eight before (``physlm.training.ahead``).

Shape letters as in ``physlm.measures.igsm.heads``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from physlm.measures.igsm.asking import TOGETHER, Batch, Source
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.labels import Ints, classes, positive
from physlm.measures.igsm.learner import Learner, Lesson, lesson
from physlm.measures.igsm.scores import Judged
from physlm.measures.igsm.settings import Kind, VariableConfig
from physlm.measures.probes import IGNORE
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import IgsmConfig, Retry
from physlm.training.ahead import each

PRIOR_PROBLEMS = 512  # that are looked at for how frequent each label is


def source_of(kind: Kind, config: IgsmConfig, setting: VariableConfig, balanced: bool) -> Source:
    """Where the queries come from: error-free problems of the family."""
    return Source(kind, replace(config, retry=Retry()), setting.problems, setting.queries, setting.population, balanced,
                  setting.seed)  # fmt: skip


def train_probe(model: Decoder, config: IgsmConfig, kind: Kind, setting: VariableConfig,
                shuffled: tuple[bool, ...] = (), progress: bool = False) -> VariableProbe:
    """The probe of one kind, for every member, learnt from problems of the training split.

    Args:
        model: any number of members; it is not changed.
        config: the family whose problems it learns from.
        shuffled: of each member whether it learns from answers to other questions (``Batch.shuffled``); none, if empty.
    """
    frozen = copy.deepcopy(model).requires_grad_(False)
    device = model.embedding.weight.device
    probe = VariableProbe(frozen, classes(kind, config.modulus), setting.rank, setting.seed)
    learner, source = Learner(probe, setting), source_of(kind, config, setting, setting.balanced)
    make = partial(lessons, source, model.members, shuffled, device)
    learner.record(max(make(0), key=lambda one: one.asked.ids_BT.shape[1]))
    with closing(each(make, math.ceil(setting.steps / TOGETHER), device)) as made:
        for one in tqdm(islice(made, setting.steps), total=setting.steps, desc=f"training probes of {kind}",
                        leave=False, disable=None if progress else True):  # fmt: skip
            learner.learn(one)
    if setting.balanced:
        frequent = [_frequencies(source_of(kind, config, setting, balanced), probe.log_prior)
                    for balanced in (False, True)]
        probe.log_prior.copy_(frequent[0].log() - frequent[1].log())
    return probe.requires_grad_(False)


def lessons(source: Source, members: int, shuffled: tuple[bool, ...], device: torch.device,
            group: int) -> Iterator[Lesson]:  # fmt: skip
    """What a group of batches teaches members on that device, see ``train_probe``."""
    for batch in source.group(group):
        yield lesson(batch.asked, _labels(batch, members, shuffled, source.seed), device)


def judge(probe: VariableProbe, kind: Kind, config: IgsmConfig, setting: VariableConfig, problems: int,
          shuffled: tuple[bool, ...] = ()) -> list[Judged]:  # fmt: skip
    """The answers of each member's trained probe to uniform queries about held-out problems of these settings.

    Args:
        shuffled: of each member whether it is judged by answers to other questions, as it was trained.
    """
    device, members = probe.maps.device, len(probe.maps)
    parts: list[list[Judged]] = [[] for _ in range(members)]
    for batch in source_of(kind, config, setting, balanced=False).of(problems, "evaluation"):
        drawn, found = batch.drawn, batch.graphs
        asked_BQ, row_B1 = drawn.labels != IGNORE, np.arange(len(drawn.labels))[:, None]
        about = (np.broadcast_to(batch.numbers_B[:, None], asked_BQ.shape)[asked_BQ],
                 found.nece_BP[row_B1, drawn.first][asked_BQ], found.distance_BP[row_B1, drawn.first][asked_BQ])
        labels_MBQ = _labels(batch, members, shuffled, setting.seed)
        answers = (found.cpu().numpy() for found in probe.answers(batch.asked.to(device)))
        for part, label_BQ, neutral_BQ, prior_BQ in zip(parts, labels_MBQ, *answers, strict=True):
            labels = label_BQ[asked_BQ]
            part.append(Judged(labels, positive(kind, labels, config.modulus), *about, neutral_BQ[asked_BQ],
                               prior_BQ[asked_BQ]))
    return [Judged(*map(np.concatenate, zip(*part, strict=True))) for part in parts]


def _labels(batch: Batch, members: int, shuffled: tuple[bool, ...], seed: int) -> Ints:
    """What each member's answers are held against, (M, B, Q)."""
    others = batch.shuffled(seed) if any(shuffled) else batch.drawn.labels
    return np.stack([others if one else batch.drawn.labels for one in shuffled or (False,) * members])


def _frequencies(source: Source, like_C: Tensor) -> Tensor:
    """The share of each label, (C,); one is added to each count, so that none is 0."""
    counts = np.ones(len(like_C))
    for batch in source.of(PRIOR_PROBLEMS, "train"):
        labels = batch.drawn.labels[batch.drawn.labels != IGNORE]
        counts += np.bincount(labels, minlength=len(counts))
    return torch.from_numpy(counts / counts.sum()).to(like_C)
