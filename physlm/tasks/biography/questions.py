"""Questions about the people of bioS, their answers, and hints on the way.

    <eos> What is the birth date of Anya Briar Forger ? Answer : October 2 , 1996 . <eos>
    <eos> Was Anya Briar Forger born in an even month ? Hint : October . Answer : Yes . <eos>
                                                               hint --------------- answer --

``Answer :`` asks for the answer at once, ``Hint :`` for the middle step first; a prompt ends after one of the two.
A question is a kind and a person; a second person and the wording are drawn anew at every exposure.
Sources: arXiv 2309.14316 (retrieval), 2309.14402 (the others).  Deviation: the requests are words, not special tokens.

Shape letters: N people, A people asked about, K kinds, E questions, F forms, I items of a form, S strings, V values,
B prompts, P and Q positions of prompts and answers, W positions of an entry, R rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm import rng
from physlm.tasks.biography.exposure import SPLIT_SIZE, SPLITS, Exposure, exposures
from physlm.tasks.biography.kinds import FACTS, HELD_OUT, KINDS, Kind
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.biography.strings import PAIRS, Strings
from physlm.tasks.biography.words import questions_vocabulary
from physlm.tasks.prompts import Grades, Prompts, cut, texts_in_row, tokens_from
from physlm.tasks.rows import IGNORE, Entries, Pieces, Rows, pack, render, single, training_rows
from physlm.tasks.task import Text, question

ROLES = ("pad", "text", "hint", "answer")
TEXT, HINT, ANSWER = 1, 2, 3
REQUEST, HINT_REQUEST = "Answer :", "Hint :"

Item = tuple[str, int]  # a field in braces or fixed words, and the role of its tokens


class Tables(NamedTuple):
    """Everything that sampling reads, as tensors on one device."""

    pool: Tensor  # (tokens,)
    strings_S2: Tensor  # start and length in the pool
    asked_A: Tensor  # who is asked about
    value_NV: Tensor  # the string of every value that some form uses
    number_N3: Tensor  # what pairs compare
    field_FI: Tensor  # which value an item is; -1 for a fixed string
    string_FI: Tensor  # that string
    role_FI: Tensor
    first_K: Tensor  # the first form of each kind
    hinted_K: Tensor  # how many forms later its forms with a hint begin; 0 where there are none


class Questions:
    """The question task on one device: ``rows`` to train on, ``prompts`` and ``grade`` to test, ``entries`` to read.

    Attributes:
        roles: name of each role code in ``Entries.roles_RW``.
        entry_width: the longest possible question and answer, with both separators.
        count: how many questions there are: people asked about times kinds.
    """

    roles = ROLES

    def __init__(self, config: QuestionsConfig):
        self.config, self.vocabulary = config, questions_vocabulary(config)
        ask = config.ask
        kinds = [KINDS[name] for name in ask.kinds]
        self._forms = HELD_OUT if ask.held_out else ask.forms
        laid: list[list[Item]] = []
        first, hinted = [], []
        for kind in kinds:
            first.append(len(laid))
            hinted.append(self._forms if kind.hint and ask.hints else 0)
            forms = kind.forms[-HELD_OUT:] if ask.held_out else kind.forms[: ask.forms]
            laid += [_plain(form, kind) for form in forms]
            laid += [_hinted(form, kind) for form in forms if hinted[-1]]
        strings = Strings(config.people, config.seed, self.vocabulary, config.pool_size)
        fields = list(dict.fromkeys(item[1:-1] for form in laid for item, _ in form if item.startswith("{")))
        columns = list(dict.fromkeys(name.removeprefix("other.") for name in fields if name not in PAIRS)) or ["name"]
        shape = (len(laid), max(map(len, laid)))
        field, role = torch.full(shape, -1), torch.full(shape, TEXT)
        string = torch.full(shape, strings.add([()]))  # items that a form does not have are empty
        for f, form in enumerate(laid):
            for i, (item, code) in enumerate(form):
                role[f, i] = code
                if item.startswith("{"):
                    field[f, i] = fields.index(item[1:-1])
                else:
                    string[f, i] = strings.fixed(item)
        self._fields, self._columns, self._zero, self._yes = fields, columns, strings.zero, strings.yes
        self._pairs = any("other." in name for name in fields)
        self.count = config.asked * len(kinds)
        self.tables = Tables(
            strings.pool(), strings.table(), asked_people(config),
            torch.stack([strings.columns[name] for name in columns], -1),
            torch.stack([strings.numbers[name] for name in ("month", "day", "luck")], -1),
            field, string, role, torch.tensor(first), torch.tensor(hinted),
        )  # fmt: skip
        longest = [self._longest(name) for name in fields]
        self.entry_width = 2 + max(
            sum(longest[fields.index(item[1:-1])] if item.startswith("{") else len(item.split()) for item, _ in form)
            for form in laid
        )

    def to(self, device: torch.device | str) -> Self:
        """The same task with its tables on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__, tables=Tables(*(table.to(device) for table in self.tables)))
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows ``index``: row i packs questions k*i .. k*i + k-1 of a random order; (R, T) each."""
        k = self.config.entries_per_row
        entry_E = (index_R[:, None] * k + torch.arange(k, device=index_R.device)).flatten()
        pieces = self._pieces(exposures(entry_E, self.count, stream, split), stream)
        entries = render(self.tables.pool, pack(pieces, k), self.config.row_tokens + 1)
        rows = training_rows(entries)
        if self.config.ask.loss == "all":
            return rows
        answered_RW = entries.roles_RW >= HINT
        # the <eos> after an answer ends it; in the pool and in the vocabulary it is number 0
        ends_RW = (entries.ids_RW == 0) & F.pad(answered_RW[:, :-1], (1, 0))
        return Rows(rows.inputs_RT, torch.where((answered_RW | ends_RW)[:, 1:], rows.targets_RT, IGNORE))

    def entries(self, number_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """The ``draw``-th text of questions by number, labelled, between two <eos>; (E, entry_width) positions.

        Question q is the (q mod K)-th kind about the (q // K)-th person asked.
        """
        counter_E = draw_E * self.count + number_E + SPLITS[split] * SPLIT_SIZE
        return render(self.tables.pool, single(self._pieces(Exposure(number_E, counter_E), stream)), self.entry_width)

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the (i // count)-th about question i mod count; ``kind`` says which kind it is."""
        item_E, draw_E = number_E % self.count, number_E // self.count
        kinds = self.config.ask.kinds
        person_E = self.tables.asked_A[item_E // len(kinds)]
        texts = []
        found = zip(item_E.tolist(), person_E.tolist(), draw_E.tolist(), *map(Tensor.tolist, self.entries(
            item_E, draw_E, split)), strict=True)  # fmt: skip
        for item, person, draw, ids, roles, length in found:
            about = {"person": person, "draw": draw, "kind": kinds[item % len(kinds)]}
            asked = next(i for i, role in enumerate(roles) if role >= HINT)
            labels = [self.roles[role] for role in roles[:length]]
            texts.append(question(about, ids[:length], labels, asked, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, told: bool = False, **ask: Any) -> Prompts:
        """All kinds of questions about the first ``n`` people, who are in a random order; fewer are a part of more.

        Args:
            told: the true hints stand in the prompts.
            ask: settings of ``task.ask`` to change, such as ``half``.
        """
        task = self.asking(**ask)
        count = min(n, task.config.asked) * len(task.config.ask.kinds)
        found = task.numbered(torch.arange(count, device=task.tables.pool.device), split=split)
        return found.told() if told else found

    def asking(self, **ask: Any) -> Questions:
        """The task about the same people with settings of ``task.ask`` changed."""
        config = dataclasses.replace(self.config, ask=dataclasses.replace(self.config.ask, **ask))
        return config.build().to(self.tables.pool.device)

    def numbered(self, number_B: Tensor, draw: int = 0, split: str = "evaluation") -> Prompts:
        """Questions by number, to be answered; ``number`` is below ``count``.

        Of ``FACTS``, which many people share, equal questions are one question asked again.
        """
        ids, roles, lengths_B = self.entries(number_B, torch.full_like(number_B, draw), split)
        prompt_lengths_B = (roles >= HINT).int().argmax(-1)
        kinds, config = self.config.ask.kinds, self.config
        together = texts_in_row(config.entries_per_row, config.row_tokens, self.entry_width)
        kind_B = number_B % len(kinds)
        found = cut(ids, prompt_lengths_B, lengths_B, kinds, together, hint_lengths_B=(roles == HINT).sum(-1),
                    kind_B=kind_B, item_B=self.tables.asked_A[number_B // len(kinds)])  # fmt: skip
        for k in (k for k, kind in enumerate(kinds) if kind in FACTS):
            found.same_B[kind_B == k] = found.ids_BP[kind_B == k].unique(dim=0, return_inverse=True)[1]
        return found

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """Compare what was generated, prompt included as in ``Generated.ids``, with the answers."""
        at_Q = torch.arange(prompts.answers_BQ.shape[1], device=ids_BW.device)
        new_BQ = tokens_from(ids_BW, prompts.lengths_B, at_Q)
        same_BQ = new_BQ == prompts.answers_BQ
        hints_B, lengths_B = prompts.hint_lengths_B, prompts.answer_lengths_B
        # the answer begins behind the first request for it
        request, colon = self.vocabulary.encode(REQUEST)
        after_BW = torch.arange(ids_BW.shape[1], device=ids_BW.device) > prompts.lengths_B[:, None]
        asked_BW = (F.pad(ids_BW[:, :-1], (1, 0), value=-1) == request) & (ids_BW == colon) & after_BW
        found_B = asked_BW.any(-1) | (hints_B == 0)
        begin_B = torch.where(hints_B > 0, asked_BW.int().argmax(-1) + 1, prompts.lengths_B)
        answer_BQ = tokens_from(prompts.answers_BQ, hints_B, at_Q)
        right_BQ = (tokens_from(ids_BW, begin_B, at_Q) == answer_BQ) | (at_Q >= (lengths_B - hints_B)[:, None])
        return Grades(
            (same_BQ | (at_Q >= lengths_B[:, None])).all(-1), (same_BQ | (at_Q >= hints_B[:, None])).all(-1),
            right_BQ.all(-1) & found_B,
        )  # fmt: skip

    def _pieces(self, exposure: Exposure, stream: int) -> Pieces:
        """One piece an item of the question's form: (E, I) each.  The exposure's person is the question's number."""
        tables, kinds, counter_E = self.tables, len(self.config.ask.kinds), exposure.counter_E
        place_E, kind_E = exposure.person_E // kinds, exposure.person_E % kinds
        form_E = tables.first_K[kind_E] + rng.below(self._forms, rng.key("form", stream), counter_E)
        wanted_E = rng.uniform(rng.key("hint", stream), counter_E) < self.config.ask.hints
        form_E = form_E + tables.hinted_K[kind_E] * wanted_E
        person_E = other_E = tables.asked_A[place_E]
        if self._pairs:
            apart_E = 1 + rng.below(len(tables.asked_A) - 1, rng.key("other", stream), counter_E)
            other_E = tables.asked_A[(place_E + apart_E) % len(tables.asked_A)]
        values_EV = torch.stack([self._value(name, person_E, other_E) for name in self._fields], -1)
        field_EI = tables.field_FI[form_E]
        string_EI = torch.where(field_EI < 0, tables.string_FI[form_E], values_EV.gather(-1, field_EI.clamp_min(0)))
        start_EI, length_EI = tables.strings_S2[string_EI].unbind(-1)
        return Pieces(start_EI, length_EI, tables.role_FI[form_E])

    def _value(self, name: str, person_E: Tensor, other_E: Tensor) -> Tensor:
        """The strings of one field, (E,)."""
        if name not in PAIRS:
            who_E = other_E if name.startswith("other.") else person_E
            return self.tables.value_NV[who_E, self._columns.index(name.removeprefix("other."))]
        what, how = PAIRS[name]
        number_N = self.tables.number_N3[:, ("month", "day", "luck").index(what)]
        minus_E = number_N[person_E] - number_N[other_E]
        return self._zero + minus_E if how == "minus" else self._yes + (minus_E <= 0)

    def _longest(self, name: str) -> int:
        if name in PAIRS:
            return 1
        rows_N = self.tables.value_NV[:, self._columns.index(name.removeprefix("other."))]
        return int(self.tables.strings_S2[rows_N, 1].max())


def asked_people(config: QuestionsConfig) -> Tensor:
    """Who is asked about, (A,), in a random order.

    Celebrities and the others are each split into halves, in an order that depends on the seed alone; so nobody is in
    the train half of one question set and in the test half of another about the same people.
    """
    key, which = rng.key("half", config.seed), torch.zeros(1, dtype=torch.long)
    chosen = []
    for group in config.groups:
        count = len(group)
        order = group.start + rng.permute(torch.arange(count), count, key, which)
        chosen.append(order[config.half_of(count)])
    people = torch.cat(chosen)
    count = len(people)
    return people[rng.permute(torch.arange(count), count, rng.key("asked", config.seed), which)][: config.asked]


def leaks(ids_RW: Tensor, task: Questions) -> int:
    """How many questions in rows of text leak one of ``task``; of training rows and the task that tests it must be 0,
    but for questions on facts, which everybody learns.

    A text between two <eos> is a question if it has a ``?``.  It leaks if it has the full name of somebody that
    ``task`` asks about, in question or answer, or is word for word, up to the ``?``, one of the questions of ``task``
    (which matters for the inverse questions that are answered by a first name).
    """
    mark, prompts = task.vocabulary.id("?"), task.numbered(torch.arange(task.count, device=task.tables.pool.device))
    texts = {tuple(ids[1 : n - 2]) for ids, n in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True)}
    strings = Strings(task.config.people, task.config.seed, task.vocabulary, task.config.pool_size)
    start_A = strings.table()[strings.columns["name"][task.tables.asked_A.cpu()], 0]
    names = set(map(tuple, strings.pool()[start_A[:, None] + torch.arange(3)].tolist()))
    found = 0
    for row in ids_RW.tolist():
        ends = [i for i, token in enumerate(row) if token == 0]
        for begin, end in itertools.pairwise((-1, *ends, len(row))):
            text = row[begin + 1 : end]
            if mark in text:
                named = any(triple in names for triple in zip(text, text[1:], text[2:], strict=False))
                found += named or tuple(text[: text.index(mark) + 1]) in texts
    return found


def _items(text: str, role: int) -> list[Item]:
    """The fields and the stretches of fixed words of a text, with their role."""
    return [(part.strip(), role) for part in re.split(r"({[^}]*})", text) if part.strip()]


def _plain(form: str, kind: Kind) -> list[Item]:
    return [*_items(f"{form} {REQUEST}", TEXT), *_items(f"{kind.answer} .", ANSWER)]


def _hinted(form: str, kind: Kind) -> list[Item]:
    hint = _items(f"{kind.hint} . {REQUEST}", HINT)
    return [*_items(f"{form} {HINT_REQUEST}", TEXT), *hint, *_items(f"{kind.answer} .", ANSWER)]
