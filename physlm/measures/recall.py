"""What a model holds of the biographies that it was trained on: each value, predicted where the text tells it.

    recall/attribute=employer            share of people whose whole value is right: the likeliest token at every place
                                         of the value, the true text before it
    recall_first/attribute=employer      the value's first token
    recall_untrained/attribute=employer  control: the whole value, random weights

Each person is read once: in the first of their fixed texts, or, where each text is fresh, in a fresh one.  Of a run on
questions it is the model that it begins with that recalls the biographies; there are no rows where that is gone.
Source: the first-token accuracies of arXiv 2309.14316, which are of training texts.

An encoder sees the text on both sides: all of one value is masked at a time, which reveals how many tokens it has.

Shape letters: E entries (one a person), W positions, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from physlm.errors import UserError
from physlm.measures.answers import fill
from physlm.measures.intervals import share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.catalogue import build
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask

PEOPLE = {"cuda": 2000, "cpu": 500}  # read, at most
BATCH = {"cuda": 500, "cpu": 50}


def measure(run: Trained) -> list[Row]:
    """Recall of the six attributes; of the model before its first step as a control."""
    reader = run.spec.start if isinstance(run.spec.task, QuestionsConfig) else run.spec
    if reader is None or (reader is not run.spec and run.load_start is None):
        return []
    config = reader.task.biographies if isinstance(reader.task, MixedConfig) else reader.task
    if not isinstance(config, BioSConfig):
        raise UserError(f"measure recall: got a run on {reader.task.title}, expected one on bioS or bioMixed, which "
                        "reads biographies, or on questions that begins with one")
    model = run.model if reader is run.spec or run.load_start is None else run.load_start()
    task = build(config).to(run.device)
    entries = training_texts(task, min(PEOPLE[run.device.type], config.people), run.device, reader.train.seed)
    whole, first = _right(run.ready(model), task, entries, run.progress)
    control, _ = _right(run.ready(run.untrained), task, entries, run.progress)
    rows = []
    for name, right in (("recall", whole), ("recall_first", first), ("recall_untrained", control)):
        for attribute, right_E in zip(ATTRIBUTES, right.double().cpu().numpy(), strict=True):
            rows.append(share(right_E, np.ones(len(right_E))).row(f"{name}/attribute={attribute}", len(right_E)))
    return rows


def training_texts(task: BiographyTask, people: int, device: torch.device, stream: int) -> Entries:
    """One text of each of ``people`` people, who are spread evenly over all."""
    person_E = torch.arange(people, device=device) * task.config.people // people
    return task.entries(person_E, torch.zeros_like(person_E), "train", stream)


@torch.no_grad()
def guesses(model: Decoder, task: BiographyTask, entries: Entries, roles: tuple[int, ...]) -> Tensor:
    """The texts with the model's guess in the place of each token of these roles, the true text around it; (E, W).

    A causal model sees the text before the token, an encoder all but the value, and other texts beside it.
    """
    ids_EW, roles_EW, lengths_E = entries
    guess_EW = ids_EW.clone()
    if model.config.causal:
        hidden_MEWd, _ = model.hidden(ids_EW[None, :, :-1])
        # the token at a place is predicted at the one before; a text begins with <eos>
        asked_EW = torch.isin(roles_EW, torch.tensor(roles, device=ids_EW.device))
        table_dV = model.embedding.weight[0, : model.vocabulary].float().mT
        guess_EW[asked_EW] = (hidden_MEWd[0, asked_EW[:, 1:]].float() @ table_dV).argmax(-1)
        return guess_EW
    for role in roles:
        asked_EW = roles_EW == role
        filled_EW = fill(model, task, ids_EW.masked_fill(asked_EW, model.vocabulary), lengths_E)
        guess_EW[asked_EW] = filled_EW[asked_EW]
    return guess_EW


def _right(model: Decoder, task: BiographyTask, entries: Entries, progress: bool) -> tuple[Tensor, Tensor]:
    """Whether the whole value and whether its first token is guessed, (6, E) bool each."""
    roles = tuple(task.roles.index(attribute) for attribute in ATTRIBUTES)
    whole, first = [], []
    starts = range(0, len(entries.ids_RW), BATCH[entries.ids_RW.device.type])
    for start in tqdm(starts, desc="recalling values", leave=False, disable=not progress):
        batch = Entries(*(x[start : start + starts.step] for x in entries))
        right_EW = guesses(model, task, batch, roles) == batch.ids_RW
        told_6EW = torch.stack([batch.roles_RW == role for role in roles])
        whole.append((right_EW | ~told_6EW).all(-1))
        first.append(right_EW.expand_as(told_6EW).gather(-1, told_6EW.int().argmax(-1, keepdim=True))[..., 0])
    return torch.cat(whole, -1), torch.cat(first, -1)
