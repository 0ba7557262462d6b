"""A vocabulary of ours as a tokenizer of Hugging Face: word-level, the same ids, the same readable texts.

    "She was born in Princeton, NJ."   <->   <eos> She was born in Princeton , NJ .

``tokenizer(text)`` gives the ids of a text as ``Vocabulary.decode`` writes it, and ``decode`` writes it again.  Where
words begin with ``<eos>``, which ``decode`` leaves out, the tokenizer puts it first and ``skip_special_tokens`` leaves
it out; an ``<eos>`` at the end is written as such.  A word that the task does not have is an error, as it is for us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from physlm.errors import UserError
from physlm.extras import needed
from physlm.tasks.vocabulary import EOS, Vocabulary

_NO_PREFIX = "  "  # of the decoder that puts a blank before each word: with this one no word begins


def hf_tokenizer(vocabulary: Vocabulary, positions: int | None = None) -> Any:
    """A ``PreTrainedTokenizerFast``; texts of several lengths are padded on the left, as generation wants it.

    Args:
        positions: how many tokens the model can read, if there is an end to it.

    Raises:
        UserError: transformers is missing, or a word of the vocabulary cannot be told from the text around it.
    """
    transformers = needed("transformers", "hf")
    first = vocabulary.words[0]
    limit = {} if positions is None else {"model_max_length": positions}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_word_level(vocabulary), bos_token=first, eos_token=first, pad_token=first,
        padding_side="left", clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
        **limit)  # fmt: skip
    for word, ids in zip(vocabulary.words, tokenizer(list(vocabulary.words), add_special_tokens=False).input_ids,
                         strict=True):  # fmt: skip
        if ids != [vocabulary.id(word)]:
            raise UserError(f"tokenizer: the word {word!r} of this vocabulary is read as "
                            f"{[vocabulary.words[i] for i in ids]}; expected words that can be told apart in a text")
    return tokenizer


def _word_level(vocabulary: Vocabulary) -> Any:
    """The same for the library tokenizers alone."""
    library = needed("tokenizers", "hf")
    tokenizer = library.Tokenizer(library.models.WordLevel({word: i for i, word in enumerate(vocabulary.words)}))
    # the matches are the tokens; blanks between them are dropped
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_pattern(vocabulary)), "removed", invert=True)
    decoders, glued = library.decoders, library.Regex(f" (?={vocabulary.glued})")
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(prefix=_NO_PREFIX, cleanup=False), decoders.Fuse(),
                                           decoders.Replace(glued, "")])  # fmt: skip
    if vocabulary.words[0] == EOS:
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single=f"{EOS} $A", pair=f"{EOS} $A $B", special_tokens=[(EOS, 0)])
    return tokenizer


def _pattern(vocabulary: Vocabulary) -> str:
    """One word of a text: the longest of those with blanks inside that stands there, or what is glued to the word
    before it, or all up to a blank or to that."""
    several = [word for word in vocabulary.words if re.search(r"\s", word)]
    rest = rf"{vocabulary.glued}|(?:(?!{vocabulary.glued})\S)+"
    return f"{_any_of(several)}|{rest}" if several else rest


def _any_of(words: Iterable[str]) -> str:
    """A pattern for the longest of the words that a text goes on with; by first letters, so that it is found fast."""
    groups = groupby(sorted(words), key=lambda word: word[0])
    found = []
    for letter, group in groups:
        endings = sorted((re.escape(word[1:]) for word in group), key=len, reverse=True)
        found.append(f"{re.escape(letter)}(?:{'|'.join(endings)})(?!\\w)")
    return f"(?:{'|'.join(found)})"
