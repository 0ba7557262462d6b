"""Fuzzy in-context recall: keys and values are of several tokens each, and how many is not marked (MAD).

    <bos> k3 v8 v1 k7 k2 v4 k3 k7 v5 v1 v2 k7 k2 v4        keys k3, k7 k2, k3 k7; the second is asked for

A key has 1 to ``key_tokens`` different tokens out of ``keys``, a value 1 to ``value_tokens`` out of ``values``: the
number is uniform, and then every order of so many is as likely.  A key has the same value throughout a row.  A row has
as many pairs as leave room for one of the longest behind them; then one of them comes again, each as likely, and is
asked for.
Behind it <bos> fills the row.  Learnt are the values of keys that came before, or with ``loss = "all"`` every token, as
published for training.  An answer is right if the whole value is.  Source: arXiv 2403.17844 (7 and 8 tokens, motifs of
up to 3, rows of 128 tokens; harder with more tokens and longer rows).

Deviations: filling stands behind, not before; keys that are asked for have any number of tokens, there the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from physlm.tasks.config import check_between, check_split
from physlm.tasks.memory.pairs import Pairs, PairsConfig
from physlm.tasks.prompts import FOREIGN, Prompts, cut, without_end
from physlm.tasks.task import Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, FIRST_KEY = 0, 1
MOST_TOKENS, MOST_WORDS, MOST_MOTIF = 1 << 20, 1 << 8, 4  # all orders of so many tokens: far below 2^52


@dataclass(frozen=True)
class FuzzyConfig(PairsConfig):
    """Keys of up to ``key_tokens`` of ``keys`` tokens, values of up to ``value_tokens`` of ``values``.

    Attributes:
        loss: what is learnt: the ``answer`` to every key that came before, or ``all`` tokens.
    """

    kind: ClassVar[str] = "fuzzy"
    shared_fields: ClassVar[tuple[str, ...]] = ("keys", "values")
    keys: int = 7
    values: int = 8
    key_tokens: int = 3
    value_tokens: int = 3
    loss: Literal["answer", "all"] = "answer"
    row_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "keys", 1, MOST_WORDS)
        check_between(self, "values", 2, MOST_WORDS)
        check_between(self, "key_tokens", 1, min(self.keys, MOST_MOTIF))
        check_between(self, "value_tokens", 1, min(self.values, MOST_MOTIF))
        check_between(self, "row_tokens", 2 * self.longest, MOST_TOKENS)

    @property
    def longest(self) -> int:
        """Tokens of the longest pair."""
        return self.key_tokens + self.value_tokens

    @property
    def title(self) -> str:
        """For readers: ``fuzzy 7^3 x 8^3 in 128``."""
        return f"{self.kind} {self.keys}^{self.key_tokens} x {self.values}^{self.value_tokens} in {self.row_tokens}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, tokens of keys, tokens of values."""
        names = (("k", self.keys), ("v", self.values))
        return Vocabulary(("<bos>", *(f"{name}{i + 1}" for name, count in names for i in range(count))))

    def build(self) -> Fuzzy:
        """The task on the CPU."""
        return Fuzzy(self)



class _Written(NamedTuple):
    """Rows, which tokens are of values, and which of pairs whose key came before, (R, W); where the last key ends, and
    where its value, (R,)."""

    ids_RW: Tensor
    value_RW: Tensor
    again_RW: Tensor
    key_end_R: Tensor
    end_R: Tensor


