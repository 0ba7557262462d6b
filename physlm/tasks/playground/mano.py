"""Mano: mental arithmetic, the value of a prefix expression of l operations modulo 23 (arXiv 2512.17351, Part 4.1).

    <bos> <len_2> + 5 * 3 4 <ans_2> 17      5 + 3 * 4; 2 l + 5 tokens      <bos> <len_1> - 2 9 <ans_1> 16   ...

l is uniform in 1 .. L.  An operation is +, - or *, and its first operand has l' of the other l - 1 operations, l'
uniform in 0 .. l - 1; values are uniform.  Instances follow each other from the beginning of a row, whose end cuts the
last; every token is a target.  Tested are instances of L operations among others of L, at every place of a row.  Zero
is the commonest value, since products make it so: 7.0 % at L = 10.  As in the released code the marker before the
answer repeats l.  Deviation: that code's ``knowledge_augment``, two tokens for operations, <bos> and <len_l>, is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, texts_in_row, without_end
from physlm.tasks.task import OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.rows import Rows

OPERATIONS = ("+", "-", "*")
FIRST_VALUE = 1 + len(OPERATIONS)  # <bos> is token 0
STEP = 1 << 24  # counters of a row, one a position


@dataclass(frozen=True)
class ManoConfig(TaskConfig):
    """Expressions of at most ``length`` operations, L, modulo ``modulus``, in rows of ``row_tokens`` tokens."""

    kind: ClassVar[str] = "mano"
    has_verifier: ClassVar[bool] = True
    shared_fields: ClassVar[tuple[str, ...]] = ("length", "modulus")
    length: int = 10
    modulus: int = 23
    row_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "length", 1, 1000)
        check_between(self, "modulus", 2, 1000)
        check_between(self, "row_tokens", 2 * self.length + 5, STEP - 2)  # the first instance is whole

    @property
    def title(self) -> str:
        """For readers: ``mano L=10 mod 23``."""
        return f"{self.kind} L={self.length} mod {self.modulus}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, operations, values, <len_1> .. <len_L>, <ans_1> .. <ans_L>."""
        markers = (f"<{what}_{n + 1}>" for what in ("len", "ans") for n in range(self.length))
        return Vocabulary(("<bos>", *OPERATIONS, *map(str, range(self.modulus)), *markers))

    def build(self) -> Mano:
        """The task on the CPU."""
        return Mano(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """L operations: at every place of a row, as published, and as its first instance."""
        return {("answer", "test"): {}, ("answer_first", "test"): {"before": 0}}


class Mano(OnDevice[ManoConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)  # the answer is one token, and <bos> comes after it

    def __init__(self, config: ManoConfig, device: torch.device | str = "cpu"):
        super().__init__(config, device)
        self._markers = FIRST_VALUE - 1 + config.modulus  # <len_l> is token l after this one

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets."""
        from physlm.tasks.rows import Rows

        width = self.config.row_tokens + 1
        if index_R.device.type == "cpu":
            ids_RW = self._compiled(index_R, width, split, stream)
        else:
            ids_RW = self._written(index_R, 1 + self.config.row_tokens // 7, width, split, stream)
        return Rows(ids_RW[:, :-1], ids_RW[:, 1:])

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first instance of row i."""
        texts, ids_RW = [], self._written(number_R, 1, 2 * self.config.length + 5, split, 0)
        for number, row in zip(number_R.tolist(), ids_RW.tolist(), strict=True):
            length = row[1] - self._markers
            parts = ["operation" if token < FIRST_VALUE else "value" for token in row[2 : 2 * length + 3]]
            about, labels = {"instance": number, "length": length}, ["bos", "length", *parts, "marker", "answer"]
            texts.append(question(about, row[: len(labels)], labels, len(labels) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, length: int = 0, before: int | None = None) -> Prompts:
        """``n`` rows up to the answer of one instance; all instances of a row have ``length`` operations (0: L), and
        ``before`` come before it, by default each number that the row has room for in turn."""
        import torch

        length, span, row_R = length or self.config.length, self.config.row_tokens, torch.arange(n, device=self.device)
        size, room = 2 * length + 5, span // (2 * length + 5)
        if not (1 <= length <= self.config.length and 0 <= (before or 0) < room):
            raise UserError(f"mano: got length {length} and {before} before it, expected what a row has room for")
        ends_R = (row_R % room + 1 if before is None else torch.full_like(row_R, before + 1)) * size + 1
        width = int(ends_R.max())
        ids_RW = self._written(row_R, 1 + width // size, width, split, "prompts", length)
        return cut(ids_RW, ends_R - 2, ends_R, (f"length{length}",), texts_in_row(span, span, width))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with an instance, with the <bos> after it or without; nothing if it is right.
        The expression is read from right to left, and every operation takes the two values that were read last."""
        text, L, values = without_end(ids), self.config.length, list[int]()
        if not self.vocabulary.has(text):
            return FOREIGN
        length = text[1] - self._markers if len(text) > 1 else 0
        if text[:1] != [0] or not 1 <= length <= L or len(text) != 2 * length + 5 or text[-2] != text[1] + L:
            return "got no <bos>, <len>, 2 l + 1 tokens, the same <ans>, and one token"
        if not all(0 < token <= self._markers for token in text[2:-2]):
            return "got something other than operations and values"
        for token in reversed(text[2:-2]):
            if token >= FIRST_VALUE:
                values.append(token - FIRST_VALUE)
            elif len(values) < 2:
                return "got an operation without two operands"
            else:
                a, b = values.pop(), values.pop()
                values.append((a + b if token == 1 else a - b if token == 2 else a * b) % self.config.modulus)
        if len(values) != 1:
            return "got more than one expression"
        return "" if text[-1] == FIRST_VALUE + values[0] else "got another value than that of the expression"

    def _compiled(self, index_R: Tensor, width: int, split: str, stream: int | str) -> Tensor:
        """What ``_written`` gives, by a loop that a CPU runs 40 times as fast."""
        import torch

        from physlm import rng
        from physlm.tasks.playground import mano_kernel

        check_split(split)
        config, key = self.config, rng.key("mano", self.config.seed, split, stream)
        lengths, splits, operations, values = (rng.key(name, key) for name in ("length", "split", "operation", "value"))
        ids_RW = mano_kernel.written((index_R * STEP).numpy(), width, (config.length, config.modulus),
                                     (FIRST_VALUE, self._markers), (lengths, splits, operations, values))  # fmt: skip
        return torch.from_numpy(ids_RW)

    def _written(self, index_R: Tensor, count: int, width: int, split: str, stream: int | str,
                 length: int = 0) -> Tensor:  # fmt: skip
        """``count`` instances after another in each row, of ``length`` operations (0: random), cut to (R, W).
        A position goes down from the root of its expression to the part that begins there, into the first operand or
        the second, L times; then values come up, L times.  Every draw belongs to a row and a position in it."""
        import torch

        from physlm import rng
        from physlm.tasks.rows import laid_out

        check_split(split)
        key, modulus = rng.key("mano", self.config.seed, split, stream), self.config.modulus
        row_R1, L = index_R[:, None] * STEP, self.config.length
        at_I, at_W = (torch.arange(size, device=index_R.device) for size in (count, width))
        drawn_RI = 1 + rng.below(L, rng.key("length", key), row_R1 + at_I)
        length_RI = torch.full_like(drawn_RI, length) if length else drawn_RI
        number_RW, begin_RW = laid_out(2 * length_RI + 5, width)
        length_RW = length_RI.gather(1, number_RW)
        node_RW, under_RW = begin_RW + 2, length_RW  # where the part begins, and how many operations it has
        share_RW = rng.uniform(rng.key("split", key), row_R1 + at_W)
        for _ in range(L + 1):
            first_RW = (share_RW.gather(1, node_RW.clamp(0, width - 1)) * under_RW).long()  # in its first operand
            second_RW = node_RW + 2 + 2 * first_RW  # where its second operand begins
            within_RW, beyond_RW = at_W > node_RW, at_W >= second_RW
            under_RW = under_RW.where(~within_RW, torch.where(beyond_RW, under_RW - 1 - first_RW, first_RW))
            node_RW = node_RW.where(~within_RW, torch.where(beyond_RW, second_RW, node_RW + 1))
        operation_RW = rng.below(len(OPERATIONS), rng.key("operation", key), row_R1 + at_W)
        drawn_RW = value_RW = rng.below(modulus, rng.key("value", key), row_R1 + at_W)
        for _ in range(L):
            a, b = value_RW.roll(-1, 1), value_RW.gather(1, second_RW.clamp(0, width - 1))
            found_RW = torch.where(operation_RW == 0, a + b, torch.where(operation_RW == 1, a - b, a * b)) % modulus
            value_RW = torch.where(under_RW > 0, found_RW, drawn_RW)
        ids_RW, place_RW = torch.where(under_RW > 0, 1 + operation_RW, FIRST_VALUE + drawn_RW), at_W - begin_RW
        answer_RW = FIRST_VALUE + value_RW.gather(1, (begin_RW + 2).clamp_max(width - 1))
        for place, ids in ((0, 0 * ids_RW), (1, self._markers + length_RW),
                           (2 * length_RW + 3, self._markers + L + length_RW), (2 * length_RW + 4, answer_RW)):
            ids_RW = torch.where(place_RW == place, ids, ids_RW)
        return ids_RW
