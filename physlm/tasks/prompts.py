"""Questions to be answered by generation, and how answers are graded: the same for every task that is asked.

Shape letters: B prompts, P and Q positions of prompts and answers, W positions of prompts with what was written.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from physlm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Prompts(NamedTuple):
    """Questions, one a row, padded with token 0 on the right.

    Attributes:
        ids_BP, lengths_B: what the model is given, as ``physlm.measures.generation.generate`` takes it.
        answers_BQ, answer_lengths_B: all that should follow, with the token 0 that ends it: first the hint, if one was
            asked for, then the answer.
        hint_lengths_B: how much of that comes before the answer; 0 without a hint.
        kind_B: the place of the question's kind in ``kinds``.
        item_B: what is asked about, such as the number of a person.
        same_B: questions with the same number, of one kind, are one question asked again, which is no more evidence.
        kinds: names of the kinds; of each there are as many questions.
        together: how many such questions, with their answers, stand after another in a row of an encoder's training.
    """

    ids_BP: Tensor
    lengths_B: Tensor
    answers_BQ: Tensor
    answer_lengths_B: Tensor
    hint_lengths_B: Tensor
    kind_B: Tensor
    item_B: Tensor
    same_B: Tensor
    kinds: tuple[str, ...]
    together: int

    def some(self, at: Tensor) -> Prompts:
        """Those at these places; all kinds keep their names."""
        return self._replace(**{name: value[at] for name, value in self._asdict().items() if name not in _OF_ALL})

    def told(self) -> Prompts:
        """The same questions with their true hints at the end of the prompts."""
        import torch
        import torch.nn.functional as F

        lengths_B = self.lengths_B + self.hint_lengths_B
        at_P = torch.arange(int(lengths_B.max()), device=lengths_B.device)
        ids_BP = F.pad(self.ids_BP, (0, max(0, len(at_P) - self.ids_BP.shape[1])))[:, : len(at_P)]
        place_BP = (at_P - self.lengths_B[:, None]).clamp(0, self.answers_BQ.shape[1] - 1)
        answer_lengths_B = self.answer_lengths_B - self.hint_lengths_B
        at_Q = torch.arange(int(answer_lengths_B.max()), device=lengths_B.device)
        answers_BQ = tokens_from(self.answers_BQ, self.hint_lengths_B, at_Q)
        hinted_BP = (at_P >= self.lengths_B[:, None]) & (at_P < lengths_B[:, None])
        return self._replace(
            ids_BP=torch.where(hinted_BP, self.answers_BQ.gather(-1, place_BP), ids_BP), lengths_B=lengths_B,
            answers_BQ=torch.where(at_Q < answer_lengths_B[:, None], answers_BQ, 0), answer_lengths_B=answer_lengths_B,
            hint_lengths_B=torch.zeros_like(lengths_B),
        )  # fmt: skip


_OF_ALL = ("kinds", "together")


def joined(some: Sequence[Prompts]) -> Prompts:
    """The questions of all of these one after another; each has its own kinds.

    Raises:
        UserError: there are none.
    """
    import torch
    import torch.nn.functional as F

    if not some:
        raise UserError("prompts: got no questions, expected at least one kind")
    found: dict[str, Any] = {}
    for name in Prompts._fields:
        if name not in _OF_ALL:
            parts = [getattr(one, name) for one in some]
            if parts[0].dim() == 2:
                width = max(part.shape[1] for part in parts)
                parts = [F.pad(part, (0, width - part.shape[1])) for part in parts]
            found[name] = torch.cat(parts)
    before = [sum(len(one.kinds) for one in some[:place]) for place in range(len(some))]
    found["kind_B"] = torch.cat([one.kind_B + first for one, first in zip(some, before, strict=True)])
    return Prompts(**found, kinds=tuple(kind for one in some for kind in one.kinds),
                   together=min(one.together for one in some))


class Grades(NamedTuple):
    """Exact matches, (B,) bool: the whole continuation; the hint (true where none was asked for); the answer.

    The answer is what follows the request for it, wherever that stands, so it can be right after a wrong hint.
    """

    exact_B: Tensor
    hint_B: Tensor
    answer_B: Tensor


def cut(ids_BW: Tensor, lengths_B: Tensor, ends_B: Tensor, kinds: tuple[str, ...], together: int,
        **rest: Tensor) -> Prompts:  # fmt: skip
    """Prompts and answers from whole texts: ``lengths`` tokens of each are the prompt, what follows up to ``ends`` the
    answer, whose last token is 0.

    Args:
        rest: other tensors of ``Prompts``; by default there are no hints, one kind, and each row is another question.

    Raises:
        UserError: an answer does not end with token 0; its last token would not be asked for.
    """
    import torch

    if bool(ids_BW.gather(1, ends_B[:, None] - 1).any()):
        raise UserError("prompts: got answers whose last token is not 0, expected the token 0 that ends them")
    answer_lengths_B, row_B = ends_B - lengths_B, torch.arange(len(ids_BW), device=ids_BW.device)
    at_P, at_Q = (torch.arange(int(x.max()), device=ids_BW.device) for x in (lengths_B, answer_lengths_B))
    return Prompts(
        torch.where(at_P < lengths_B[:, None], ids_BW[:, : len(at_P)], 0), lengths_B,
        torch.where(at_Q < answer_lengths_B[:, None], tokens_from(ids_BW, lengths_B, at_Q), 0), answer_lengths_B,
        **{"hint_lengths_B": torch.zeros_like(row_B), "kind_B": torch.zeros_like(row_B), "item_B": row_B,
           "same_B": row_B, **rest}, kinds=kinds, together=together,
    )  # fmt: skip


def grade_without_hints(prompts: Prompts, ids_BW: Tensor) -> Grades:
    """Compare what was generated, prompt included as in ``Generated.ids``, with the answers, token by token.

    For ``answer_B`` the token 0 that ends the answer need not be there.
    """
    import torch

    at_Q = torch.arange(prompts.answers_BQ.shape[1], device=ids_BW.device)
    same_BQ = tokens_from(ids_BW, prompts.lengths_B, at_Q) == prompts.answers_BQ
    exact_B, answer_B = ((same_BQ | (at_Q >= prompts.answer_lengths_B[:, None] - end)).all(-1) for end in (0, 1))
    return Grades(exact_B, torch.ones_like(exact_B), answer_B)


def tokens_from(ids_BW: Tensor, begin_B: Tensor, at_Q: Tensor) -> Tensor:
    """The tokens of each row from ``begin`` on; -1 beyond its end."""
    place_BQ = begin_B[:, None] + at_Q
    inside_BQ = place_BQ < ids_BW.shape[1]
    return ids_BW.gather(-1, place_BQ.clamp_max(ids_BW.shape[1] - 1)).where(inside_BQ, -1)


def without_end(ids: Sequence[int]) -> list[int]:
    """A text without the token 0 that ends it, where it is there."""
    text = list(ids)
    if len(text) > 1 and text[-1] == 0:
        text.pop()
    return text


FOREIGN = "got a token that is no word of the task"  # what verifiers say of it


def texts_in_row(entries_per_row: int, row_tokens: int, width: int) -> int:
    """How many texts of ``width`` positions, both separators counted, a row has room for; at least one, and at most as
    many as it shows.  Neighbours share a separator."""
    return max(1, min(entries_per_row, (row_tokens - 1) // (width - 1)))
