"""A needle in a haystack: one pair of a key and a value among filler and other pairs, whose value is asked at the end.

    <bos> <filler_3> k7 v2 <filler_9> <filler_1> k4 v9 <filler_5> <query> k7 v2        window 8 and one distractor

A pair is two tokens, and the keys of a text are different.  Each pair stands after a uniform number of tokens of
filler, so the depth of the needle is uniform.  A text is ``window`` tokens of pairs and filler, and four more; with
``shortest`` the window is uniform in shortest .. window.  Texts follow each other from the beginning of a row, whose
end cuts the last, and the value after the query is all that is learnt.  Filler is of random words or one phrase
repeated (``physlm.tasks.playground.haystack``).

So a model is trained with every amount of filler by ``shortest``, and with every amount of other pairs by ``fewest``:

    NeedleConfig(252, 16)                               windows of 16 .. 252 tokens, always 7 distractors
    NeedleConfig(252, 16, distractors=112, fewest=3)    3 .. 112 of them, as far as the window has room

Asked are needles in the first, the middle and the last third of the haystack, as many of each.  ``prompts(window=,
distractors=)`` asks for other sizes, also beyond the rows of training.  To fill one window of w tokens to a share, ask
``prompts(window=w, filled=share)``: the haystack then has ``share * w`` tokens of filler, and the pairs come on top.
Question i is about the same needle, as deep, whatever is around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError, counted
from physlm.tasks.config import check_between, check_split
from physlm.tasks.playground.haystack import (
    MOST_TOKENS,
    MOST_WORDS,
    WindowConfig,
    WindowTask,
    begins,
    filler,
    filler_words,
    guessed,
    laid,
)
from physlm.tasks.prompts import FOREIGN, Prompts, cut, texts_in_row, without_end
from physlm.tasks.task import Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, QUERY, FIRST_KEY = 0, 1, 2
AROUND = 4  # <bos>, <query>, key and value
DEPTHS = ("first", "middle", "last")  # thirds of the haystack


@dataclass(frozen=True)
class NeedleConfig(WindowConfig):
    """A needle and ``distractors`` other pairs in ``shortest`` (0: always ``window``) to ``window`` tokens.

    Attributes:
        filler: ``words`` or ``repeat``; ``fillers`` is the number of its words.
        fewest: in training the number of distractors is uniform from here up to ``distractors``, or to as many as the
            window has room for; None: always ``distractors``.
        keys, values: how many different ones there are; chance is 1 / values, or about 1 / (distractors + 1) for any
            value of the text, which the measure ``answers`` shows as ``guess``.
    """

    kind: ClassVar[str] = "needle"
    shared_fields: ClassVar[tuple[str, ...]] = ("keys", "values", "fillers")
    around: ClassVar[int] = AROUND
    window: int = 252
    shortest: int = 0
    distractors: int = 7
    filler: str = "words"
    fillers: int = 64
    keys: int = 256
    values: int = 256
    row_tokens: int = 256
    seed: int = 0
    fewest: int | None = None

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", AROUND + 2, MOST_TOKENS)
        self.check_window(least=2)
        for name in ("keys", "values"):
            check_between(self, name, 1, MOST_WORDS)
        shortest, longest = (min(self.keys, window // 2) - 1 for window in self.windows)
        if self.fewest is None:
            check_between(self, "distractors", 0, shortest)
        else:
            check_between(self, "distractors", 0, longest)
            check_between(self, "fewest", 0, min(self.distractors, shortest))

    @property
    def least(self) -> int:
        """The fewest distractors of training."""
        return self.distractors if self.fewest is None else self.fewest

    @property
    def parts(self) -> int:
        """Tokens of the needle and the fewest distractors."""
        return 2 + 2 * self.least

    @property
    def title(self) -> str:
        """For readers: ``needle 252, 7 distractors, words``."""
        others = "-".join(map(str, dict.fromkeys((self.least, self.distractors))))
        return f"{self.kind} {self.window_shown}, {others} distractors, {self.filler}"

    def vocabulary(self) -> Vocabulary:
        """<bos>, <query>, keys, values, filler."""
        pairs = (f"{name}{i}" for name, count in (("k", self.keys), ("v", self.values)) for i in range(1, count + 1))
        return Vocabulary(("<bos>", "<query>", *pairs, *filler_words(self.fillers)))

    def build(self) -> Needle:
        """The task on the CPU."""
        return Needle(self)

    def filled(self, share: float) -> dict[str, dict[str, Any]]:
        """Filler words, or other pairs; of a range as few pairs as training shows, or as many more as fill it."""
        others = max(self.least, int(share * self.window / 2) - 1)
        words = {filler: {**way, "distractors": self.least} for filler, way in super().filled(share).items()}
        return {**words, "pairs": {"filled": 0.0, "distractors": others}}


class Needle(WindowTask[NeedleConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the answers, the last tokens of texts."""
        if index_R.device.type == "cpu":
            return self._compiled(index_R, split, stream)
        return super().rows(index_R, split, stream)

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first one of row i."""
        config, texts = self.config, []
        pairs_end = FIRST_KEY + config.keys + config.values
        ids_RW, end_RI = self._written(number_R, config.window + AROUND, config.windows, split, 0)
        for number, row, end in zip(number_R.tolist(), ids_RW.tolist(), end_RI[:, 0].tolist(), strict=True):
            ids = row[:end]
            labels = ["filler" if i >= pairs_end else "key" if i < FIRST_KEY + config.keys else "value" for i in ids]
            labels[0], labels[-3:] = "bos", ("query", "key", "answer")
            needle = ids.index(ids[-2])
            labels[needle : needle + 2] = "needle key", "needle value"
            about = {"instance": number, "window": end - AROUND, "needle": needle}
            texts.append(question(about, ids, labels, end - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, window: int = 0, distractors: int | None = None,
                filled: float | None = None) -> Prompts:  # fmt: skip
        """``n`` needles in each third of a haystack of ``window`` tokens (0: the longest of training).

        Args:
            distractors: other pairs; by default the most of training.
            filled: the share of ``window`` that is filler; the haystack is that many tokens and the pairs.  By default
                it is ``window`` tokens with the pairs.

        Raises:
            UserError: pairs that the window or the keys have no room for; a share below 0 or above 1.
        """
        import torch

        config, span = self.config, self.config.row_tokens
        window, pairs = window or config.window, 1 + (config.distractors if distractors is None else distractors)
        if not 2 <= window <= MOST_TOKENS:
            raise UserError(f"needle: got a window of {counted(window, 'token')}, expected between 2, the needle, and "
                            f"{MOST_TOKENS:,}")
        most = config.keys if filled is not None else min(config.keys, window // 2)
        if not 1 <= pairs <= most:
            raise UserError(f"needle: got {counted(pairs - 1, 'distractor')} in a window of "
                            f"{counted(window, 'token')} with {counted(config.keys, 'key')}, expected between "
                            f"0 and {most - 1}")
        window = config.asked_window(window, filled, 2 * pairs)
        kind_B = torch.arange(len(DEPTHS), device=self.device).repeat(n)
        row_B = torch.arange(len(kind_B), device=self.device)
        ids_BW, end_BI = self._written(row_B, window + AROUND + 1, (window, window), split, "prompts",
                                       distractors=(pairs - 1, pairs - 1), third_R=kind_B)  # fmt: skip
        end_B = end_BI[:, 0]
        return cut(ids_BW, end_B - 1, end_B + 1, DEPTHS, texts_in_row(span, span, window + AROUND + 1), kind_B=kind_B)

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any value of their haystack behind, as a model that reads no keys would answer; (B, P + 1)."""
        from physlm import rng

        first = FIRST_KEY + self.config.keys
        return guessed(prompts, first, first + self.config.values, rng.key("needle guess", self.config.seed))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text, read from its tokens alone; nothing if it is right."""
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or text[-3:-2] != [QUERY]:
            return "got no <bos>, or no <query> before the last two tokens"
        haystack, (asked, answer) = text[1:-3], text[-2:]
        keys = range(FIRST_KEY, FIRST_KEY + self.config.keys)
        values = range(keys.stop, keys.stop + self.config.values)
        if asked not in keys or haystack.count(asked) != 1 or haystack[-1] == asked:
            return "got a query of a key that does not stand once before a value"
        at_T = [at for at, token in enumerate(haystack) if token < values.stop]  # all but filler
        pairs = {haystack[at]: haystack[at + 1] for at in at_T[::2] if at + 1 < len(haystack)}
        if (len(at_T) != 2 * len(pairs) or [at + 1 for at in at_T[::2]] != at_T[1::2]
                or not all(key in keys and value in values for key, value in pairs.items())):  # fmt: skip
            return "got something other than filler and pairs of different keys and their values"
        return "" if pairs[asked] == answer else "got another value than that of the key"

    def _compiled(self, index_R: Tensor, split: str, stream: int | str) -> Rows:
        """The same rows by a loop that a CPU runs faster, above all where there are many pairs."""
        import torch

        from physlm import rng
        from physlm.tasks.playground import needle_kernel
        from physlm.tasks.rows import Rows

        check_split(split)
        key = rng.key("needle", self.config.seed, split, stream)
        ids_RW, targets_RT = map(torch.from_numpy, needle_kernel.rows(self.config, index_R.numpy(), key))
        return Rows(ids_RW[:, :-1], targets_RT)

    def _written(self, index_R: Tensor, width: int, windows: tuple[int, int], split: str, stream: int | str,
                 distractors: tuple[int, int] | None = None, third_R: Tensor | None = None
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Texts as ``WindowTask`` has them.  Of the U pairs that one has room for the first drawn is the needle, which
        depends on nothing else; ``third_R`` is its depth, ``distractors`` the fewest and the most others."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import beside, distinct, own_key

        check_split(split)
        config, key = self.config, rng.key("needle", self.config.seed, split, stream)
        fewest, most = distractors or (config.least, config.distractors)
        text_RI, window_RI, begin_RI, end_RI = laid(index_R, width, windows, AROUND, key)
        at_U = torch.arange(1 + most, device=index_R.device)
        keys_RIU = needle_RI1 = rng.below(config.keys, rng.key("needle", key), text_RI)[..., None]
        if most:
            other_RIU = distinct(most, config.keys - 1, own_key(rng.key("keys", key), text_RI))
            keys_RIU = torch.cat((needle_RI1, beside(other_RIU, needle_RI1)), -1)
        keys_RIU = FIRST_KEY + keys_RIU
        values_RIU = FIRST_KEY + config.keys + rng.below(config.values, own_key(rng.key("values", key), text_RI), at_U)
        share_RIU = rng.uniform(own_key(rng.key("places", key), text_RI), at_U)
        if third_R is not None:
            share_RIU[..., 0] = (share_RIU[..., 0] + third_R[:, None]) / len(DEPTHS)
        others_RI = torch.full_like(text_RI, most)
        if fewest < most:
            room_RI = (window_RI // 2 - 1).clamp_max(most)
            drawn_RI = rng.uniform(rng.key("distractors", key), text_RI) * (room_RI - fewest + 1)
            others_RI = fewest + drawn_RI.long()
            share_RIU = share_RIU.where(at_U <= others_RI[..., None], 2.0)  # those that are left out come last
        share_RIU, order_RIU = share_RIU.sort(dim=-1, stable=True)
        at_RIU = begins(share_RIU, window_RI - 2 - 2 * others_RI, torch.full_like(order_RIU, 2))
        at_RIU = (at_RIU + begin_RI[..., None] + 1).where(at_U <= others_RI[..., None], width)
        parts = (
            (begin_RI, torch.zeros_like(begin_RI)), (end_RI - 3, torch.full_like(end_RI, QUERY)),
            (end_RI - 2, keys_RIU[..., 0]), (end_RI - 1, values_RIU[..., 0]),
            (at_RIU, keys_RIU.gather(-1, order_RIU)), (at_RIU + 1, values_RIU.gather(-1, order_RIU)),
        )
        first = FIRST_KEY + config.keys + config.values
        ids_RW = first + filler(config.filler, config.fillers, key, index_R, width + 1)  # the last column is cut off
        for at, ids in parts:
            ids_RW.scatter_(1, at.flatten(1).clamp_max(width), ids.flatten(1))
        return ids_RW[:, :width], end_RI
