"""In-context recall, also among noise: pairs of a row come again, and each time the value follows its key (MAD).

    <bos> k3 v8 k7 v1 <noise_4> <noise_2> k3 v8 k7 v1      values of keys that came before are asked for

A row is row_tokens / 2 pairs.  Keys are uniform out of ``keys``; a key has the same value throughout a row, uniform out
of ``values``.  With ``noisy`` a pair is two uniform words of noise instead, independently with this probability, but
for the last pair and one other, uniform, which never are.  The last pair has one of the keys before it, each as
likely.  Learnt are the values of keys that came before, or with ``loss = "all"`` every token, as published for
training.  Source: arXiv 2403.17844; 8 keys and 8 values in 128 tokens; as noisy recall ``noisy = 0.2`` with 16 words;
harder with more keys and values (16 to 64 of each), tokens (256 to 1024) and noise (0.4 to 0.8).  There 12,800 or fewer
rows are trained on again and again, here all are new.  MQAR (``mqar``) asks for each key once, far more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from physlm.tasks.config import check_between, check_split
from physlm.tasks.memory.pairs import Pairs, PairsConfig
from physlm.tasks.prompts import FOREIGN, Prompts, cut, without_end
from physlm.tasks.task import Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, FIRST_KEY = 0, 1
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 16
PAIR = 2  # tokens


@dataclass(frozen=True)
class RecallConfig(PairsConfig):
    """Pairs of ``keys`` keys and ``values`` values.

    Attributes:
        noisy: the probability of noise in place of a pair.
        noises: how many words of noise there are, if there is any.
        loss: what is learnt: the ``answer`` to every key that came before, or ``all`` tokens.
    """

    kind: ClassVar[str] = "recall"
    shared_fields: ClassVar[tuple[str, ...]] = ("keys", "values", "noises")
    guesses_from_text: ClassVar[bool] = True
    keys: int = 8
    values: int = 8
    noisy: float = 0.0
    noises: int = 16
    loss: Literal["answer", "all"] = "answer"
    row_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 2 * PAIR, MOST_TOKENS)
        check_between(self, "keys", 1, MOST_WORDS)
        check_between(self, "values", 2, MOST_WORDS)
        check_between(self, "noisy", 0, 1)
        check_between(self, "noises", 1, MOST_WORDS)

    @property
    def title(self) -> str:
        """For readers: ``recall 8 x 8 in 128``, ``recall 8 x 8 in 128, noise 0.2``."""
        noise = f", noise {self.noisy:g}" if self.noisy else ""
        return f"{self.kind} {self.keys} x {self.values} in {self.row_tokens}{noise}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, keys, values, and the words of noise if there is any."""
        names = (("k{}", self.keys), ("v{}", self.values), ("<noise_{}>", self.noises if self.noisy else 0))
        return Vocabulary(("<bos>", *(name.format(i + 1) for name, count in names for i in range(count))))

    def build(self) -> Recall:
        """The task on the CPU."""
        return Recall(self)



