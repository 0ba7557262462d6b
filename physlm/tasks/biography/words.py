"""The closed vocabularies of the biography tasks.  Free of torch."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from physlm.tasks.biography.config import BioDConfig
from physlm.tasks.biography.kinds import question_words
from physlm.tasks.biography.pools import ATTRIBUTES, cut_pools, load_pools, words
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.tasks.biography.rewrite_grammar import rewrites_grammar
from physlm.tasks.biography.texts import read_texts
from physlm.tasks.vocabulary import EOS, Vocabulary

PRONOUNS = ("He", "She")


@functools.cache
def bios_vocabulary(questions: bool = False, pool_size: int = 0, rewritten: bool = False) -> Vocabulary:
    """Every word that bioS can write: pronouns, template words, value words, names; then those of its questions.

    The words of the grammar of rewrites stand in place of those of the templates, if it writes the texts.

    Biographies with ``questions=True``, question tasks and mixed ones share one vocabulary.
    """
    pools = cut_pools(pool_size)

    def all_words() -> Iterator[str]:
        yield EOS
        yield from PRONOUNS
        yield from (",", ".")
        if rewritten:
            yield from rewrites_grammar().words
        for attribute in () if rewritten else ATTRIBUTES:
            for template in pools.templates[attribute]:
                yield from (word for word in template if not word.startswith("{"))
        yield from (*pools.months, *map(str, pools.days), *map(str, pools.years))
        for value in (*pools.cities, *pools.universities, *pools.majors, *pools.employers):
            yield from words(value)
        yield from (*pools.first_names, *pools.middle_names, *pools.last_names)
        if questions:
            yield from question_words()

    return Vocabulary(all_words())


@functools.cache
def bior_vocabulary(file: str, sha256: str, pool_size: int = 0) -> Vocabulary:
    """Every word of bioS and of its questions, then the other words of a file of texts in alphabetical order.

    All texts of the file count, read or not, so that every run on it, and on questions afterwards, has one vocabulary.
    """
    return Vocabulary((*bios_vocabulary(True, pool_size).words, *sorted(read_texts(file, sha256).words)))


def questions_vocabulary(config: QuestionsConfig) -> Vocabulary:
    """That of the biographies which the questions are about."""
    if config.file:
        return bior_vocabulary(config.file, config.sha256, config.pool_size)
    return bios_vocabulary(True, config.pool_size, config.rewritten)


def biod_names(config: BioDConfig) -> tuple[tuple[str, ...], ...]:
    """The first ``name_pools`` names of each pool."""
    pools = load_pools()
    names = (pools.first_names, pools.middle_names, pools.last_names)
    return tuple(pool[:size] for size, pool in zip(config.name_pools, names, strict=True))


def biod_vocabulary(config: BioDConfig) -> Vocabulary:
    """Every word that bioD can write: the frame of the sentence, K attribute numbers, T value words, names."""
    frame = (EOS, "Her", "'s", "ID", "is", ",", ".")
    numbers = (str(a + 1) for a in range(config.attributes))
    values = (f"v{t}" for t in range(config.alphabet))
    return Vocabulary([*frame, *numbers, *values, *(name for pool in biod_names(config) for name in pool)])
