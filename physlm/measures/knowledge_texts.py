"""What the P- and Q-probes read: texts, the places to read at, and what is asked about each person.

    values, labels_QY = value_targets(entries, {"major": 7, "employer": 8})     # "major first", "major whole", ...
    texts = p_texts(more_entries, people, roles, labels_QY)                     # a place before each attribute
    texts = q_texts(names_QL, 0, labels_QY)                                     # <eos> full name <eos>
    source = texts_source(texts, train_half(people=10_000), ("major", "employer"), rows=50)

Shape letters: N texts, B texts of a batch, T positions, P places to read at, Y targets, Q people, L tokens of a name,
W positions of a labelled entry, V tokens of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm import rng
from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.measures.probes import IGNORE, Target
from physlm.tasks.rows import Entries

P_ROWS, Q_ROWS = 50, 200  # texts a step, as published (arXiv 2309.14316)
AHEAD = 256  # batches ordered at once: a permutation is some 900 kernels, however long it is
ABSENT = -1  # the place of something that a text does not have
PADDING = -1  # behind the last token of a value


class Texts(NamedTuple):
    """Texts with what is asked about them.

    Attributes:
        ids_BT: what the model reads; anything behind the last place.
        places_BP: the positions whose activations are read, ``ABSENT`` where a text has none.
        labels_BY: the class of each target, the same at all places; ``IGNORE`` where it is not asked.
        people_B: whom the text is about, a number >= 0.
    """

    ids_BT: Tensor
    places_BP: Tensor
    labels_BY: Tensor
    people_B: Tensor

    def take(self, which_B: Tensor) -> Texts:
        """Some of the texts."""
        return Texts(*(x[which_B] for x in self))


@dataclass(frozen=True)
class Source:
    """Batches of texts, always of the same shape; those for training are about other people than those for judging.

    Attributes:
        train: batch number 0, 1, ... of the people to learn from; a pure function.
        evaluation: batch number 0 .. ``evaluation_batches`` - 1 of the other people.
        places: the names of the places.
        reach: positions up to the last place; a causal model need not read on.  0: the whole text.
    """

    train: Callable[[int], Texts]
    evaluation: Callable[[int], Texts]
    evaluation_batches: int
    places: tuple[str, ...]
    reach: int = 0


def texts_source(
    texts: Texts, train_Q: Tensor, places: Sequence[str], rows: int, seed: int = 0, judged_rows: int | None = None
) -> Source:
    """A source that goes through given texts: in a new order each pass for training, each text once for judging.

    Args:
        texts: all texts, on the device of the model.
        train_Q: whether a person is one to learn from, (Q,) bool.
        places: the names of the places.
        rows: texts of a batch.
        judged_rows: texts of a batch for judging, where nothing depends on how many there are; None: as many.

    Raises:
        UserError: no people or fewer than two texts on one side, people without a side, rows below 2, names for another
            number of places.
    """
    if len(places) != texts.places_BP.shape[1]:
        raise UserError(f"knowledge probe: places: got {counted(len(places), 'name')}, expected "
                        f"{texts.places_BP.shape[1]}, one for each place of the texts")
    if rows < 2:
        raise UserError(f"knowledge probe: rows: got {rows}, expected at least 2")
    if int(texts.people_B.min()) < 0 or int(texts.people_B.max()) >= len(train_Q):
        raise UserError(f"knowledge probe: got texts about people {int(texts.people_B.min())} to "
                        f"{int(texts.people_B.max())}, expected 0 to {len(train_Q) - 1}")  # fmt: skip
    learn_N = train_Q.to(texts.people_B.device)[texts.people_B]
    sides = {"training": learn_N.nonzero()[:, 0], "judging": (~learn_N).nonzero()[:, 0]}
    for side, found in sides.items():
        if len(found) < 2:
            raise UserError(f"knowledge probe: got {counted(len(found), 'text')} for {side}, expected at least 2 on "
                            "either side of the split over people")  # fmt: skip
    train, judge = sides.values()
    order_key = rng.key("texts of a knowledge probe", seed)
    judged_rows = judged_rows or rows
    ordered: dict[int, Tensor] = {}  # the batches AHEAD * block and after, (AHEAD, rows): where their texts stand

    def training(number: int) -> Texts:
        block, place = divmod(number, AHEAD)
        if block not in ordered:
            index = block * AHEAD * rows + torch.arange(AHEAD * rows, device=train.device)
            order = rng.permute(index % len(train), len(train), order_key, index // len(train))
            ordered.clear()
            ordered[block] = train[order].view(AHEAD, rows)
        return texts.take(ordered[block][place])

    def judging(number: int) -> Texts:
        index = number * judged_rows + torch.arange(judged_rows, device=train.device)
        batch = texts.take(judge[index % len(judge)])
        again = index >= len(judge)  # the last batch is filled up with texts that are not asked about once more
        return batch._replace(labels_BY=batch.labels_BY.masked_fill(again[:, None], IGNORE))

    reach = int(texts.places_BP.max()) + 1
    return Source(training, judging, -(-len(judge) // judged_rows), tuple(places), reach)


def train_half(people: int, seed: int = 0) -> Tensor:
    """A random half of the people, (Q,) bool: those that a probe learns from.

    Raises:
        UserError: fewer than two people.
    """
    if people < 2:
        raise UserError(f"knowledge probe: got {counted(people, 'person')}, expected at least 2, one for each half")
    place = rng.permute(torch.arange(people), people, rng.key("half of a knowledge probe", seed), torch.zeros(1).long())
    return place < (people + 1) // 2


def shuffled_people(labels_QY: Tensor, seed: int = 0) -> Tensor:
    """The control "somebody else's attributes": every person gets the row of another, fixed once and for all.

    What a probe then still gets right of people it did not learn from is chance.

    Raises:
        UserError: fewer than two people.
    """
    people = len(labels_QY)
    if people < 2:
        raise UserError(f"knowledge probe: got {counted(people, 'person')}, expected at least 2 to shuffle them")
    person = torch.arange(people)
    order = rng.permute(person, people, rng.key("shuffled people", seed), torch.zeros(1).long())
    other = torch.empty_like(order)
    other[order] = order.roll(1)  # one cycle through all people, so that nobody keeps the own row
    return labels_QY[other.to(labels_QY.device)]


def p_texts(entries: Entries, people_N: Tensor, roles: Mapping[str, int], labels_QY: Tensor,
            in_order: bool = False) -> Texts:  # fmt: skip
    """Texts of a P-probe: read at the token before the first one of each attribute.

    Args:
        entries: one labelled text a row, from its first ``<eos>``.
        people_N: whom each text is about.
        roles: the role of the tokens of each attribute, by name; place i belongs to attribute i.
        labels_QY: the classes of each person.
        in_order: sort the places of each text instead: place i is that before the i-th attribute which the text names.
    """
    found = [entries.roles_RW == role for role in roles.values()]
    first = torch.stack([mask.long().argmax(-1) for mask in found], -1)
    places = (first - 1).where(torch.stack([mask.any(-1) for mask in found], -1) & (first > 0), ABSENT)
    if in_order:
        last = entries.ids_RW.shape[1]
        places = places.masked_fill(places == ABSENT, last).sort(-1).values
        places = places.masked_fill(places == last, ABSENT)
    return Texts(entries.ids_RW, places, labels_QY[people_N], people_N)


def q_texts(names_QL: Tensor, end: int, labels_QY: Tensor) -> Texts:
    """Texts of a Q-probe, one a person: ``<eos>`` full name ``<eos>``, read at the last token.

    Args:
        names_QL: the tokens of each person's name; names of one length.
        end: the id of ``<eos>``.
    """
    ids = F.pad(names_QL, (1, 1), value=end)
    people = torch.arange(len(ids), device=ids.device)
    return Texts(ids, torch.full_like(people, ids.shape[1] - 1)[:, None], labels_QY, people)


def role_tokens(entries: Entries, role: int) -> Tensor:
    """The tokens of one role in each text, in their order, (N, V), ``PADDING`` behind the last."""
    mask = entries.roles_RW == role
    width = max(1, int(mask.sum(-1).max()))
    order = (~mask).long().argsort(dim=-1, stable=True)[:, :width]
    return entries.ids_RW.gather(1, order).where(mask.gather(1, order), PADDING)


def value_targets(
    entries: Entries, roles: Mapping[str, int], whole: Sequence[str] | None = None
) -> tuple[list[Target], Tensor]:
    """What is asked about people: the first token of each attribute's value, and the whole value.

    The classes are the values that occur among these people.  Published: six first tokens, and whole values of all
    but the birth date, ``whole=[name for name in roles if name != "birth_date"]``: 11 targets.

    Args:
        entries: one text a person, in the order of the people; the number of a row is that of the person.
        roles: the role of the tokens of each attribute, by name.
        whole: of which attributes to ask the whole value; None: of all.

    Returns:
        The targets ``<name> first`` of all attributes, then ``<name> whole``, with the first token of each class; and
        the classes, (Q, Y).

    Raises:
        UserError: an unknown attribute, or a text that does not name one.
    """
    for name in whole or ():
        if name not in roles:
            raise UserError(unknown_key("attribute", name, roles))
    values = {name: role_tokens(entries, role) for name, role in roles.items()}
    for name, tokens in values.items():
        if bool((tokens[:, 0] == PADDING).any()):
            missing = int((tokens[:, 0] == PADDING).sum())
            raise UserError(f"knowledge probe: {missing} of {len(tokens)} texts do not name the {name}")
    asked = [(f"{name} first", values[name][:, :1]) for name in roles]
    asked += [(f"{name} whole", values[name]) for name in (roles if whole is None else whole)]
    targets, labels = [], []
    for name, tokens in asked:
        classes, label = tokens.unique(dim=0, return_inverse=True)
        targets.append(Target(name, len(classes), tokens=tuple(classes[:, 0].tolist())))
        labels.append(label)
    return targets, torch.stack(labels, -1)
