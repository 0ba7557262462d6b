"""Words to ids and back to readable text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from physlm.errors import UserError
from physlm.tasks.vocabulary import EOS, Vocabulary

WORDS = (EOS, "She", "worked", ",", ".", "'s", "Princeton", "NJ")


def test_words_are_numbered_in_the_order_given_and_once() -> None:
    vocabulary = Vocabulary([*WORDS, "She", "."])
    assert vocabulary.words == WORDS and len(vocabulary) == len(WORDS)
    assert [vocabulary.id(word) for word in WORDS] == list(range(len(WORDS)))


def test_text_is_readable_again() -> None:
    vocabulary = Vocabulary(WORDS)
    ids = vocabulary.encode(f"{EOS} She worked , Princeton 's NJ . {EOS} She . {EOS}")
    assert vocabulary.decode(ids) == "She worked, Princeton's NJ. She."
    assert vocabulary.decode([]) == "" == vocabulary.decode([0])


@given(st.lists(st.sampled_from(WORDS)))
def test_texts_and_word_lists_are_encoded_alike(words: list[str]) -> None:
    vocabulary = Vocabulary(WORDS)
    ids = vocabulary.encode(words)
    assert ids == vocabulary.encode(" ".join(words)) and [vocabulary.words[i] for i in ids] == words


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(UserError, match="word 'Yale' is not one of the 8 words"):
        Vocabulary(WORDS).encode("She worked Yale")
