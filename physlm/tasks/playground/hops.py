"""Years of birth by one hop or two, among filler: 1-hop-L and 2-hop-L (arXiv 2512.17351, Part 4.1).

    1 hop   <bos> p7 was born in the year of 1984 . <filler_3> p2 was born in the year of 1951 . <filler_8>
            <query> p7 was born in the year of 1984
    2 hops  <bos> p7 was born in the year of 1984 . p2 was born in the year of 1951 . <filler_8> p5 was born in the
            same year as p2 . p4 was born in the same year as p7 . <query> p4 was born in the year of 1984

A text tells of ``people`` years of birth, all different, from 1950 to 2009; with two hops as many other people follow,
each born in the year of one of the first.  Sentences stand at uniform places of the filler, in this order, and take
``window`` tokens, L, with it; with ``shortest`` the window is uniform in shortest .. window.  Texts follow each other
from the beginning of a row, whose end cuts the last, and the year after the question is all that is learnt.

Published are 5 people, and 3 and 3 (``ONE_HOP``, ``TWO_HOP``).  Chance is 1 / people for a model that answers with any
year of the text, which the measure ``answers`` shows as ``guess``.  Deviations: a name is one token, not three words of
the pools of biographies; the filler is of random words or one phrase repeated, not sentences of Wikipedia; any person
of the last group is asked, because a model that is trained on the first one learns places and reads no names.
``prompts(first=True)`` asks for the first, as published; ``prompts(window=)`` has any length, also beyond the rows of
training, and ``prompts(filled=share, window=w)`` has ``share * w`` tokens of filler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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

YEARS = tuple(str(year) for year in range(1950, 2010))
FACT, LINK = ["was", "born", "in", "the", "year", "of"], ["was", "born", "in", "the", "same", "year", "as"]
WORDS = tuple(dict.fromkeys(("<bos>", "<query>", *FACT, *LINK, ".")))
FACT_SIZE, LINK_SIZE = len(FACT) + 3, len(LINK) + 3  # with two names, or a name and a year, and the full stop
ASKED = len(FACT) + 3  # <query>, the name, .., the year
BOS, QUERY, FIRST_YEAR = 0, 1, len(WORDS)
FIRST_NAME = FIRST_YEAR + len(YEARS)


@dataclass(frozen=True)
class HopsConfig(WindowConfig):
    """``people`` years of birth, and with two ``hops`` as many links, in ``shortest`` (0: always ``window``) to
    ``window`` tokens; ``filler`` is ``words`` or ``repeat``, of ``fillers`` words; people have one of ``names``."""

    kind: ClassVar[str] = "hops"
    shared_fields: ClassVar[tuple[str, ...]] = ("names", "fillers")
    around: ClassVar[int] = ASKED + 1
    hops: int = 1
    people: int = 5
    window: int = 246
    shortest: int = 0
    filler: str = "words"
    fillers: int = 64
    names: int = 400
    row_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", ASKED + 1 + FACT_SIZE, MOST_TOKENS)
        check_between(self, "hops", 1, 2)
        check_between(self, "names", self.hops, MOST_WORDS)
        room = (self.row_tokens - ASKED - 1) // self.told(1)
        check_between(self, "people", 1, min(len(YEARS), self.names // self.hops, room))
        self.check_window(self.parts)

    def told(self, people: int) -> int:
        """The tokens of the sentences about so many people."""
        return people * (FACT_SIZE + LINK_SIZE * (self.hops - 1))

    @property
    def parts(self) -> int:
        """The tokens of all sentences."""
        return self.told(self.people)

    @property
    def title(self) -> str:
        """For readers: ``2-hop-246, 3 people, words``."""
        return f"{self.hops}-hop-{self.window_shown}, {self.people} people, {self.filler}"

    def facts(self) -> dict[str, Any]:
        """Beside what every task says: ``chance``, of a year of the text that is chosen at random."""
        return {**super().facts(), "chance": 1 / self.people}

    def vocabulary(self) -> Vocabulary:
        """<bos>, <query>, words of sentences, years, names, filler."""
        names = (f"p{i}" for i in range(1, self.names + 1))
        return Vocabulary((*WORDS, *YEARS, *names, *filler_words(self.fillers)))

    def build(self) -> Hops:
        """The task on the CPU."""
        return Hops(self)


ONE_HOP, TWO_HOP = HopsConfig(), HopsConfig(hops=2, people=3)


class Hops(WindowTask[HopsConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is the first one of row i."""
        config, texts = self.config, []
        ids_RW, end_RI = self._written(number_R, config.window + ASKED + 1, config.windows, split, 0)
        kinds = {BOS: "bos", QUERY: "query"}
        firsts = ((FIRST_YEAR, "word"), (FIRST_NAME, "year"), (FIRST_NAME + config.names, "name"))
        for number, row, end in zip(number_R.tolist(), ids_RW.tolist(), end_RI[:, 0].tolist(), strict=True):
            ids = row[:end]
            labels = [kinds.get(i) or next((kind for first, kind in firsts if i < first), "filler") for i in ids]
            labels[-1] = "answer"
            about = {"instance": number, "window": end - ASKED - 1}
            texts.append(question(about, ids, labels, end - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, window: int = 0, filled: float | None = None,
                first: bool = False) -> Prompts:  # fmt: skip
        """``n`` questions after ``window`` tokens of sentences and filler (0: the longest of training).

        Args:
            filled: the share of ``window`` that is filler, the sentences coming on top; by default ``window`` has both.
            first: ask for the first person of the last group.

        Raises:
            UserError: the sentences do not fit; a share below 0 or above 1.
        """
        import torch

        config, span = self.config, self.config.row_tokens
        window = config.asked_window(window, filled, config.parts)
        row_R = torch.arange(n, device=self.device)
        ids_RW, end_RI = self._written(row_R, window + ASKED + 2, (window, window), split, "prompts", first)
        end_R = end_RI[:, 0]
        return cut(ids_RW, end_R - 1, end_R + 1, (f"{config.hops}-hop",), texts_in_row(span, span, window + ASKED + 2))

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with any year of their text behind, as a model that reads no names would answer; (B, P + 1)."""
        from physlm import rng

        return guessed(prompts, FIRST_YEAR, FIRST_NAME, rng.key("hops guess", self.config.seed))

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text, read sentence by sentence from its tokens alone; nothing if it is
        right."""
        if not self.vocabulary.has(ids):
            return FOREIGN
        ids = without_end(ids)
        text = self.vocabulary.read(ids)
        if text[:1] != ["<bos>"] or text[-ASKED : 1 - ASKED] != ["<query>"] or text[2 - ASKED : -1] != FACT:
            return "got no <bos>, or no question at the end"
        told = self._told(ids[1:-ASKED])
        if told is None:
            return "got something other than whole sentences and filler before the question"
        years = {name: what for name, what in told if what in YEARS}
        same = {name: what for name, what in told if what not in YEARS}
        if len({*years, *same}) < len(told) or len({*years.values()}) < len(years):
            return "got a person or a year twice"
        asked, answer = text[1 - ASKED], text[-1]
        year = years.get(same.get(asked, asked))
        if year is None:
            return "got a question about somebody of whom nothing is told"
        return "" if answer == year else "got another year than that of the person"

    def _told(self, ids: Sequence[int]) -> list[tuple[str, str]] | None:
        """The sentences among filler: a name each, and a year or whose year it is; None if there is anything else."""
        words, names = self.vocabulary.words, range(FIRST_NAME, FIRST_NAME + self.config.names)
        forms = [(FACT, range(FIRST_YEAR, FIRST_NAME)), (LINK, names)][: self.config.hops]
        told, at = list[tuple[str, str]](), 0
        while at < len(ids):
            if ids[at] >= names.stop:
                at += 1  # filler
                continue
            for form, last in forms:
                sentence = ids[at : at + len(form) + 3]
                if (sentence[0] in names and [words[i] for i in sentence[1:-2]] == form and sentence[-2] in last
                        and words[sentence[-1]] == "."):  # fmt: skip
                    told.append((words[sentence[0]], words[sentence[-2]]))
                    at += len(sentence)
                    break
            else:
                return None
        return told

    def _written(self, index_R: Tensor, width: int, windows: tuple[int, int], split: str, stream: int | str,
                 first: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Texts as ``WindowTask`` has them.  N people, H N names, sentences and numbers of them U = H N for H hops."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, own_key

        check_split(split)
        config, key, device = self.config, rng.key("hops", self.config.seed, split, stream), index_R.device
        N, U = config.people, config.people * config.hops
        text_RI, window_RI, begin_RI, end_RI = laid(index_R, width, windows, config.around, key)
        names_RIU = FIRST_NAME + distinct(U, config.names, own_key(rng.key("names", key), text_RI))
        years_RIN = FIRST_YEAR + distinct(N, len(YEARS), own_key(rng.key("years", key), text_RI))
        linked_RIN = torch.arange(N, device=device).expand(years_RIN.shape)  # whose year the last group's people have
        if config.hops == 2:
            linked_RIN = distinct(N, N, own_key(rng.key("links", key), text_RI))
        asked_RI1 = 0 * text_RI[..., None] if first else rng.below(N, rng.key("asked", key), text_RI)[..., None]
        share_RIU = rng.uniform(own_key(rng.key("places", key), text_RI), torch.arange(U, device=device))
        size_U = torch.tensor([FACT_SIZE] * N + [LINK_SIZE] * (U - N), device=device)
        at_RIU = begins(share_RIU.sort(dim=-1).values, window_RI - config.told(N), size_U) + begin_RI[..., None] + 1
        year_RI1 = years_RIN.gather(-1, linked_RIN.gather(-1, asked_RI1))
        ids_RW = filler(config.filler, config.fillers, key, index_R, width + 1)  # the last column is cut off
        ids_RW += FIRST_NAME + config.names
        question_RI1 = end_RI[..., None] - ASKED
        parts = [(begin_RI[..., None], BOS), (question_RI1, QUERY),
                 *_sentence(question_RI1 + 1, names_RIU[..., U - N :].gather(-1, asked_RI1), FACT, year_RI1),
                 *_sentence(at_RIU[..., :N], names_RIU[..., :N], FACT, years_RIN, ".")]  # fmt: skip
        if config.hops == 2:
            parts += _sentence(at_RIU[..., N:], names_RIU[..., N:], LINK, names_RIU.gather(-1, linked_RIN), ".")
        for at, ids in parts:
            place_RP = at.flatten(1).clamp_max(width)
            ids_RW.scatter_(1, place_RP, ids if isinstance(ids, int) else ids.flatten(1))
        return ids_RW[:, :width], end_RI


def _sentence(at: Tensor, name: Tensor, words: Sequence[str], *rest: Tensor | str) -> list[tuple[Tensor, Tensor | int]]:
    """Where the tokens of a sentence that begins there stand, and what they are."""
    tokens = (name, *words, *rest)
    return [(at + i, WORDS.index(part) if isinstance(part, str) else part) for i, part in enumerate(tokens)]
