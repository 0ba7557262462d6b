"""The measure ``needle_attention``: the attention of the token that asks, question by question.

Shape letters: B questions, P positions of prompts, J layers, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from physlm.errors import UserError
from physlm.measures.attention import decoder_attention
from physlm.measures.finite import check_finite
from physlm.measures.intervals import difference_mean
from physlm.measures.length.asking import Asked, models_of
from physlm.measures.length.needle import NeedleAttention
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.places import Place
from physlm.tasks.prompts import Prompts

QUESTIONS = {"cuda": 64, "cpu": 8}
WEIGHTS = {"cuda": 1 << 28, "cpu": 1 << 24}  # of all layers and heads, held at once
Floats = NDArray[np.float64]


class Attending(NamedTuple):
    """Of each question, layer and head, (B, J, H): mass on the answer's places, and entropy in nats."""

    mass: Floats
    entropy: Floats


def answer_places(prompts: Prompts) -> Tensor:
    """Where the first token of the answer stands in each prompt, (B, P).

    Raises:
        UserError: it stands nowhere in one of them.
    """
    told = prompts.told()
    at_P = torch.arange(told.ids_BP.shape[1], device=told.ids_BP.device)
    found_BP = (told.ids_BP == told.answers_BQ[:, :1]) & (at_P < told.lengths_B[:, None])
    if not found_BP.any(1).all():
        raise UserError(f"measure needle_attention: got questions ({prompts.kinds[0]}) whose answer does not stand in "
                        "the prompt, expected a task that looks something up there")
    return found_BP


def attending(model: Decoder, prompts: Prompts) -> Attending:
    """How a model of one member reads prompts, in batches of as many as memory allows."""
    told, place_BP = prompts.told(), answer_places(prompts)
    count, positions = told.ids_BP.shape
    size = WEIGHTS[told.ids_BP.device.type] // (model.config.depth * model.config.heads * positions**2)
    mass, entropy = [], []
    for some in torch.arange(count, device=told.ids_BP.device).split(max(1, size)):
        last = told.lengths_B[some] - 1
        row = torch.arange(len(some), device=last.device)
        with torch.no_grad():
            layers = [weights[row, :, last].double() for weights in decoder_attention(model, told.ids_BP[some])]
        weights_BJHP = torch.stack(layers, 1)
        check_finite(weights_BJHP, "attention weights")
        mass.append((weights_BJHP * place_BP[some, None, None]).sum(-1))
        entropy.append(torch.special.entr(weights_BJHP).sum(-1))
    return Attending(*(torch.cat(parts).cpu().numpy() for parts in (mass, entropy)))


def rows(measure: NeedleAttention, run: Trained) -> list[Row]:
    """Everything that ``needle_attention`` promises, of one run."""
    asked, count = Asked(run.spec.task, run.device), measure.questions or QUESTIONS[run.device.type]
    models = {("", name): model for name, model in models_of(measure, run)}
    models["_untrained", ""] = run.ready(run.untrained)
    best: dict[tuple[str, str], NDArray[np.intp]] = {}
    found: list[Row] = []
    for times in tqdm(measure.times, desc="attention by length", leave=False, disable=None if run.progress else True):
        prompts = asked.sheet(times, count).prompts
        where: dict[str, Place] = {"times": times}
        for (control, name), model in models.items():
            read = attending(model, prompts)
            best_J = best.setdefault((control, name), read.mass.mean(0).argmax(-1))
            variant: dict[str, Place] = {"variant": name} if name else {}
            found += _rows(read, best_J, control, {**where, **variant})
        places_B, lengths_B = (x.double().cpu().numpy() for x in (answer_places(prompts).sum(1),
                                                                 prompts.told().lengths_B))
        found.append(difference_mean(places_B / lengths_B).row("mass_even", len(lengths_B), where=where))
        found.append(difference_mean(np.log(lengths_B)).row("entropy_even", len(lengths_B), unit="nats", where=where))
    return found


def _rows(read: Attending, best_J: NDArray[np.intp], control: str, where: dict[str, Place]) -> Iterator[Row]:
    for quantity, unit, values_BJH in (("mass", "1", read.mass), ("entropy", "nats", read.entropy)):
        for layer, best in enumerate(best_J):
            of_heads_BH = values_BJH[:, layer]
            for head, values_B in (("mean", of_heads_BH.mean(-1)), ("best", of_heads_BH[:, best])):
                yield difference_mean(values_B).row(f"{quantity}{control}", len(values_B), unit=unit,
                                                    where={**where, "layer": layer + 1, "head": head})
