"""How many people a model has memorised, counted as capacity counts bits, of a run that goes on to answer questions.

    memorised            kind=employer half=test    1 - p / ln n of the model that the run begins with
    memorised_untrained  kind=employer half=test    control: the same of random weights

p are the nats spent on the values of this attribute in fresh biographies, a sum over tokens and a mean over people, and
n is the number of values it can have: a model that knows the values of a share q of the people by heart, and of the
others nothing but the pool, has q.  A share below 0 counts as 0: no model knows less than the pool (as in
``physlm.measures.capacity``).  The people are those held out of all questions in training, so that ``answer`` at the
same place is the share of them whose value can be told: what is stored beside what can be extracted.
Source: arXiv 2404.05405, Figure 10.  The employer's city follows from the employer and is left out.

Shape letters: A attributes, E people who are read, W positions.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray

from physlm.errors import UserError
from physlm.measures.capacity import TEXTS
from physlm.measures.finite import check_finite
from physlm.measures.intervals import Intervals, difference_mean
from physlm.measures.losses import model_losses
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.people import value_counts
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.biography.questions import asked_people
from physlm.training.config import RunSpec

BATCH = 2048  # people read at once


def check(spec: RunSpec) -> None:
    """Refuse a run that does not go from biographies of bioS to questions, or holds nobody out.

    Raises:
        UserError: see above.
    """
    if not isinstance(spec.task, QuestionsConfig) or spec.start is None or not isinstance(spec.start.task, BioSConfig):
        start = "" if spec.start is None else f" that begins with one on {spec.start.task.title}"
        raise UserError(f"measure memorised: got a run on {spec.task.title}{start}, expected one on bioQA that begins "
                        "with one on bioS")
    spec.task.conditions()


def measure(run: Trained) -> list[Row]:
    """Each attribute that is asked for; no rows where the model that the run begins with is gone.

    Raises:
        UserError: as ``check``.
    """
    check(run.spec)
    rows = []
    if run.load_start is not None:
        for name, model in (("memorised", run.load_start()), ("memorised_untrained", run.untrained)):
            rows += _rows(name, run, model)
    return rows


def _rows(name: str, run: Trained, model: Decoder) -> list[Row]:
    """Means over the held-out people, 95 % intervals from the spread over them."""
    questions = run.spec.task
    assert isinstance(questions, QuestionsConfig)
    rows = []
    for kind, (count, nats_E) in _nats(run, model).items():
        share_E = 1.0 - nats_E / math.log(count)
        found = Intervals(*(np.maximum(end, 0.0) for end in difference_mean(share_E)))
        rows.append(found.row(name, len(share_E), where={"kind": kind, "half": "test"}))
    return rows


@torch.no_grad()
def _nats(run: Trained, model: Decoder) -> dict[str, tuple[int, NDArray[np.float64]]]:
    """By attribute how many values it can have, and the nats spent on that of each held-out person, (E,)."""
    questions, start = run.spec.task, run.spec.start
    assert isinstance(questions, QuestionsConfig) and start is not None and isinstance(start.task, BioSConfig)
    task, losses = start.task.build().to(run.device), model_losses(model)
    people_E = asked_people(_held_out(questions)).to(run.device)
    counts = {kind: count for kind, count in value_counts(start.task.pool_size).items() if kind in questions.ask.kinds}
    total_AE = torch.zeros(len(counts), len(people_E), dtype=torch.float64, device=run.device)
    for draw in range(TEXTS):
        for first in range(0, len(people_E), BATCH):
            some_E = people_E[first : first + BATCH]
            entries = task.entries(some_E, torch.full_like(some_E, draw))
            nll_EW, roles_EW = losses(some_E, entries).double(), entries.roles_RW[:, 1:]
            for total_E, kind in zip(total_AE, counts, strict=True):
                told_EW = roles_EW == task.roles.index(kind)
                total_E[first : first + BATCH] += torch.where(told_EW, nll_EW, 0.0).sum(1) / TEXTS
    check_finite(total_AE, "nats of a person")
    return {kind: (count, nats_E) for (kind, count), nats_E in zip(counts.items(), total_AE.cpu().numpy(), strict=True)}


def _held_out(questions: QuestionsConfig) -> QuestionsConfig:
    """The questions that training held out: those of ``answer`` and ``half=test``."""
    condition = questions.conditions()["answer", "test"]
    return dataclasses.replace(questions, ask=dataclasses.replace(questions.ask, **condition))
