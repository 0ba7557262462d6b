"""What a model holds of the biographies that it was trained on: each value, predicted where the text tells it.

    recall attribute=employer            share of people whose whole value is right: the likeliest token at every place
                                         of the value, the true text before it
    recall_first attribute=employer      the value's first token
    recall_untrained attribute=employer  control: the whole value, random weights
    recall_celebrities, recall_others    the whole value, of these people alone, where the dataset has both

Each person is read once: in the first of their fixed texts, or, where each text is fresh, in a fresh one.  Of a run on
questions it is the model that it begins with that recalls the biographies; there are no rows where that is gone.
Source: the first-token accuracies of arXiv 2309.14316, which are of training texts.

A text of bioR is read as it stands in the file, where a value may come before the name.

Reversed biographies tell values before they tell whose they are, so nobody could know the first of them, and ``recall``
is low by design.  There the name is what can be recalled, from as many values as ``task.reverse`` puts before it (of
reverse6 all six):

    recall_name, recall_name_first, recall_name_untrained    the full name, its first token, random weights

An encoder sees the text on both sides: all of one value is masked at a time, which reveals how many tokens it has.
Training seldom hides whole values of several tokens, so there is a control that asks no more than training does:

    recall_token attribute=employer             one word of the value is masked, and all others are seen
    recall_token_untrained attribute=employer   random weights

The person's number decides which word, never a comma, which needs no knowledge.  An encoder that fails it was not
trained enough, and cannot show whether what was learnt can be told.  A causal model reads no masks and has no such
rows: its own control is ``recall``, which asks what it was trained to do.

Shape letters: E entries (one a person), W positions, V vocabulary, X roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from physlm import rng
from physlm.measures.answers import fill
from physlm.measures.finite import likeliest
from physlm.measures.intervals import share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, biographies_of
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.prompts import texts_in_row
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask
from physlm.training.config import RunSpec

PEOPLE = {"cuda": 2000, "cpu": 500}  # read, at most
BATCH = {"cuda": 2000, "cpu": 50}


def check(spec: RunSpec) -> None:
    """Refuse a run that has read, or begins with one that has read, something else than biographies.

    Raises:
        UserError: see above.
    """
    if (reader := _reader(spec)) is not None:
        biographies_of(reader, "recall")


def measure(run: Trained) -> list[Row]:
    """Recall of the six attributes, of reversed biographies the name too; before the first step as a control.

    Raises:
        UserError: as ``check``.
    """
    reader = _reader(run.spec)
    if reader is None or (reader is not run.spec and run.load_start is None):
        return []
    config = biographies_of(reader, "recall")
    model = run.model if reader is run.spec or run.load_start is None else run.load_start()
    task = config.build().to(run.device)
    count = min(PEOPLE[run.device.type], config.people)
    person_E = people_read(task, count, run.device)
    entries = training_texts(task, count, run.device, reader.train.seed)
    reverse, celebrities = (config.reverse, config.celebrities) if isinstance(config, BioSConfig) else (0, 0)
    names = (*ATTRIBUTES, "name") if reverse else ATTRIBUTES
    rows: list[Row] = []
    for control, ready in (("", run.ready(model)), ("_untrained", run.ready(run.untrained))):
        whole, first = _right(ready, task, entries, names, run.progress)
        rows += _rows(f"recall{control}", names, whole)
        if not control:
            rows += _rows("recall_first", names, first)
            rows += _of_groups(names, whole, person_E, celebrities)
        if not ready.config.causal:
            right = _token_right(ready, task, entries, person_E, run.progress)
            rows += _rows(f"recall_token{control}", ATTRIBUTES, right)
    return rows


def people_read(task: BiographyTask, people: int, device: torch.device) -> Tensor:
    """The numbers of ``people`` people, who are spread evenly over all, (E,)."""
    return torch.arange(people, device=device) * task.config.people // people


def training_texts(task: BiographyTask, people: int, device: torch.device, stream: int) -> Entries:
    """One text of each of the ``people_read``."""
    person_E = people_read(task, people, device)
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
        table_dV = model.output_table[0, : model.vocabulary].float().mT
        guess_EW[asked_EW] = likeliest(hidden_MEWd[0, asked_EW[:, 1:]].float() @ table_dV, "logits of words")
        return guess_EW
    for role in roles:
        asked_EW = roles_EW == role
        filled_EW = fill(model, ids_EW.masked_fill(asked_EW, model.vocabulary), lengths_E, _together(task))
        guess_EW[asked_EW] = filled_EW[asked_EW]
    return guess_EW


def token_places(task: BiographyTask, entries: Entries, role: int, person_E: Tensor) -> Tensor:
    """The place of one word of each text that has the role, (E,): which of them is drawn by the person's number.

    A word has a letter or a digit.  A comma inside of a value tells nothing, and would be guessed right without
    knowledge.
    """
    words = [any(map(str.isalnum, word)) for word in task.vocabulary.words]
    asked_EW = (entries.roles_RW == role) & torch.tensor(words, device=person_E.device)[entries.ids_RW]
    draw_E = rng.uniform(rng.key("recall token", task.roles[role]), person_E)
    which_E1 = (draw_E * asked_EW.sum(-1)).long()[:, None]
    return (asked_EW & (asked_EW.cumsum(-1) == which_E1 + 1)).int().argmax(-1)


def _reader(spec: RunSpec) -> RunSpec | None:
    """The run that read biographies: of questions it is the one that they begin with."""
    return spec.start if isinstance(spec.task, QuestionsConfig) else spec


def _right(model: Decoder, task: BiographyTask, entries: Entries, names: Sequence[str],
           progress: bool) -> tuple[Tensor, Tensor]:
    """Whether all tokens and whether the first token of these roles are guessed, (roles, E) bool each."""
    roles = tuple(task.roles.index(name) for name in names)
    whole, first = [], []
    for batch in _batches(entries, "recalling values", progress):
        right_EW = guesses(model, task, batch, roles) == batch.ids_RW
        told_XEW = torch.stack([batch.roles_RW == role for role in roles])
        whole.append((right_EW | ~told_XEW).all(-1))
        first.append(right_EW.expand_as(told_XEW).gather(-1, told_XEW.int().argmax(-1, keepdim=True))[..., 0])
    return torch.cat(whole, -1), torch.cat(first, -1)


@torch.no_grad()
def _token_right(model: Decoder, task: BiographyTask, entries: Entries, person_E: Tensor, progress: bool) -> Tensor:
    """Whether an encoder fills in the one masked token of each attribute, (6, E) bool."""
    found = []
    places_6E1 = torch.stack([token_places(task, entries, task.roles.index(name), person_E) for name in ATTRIBUTES])
    begin = 0
    for batch in _batches(entries, "recalling tokens", progress):
        right = []
        for place_E1 in places_6E1[:, begin : begin + len(batch.ids_RW), None]:
            filled_EW = fill(model, batch.ids_RW.scatter(-1, place_E1, model.vocabulary), batch.lengths_R,
                             _together(task))
            right.append((filled_EW == batch.ids_RW).gather(-1, place_E1)[:, 0])
        found.append(torch.stack(right))
        begin += len(batch.ids_RW)
    return torch.cat(found, -1)


def _together(task: BiographyTask) -> int:
    """Texts that an encoder reads in one row, as in its training."""
    return texts_in_row(task.config.entries_per_row, task.config.row_tokens, task.entry_width)


def _batches(entries: Entries, title: str, progress: bool) -> Iterator[Entries]:
    starts = range(0, len(entries.ids_RW), BATCH[entries.ids_RW.device.type])
    for start in tqdm(starts, desc=title, leave=False, disable=None if progress else True):
        yield Entries(*(x[start : start + starts.step] for x in entries))


def _of_groups(names: Sequence[str], right: Tensor, person_E: Tensor, celebrities: int) -> Iterator[Row]:
    """``recall_celebrities`` and ``recall_others``, if there are both kinds of people."""
    famous_E = person_E < celebrities
    for group, at_E in (("celebrities", famous_E), ("others", ~famous_E)):
        if celebrities and at_E.any():
            yield from _rows(f"recall_{group}", names, right[:, at_E])


def _rows(base: str, names: Sequence[str], right: Tensor) -> Iterator[Row]:
    """The share of people of each of ``names``; that of the name is ``recall_name`` in place of ``recall``."""
    for name, right_E in zip(names, right.double().cpu().numpy(), strict=True):
        found, n = share(right_E, np.ones(len(right_E))), len(right_E)
        if name == "name":
            yield found.row(base.replace("recall", "recall_name", 1), n)
        else:
            yield found.row(base, n, where={"attribute": name})
