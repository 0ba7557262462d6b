"""The flip-flop language: one bit is written, ignored and read, over any distance (arXiv 2306.00946).

    <bos> w 1 i 0 i 1 r 1 w 0 i 1 r 0        each instruction with a bit; a read has the bit that was written last

A row is one string of ``row_tokens`` tokens after <bos>.  The first instruction is w, the last r; the others are drawn
independently: w with probability ``write``, r with ``read``, i else.  Bits of w and i are uniform, and i means nothing.
Learnt are the bits of reads (the published "clean" form), or with ``loss = "all"`` every token, as mostly published.
Published: T = 512, write = read = 0.1 in training (i: 0.8); tested there, ``sparse`` (0.01, 0.01; i: 0.98) and
``dense`` (0.45, 0.45; i: 0.1).  What counts is the bit of every read of a row (the measure ``forced``, by kind).

Deviation: <bos> before the string.  ``prompts`` ask for one read of each row, any as likely; rows of fewer reads weigh
as much there as others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, WRITE, READ, IGNORED, FIRST_BIT = 0, 1, 2, 3, 4
MOST_TOKENS = 1 << 20
TRAINING = "training"
TESTED = {"sparse": (0.01, 0.01), "dense": (0.45, 0.45)}  # write, read
INSTRUCTIONS = {WRITE: "write", READ: "read", IGNORED: "ignore"}
BITS = {WRITE: "written", READ: "answer", IGNORED: "noise"}


@dataclass(frozen=True)
class FlipFlopConfig(TaskConfig):
    """Strings of which ``write`` and ``read`` are the shares of instructions in training; the others are ignored.

    Attributes:
        loss: what is learnt: the ``answer`` to every read, or ``all`` tokens.
    """

    kind: ClassVar[str] = "flipflop"
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True
    write: float = 0.1
    read: float = 0.1
    loss: Literal["answer", "all"] = "answer"
    row_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 4, MOST_TOKENS)
        check_between(self, "write", 0, 1)
        check_between(self, "read", 0, 1 - self.write)

    @property
    def title(self) -> str:
        """For readers: ``flipflop 512, w 0.1 r 0.1``."""
        return f"{self.kind} {self.row_tokens}, w {self.write:g} r {self.read:g}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, the instructions, the bits."""
        return Vocabulary(("<bos>", "w", "r", "i", "0", "1"))

    def build(self) -> FlipFlop:
        """The task on the CPU."""
        return FlipFlop(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Strings as in training, sparse and dense."""
        return {("answer", "test"): {}, **{(f"answer_{name}", "test"): {"distribution": name} for name in TESTED}}

    def longer(self, times: int) -> dict[str, int]:
        """Longer strings."""
        return {"window": times * self.row_tokens}

    def shares(self, distribution: str) -> tuple[float, float]:
        """Those of w and r.

        Raises:
            UserError: there is no distribution of this name.
        """
        found = {TRAINING: (self.write, self.read), **TESTED}
        if distribution not in found:
            raise UserError(unknown_key("flipflop: distribution", distribution, tuple(found)))
        return found[distribution]


class FlipFlop(OnDevice[FlipFlopConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets."""
        return self._rows(index_R, TRAINING, self.config.row_tokens, split, stream, self.config.loss == "all")

    def test_rows(self, n: int, split: str = "evaluation", *, window: int = 0) -> AnswerRows:
        """``n`` rows of each distribution, whose targets are the bits of all reads; of ``window`` tokens (0: as in
        training)."""
        import torch

        kinds, row_R = (TRAINING, *TESTED), torch.arange(n, device=self.device)
        found = [self._rows(row_R, kind, self._window(window), split, "windows", False) for kind in kinds]
        kind_R = torch.arange(len(kinds), device=self.device).repeat_interleave(n)
        inputs_RT, targets_RT = (torch.cat(parts) for parts in zip(*found, strict=True))
        return AnswerRows(inputs_RT, targets_RT, kind_R, kinds)

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i, which asks for its last bit."""
        texts, (ids_RW, _) = [], self._written(number_R, TRAINING, self.config.row_tokens, split, 0)
        for number, row in zip(number_R.tolist(), ids_RW.tolist(), strict=True):
            labels = ["bos", *(name[row[at]] for at in range(1, len(row), 2) for name in (INSTRUCTIONS, BITS))]
            texts.append(question({"instance": number}, row, labels, len(row) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, distribution: str = TRAINING, window: int = 0) -> Prompts:
        """``n`` strings up to one of their reads.

        Args:
            distribution: ``training``, ``sparse`` or ``dense``.
            window: tokens of a string; 0: as in training.

        Raises:
            UserError: there is no such distribution, or no room for a write and a read.
        """
        import torch
        import torch.nn.functional as F

        from physlm import rng

        row_R = torch.arange(n, device=self.device)
        ids_RW, read_RP = self._written(row_R, distribution, self._window(window), split, "prompts")
        share_R = rng.uniform(rng.key("flipflop asked", self.config.seed, split), row_R)
        number_RP = read_RP.cumsum(1)
        which_R1 = 1 + (share_R[:, None] * number_RP[:, -1:]).long()
        at_R1 = 2 + 2 * (read_RP & (number_RP == which_R1)).long().argmax(1, keepdim=True)  # of the bit
        ids_RW = F.pad(ids_RW, (0, 1)).scatter_(1, at_R1 + 1, BOS)  # it ends the answer
        return cut(ids_RW, at_R1[:, 0], at_R1[:, 0] + 2, (distribution,), 1)

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any bit of their text behind, as a model that reads no instructions would answer; (B, P + 1)."""
        from physlm import rng
        from physlm.tasks.playground.haystack import guessed

        return guessed(prompts, FIRST_BIT, FIRST_BIT + 2, rng.key("flipflop guess", self.config.seed))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a string that ends with a read, read from its tokens alone; nothing if it
        is right."""
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:2] != [BOS, WRITE] or len(text) < 5 or len(text) % 2 == 0 or text[-2] != READ:
            return "got no <bos> and pairs of an instruction and a bit, from a write to a read"
        kept = -1
        for instruction, bit in zip(text[1::2], text[2::2], strict=True):
            if instruction not in INSTRUCTIONS or bit < FIRST_BIT:
                return "got something other than an instruction and a bit"
            if instruction == WRITE:
                kept = bit
            elif instruction == READ and bit != kept:
                return "got a read of another bit than was written last"
        return ""

    def _window(self, window: int) -> int:
        if window and not 4 <= window <= MOST_TOKENS:
            raise UserError(f"flipflop: got a window of {counted(window, 'token')}, expected between 4 and "
                            f"{MOST_TOKENS:,}")
        return window or self.config.row_tokens

    def _rows(self, index_R: Tensor, distribution: str, tokens: int, split: str, stream: int | str, whole: bool
              ) -> Rows:  # fmt: skip
        import torch
        import torch.nn.functional as F

        from physlm.tasks.rows import marked_rows

        ids_RW, read_RP = self._written(index_R, distribution, tokens, split, stream)
        learnt_RW = F.pad(torch.stack((torch.zeros_like(read_RP), read_RP), 2).flatten(1), (1, 0))
        short = tokens + 1 - ids_RW.shape[1]  # one, in rows of an odd number: a <bos> behind, which is not learnt
        return marked_rows(F.pad(ids_RW, (0, short)), F.pad(learnt_RW | whole, (0, short)))

    def _written(self, index_R: Tensor, distribution: str, tokens: int, split: str, stream: int | str
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """<bos> and P pairs, (R, 1 + 2 P), and which instructions are reads, (R, P)."""
        import torch
        import torch.nn.functional as F

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key

        check_split(split)
        write, read = self.config.shares(distribution)
        key = rng.key("flipflop", self.config.seed, split, stream, distribution)
        at_P = torch.arange(tokens // 2, device=index_R.device)
        # one draw a pair: as a number in -2^63 .. 2^63 - 1 it chooses the instruction, its last bit is the bit
        drawn_RP = rng.bits(own_key(rng.key("pair", key), index_R), at_P)
        write_RP, below_RP = (drawn_RP < _threshold(share) for share in (write, write + read))
        write_RP[:, 0], below_RP[:, 0], write_RP[:, -1], below_RP[:, -1] = True, True, False, True
        read_RP = below_RP & ~write_RP
        bit_RP = drawn_RP & 1
        last_RP = torch.where(write_RP, at_P, 0).cummax(1).values
        bit_RP = torch.where(read_RP, bit_RP.gather(1, last_RP), bit_RP)
        instruction_RP = IGNORED - below_RP.long() - write_RP.long()  # 3, of reads 2, of writes 1
        pairs_RP2 = torch.stack((instruction_RP, FIRST_BIT + bit_RP), 2)
        return F.pad(pairs_RP2.flatten(1), (1, 0), value=BOS), read_RP


def _threshold(share: float) -> int:
    """The signed 64-bit number below which a draw is with this probability; even, so that the last bit is free."""
    return min((1 << 63) - 2, 2 * round(share * (1 << 63)) - (1 << 63))
