"""Multi-query associative recall: pairs first, then their keys at random distances, each to be followed by its value.

    <bos> k7 v41 k3 v55 .. v9 k12 k7 v41 k2 v60 k3 v55 ..       2 pairs, 6 slots of two tokens: one filler, k7, ..

A row is one instance of ``row_tokens`` tokens and the one after them.  ``pairs`` distinct keys come with distinct
values.  Each key is asked in one of the (row_tokens - 2 pairs) / 2 slots after the pairs, drawn without replacement
with probability in proportion to g^(gap - 1) for slot g = 1, 2, ..: mostly early.  All other tokens are random words,
values and keys that the row does not have among them; so a key of the row never has another word behind it than its
value.  Only the values after queries are learnt.  Source: Arora et al., arXiv 2312.04927
(vocabulary 8192, gap 0.01; trained with 64 tokens and 4 pairs, 128 and 8, 256 and 16 to 64; tested up to 1024 and
256).

With ``reassigned`` = N > 0 it is MQRAR-N: fewer keys than pairs (``keys``, by default pairs / 2N), each assigned N
times or more, in random order, and the answer is the N-th last value of the key (arXiv 2410.17980, 2505.16381):

    <bos> k3 v8 k7 v41 k3 v55 .. k3 v8 ..                       N = 2

Deviations: the value stands after the asked key in the text, where the published inputs show a random word, so keys of
the row cannot be fillers, which they can be there; <bos>, which is their token 0, is none either; how many keys MQRAR
has, and where it asks, is ours.  ``prompts(pairs=, window=)`` asks for other sizes, also beyond the rows of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import AnswerRows, OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS = 0
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 20


@dataclass(frozen=True)
class MqarConfig(TaskConfig):
    """``pairs`` of keys and values out of ``words`` words; the values of ``asked`` keys are asked for.

    Attributes:
        words: of the vocabulary, <bos> included; the first half are keys, the second values.
        gap: the exponent of the law of the places of queries, a in g^(a - 1); 1 is uniform.
        reassigned: N; 0 where every key has one value.
        keys: how many different keys the pairs have if they are reassigned; 0 for pairs / 2N.
    """

    kind: ClassVar[str] = "mqar"
    shared_fields: ClassVar[tuple[str, ...]] = ("words", "reassigned")
    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True
    pairs: int = 8
    words: int = 8192
    gap: float = 0.01
    reassigned: int = 0
    keys: int = 0
    row_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 4, MOST_TOKENS)
        check_between(self, "words", 4, MOST_WORDS)
        check_between(self, "gap", 0.001, 100)
        check_between(self, "reassigned", 0, self.row_tokens // 2 - 1)
        if self.reassigned:
            check_between(self, "keys", 0, (self.words // 2) - 1)
            least = self.reassigned * max(1, self.keys)  # each key is assigned N times
        else:
            check_between(self, "keys", 0, 0)
            least = 1
        most = self.most_pairs
        if most < least:
            raise UserError(f"task.keys: got {counted(self.keys, 'key')} assigned {counted(self.reassigned, 'time')}, "
                            f"whose {counted(least, 'pair')} and queries do not fit; expected fewer, or more than "
                            f"{self.row_tokens} row_tokens")
        check_between(self, "pairs", least, most)

    @property
    def most_pairs(self) -> int:
        """The most pairs that the row and the words have room for; those of keys that are asked, too."""
        most = min(self.row_tokens // 2 - max(1, self.keys), self.words - self.words // 2)
        if self.keys:
            return most
        each = 2 * self.reassigned or 1  # pairs a key
        room = next((n for n in range(most, 0, -1) if n + max(1, n // each) <= self.row_tokens // 2), 0)
        return min(room, (self.words // 2 - 1) * each + each - 1 if self.reassigned else self.words // 2 - 1)

    @property
    def asked(self) -> int:
        """How many different keys there are, each of which is asked once."""
        return self.keys or max(1, self.pairs // (2 * self.reassigned or 1))

    @property
    def title(self) -> str:
        """For readers: ``mqar 8 pairs in 256``, ``mqrar-2 8 pairs in 256``."""
        name = f"mqrar-{self.reassigned}" if self.reassigned else self.kind
        return f"{name} {self.pairs} pairs in {self.row_tokens}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, keys k1 .. and values: token i is word i."""
        half = self.words // 2
        return Vocabulary(("<bos>", *(f"{'k' if i < half else 'v'}{i}" for i in range(1, self.words))))

    def build(self) -> Mqar:
        """The task on the CPU."""
        return Mqar(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """One of the keys, whose queries before it were answered."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """More pairs, in rows that are longer by as much."""
        return {"pairs": times * self.pairs, "window": times * self.row_tokens}


class Mqar(OnDevice[MqarConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the values after queries."""
        return self._rows(index_R, split, stream)

    def test_rows(self, n: int, split: str = "evaluation", *, pairs: int = 0, window: int = 0) -> AnswerRows:
        """``n`` rows whose targets are the values after all queries, as published; arguments as for ``prompts``."""
        import torch

        config, row_R = self._sized(pairs, window), torch.arange(n, device=self.device)
        rows = Mqar(config, self.device)._rows(row_R, split, "windows")
        return AnswerRows(*rows, torch.zeros_like(row_R), (f"pairs{config.pairs}",))

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i up to its last answer, which is what it asks."""
        texts, (ids_RW, query_RQ) = [], self._written(number_R, split, 0)
        for number, row, queries in zip(number_R.tolist(), ids_RW.tolist(), query_RQ.tolist(), strict=True):
            labels = ["bos", *["key", "value"] * self.config.pairs]
            labels += ["filler"] * (max(queries) + 2 - len(labels))
            for place in queries:
                labels[place : place + 2] = "query", "answer"
            texts.append(question({"instance": number}, row[: len(labels)], labels, len(labels) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, pairs: int = 0, window: int = 0) -> Prompts:
        """``n`` rows up to one of their queries, each of them as likely; ``pairs`` in rows of ``window`` tokens (0: as
        in training).

        Raises:
            UserError: they do not fit.
        """
        import torch

        from physlm import rng

        config, row_R = self._sized(pairs, window), torch.arange(n, device=self.device)
        ids_RW, query_RQ = Mqar(config, self.device)._written(row_R, split, "prompts")
        which_R = rng.below(config.asked, rng.key("mqar asked", config.seed, split), row_R)
        at_R = query_RQ.gather(1, which_R[:, None])[:, 0]
        ids_RW = torch.nn.functional.pad(ids_RW, (0, 1)).scatter_(1, at_R[:, None] + 2, BOS)  # it ends the answer
        return cut(ids_RW, at_R + 1, at_R + 3, (f"pairs{config.pairs}",), 1)

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any value of their text behind, as a model that reads no keys would answer; (B, P + 1).

        Values of the filler are among them.
        """
        from physlm import rng
        from physlm.tasks.playground.haystack import guessed

        return guessed(prompts, self.config.words // 2, self.config.words, rng.key("mqar guess", self.config.seed))

    def fault(self, ids: Sequence[int], *, pairs: int = 0) -> str:
        """The first thing that is wrong with a text that ends with an answer, read from its tokens alone; nothing if it
        is right.  The first ``pairs`` pairs count (0: as many as in training), each of their keys that stands after
        them, with its value behind, and the last query."""
        text, pairs, half = without_end(ids), pairs or self.config.pairs, self.config.words // 2
        if not self.vocabulary.has(text):
            return FOREIGN
        keys, values = text[1 : 2 * pairs + 1 : 2], text[2 : 2 * pairs + 2 : 2]
        if text[:1] != [BOS] or BOS in text[1:] or len(text) < 2 * pairs + 3:
            return f"got no <bos> and {pairs} pairs before a query"
        if not (min(keys) > 0 and max(keys) < half <= min(values)):
            return f"got something other than {pairs} pairs of keys and values"
        if len({*values}) < pairs:
            return "got a value of two pairs"
        given = dict[int, list[int]]()
        for key, value in zip(keys, values, strict=True):
            given.setdefault(key, []).append(value)
        last, found = max(1, self.config.reassigned), given.get(text[-2], [])
        if len(found) < last or (len(found) > 1 and not self.config.reassigned):
            return f"got a query of a key with {counted(len(found), 'value')}"
        if text[-1] != found[-last]:
            return "got another value than that of the key"
        if not all(last <= len(found) and (self.config.reassigned or len(found) == 1) for found in given.values()):
            return "got a key that has not as many values as it should"
        asked = [at for at, token in enumerate(text[:-1]) if token in given and at > 2 * pairs]
        if any(text[at + 1] != given[text[at]][-last] for at in asked):
            return "got a key that another word than its value follows"
        return ""

    def _rows(self, index_R: Tensor, split: str, stream: int | str) -> Rows:
        from physlm.tasks.rows import IGNORE, Rows

        ids_RW, query_RQ = self._written(index_R, split, stream)
        targets_RT = ids_RW.new_full((len(ids_RW), self.config.row_tokens), IGNORE)
        targets_RT.scatter_(1, query_RQ, ids_RW.gather(1, query_RQ + 1))
        return Rows(ids_RW[:, :-1], targets_RT)

    def _sized(self, pairs: int, window: int) -> MqarConfig:
        """The settings with other sizes; the number of keys follows the pairs, if it does so in training."""
        return replace(self.config, pairs=pairs or self.config.pairs, row_tokens=window or self.config.row_tokens)

    def _written(self, index_R: Tensor, split: str, stream: int | str) -> tuple[Tensor, Tensor]:
        """Rows of T + 1 tokens, (R, W), and the places of their queries, (R, Q).  P pairs are assigned to Q keys."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import beside, distinct, own_key, power_weights, weighted_places

        check_split(split)
        config, device = self.config, index_R.device
        key, half = rng.key("mqar", config.seed, split, stream), config.words // 2
        P, Q, last = config.pairs, config.asked, max(1, config.reassigned)
        keys_RQ = 1 + distinct(Q, half - 1, own_key(rng.key("keys", key), index_R))
        values_RP = half + distinct(P, config.words - half, own_key(rng.key("values", key), index_R))
        # N pairs of each key, and the others of any; sorted, those of one key are together in the order of the text
        which_RP = rng.below(Q, own_key(rng.key("which", key), index_R), torch.arange(P, device=device))
        which_RP[:, : Q * last] = torch.arange(Q * last, device=device) % Q
        which_RP = which_RP.gather(1, distinct(P, P, own_key(rng.key("order", key), index_R)))
        of_key_RP = (which_RP * P + torch.arange(P, device=device)).sort(dim=1).values % P
        end_RQ = torch.zeros_like(keys_RQ).scatter_add_(1, which_RP, torch.ones_like(which_RP)).cumsum(1)
        answer_RQ = values_RP.gather(1, of_key_RP.gather(1, end_RQ - last))
        weights = power_weights(config.row_tokens // 2 - P, config.gap - 1).to(device)
        query_RQ = 1 + 2 * P + 2 * weighted_places(Q, weights, own_key(rng.key("gaps", key), index_R))
        rank_RF = rng.below(config.words - 1 - Q, own_key(rng.key("filler", key), index_R),
                            torch.arange(config.row_tokens - 2 * P, device=device))  # fmt: skip
        filler_RF = 1 + beside(rank_RF, keys_RQ - 1)
        pairs_RP2 = torch.stack((keys_RQ.gather(1, which_RP), values_RP), 2)
        ids_RW = torch.cat((torch.zeros_like(index_R)[:, None], pairs_RP2.flatten(1), filler_RF), 1)
        ids_RW.scatter_(1, query_RQ, keys_RQ).scatter_(1, query_RQ + 1, answer_RQ)
        return ids_RW, query_RQ