class Fuzzy(Pairs[FuzzyConfig]):
    """The task on one device."""

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i up to its last value, which it asks for."""
        found, texts = self._written(number_R, split, 0), []
        listed = (x.tolist() for x in found)
        for number, row, value, again, key_end, end in zip(number_R.tolist(), *listed, strict=True):
            labels = ["answer" if answer and part else "query" if answer else "value" if part else "key"
                      for part, answer in zip(value[1:end], again[1:end], strict=True)]
            texts.append(question({"instance": number}, row[:end], ["bos", *labels], key_end, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, window: int = 0) -> Prompts:
        """``n`` rows of ``window`` tokens (0: as in training) up to the last value."""
        import torch
        import torch.nn.functional as F

        found = self._sized(window)._written(torch.arange(n, device=self.device), split, "prompts")
        return cut(F.pad(found.ids_RW, (0, 1), value=BOS), found.key_end_R, found.end_R + 1, ("value",), 1)

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text that ends with an answer, read from its tokens alone; nothing if it
        is right.  A key is all tokens of keys that stand together, a value all tokens of values."""
        text, config, known = without_end(ids), self.config, dict[tuple[int, ...], tuple[int, ...]]()
        if not self.vocabulary.has(text):
            return FOREIGN
        motifs = [tuple(motif) for _, motif in groupby(text[1:], lambda token: token > config.keys)]
        if text[:1] != [BOS] or BOS in text[1:] or len(motifs) < 4 or len(motifs) % 2 or motifs[0][0] > config.keys:
            return "got no <bos>, and keys and values in turn"
        again = False
        for key, value in zip(motifs[::2], motifs[1::2], strict=True):
            if len(key) > config.key_tokens or len(value) > config.value_tokens:
                return "got too long a key or value"
            if len({*key}) < len(key) or len({*value}) < len(value):
                return "got a token twice in a key or value"
            again = key in known
            if known.setdefault(key, value) != value:
                return "got another value than the key had before"
        return "" if again else "got a last pair whose key did not come before"

    def _rows(self, index_R: Tensor, split: str, stream: int | str, whole: bool) -> Rows:
        import torch

        from physlm.tasks.rows import marked_rows

        found = self._written(index_R, split, stream)
        if whole:
            at_W = torch.arange(found.ids_RW.shape[1], device=index_R.device)
            return marked_rows(found.ids_RW, at_W < found.end_R[:, None])
        return marked_rows(found.ids_RW, found.value_RW & found.again_RW)

    def _written(self, index_R: Tensor, split: str, stream: int | str) -> _Written:
        """Rows of W = row_tokens + 1 tokens; of P pairs, some of which are behind its end."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key
        from physlm.tasks.rows import laid_out

        check_split(split)
        config, device, W = self.config, index_R.device, self.config.row_tokens + 1
        K, V, key = config.key_tokens, config.value_tokens, rng.key("fuzzy", config.seed, split, stream)
        P = W // 2  # pairs, none of which is shorter than two tokens: the host need not ask whether they are enough
        at_P = torch.arange(P, device=device).expand(len(index_R), P)
        keys_RP, key_RPK = _motifs(own_key(rng.key("key", key), index_R), at_P, config.keys, K)
        code_RP = _codes(keys_RP, key_RPK, config.keys)
        values_RP, value_RPV = _motifs(own_key(rng.key("value", key), index_R), code_RP, config.values, V)
        end_RP = 1 + (keys_RP + values_RP).cumsum(1)
        # the last pair is the first one behind which no other would surely fit; it comes from one of those before
        last_R1 = (end_RP <= W - config.longest).sum(1, keepdim=True)
        from_R1 = (rng.uniform(rng.key("last", key), index_R)[:, None] * last_R1).long()
        from_RP = torch.where(at_P == last_R1, from_R1, at_P)
        keys_RP, values_RP, code_RP = (x.gather(1, from_RP) for x in (keys_RP, values_RP, code_RP))
        key_RPK, value_RPV = (x.gather(1, from_RP[..., None].expand_as(x)) for x in (key_RPK, value_RPV))
        size_RP = keys_RP + values_RP
        size_RP[:, -1] += config.longest  # the pair before it may be shorter than that in whose place it came
        number_RW, begin_RW = laid_out(torch.cat((torch.ones_like(last_R1), size_RP), 1), W)
        number_RW = (number_RW - 1).clamp_min_(0)  # <bos> goes with the first pair
        place_RW, keys_RW = torch.arange(W, device=device) - begin_RW, keys_RP.gather(1, number_RW)
        value_RW = place_RW >= keys_RW
        token_RPM = torch.cat((FIRST_KEY + key_RPK, FIRST_KEY + config.keys + value_RPV), 2).flatten(1)
        within_RW = torch.where(value_RW, K + place_RW - keys_RW, place_RW).clamp_max_(K + V - 1)
        ids_RW = token_RPM.gather(1, number_RW * (K + V) + within_RW)
        sums_RP = 1 + (keys_RP + values_RP).cumsum(1)
        end_R1, before_R1 = sums_RP.gather(1, last_R1), sums_RP.gather(1, last_R1 - 1)
        inside_RW = torch.arange(W, device=device) < end_R1
        ids_RW = ids_RW.masked_fill_(~inside_RW, BOS)
        ids_RW[:, 0] = BOS
        again_RW = _again(code_RP).gather(1, number_RW) & inside_RW
        again_RW[:, 0] = False
        return _Written(ids_RW, value_RW, again_RW, (before_R1 + keys_RP.gather(1, last_R1))[:, 0], end_R1[:, 0])


def _motifs(key_R1: Tensor, which_RP: Tensor, words: int, most: int) -> tuple[Tensor, Tensor]:
    """How many tokens each motif has, (R, P), and distinct ones below ``words``, of which so many count, (R, P, most).

    One draw is cut into all that is needed: what is left of it behind the point is a draw again.
    """
    import torch

    from physlm import rng
    from physlm.tasks.playground.drawing import few_distinct

    share_RP = rng.uniform(key_R1, which_RP) * most
    size_RP, shares = share_RP.long(), []
    share_RP = share_RP - size_RP
    for taken in range(most):
        shares.append(share_RP)
        share_RP = share_RP * (words - taken)
        share_RP = share_RP - share_RP.floor()
    return 1 + size_RP, few_distinct(torch.stack(shares, 2), torch.full_like(which_RP[..., None], words))


def _codes(size_RP: Tensor, number_RPM: Tensor, words: int) -> Tensor:
    """A number of each motif that no other has."""
    code_RP = 0 * size_RP
    for place, number_RP in enumerate(number_RPM.unbind(2)):
        code_RP = code_RP * (words + 1) + (1 + number_RP) * (place < size_RP)
    return code_RP


def _again(code_RP: Tensor) -> Tensor:
    """Whether the same number comes before in its row."""
    import torch
    import torch.nn.functional as F

    sorted_RP, order_RP = code_RP.sort(dim=1, stable=True)
    same_RP = F.pad(sorted_RP[:, 1:] == sorted_RP[:, :-1], (1, 0))
    return torch.empty_like(same_RP).scatter_(1, order_RP, same_RP)
