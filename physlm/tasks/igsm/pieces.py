"""The pieces of iGSM texts: each name, fixed phrase, number and letter is one token of a closed vocabulary.

    The number of each | Maple Academy | 's | Physics Lab | equals | 5 | more than | each | Physics Lab | 's | ...

Text is tokens with blanks between them, but for those of ``STICKS``, which follow at once.  Names are unique and none
begins another one (``names``), so a text has one reading: ``PieceVocabulary.tokens``.

Kinds of tokens lie one after another, so that the id of a number, letter, category or item is a sum:

    specials and phrases | letters | numbers | categories | items | noise

Phrases of noise come last and only where they are asked for, so that no other id depends on them.
Free of torch and numba.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from physlm.errors import UserError, shown
from physlm.tasks.igsm.config import LETTERS, IgsmConfig
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.vocabulary import Vocabulary

BOS, PROBLEM, SOLUTION, ANSWER = "<bos>", "<problem>", "<solution>", "<answer>"
SPECIALS = (BOS, PROBLEM, SOLUTION, ANSWER)
NUMBER_OF_EACH, EQUALS, MORE_THAN, TIMES = "The number of each", "equals", "more than", "times as much as"
SUM_OF, DIFFERENCE_OF, EACH, AND = "the sum of", "the difference of", "each", "and"
HOW_MANY, DOES, HAVE = "How many", "does", "have"
DEFINE, AS, SO, BACK = "Define", "as", "so", "BACK"
OWNS, STOP, COMMA, SEMICOLON, QUESTION_MARK = "'s", ".", ",", ";", "?"
PLUS, MINUS, STAR, IS = "+", "-", "*", "="
STICKS = (OWNS, STOP, COMMA, SEMICOLON, QUESTION_MARK)
PHRASES = (NUMBER_OF_EACH, EQUALS, MORE_THAN, TIMES, SUM_OF, DIFFERENCE_OF, EACH, AND, HOW_MANY, DOES, HAVE,
           DEFINE, AS, SO, BACK, *STICKS, PLUS, MINUS, STAR, IS)  # fmt: skip
NOTE, AT_LEAST, AT_MOST = "Note that", "is at least", "is at most"
ORDERS = ("Write in green ink", "Write neatly", "Write by candlelight", "Write with wide margins",
          "Write on yellow paper", "Use a warm tone", "Use a formal tone", "Use a playful tone", "Use a solemn tone",
          "Use a modest tone", "Speak softly", "Speak like a pirate", "Speak like a poet", "Sound cheerful",
          "Sound confident", "Sound surprised", "Sound like an old friend", "Stay polite", "Stay calm",
          "Stay friendly")  # fmt: skip
NOISE_PHRASES = (NOTE, AT_LEAST, AT_MOST, *ORDERS)
ALPHABET = tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
assert len(ALPHABET) == LETTERS

FIXED = (*SPECIALS, *PHRASES)
ID = {token: place for place, token in enumerate(FIXED)}  # of specials and phrases, in every vocabulary
FIRST_LETTER = len(FIXED)
FIRST_NUMBER = FIRST_LETTER + LETTERS
LAYERS = 4  # of a categorisation


class PieceVocabulary(Vocabulary):
    """Pieces as words, which hold blanks; text is read and written as this module says."""

    glued = f"(?:{'|'.join(map(re.escape, STICKS))})"

    def __init__(self, words: Iterable[str]):
        super().__init__(words)
        longest_first = sorted(self.words, key=len, reverse=True)
        self._token = re.compile(r"(?:^| )({})(?=$|[ {}])|({})(?=$|[ {}])".format(
            "|".join(map(re.escape, longest_first)), re.escape("".join(set("".join(STICKS)) - {"s"})),
            "|".join(map(re.escape, STICKS)), re.escape("".join(set("".join(STICKS)) - {"s"}))))  # fmt: skip

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text.

        Raises:
            UserError: at some place no token begins.
        """
        tokens, at = [], 0
        while at < len(text):
            found = self._token.match(text, at)
            if found is None:
                raise UserError(f"text {shown(text[at : at + 40])}, from character {at} on: no token of this task")
            tokens.append(found[1] or found[2])
            at = found.end()
        return tokens

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """Ids of a text, or of a sequence of tokens."""
        return [self.id(token) for token in (self.tokens(text) if isinstance(text, str) else text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these tokens."""
        return join(self.read(ids))


def join(tokens: Iterable[str]) -> str:
    """Tokens as text."""
    return "".join(token if token in STICKS else f" {token}" for token in tokens).removeprefix(" ")


@dataclass(frozen=True)
class Pieces:
    """The vocabulary of a family of problems, and where its kinds of tokens begin.

    Attributes:
        first_category: layer k of categorisation c is called by token ``first_category + 4 c + k``.
        first_items: the id of the first item of each group, by categorisation, layer and group.
        group_sizes: how many items each has.
        first_noise: the id of the first phrase of noise, where the vocabulary has them.
    """

    vocabulary: PieceVocabulary
    modulus: int
    categorisations: int
    groups: int
    first_category: int
    first_items: tuple[tuple[tuple[int, ...], ...], ...]
    group_sizes: tuple[tuple[tuple[int, ...], ...], ...]
    first_noise: int

    def category(self, categorisation: int, layer: int) -> str:
        """The name of a layer."""
        return self.vocabulary.words[self.first_category + LAYERS * categorisation + layer]

    def item(self, categorisation: int, layer: int, group: int, number: int) -> str:
        """The name of an item of a group."""
        return self.vocabulary.words[self.first_items[categorisation][layer][group] + number]


def pieces(config: IgsmConfig) -> Pieces:
    """The pieces of a family; the same object for all that share modulus and names."""
    return _pieces(config.modulus, config.categorisations, config.groups, config.group_items, config.noise_words)


@functools.cache
def _pieces(modulus: int, categorisations: int, groups: int, items: int, noise_words: bool) -> Pieces:
    used = [[tuple(group[:items] for group in layer.groups[:groups]) for layer in one.layers]
            for one in CATEGORISATIONS[:categorisations]]  # fmt: skip
    categories = [layer.name for one in CATEGORISATIONS[:categorisations] for layer in one.layers]
    numbers = [str(number) for number in range(modulus)]
    named = [item for layers in used for layer in layers for group in layer for item in group]
    words = [*FIXED, *ALPHABET, *numbers, *categories, *named, *NOISE_PHRASES * noise_words]
    assert len(set(words)) == len(words), "a name is used twice"
    first_category = FIRST_NUMBER + modulus
    sizes = tuple(tuple(tuple(map(len, layer)) for layer in layers) for layers in used)
    assert all(LAYERS <= size <= 60 for layers in sizes for layer in layers for size in layer), "a group's size"
    next_item = first_category + len(categories)
    firsts = []
    for layers in sizes:
        of_layers = []
        for layer in layers:
            of_layers.append(tuple(next_item + sum(layer[:group]) for group in range(len(layer))))
            next_item += sum(layer)
        firsts.append(tuple(of_layers))
    return Pieces(PieceVocabulary(words), modulus, categorisations, groups, first_category, tuple(firsts), sizes,
                  next_item)
