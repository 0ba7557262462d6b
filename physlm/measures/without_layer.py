"""Which parts of a model its answers need: each part of each block in turn adds nothing, the rest stays as it is.

    answer_without  kind=birth_city half=test layer=3 part=mlp     x + attention(norm x), and no MLP after it
    .. part=attention, part=block                                  no attention; neither of the two

About held-out people, the first of those that measure ``answers`` asks; ``answer`` of these kinds there is the
undamaged model.  Blocks are counted from 0.

A part writes to the residual stream through one matrix alone, without a bias: with zeros there it adds exactly nothing.
"""

from __future__ import annotations

import copy
import itertools

import torch
from tqdm import tqdm

from physlm.measures.answers import grade, held_out_questions
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder

PEOPLE = {"cuda": 500, "cpu": 200}  # asked each kind of question, at most
# what a part writes through
PROJECTIONS = {"block": ("attention.out", "mlp.down"), "attention": ("attention.out",), "mlp": ("mlp.down",)}


def measure(run: Trained) -> list[Row]:
    """Accuracy about held-out people without each part of each block."""
    sheet, model = held_out_questions(run, PEOPLE[run.device.type]), run.ready(run.model)
    cells = list(itertools.product(range(run.spec.model.layers), PROJECTIONS))
    rows: list[Row] = []
    for layer, part in tqdm(cells, desc="without a part", leave=False, disable=not run.progress):
        (grades,) = grade(without(model, layer, part), [sheet])
        rows += sheet.rows("answer_without", "test", grades.answer_B, layer=layer, part=part)
    return rows


@torch.no_grad()
def without(model: Decoder, layer: int, part: str) -> Decoder:
    """A copy of the model in which a part of block ``layer`` adds nothing.

    Args:
        part: one of ``PROJECTIONS``; a model without MLPs is its own copy without one.
    """
    damaged = copy.deepcopy(model)
    silent = {f"blocks.{layer}.{projection}.weight" for projection in PROJECTIONS[part]}
    for name, weight in damaged.named_parameters():
        if name in silent:
            weight.zero_()
    return damaged
