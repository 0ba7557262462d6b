"""Compression: a random sequence is read, and then its words are asked for by their places (MAD).

    <bos> c a c b <sum> <at_3> c <at_1> c <at_4> b <at_2> a        length 4; every place is asked once, in random order

Words are uniform and independent, so that no less than all of them can be kept.  Learnt are the words after places.
Instances of 3 length + 2 tokens follow each other from the beginning of a row, whose end cuts the last; as published
(15 words, 31 of them before the last token; up to 127 words and 255), a row is one.  An answer is the word at one
place, after any number of others.  Source: arXiv 2403.17844.

Deviation: there an autoencoder has the activations of the last token, and a perceptron finds the word at each place in
them and a code of the place.  A decoder has no such bottleneck: a fixed-size memory must keep the sequence, as there,
but attention over all tokens can look back to the place, which makes the task easy for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, SUM, FIRST_WORD = 0, 1, 2
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 16


@dataclass(frozen=True)
class CompressionConfig(TaskConfig):
    """Sequences of ``length`` words out of ``words``."""

    kind: ClassVar[str] = "compression"
    shared_fields: ClassVar[tuple[str, ...]] = ("words", "length")
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True
    words: int = 15
    length: int = 31
    row_tokens: int = 94
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "words", 2, MOST_WORDS)
        check_between(self, "length", 2, MOST_WORDS)
        check_between(self, "row_tokens", self.size - 1, MOST_TOKENS)  # the first instance is whole

    @property
    def size(self) -> int:
        """Tokens of an instance."""
        return 3 * self.length + 2

    @property
    def title(self) -> str:
        """For readers: ``compression 31 of 15``."""
        return f"{self.kind} {self.length} of {self.words}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, <sum>, words, places."""
        places = (f"<at_{i + 1}>" for i in range(self.length))
        return Vocabulary(("<bos>", "<sum>", *(f"w{i + 1}" for i in range(self.words)), *places))

    def build(self) -> Compression:
        """The task on the CPU."""
        return Compression(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The first place that is asked for, before any answer."""
        return {("answer", "test"): {}}


class Compression(OnDevice[CompressionConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the words after places."""
        import torch

        from physlm.tasks.playground.drawing import text_numbers
        from physlm.tasks.rows import marked_rows

        config, width = self.config, self.config.row_tokens + 1
        number_RI = text_numbers(index_R, -(-width // config.size))
        ids_RW = self._written(number_RI, split, stream).flatten(1)[:, :width]
        place_W = torch.arange(width, device=index_R.device) % config.size - config.length - 2
        return marked_rows(ids_RW, ((place_W > 0) & (place_W % 2 == 1)).expand_as(ids_RW))

    def test_rows(self, n: int, split: str = "evaluation") -> AnswerRows:
        """``n`` rows as in training."""
        import torch

        row_R = torch.arange(n, device=self.device)
        return AnswerRows(*self.rows(row_R, split, -1), torch.zeros_like(row_R), (f"length{self.config.length}",))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first instance of row i, which asks for its last word."""
        from physlm.tasks.playground.drawing import text_numbers

        length, ids_RS = self.config.length, self._written(text_numbers(number_R, 1), split, 0)[:, 0]
        labels = ["bos", *["word"] * length, "marker", *["place", "answer"] * length]
        return [question({"instance": number}, ids, labels, len(ids) - 1, self.vocabulary)
                for number, ids in zip(number_R.tolist(), ids_RS.tolist(), strict=True)]

    def prompts(self, n: int, split: str = "evaluation", *, before: int = 0) -> Prompts:
        """``n`` instances up to a place that is asked for, with ``before`` answers before it.

        Raises:
            UserError: there are not so many places.
        """
        import torch
        import torch.nn.functional as F

        from physlm.tasks.playground.drawing import text_numbers

        if not 0 <= before < self.config.length:
            raise UserError(f"compression: got {before} answers before, expected between 0 and "
                            f"{self.config.length - 1}")
        row_R = torch.arange(n, device=self.device)
        ids_RW = F.pad(self._written(text_numbers(row_R, 1), split, "prompts")[:, 0], (0, 1))
        end = self.config.length + 4 + 2 * before
        ids_RW[:, end] = BOS  # it ends the answer
        lengths_R = torch.full_like(row_R, end - 1)
        return cut(ids_RW, lengths_R, lengths_R + 2, (f"length{self.config.length}",), 1)

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any word of their text behind, as a model that knows no places would answer; (B, P + 1)."""
        from physlm import rng
        from physlm.tasks.playground.haystack import guessed

        return guessed(prompts, FIRST_WORD, FIRST_WORD + self.config.words,
                       rng.key("compression guess", self.config.seed))  # fmt: skip

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, or with one that ends after an earlier answer, read from its
        tokens alone; nothing if it is right."""
        text, length, first_place = without_end(ids), self.config.length, FIRST_WORD + self.config.words
        if not self.vocabulary.has(text):
            return FOREIGN
        words, asked = text[1 : length + 1], text[length + 2 :]
        if text[:1] != [BOS] or text[length + 1 : length + 2] != [SUM] or not asked or len(asked) % 2:
            return f"got no <bos>, {length} words, <sum>, places and their words"
        if not FIRST_WORD <= min(words) <= max(words) < first_place or min(asked[::2]) < first_place:
            return "got something other than words, and places before words"
        if len({*asked[::2]}) < len(asked[::2]):
            return "got a place twice"
        if any(words[place - first_place] != word for place, word in zip(asked[::2], asked[1::2], strict=True)):
            return "got another word than that at the place"
        return ""

    def _written(self, number_RI: Tensor, split: str, stream: int | str) -> Tensor:
        """Instances by number, (R, I, 3 length + 2)."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, own_key

        check_split(split)
        config, key = self.config, rng.key("compression", self.config.seed, split, stream)
        word_RIL = FIRST_WORD + rng.below(config.words, own_key(rng.key("word", key), number_RI),
                                          torch.arange(config.length, device=number_RI.device))  # fmt: skip
        place_RIL = distinct(config.length, config.length, own_key(rng.key("place", key), number_RI))
        asked_RIL2 = torch.stack((FIRST_WORD + config.words + place_RIL, word_RIL.gather(2, place_RIL)), 3)
        bos_RI1 = torch.zeros_like(number_RI)[..., None]
        return torch.cat((bos_RI1, word_RIL, bos_RI1 + SUM, asked_RIL2.flatten(2)), 2)
