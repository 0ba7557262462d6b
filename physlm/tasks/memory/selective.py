"""Selective copying: words among blanks are written once more in their order, without the blanks (MAD).

    <bos> _ w3 _ _ w1 w3 _ <copy> w3 w1 w3            3 of ``copied`` words in 7 of ``window`` tokens

Words are uniform and independent, out of ``words``; blanks are cut at uniform places, independent of each other, and
one word is put in at each.  Learnt is the copy.  Instances follow each other from the beginning of a row, whose end
cuts the last; by default a row is one.  An answer is right if the whole copy is.  Source: arXiv 2403.17844 (14 words,
16 of them copied, 256 tokens in all; up to 126 words, 96 copied, 1024 tokens); arXiv 2312.00752.

Deviations: the model reads what it wrote, where the published inputs show blanks after <copy>, one a word; blanks come
also after the last word, which there stands right before <copy>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, COPY, BLANK, FIRST_WORD = 0, 1, 2, 3
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 16


@dataclass(frozen=True)
class SelectiveConfig(TaskConfig):
    """``copied`` words out of ``words`` among the blanks of ``window`` tokens."""

    kind: ClassVar[str] = "selective"
    shared_fields: ClassVar[tuple[str, ...]] = ("words",)
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    copied: int = 16
    words: int = 14
    window: int = 239
    row_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "words", 2, MOST_WORDS)
        check_between(self, "copied", 1, MOST_TOKENS)
        check_between(self, "window", self.copied, MOST_TOKENS)
        check_between(self, "row_tokens", self.window + self.copied + 1, MOST_TOKENS)  # the first instance is whole

    @property
    def title(self) -> str:
        """For readers: ``selective 16 of 14 in 239``."""
        return f"{self.kind} {self.copied} of {self.words} in {self.window}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, <copy>, the blank, words."""
        return Vocabulary(("<bos>", "<copy>", "_", *(f"w{i + 1}" for i in range(self.words))))

    def build(self) -> Selective:
        """The task on the CPU."""
        return Selective(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """As many words in a window as in training."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """More words in more blanks."""
        return {"copied": times * self.copied, "window": times * (self.window + 1) - 1}


class Selective(OnDevice[SelectiveConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the copies."""
        config = self.config
        return self._rows(index_R, config.copied, config.window, config.row_tokens, split, stream)

    def test_rows(self, n: int, split: str = "evaluation", *, copied: int = 0, window: int = 0) -> AnswerRows:
        """``n`` rows whose targets are the copies, longer than in training where they must be; sizes as for
        ``prompts``."""
        import torch

        copied, window = self._sized(copied, window)
        row_R = torch.arange(n, device=self.device)
        rows = self._rows(row_R, copied, window, max(self.config.row_tokens, window + copied + 1), split, "windows")
        return AnswerRows(*rows, torch.zeros_like(row_R), (f"copied{copied}",))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first instance of row i."""
        from physlm.tasks.playground.drawing import text_numbers

        config, texts = self.config, []
        ids_RS = self._written(text_numbers(number_R, 1), config.copied, config.window, split, 0)[:, 0]
        for number, ids in zip(number_R.tolist(), ids_RS.tolist(), strict=True):
            body = ["blank" if token == BLANK else "word" for token in ids[1 : config.window + 1]]
            labels = ["bos", *body, "marker", *["answer"] * config.copied]
            texts.append(question({"instance": number}, ids, labels, config.window + 2, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, copied: int = 0, window: int = 0) -> Prompts:
        """``n`` instances of ``copied`` words in ``window`` tokens (0: as in training).

        Raises:
            UserError: the words do not fit.
        """
        import torch
        import torch.nn.functional as F

        from physlm.tasks.playground.drawing import text_numbers

        copied, window = self._sized(copied, window)
        row_R = torch.arange(n, device=self.device)
        ids_RW = F.pad(self._written(text_numbers(row_R, 1), copied, window, split, "prompts")[:, 0], (0, 1))
        lengths_R = torch.full_like(row_R, window + 2)
        return cut(ids_RW, lengths_R, lengths_R + copied + 1, (f"copied{copied}",), 1)

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, read from its tokens alone; nothing if it is right."""
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or BOS in text[1:] or text.count(COPY) != 1:
            return "got no <bos> and one <copy>"
        at = text.index(COPY)
        words = [token for token in text[1:at] if token != BLANK]
        return "" if words and text[at + 1 :] == words else "got a copy that is not the words"

    def _sized(self, copied: int, window: int) -> tuple[int, int]:
        copied, window = copied or self.config.copied, window or self.config.window
        if not 1 <= copied <= window <= MOST_TOKENS:
            raise UserError(f"selective: got {counted(copied, 'word')} in a window of {counted(window, 'token')}, "
                            f"expected between 1 and as many as the window has, which are at most {MOST_TOKENS:,}")
        return copied, window

    def _rows(self, index_R: Tensor, copied: int, window: int, tokens: int, split: str, stream: int | str) -> Rows:
        import torch

        from physlm.tasks.playground.drawing import text_numbers
        from physlm.tasks.rows import marked_rows

        size = window + copied + 2
        number_RI = text_numbers(index_R, -(-(tokens + 1) // size))
        ids_RW = self._written(number_RI, copied, window, split, stream).flatten(1)[:, : tokens + 1]
        place_W = torch.arange(tokens + 1, device=index_R.device) % size
        return marked_rows(ids_RW, (place_W >= window + 2).expand_as(ids_RW))

    def _written(self, number_RI: Tensor, copied: int, window: int, split: str, stream: int | str) -> Tensor:
        """Instances by number, (R, I, window + copied + 2)."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key
        from physlm.tasks.playground.haystack import begins

        check_split(split)
        key = rng.key("selective", self.config.seed, split, stream)
        at_C = torch.arange(copied, device=number_RI.device)
        word_RIC = FIRST_WORD + rng.below(self.config.words, own_key(rng.key("word", key), number_RI), at_C)
        share_RIC = rng.uniform(own_key(rng.key("place", key), number_RI), at_C).sort(dim=2).values
        at_RIC = 1 + begins(share_RIC, torch.full_like(number_RI, window - copied), torch.ones_like(word_RIC))
        ids_RIS = torch.full((*number_RI.shape, window + copied + 2), BLANK, device=number_RI.device)
        ids_RIS[..., 0], ids_RIS[..., window + 1], ids_RIS[..., window + 2 :] = BOS, COPY, word_RIC
        return ids_RIS.scatter_(2, at_RIC, word_RIC)
