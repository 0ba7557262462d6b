"""Memorisation: keys whose values are the same in every row, so that they can only be learnt by heart (MAD).

    <bos> k71 v9 k3 v120 k44 v57                    3 of ``keys`` pairs

Key and value are a random one-to-one map of the seed.  A row is row_tokens / 2 different keys in random order, each
with its value; a row that is longer than all of them begins again with <bos>.  Learnt are the values, and asked is for
one after its key alone.  Source: arXiv 2403.17844 (127 keys, 16 pairs a row, 256 rows; up to 4,095 keys).

Deviations: there a row may have a key twice, and shows another token in place of every value; here a row shows values,
but none before it is asked for.  Rows are new, as their pairs are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, FIRST_KEY = 0, 1
MOST_TOKENS, MOST_KEYS = 1 << 20, 1 << 20


@dataclass(frozen=True)
class MemoriseConfig(TaskConfig):
    """``keys`` keys and as many values."""

    kind: ClassVar[str] = "memorise"
    shared_fields: ClassVar[tuple[str, ...]] = ("keys",)
    has_verifier: ClassVar[bool] = True
    keys: int = 127
    row_tokens: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "keys", 2, MOST_KEYS)
        check_between(self, "row_tokens", 2, MOST_TOKENS)

    @property
    def items(self) -> int | None:
        """The pairs."""
        return self.keys

    @property
    def entries_per_row(self) -> int:
        """Pairs that a row shows."""
        return max(1, min(self.row_tokens // 2, self.keys))

    @property
    def title(self) -> str:
        """For readers: ``memorise 127``."""
        return f"{self.kind} {self.keys}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, keys, values."""
        return Vocabulary(("<bos>", *(f"{name}{i + 1}" for name in "kv" for i in range(self.keys))))

    def build(self) -> Memorise:
        """The task on the CPU."""
        return Memorise(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every key alone: all were shown in training, and none in the text."""
        return {("answer", "test"): {}}


class Memorise(OnDevice[MemoriseConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def __init__(self, config: MemoriseConfig, device: torch.device | str = "cpu"):
        import torch

        from physlm import rng

        super().__init__(config, device)
        keys_K = torch.arange(config.keys)
        values_K = rng.permute(keys_K, config.keys, rng.key("memorise values", config.seed), torch.zeros_like(keys_K))
        self._values: list[int] = (FIRST_KEY + config.keys + values_K).tolist()
        self._values_K = torch.tensor(self._values, device=device)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the values."""
        import torch
        import torch.nn.functional as F

        from physlm.tasks.rows import marked_rows

        width = self.config.row_tokens + 1
        pairs_RP2 = self._pairs(index_R, self.config.entries_per_row, split, stream)
        once_RS = F.pad(pairs_RP2.flatten(1), (1, 0), value=BOS)
        ids_RW = once_RS.repeat(1, -(-width // once_RS.shape[1]))[:, :width]
        at_W = torch.arange(width, device=index_R.device)
        # in a row with room for all keys they come again, and those are not learnt
        first_W = (at_W < once_RS.shape[1]) & (at_W > 0) & (at_W % 2 == 0)
        return marked_rows(ids_RW, first_W.expand_as(ids_RW))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i, which asks for its last value."""
        pairs_RP2, texts = self._pairs(number_R, self.config.entries_per_row, split, 0), []
        labels = ["bos", *["key", "answer"] * pairs_RP2.shape[1]]
        for number, pairs in zip(number_R.tolist(), pairs_RP2.flatten(1).tolist(), strict=True):
            texts.append(question({"instance": number}, [BOS, *pairs], labels, len(labels) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation") -> Prompts:
        """``n`` different keys, or all of them, in an order of the split; each alone after <bos>."""
        import torch
        import torch.nn.functional as F

        at_B = torch.arange(min(n, self.config.keys), device=self.device)
        pair_B2 = self._pairs(torch.zeros_like(at_B[:1]), self.config.keys, split, -1)[0, : len(at_B)]
        lengths_B = torch.full_like(at_B, 2)
        return cut(F.pad(pair_B2, (1, 1), value=BOS), lengths_B, lengths_B + 2, ("value",), 1,
                   item_B=pair_B2[:, 0] - FIRST_KEY)  # fmt: skip

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with pairs after <bos>; nothing if they are right."""
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or len(text) < 3 or len(text) % 2 == 0:
            return "got no <bos> and pairs"
        keys, values = text[1::2], text[2::2]
        if not 0 < min(keys) <= max(keys) <= self.config.keys or len({*keys}) < len(keys):
            return "got something other than different keys before values"
        if any(self._values[key - FIRST_KEY] != value for key, value in zip(keys, values, strict=True)):
            return "got another value than that of the key"
        return ""

    def _pairs(self, index_R: Tensor, count: int, split: str, stream: int) -> Tensor:
        """``count`` different keys and their values, (R, P, 2)."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, own_key

        check_split(split)
        key = rng.key("memorise", self.config.seed, split, stream)
        key_RP = distinct(count, self.config.keys, own_key(key, index_R))
        return torch.stack((FIRST_KEY + key_RP, self._values_K[key_RP]), 2)
