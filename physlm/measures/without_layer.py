"""Which parts of a model its answers need: each part of each block in turn adds nothing, the rest stays as it is.

    answer_without  kind=birth_city half=test layer=3 part=mlp     x + attention(norm x), and no MLP after it
    .. part=attention, part=block                                  no attention; neither of the two

About held-out people, the first of those that measure ``answers`` asks; ``answer`` of these kinds there is the
undamaged model.  Blocks are counted from 0.

What a part adds to the residual stream is replaced by zeros wherever the model reads; its weights are left alone.
"""

from __future__ import annotations

import itertools

import torch
from tqdm import tqdm

from physlm.measures.answers import grade, held_out_questions
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder

PEOPLE = {"cuda": 500, "cpu": 200}  # asked each kind of question, at most
# what is silenced, by the names of activations
PLACES = {"block": ("mixer", "mlp"), "attention": ("mixer",), "mlp": ("mlp",)}


def measure(run: Trained) -> list[Row]:
    """Accuracy about held-out people without each part of each block."""
    sheet, model = held_out_questions(run, PEOPLE[run.device.type]), run.ready(run.model)
    cells = list(itertools.product(range(run.spec.model.depth), PLACES))
    rows: list[Row] = []
    for layer, part in tqdm(cells, desc="without a part", leave=False, disable=None if run.progress else True):
        (grades,) = grade(without(model, layer, part), [sheet])
        rows += sheet.rows("answer_without", "test", grades.answer_B, layer=layer, part=part)
    return rows


def without(model: Decoder, layer: int, part: str) -> Decoder:
    """The model with a part of block ``layer`` that adds nothing.

    Args:
        part: one of ``PLACES``; a model without MLPs is itself without one.
    """
    names = [f"block.{layer}.{place}" for place in PLACES[part]]
    return model.edited({name: torch.zeros_like for name in names if name in model.tap_names})
