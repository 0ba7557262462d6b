"""Which share of the tokens of answers a model finds likeliest, given all true tokens before each of them.

    forced            kind=k8 half=test    in windows packed with test instances, whose questions are all of this kind
    forced_untrained  kind=k8 half=test    control: random weights
    forced_majority   kind=k8 half=test    control: the one token that these answers have most often

Every answer token of a window counts, wherever the window's end cuts the last instance, and nothing else: not the
marker before an answer.  So Depo is graded as published (arXiv 2512.17351, A.1), where one more true answer stands
before each question of an instance, and each token of a name is given those before it; ``answers`` asks without.
n is the number of windows, and the interval is over them.

Shape letters: R windows of T positions.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.finite import likeliest
from physlm.measures.intervals import share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.config import TaskConfig
from physlm.tasks.rows import IGNORE
from physlm.tasks.task import AnswerRows, ReadTask
from physlm.training.config import RunSpec

WINDOWS = {"cuda": 256, "cpu": 24}  # of each kind
CONTROL_WINDOWS = 24  # the first of them, for models that have learned no answers
TOKENS = {"cuda": 1 << 18, "cpu": 1 << 14}  # that are read at once


class Forced(NamedTuple):
    """Of each window the answer tokens that were right, and all; (R,)."""

    hits_R: Tensor
    counts_R: Tensor


def check(spec: RunSpec) -> None:
    """Refuse a run whose answers cannot be graded as they are read.

    Raises:
        UserError: its task has no test windows, or its model is an encoder.
    """
    if not spec.task.has_test_rows:
        kinds = [kind for kind in TaskConfig.kinds() if TaskConfig.of_kind(kind).has_test_rows]
        raise UserError(f"measure forced: got a run on {spec.task.title}, expected one on {' or '.join(kinds)}, which "
                        "has windows of test questions")
    if not spec.model.causal:
        raise UserError("measure forced: got model.causal = false, expected a decoder, which reads what comes before")


def measure(run: Trained) -> list[Row]:
    """Everything above, of one run.

    Raises:
        UserError: as ``check``.
    """
    check(run.spec)
    # a config that says it has them builds a task with test rows
    task = cast(ReadTask, run.spec.task.build()).to(run.device)
    windows = task.test_rows(WINDOWS[run.device.type])
    rows = forced_rows("forced", windows, read(run.ready(run.model), windows))
    rows += forced_rows("forced_majority", windows, commonest(windows))
    few = task.test_rows(min(WINDOWS[run.device.type], CONTROL_WINDOWS))
    return rows + forced_rows("forced_untrained", few, read(run.ready(run.untrained), few))


def forced_rows(quantity: str, windows: AnswerRows, found: Forced) -> list[Row]:
    """The share of right tokens in windows of each kind."""
    rows = []
    for k, kind in enumerate(windows.kinds):
        at_R = windows.kind_R == k
        hits, counts = (x[at_R].double().cpu().numpy() for x in found)
        rows.append(share(hits, counts).row(quantity, len(hits), where={"kind": kind, "half": "test"}))
    return rows


@torch.no_grad()
def read(model: Decoder, windows: AnswerRows) -> Forced:
    """What a model of one member finds likeliest at each answer token of each window.

    Raises:
        NotFiniteError: logits are not finite.
    """
    table_dV = model.output_table[0, : model.vocabulary].float().mT
    hits = []
    batch = max(1, TOKENS[windows.inputs_RT.device.type] // windows.inputs_RT.shape[1])
    for inputs_RT, targets_RT in zip(windows.inputs_RT.split(batch), windows.targets_RT.split(batch), strict=True):
        hidden_MRTd, _ = model.hidden(inputs_RT[None])
        asked_RT = targets_RT != IGNORE
        right_RT = torch.zeros_like(asked_RT)
        found = likeliest(hidden_MRTd[0, asked_RT].float() @ table_dV, "logits of answers")
        right_RT[asked_RT] = found == targets_RT[asked_RT]
        hits.append(right_RT.sum(1))
    return Forced(torch.cat(hits), (windows.targets_RT != IGNORE).sum(1))


def commonest(windows: AnswerRows) -> Forced:
    """The same of the token that the answers of each kind have most often."""
    targets_RT = windows.targets_RT
    hits_R = torch.zeros_like(windows.kind_R)
    for k in range(len(windows.kinds)):
        own_RT = targets_RT[windows.kind_R == k]
        token = own_RT[own_RT != IGNORE].bincount().argmax()
        hits_R[windows.kind_R == k] = (own_RT == token).sum(1)
    return Forced(hits_R, (targets_RT != IGNORE).sum(1))
