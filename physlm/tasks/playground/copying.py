"""Full copy: a random order of words is written once more (arXiv 2512.17351, Part 4.1, appendix B).

    <bos> 3 1 2 <query> 3 1 2 <bos> 2 3 1 <query> 2 ...          length 3 of 3 words; 2 length + 2 tokens an instance

The words of an instance are distinct; with as many words as ``length``, as published (500), each instance is a
permutation of them all.  Only the answer is learnt.  Instances follow each other from the beginning of a row, whose end
cuts the last; those of one row choose among the same ``length`` words.  With ``shortest`` the number of words in an
instance is uniform in shortest .. length, else it is always ``length``; its words are a part of the row's from a random
one on, so that each is in as many instances.

An answer is right if the whole copy is.  ``prompts(first=t)`` grades the first t words alone, and ``prompts(length=)``
asks for other lengths, up to the words that there are, whatever the rows of training hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, texts_in_row, without_end
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, QUERY, FIRST_WORD = 0, 1, 2
MOST = 1 << 20  # tokens of a row, and words
ORDER_BITS = 40  # by which the words of an instance are sorted


@dataclass(frozen=True)
class CopyConfig(TaskConfig):
    """``shortest`` (0: always ``length``) to ``length`` distinct words out of ``words``, copied."""

    kind: ClassVar[str] = "copy"
    shared_fields: ClassVar[tuple[str, ...]] = ("length", "words")
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    length: int = 500
    words: int = 500
    shortest: int = 0
    row_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "words", 1, MOST)
        check_between(self, "length", 1, self.words)
        check_between(self, "shortest", 0, self.length)
        check_between(self, "row_tokens", 2 * self.length + 2, MOST)  # the first instance is whole

    @property
    def title(self) -> str:
        """For readers: ``copy 500 of 500``, ``copy 1-20 of 500``."""
        span = f"{self.shortest}-{self.length}" if 0 < self.shortest < self.length else f"{self.length}"
        return f"{self.kind} {span} of {self.words}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, <query> and the words, by number."""
        return Vocabulary(("<bos>", "<query>", *map(str, range(1, self.words + 1))))

    def build(self) -> Copy:
        """The task on the CPU."""
        return Copy(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """``length`` words, in the first instance of a row."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """More words: a text of ``times`` as many tokens."""
        return {"length": times * (self.length + 1) - 1}


class Copy(OnDevice[CopyConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the words of answers."""
        config = self.config
        if index_R.device.type == "cpu":
            return self._compiled(index_R, split, stream)
        return self._rows(index_R, config.row_tokens, config.shortest or config.length, config.length, split, stream)

    def test_rows(self, n: int, split: str = "evaluation", *, length: int = 0) -> AnswerRows:
        """``n`` windows packed with instances of ``length`` words (0: the most of training), whose targets are the
        words of answers.  A window has ``row_tokens``, or those of one instance if it is longer."""
        import torch

        length, row_R = self._checked(length), torch.arange(n, device=self.device)
        rows = self._rows(row_R, max(self.config.row_tokens, 2 * length + 2), length, length, split, "windows")
        return AnswerRows(*rows, torch.zeros_like(row_R), (f"length{length}",))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first instance of row i."""
        config, texts = self.config, []
        ids_RW, _ = self._written(number_R, 2 * config.length + 2, config.shortest or config.length, config.length,
                                  split, 0)  # fmt: skip
        for number, row in zip(number_R.tolist(), ids_RW.tolist(), strict=True):
            length = row.index(QUERY) - 1
            labels = ["bos", *["word"] * length, "query", *["answer"] * length]
            texts.append(question({"instance": number, "length": length}, row[: len(labels)], labels, length + 2,
                                  self.vocabulary))  # fmt: skip
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, length: int = 0, first: int = 0) -> Prompts:
        """``n`` instances of ``length`` words (0: those of training), to be copied whole or their ``first`` words.

        Raises:
            UserError: more words than there are.
        """
        import torch

        length = self._checked(length)
        if not 0 <= first <= length:
            raise UserError(f"copy: got first {first}, expected between 1 and {length}, or 0 for all")
        row_R = torch.arange(n, device=self.device)
        ids_RW, _ = self._written(row_R, 2 * length + 3, length, length, split, "prompts")
        end = length + 2 + (first or length)
        ids_RW[:, end] = BOS  # in the place of whatever comes next; only the words before it are graded
        lengths_R, ends_R = torch.full_like(row_R, length + 2), torch.full_like(row_R, end + 1)
        span = self.config.row_tokens
        return cut(ids_RW, lengths_R, ends_R, (f"first{first}" if first else f"length{length}",),
                   texts_in_row(span, span, end + 1))  # fmt: skip

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, read from its tokens alone; nothing if it is right."""
        text = without_end(ids)
        return "" if self._is_right(text) else self._first_fault(text)

    def _is_right(self, text: list[int]) -> bool:
        """Whether ``_first_fault`` finds nothing; faster, as a copy that equals its words needs no look of its own."""
        at = len(text) // 2
        words = text[1:at]
        return (text[at + 1 :] == words and 0 < len(words) == len(set(words)) and (text[0], text[at]) == (BOS, QUERY)
                and min(words) >= FIRST_WORD and max(words) < len(self.vocabulary))  # fmt: skip

    def _first_fault(self, text: list[int]) -> str:
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or text.count(QUERY) != 1:
            return "got no <bos> and one <query>"
        at = text.index(QUERY)
        words, copy = text[1:at], text[at + 1 :]
        if len(set(words)) < len(words) or min(words, default=0) < FIRST_WORD:
            return "got a word twice, or something other than words"
        return "" if copy == words else "got a copy that is not the words"

    def _checked(self, length: int) -> int:
        length = length or self.config.length
        if not 1 <= length <= self.config.words:
            raise UserError(f"copy: got length {length}, expected between 1 and {self.config.words}, the words there "
                            "are")
        return length

    def _compiled(self, index_R: Tensor, split: str, stream: int) -> Rows:
        """What ``_rows`` gives of training, by a loop that a CPU runs several times as fast."""
        import torch

        from physlm import rng
        from physlm.tasks.playground import copying_kernel
        from physlm.tasks.rows import Rows

        check_split(split)
        key = rng.key("copy", self.config.seed, split, stream)
        ids_RW, targets_RT = map(torch.from_numpy, copying_kernel.rows(self.config, index_R.numpy(), key))
        return Rows(ids_RW[:, :-1], targets_RT)

    def _rows(self, index_R: Tensor, span: int, shortest: int, longest: int, split: str, stream: int | str) -> Rows:
        from physlm.tasks.rows import IGNORE, Rows

        ids_RW, answer_RW = self._written(index_R, span + 1, shortest, longest, split, stream)
        return Rows(ids_RW[:, :-1], ids_RW[:, 1:].where(answer_RW[:, 1:], IGNORE))

    def _written(self, index_R: Tensor, width: int, shortest: int, longest: int, split: str,
                 stream: int | str) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Instances of ``shortest`` to ``longest`` words after another in each row, cut to (R, W), and which tokens
        belong to answers.  The words of all instances of a row stand in one list, sorted by instance and at random
        within it; C is the length of the list."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, own_key
        from physlm.tasks.rows import laid_out

        check_split(split)
        key, device = rng.key("copy", self.config.seed, split, stream), index_R.device
        # an instance with an answer in the row has all of its words there: half of what is before it, and its own
        listed = (width + longest) // 2
        count = listed // shortest + 1  # instances that fill the row and the list
        length_RI = shortest + rng.below(longest - shortest + 1, own_key(rng.key("length", key), index_R),
                                           torch.arange(count, device=device))
        number_RW, begin_RW = laid_out(2 * length_RI + 2, width)
        first_RI = length_RI.cumsum(1) - length_RI  # places in the list
        number_RC, begin_RC = laid_out(length_RI, listed)
        bits_RC = rng.bits(own_key(rng.key("order", key), index_R), torch.arange(listed, device=device))
        bits_RC = bits_RC >> (64 - ORDER_BITS) & ((1 << ORDER_BITS) - 1)
        order_RC = ((number_RC << ORDER_BITS) | bits_RC).sort(dim=1, stable=True).indices - begin_RC
        if shortest < longest:
            from_RI = rng.below(longest, own_key(rng.key("first", key), index_R), torch.arange(count, device=device))
            order_RC = (order_RC + from_RI.gather(1, number_RC)) % longest
        if longest < self.config.words:
            order_RC = distinct(longest, self.config.words, own_key(rng.key("words", key), index_R)).gather(1, order_RC)
        length_RW = length_RI.gather(1, number_RW)
        place_RW = torch.arange(width, device=device) - begin_RW - 1  # in the instance, after <bos>
        answer_RW = place_RW > length_RW
        word_RW = torch.where(answer_RW, place_RW - length_RW - 1, place_RW) + first_RI.gather(1, number_RW)
        ids_RW = FIRST_WORD + order_RC.gather(1, word_RW.clamp(0, listed - 1))
        return ids_RW.masked_fill_(place_RW < 0, BOS).masked_fill_(place_RW == length_RW, QUERY), answer_RW