class Recall(Pairs[RecallConfig]):
    """The task on one device."""

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i, which asks for its last value."""
        config, texts = self.config, []
        ids_RW, asked_RP = self._written(number_R, split, 0)
        for number, row, asked in zip(number_R.tolist(), ids_RW.tolist(), asked_RP.tolist(), strict=True):
            labels = ["bos"]
            for key, again in zip(row[1::2], asked, strict=True):
                labels += ["noise"] * 2 if key > config.keys else ["query", "answer"] if again else ["key", "value"]
            texts.append(question({"instance": number}, row, labels, len(row) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, window: int = 0) -> Prompts:
        """``n`` rows of ``window`` tokens (0: as in training) up to the last value."""
        import torch
        import torch.nn.functional as F

        ids_RW, _ = self._sized(window)._written(torch.arange(n, device=self.device), split, "prompts")
        lengths_R = torch.full((n,), ids_RW.shape[1] - 1, device=self.device)
        return cut(F.pad(ids_RW, (0, 1), value=BOS), lengths_R, lengths_R + 2, ("value",), 1)

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any value of their text behind, as a model that reads no keys would answer; (B, P + 1)."""
        from physlm import rng
        from physlm.tasks.playground.haystack import guessed

        first = FIRST_KEY + self.config.keys
        return guessed(prompts, first, first + self.config.values, rng.key("recall guess", self.config.seed))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text that ends with an answer, read from its tokens alone; nothing if it
        is right."""
        text, keys, values, known = without_end(ids), self.config.keys, self.config.values, dict[int, int]()
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or len(text) < 5 or len(text) % 2 == 0 or BOS in text[1:]:
            return "got no <bos> and pairs"
        asked = False
        for key, value in zip(text[1::2], text[2::2], strict=True):
            if key > keys + values and value > keys + values:
                asked = False
                continue
            if not key <= keys < value <= keys + values:
                return "got something other than a key and a value, or two words of noise"
            asked = key in known
            if known.setdefault(key, value) != value:
                return "got another value than the key had before"
        return "" if asked else "got a last pair whose key did not come before"

    def _rows(self, index_R: Tensor, split: str, stream: int | str, whole: bool) -> Rows:
        import torch
        import torch.nn.functional as F

        from physlm.tasks.rows import marked_rows

        ids_RW, asked_RP = self._written(index_R, split, stream)
        learnt_RW = F.pad(torch.stack((torch.zeros_like(asked_RP), asked_RP), 2).flatten(1), (1, 0)) | whole
        short = self.config.row_tokens + 1 - ids_RW.shape[1]  # one, in rows of an odd number: a <bos> behind
        return marked_rows(F.pad(ids_RW, (0, short)), F.pad(learnt_RW, (0, short)))

    def _written(self, index_R: Tensor, split: str, stream: int | str) -> tuple[Tensor, Tensor]:
        """<bos> and P pairs, (R, 1 + 2 P), and which of them have a key that came before, (R, P)."""
        import torch
        import torch.nn.functional as F

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key

        check_split(split)
        config, device, P = self.config, index_R.device, self.config.row_tokens // PAIR
        K, key = config.keys, rng.key("recall", config.seed, split, stream)
        at_P = torch.arange(P, device=device)
        key_RP = rng.below(K, own_key(rng.key("key", key), index_R), at_P)
        noisy_RP = torch.zeros_like(key_RP, dtype=torch.bool)
        if config.noisy:
            noisy_RP = rng.uniform(own_key(rng.key("noisy", key), index_R), at_P) < config.noisy
            noisy_RP[:, -1] = False
            noisy_RP.scatter_(1, rng.below(P - 1, rng.key("pair", key), index_R)[:, None], False)
        # where each key comes first, among all but the last pair, which takes one of those that come at all
        at_RP = torch.where(noisy_RP, P, at_P)[:, :-1]
        first_RK = torch.full((len(index_R), K), P, device=device).scatter_reduce_(1, key_RP[:, :-1], at_RP, "amin")
        came_RK = first_RK < P
        number_RK = came_RK.cumsum(1)
        which_R1 = 1 + (rng.uniform(rng.key("last", key), index_R)[:, None] * number_RK[:, -1:]).long()
        key_RP[:, -1:] = (came_RK & (number_RK == which_R1)).long().argmax(1, keepdim=True)
        value_RK = rng.below(config.values, own_key(rng.key("value", key), index_R), torch.arange(K, device=device))
        pairs_RP2 = torch.stack((FIRST_KEY + key_RP, FIRST_KEY + K + value_RK.gather(1, key_RP)), 2)
        if config.noisy:
            word_R2P = rng.below(config.noises, own_key(rng.key("noise", key), index_R),
                                 torch.arange(PAIR * P, device=device))  # fmt: skip
            noise_RP2 = FIRST_KEY + K + config.values + word_R2P.view(-1, P, PAIR)
            pairs_RP2 = torch.where(noisy_RP[..., None], noise_RP2, pairs_RP2)
        return F.pad(pairs_RP2.flatten(1), (1, 0), value=BOS), ~noisy_RP & (at_P > first_RK.gather(1, key_RP))
