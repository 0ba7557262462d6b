"""Word problems of groups: elements come one after another, and at each place their product so far is asked for.

    <bos> g21345 g13245 g21345     (S5)          tags: -, g21345, g31245, g32145

A row is one word of row_tokens - 1 uniform elements after <bos>.  The tag of a place is the product of all elements up
to it, from left to right (``groups`` has the law); every tag is learnt.  ``prompts`` ask for the product of whole
words, which the text has as its last token.  Source: arXiv 2404.08819 (A5, with Z60 and A4xZ5 as controls of the same
order that are solvable; S5; a model counts as able at a length from 90 % on).

In other tasks a target is the token that follows.  Here no row shows tags: a product that is given would leave one
step to be made.  Deviations: <bos>; rows of one length, since in a decoder the places of a word are words themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.state.groups import Group, group
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, FIRST = 0, 1
MOST_TOKENS = 1 << 20
EVERY = "every"


@dataclass(frozen=True)
class WordsConfig(TaskConfig):
    """Words of the elements of ``group``: A5, S5, Z60, A4xZ5, or any other that ``groups`` knows."""

    kind: ClassVar[str] = "words"
    shared_fields: ClassVar[tuple[str, ...]] = ("group",)
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    tags: ClassVar[bool] = True
    group: str = "A5"
    row_tokens: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 2, MOST_TOKENS)
        group(self.group)

    @property
    def title(self) -> str:
        """For readers: ``words A5 of 31``."""
        return f"{self.kind} {self.group} of {self.row_tokens - 1}"

    def facts(self) -> dict[str, Any]:
        """Also the order of the group, and whether it is solvable."""
        found = group(self.group)
        return {**super().facts(), "order": found.order, "solvable": found.solvable}

    def vocabulary(self) -> Vocabulary:
        """<bos> and the elements, the neutral one first."""
        return Vocabulary(("<bos>", *(f"g{name}" for name in group(self.group).names)))

    def build(self) -> Words:
        """The task on the CPU."""
        return Words(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Words of ``asked_lengths``, each of them a kind."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """Longer words alone."""
        return {"length": times * (self.row_tokens - 1)}

    def asked_lengths(self, length: int = 0) -> tuple[int, ...]:
        """Powers of two from 4 on, and the length of a row (or this one)."""
        last = length or self.row_tokens - 1
        return (*(1 << n for n in range(2, last.bit_length()) if 1 << n < last), last)


class Words(OnDevice[WordsConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def __init__(self, config: WordsConfig, device: torch.device | str = "cpu"):
        import torch

        super().__init__(config, device)
        self._group: Group = group(config.group)
        self._products_EE = torch.from_numpy(self._group.table).to(device)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and tags; that of <bos> is none."""
        import torch.nn.functional as F

        from physlm.tasks.rows import IGNORE, Rows

        elements_RL, products_RL = self._written(index_R, self.config.row_tokens - 1, split, stream)
        return Rows(F.pad(FIRST + elements_RL, (1, 0), value=BOS), F.pad(FIRST + products_RL, (1, 0), value=IGNORE))

    def test_rows(self, n: int, split: str = "evaluation", *, length: int = 0) -> AnswerRows:
        """``n`` words, once with every tag (kind ``every``), and once with that of each length of
        ``config.asked_lengths()`` alone.

        Args:
            length: of the words; 0: that of a row.
        """
        import torch
        import torch.nn.functional as F

        from physlm.tasks.rows import IGNORE

        length = self._length(length)
        lengths = self.config.asked_lengths(length)
        elements_RL, products_RL = self._written(torch.arange(n, device=self.device), length, split, "windows")
        inputs_RT = F.pad(FIRST + elements_RL, (1, 0), value=BOS)
        tags_RT = F.pad(FIRST + products_RL, (1, 0), value=IGNORE)
        at_T = torch.arange(length + 1, device=self.device)
        kinds_KRT = [tags_RT, *(tags_RT.where(at_T == one, IGNORE) for one in lengths)]
        kind_R = torch.arange(len(kinds_KRT), device=self.device).repeat_interleave(n)
        return AnswerRows(inputs_RT.repeat(len(kinds_KRT), 1), torch.cat(kinds_KRT), kind_R,
                          (EVERY, *(f"length{one}" for one in lengths)))  # fmt: skip

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the word of row i and its product."""
        length, texts = self.config.row_tokens - 1, []
        labels = ["bos", *["element"] * length, "answer"]
        elements_RL, products_RL = self._written(number_R, length, split, 0)
        for number, word, products in zip(number_R.tolist(), elements_RL.tolist(), products_RL.tolist(), strict=True):
            ids = [BOS, *(FIRST + element for element in (*word, products[-1]))]
            texts.append(question({"instance": number}, ids, labels, length + 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, length: int = 0) -> Prompts:
        """``n`` words of each of ``config.asked_lengths()``, or of ``length`` elements alone; the shorter ones begin
        the longer ones.

        Raises:
            UserError: too long.
        """
        import torch
        import torch.nn.functional as F

        lengths = (self._length(length),) if length else self.config.asked_lengths()
        kind_B = torch.arange(len(lengths), device=self.device).repeat_interleave(n)
        row_B = torch.arange(n, device=self.device).repeat(len(lengths))
        length_B1 = torch.tensor(lengths, device=self.device)[kind_B][:, None]
        elements_BL, products_BL = self._written(row_B, max(lengths), split, "prompts")
        ids_BW = F.pad(FIRST + elements_BL, (1, 2))  # the product, and the <bos> that ends it
        ids_BW.scatter_(1, length_B1 + 1, FIRST + products_BL.gather(1, length_B1 - 1))
        ids_BW.scatter_(1, length_B1 + 2, BOS)
        return cut(ids_BW, length_B1[:, 0] + 1, length_B1[:, 0] + 3, tuple(f"length{one}" for one in lengths), 1,
                   kind_B=kind_B, item_B=row_B)  # fmt: skip

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a word and its product, read from its tokens alone; nothing if it is
        right."""
        text, table, product = without_end(ids), self._group.table, 0
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or BOS in text[1:] or len(text) < 3:
            return "got no <bos>, elements and a product"
        for element in text[1:-1]:
            product = int(table[product, element - FIRST])
        return "" if text[-1] == FIRST + product else "got another product than that of the elements"

    def _length(self, length: int) -> int:
        if not 0 <= length < MOST_TOKENS:
            raise UserError(f"words: got length {length}, expected between 1 and {MOST_TOKENS - 1:,}, or 0 for that of "
                            "a row")
        return length or self.config.row_tokens - 1

    def _written(self, index_R: Tensor, length: int, split: str, stream: int | str) -> tuple[Tensor, Tensor]:
        """Elements and the products up to each, (R, L).  A longer word begins with the shorter one of its number."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key

        check_split(split)
        order, key = self._group.order, rng.key("words", self.config.seed, split, stream)
        elements_RL = rng.below(order, own_key(key, index_R), torch.arange(length, device=index_R.device))
        products_RL, reach = elements_RL.clone(), 1
        while reach < length:  # of the last 1, 2, 4, .. elements, as a product may be bracketed in any way
            both_RL = products_RL[:, :-reach] * order + products_RL[:, reach:]
            products_RL[:, reach:] = self._products_EE.take(both_RL)
            reach *= 2
        return elements_RL, products_RL
