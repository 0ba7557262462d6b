"""The grammar task: an endless text of random strings, cut into rows for training, and labelled sentences to measure.

    rows        .. 3 1 2 <eos> 1 2 2 1 .. 3 1 <eos> 2 1 ..       a window of the text, T inputs and T targets
    sentences   <eos> 1 2 2 1 .. 3 1 <eos> <eos> <eos> ..        one string between separators, padded with id 0

Rows are cut from chapters.  A chapter is a fixed number of strings with an ``<eos>`` behind each, read in a circle from
a random place; rows c * 32 .. c * 32 + 31 are consecutive windows of chapter c.  So each row is a uniformly random
window of the text, and the 32 rows together repeat nothing (but for the rare chapter, about one in 30,000, that is
shorter than its rows together and so goes on in its beginning).  String i of a split is the same in rows and sentences.

Shape letters: R rows, T positions, B strings, W positions, L levels, N tokens of the text, C chapters, V words,
S terminals.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.tasks.config import check_split
from physlm.tasks.grammar.bags import Bags, emission_choices, make_bags, observed_grammar
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.noise import Noise, perturbed, replace_tokens, token_bits
from physlm.tasks.grammar.pieces import Choices, choose, move
from physlm.tasks.grammar.sampler import Sampler
from physlm.tasks.grammar.statistics import length_statistics
from physlm.tasks.rows import Rows
from physlm.tasks.task import Text

CHAPTER_ROWS = 32
_CHAPTER_SPARE = 4.0  # standard deviations of a chapter's length that it is longer, on average, than its rows
ROLES = ("pad", "eos", "token")


class Sentences(NamedTuple):
    """Strings between two ``<eos>``, one a row, with their labels; W is 2 more than the longest string.

    Outside of ``token_BW`` (at ``<eos>`` and padding) terminals, ancestors and subtrees are -1, boundaries False.
    Ancestors and subtrees are of small integer types; labels not asked for have L = 0 levels.
    """

    ids_BW: Tensor  # vocabulary ids; 0 is <eos> and padding
    roles_BW: Tensor  # 0 padding, 1 <eos>, 2 token
    lengths_B: Tensor  # with both <eos>
    token_BW: Tensor  # bool: roles == 2
    terminals_BW: Tensor  # terminal numbers 0 .. |T| - 1
    ancestors_LBW: Tensor  # symbol at every level, the root's first, the token's own last
    subtrees_LBW: Tensor  # which of the level's subtrees, counted from 0
    boundaries_LBW: Tensor  # last token of its subtree


class GrammarTask:
    """Strings of one grammar on one device.

    Attributes:
        grammar: the layered grammar; its terminals are hidden where there are bags.
        vocabulary: ``<eos>`` is id 0, then terminals, or words of the bags.
        bags: membership and emission probabilities of an implicit grammar, else None.
        entry_width: the longest possible sentence without noise, with both separators.
    """

    roles = ROLES

    def __init__(self, config: GrammarConfig):
        self.config = config
        self.grammar = config.rules
        self.vocabulary = config.vocabulary()
        self.sampler = Sampler(self.grammar)
        self.entry_width = self.sampler.longest + 2
        self._noisy_sampler = self.sampler
        if config.noise in ("nonterminal", "permute") and config.noise_fraction > 0:
            noise = Noise(config.noise, config.noise_rate, config.noise_fraction)
            self._noisy_sampler = Sampler(self.grammar, noise=noise)
        self.bags: Bags | None = make_bags(config) if config.bag_tokens else None
        self._emission: Choices | None = emission_choices(self.bags) if self.bags else None
        self._chapter = _chapter_strings(self.grammar, CHAPTER_ROWS * config.row_tokens + 1)

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.sampler.device

    @property
    def observed(self) -> Grammar:
        """The grammar of what is seen: with bags it has one level more, and words w1, w2, .. as terminals."""
        return self.grammar if self.bags is None else observed_grammar(self.grammar, move(self.bags, "cpu"))

    def to(self, device: torch.device | str) -> GrammarTask:
        """The same task with its tables on ``device``."""
        moved = object.__new__(GrammarTask)
        moved.__dict__.update(
            self.__dict__, sampler=self.sampler.to(device), _noisy_sampler=self._noisy_sampler.to(device),
            bags=move(self.bags, device), _emission=move(self._emission, device),
        )
        return moved

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number: (R, T) inputs and targets, every target scored."""
        span, n = self.config.row_tokens, self._chapter
        chapter_C, which_R = torch.unique(index_R // CHAPTER_ROWS, return_inverse=True)
        string_B = (chapter_C[:, None] * n + torch.arange(n, device=self.device)).flatten()
        key = self._key(split, stream)
        text = self._sampler(split).text(string_B, key)
        ids_N = self._ids_of_text(text.tokens_N, string_B, text.lengths_B, text.starts_B, split, key)
        begin_C = text.starts_B.view(-1, n)[:, 0]
        size_C = text.lengths_B.view(-1, n).sum(1) + n
        turn_C = (rng.uniform(rng.key("chapter", key), chapter_C) * size_C).long()
        begin_R = turn_C.take(which_R) + index_R % CHAPTER_ROWS * span
        place_RT = begin_R[:, None] + torch.arange(span + 1, device=self.device)
        place_RT = place_RT % size_C.take(which_R)[:, None] + begin_C.take(which_R)[:, None]
        ids_RT = ids_N.take(place_RT)
        return Rows(ids_RT[:, :-1], ids_RT[:, 1:])

    def sentences(self, index_B: Tensor, split: str = "evaluation", stream: int = 0, *, labels: bool = True,
                  width: int | None = None) -> Sentences:
        """Strings by number, each between two ``<eos>``, with labels.

        Training strings are as the rows show them: with noise.  Labels are of the tree whose tokens are seen, except
        that ``token`` noise leaves ``terminals_BW`` and the labels as they were before it.

        Args:
            labels: also ancestors, subtrees and boundaries.
            width: W, up to ``entry_width``; by default 2 more than the longest of these strings.
        """
        key = self._key(split, stream)
        sample = self._sampler(split).draw(index_B, key, labels=labels, width=None if width is None else width - 2)
        place_W = torch.arange(sample.tokens_BW.shape[1], device=self.device)
        shown_BW = self._shown(sample.tokens_BW, index_B[:, None], place_W, split, key)
        token_BW = F.pad(sample.tokens_BW >= 0, (1, 1))
        lengths_B = sample.lengths_B + 2
        inside_BW = torch.arange(token_BW.shape[1], device=self.device) < lengths_B[:, None]
        return Sentences(
            F.pad(shown_BW + 1, (1, 1)), inside_BW.long() + token_BW, lengths_B, token_BW,
            F.pad(sample.tokens_BW, (1, 1), value=-1), _padded(sample.ancestors_LBW), _padded(sample.subtrees_LBW),
            _padded(sample.boundaries_LBW),
        )

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Strings by number with the labels of every level, the root's first, the terminals' last; None at ``<eos>``.

        ``levels`` has for each level ``symbols``, the symbol above each token; ``subtrees``, which of the level's
        subtrees the token is in, counted from 0; and ``ends``, whether it is the last token there.
        """
        found = self.sentences(number_E, split)
        texts = []
        for row, (number, length) in enumerate(zip(number_E.tolist(), found.lengths_B.tolist(), strict=True)):
            inside = found.token_BW[row, :length].tolist()
            labels = zip(self.grammar.levels, found.ancestors_LBW[:, row].tolist(),
                         found.subtrees_LBW[:, row].tolist(), found.boundaries_LBW[:, row].tolist(), strict=True)
            levels, lines = [], []
            for level, (names, symbols, subtrees, ends) in enumerate(labels, start=1):
                columns = ([names[s] for s in symbols[1 : length - 1]], subtrees[1 : length - 1], ends[1 : length - 1])
                levels.append({name: [None, *column, None] for name, column in zip(
                    ("symbols", "subtrees", "ends"), columns, strict=True)})  # fmt: skip
                last = [name for name, end in zip(columns[0], columns[2], strict=True) if end]
                lines.append(f"level {level}  {' '.join(last)}")
            ids = found.ids_BW[row, :length].tolist()
            if self.bags is not None or self._token_noise(split):
                lines.append(f"shown  {self.vocabulary.decode(ids)}")
            texts.append(Text({"string": number}, ids, [ROLES[1 + token] for token in inside], {"levels": levels},
                              tuple(lines)))  # fmt: skip
        return texts

    def to_terminals(self, ids: Tensor) -> Tensor:
        """Terminal numbers of vocabulary ids, any shape; -1 for ``<eos>`` and for ids outside of the vocabulary.

        Raises:
            UserError: overlapping bags, where a word does not tell its terminal; ``bags`` has the probabilities, and
                ``observed`` a grammar of the words themselves.
        """
        if self.config.bag_tokens and self.config.bags == "overlap":
            raise UserError("task.bags: got overlap, where a word does not tell its terminal; expected disjoint bags")
        known = (ids > 0) & (ids < len(self.vocabulary))
        return torch.where(known, (ids - 1) % len(self.grammar.terminals), -1)

    def corrupt(self, ids_BW: Tensor, rate: float, key: int, index_B: Tensor) -> Tensor:
        """Vocabulary ids with each terminal or word drawn anew, uniformly, with probability ``rate``; 0 stays 0."""
        place_W = torch.arange(ids_BW.shape[1], device=ids_BW.device)
        words = len(self.vocabulary) - 1
        return replace_tokens(ids_BW - 1, words, rate, key, index_B[:, None], place_W) + 1

    def _key(self, split: str, stream: int) -> int:
        check_split(split)
        return rng.key("grammar", self.config.seed, split, stream)

    def _sampler(self, split: str) -> Sampler:
        return self._noisy_sampler if split == "train" else self.sampler

    def _ids_of_text(self, tokens_N: Tensor, string_B: Tensor, lengths_B: Tensor, starts_B: Tensor, split: str,
                     key: int) -> Tensor:
        """Vocabulary ids of strings end to end, <eos> behind each."""
        if self.bags is None and not self._token_noise(split):
            return tokens_N + 1
        which_N = torch.repeat_interleave(lengths_B + 1, output_size=len(tokens_N))
        place_N = torch.arange(len(tokens_N), device=self.device) - starts_B.take(which_N)
        return self._shown(tokens_N, string_B.take(which_N), place_N, split, key) + 1

    def _shown(self, tokens_N: Tensor, string_N: Tensor, place_N: Tensor, split: str, key: int) -> Tensor:
        """What is seen of terminals: after the noise of tokens, as words of their bags; -1 stays -1."""
        if self._token_noise(split):
            config = self.config
            rate_N = perturbed(config.noise_fraction, string_N, key) * config.noise_rate
            tokens_N = replace_tokens(tokens_N, len(self.grammar.terminals), rate_N, key, string_N, place_N)
        if self._emission is not None:
            state_N = token_bits(rng.key("word", key), string_N, place_N)
            words_N = choose(self._emission, tokens_N.clamp_min(0), state_N) % self.config.bag_tokens
            tokens_N = torch.where(tokens_N < 0, -1, words_N)
        return tokens_N

    def _token_noise(self, split: str) -> bool:
        return split == "train" and self.config.noise == "token" and self.config.noise_fraction > 0


def _chapter_strings(grammar: Grammar, tokens: int) -> int:
    """Strings of a chapter, so that they have ``tokens`` tokens with separators in all but few chapters."""
    lengths = length_statistics(grammar)
    per_string = lengths.mean + 1
    spread = _CHAPTER_SPARE * math.sqrt(lengths.variance * tokens / per_string)
    return max(4, math.ceil((tokens + spread) / per_string))


def _padded(label_LBW: Tensor) -> Tensor:
    """One more position on both sides, -1 or False."""
    return F.pad(label_LBW, (1, 1), value=False if label_LBW.dtype == torch.bool else -1)
