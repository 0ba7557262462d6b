"""Vocabularies as tokenizers: the same ids, the same readable texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from extras import of_extra
from task_examples import example, kinds

from physlm.errors import UserError
from physlm.hf.tokenizer import hf_tokenizer
from physlm.tasks.config import TaskConfig
from physlm.tasks.vocabulary import EOS, Vocabulary

transformers = of_extra("transformers", "hf")


def ends(vocabulary: Vocabulary, ids: list[int]) -> str:
    """What a text ends with that is not part of its readable form."""
    return EOS if vocabulary.words[ids[-1]] == EOS else ""


def same_both_ways(config: TaskConfig, count: int, folder: Path) -> None:
    """Text to ids and ids to text, as we do it, with the tokenizer that stands in a folder."""
    vocabulary = config.vocabulary()
    hf_tokenizer(vocabulary).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == len(vocabulary)
    texts = [text.ids for text in config.build().texts(torch.arange(count), "evaluation")]
    assert len(texts) == count and any(len(ids) > 5 for ids in texts)
    read = [vocabulary.decode(ids) for ids in texts]
    found = tokenizer([text + ends(vocabulary, ids) for text, ids in zip(read, texts, strict=True)]).input_ids
    assert found == texts
    begins = vocabulary.words[0] == EOS
    assert tokenizer.batch_decode(texts, skip_special_tokens=begins) == read


@pytest.mark.parametrize("kind", ["bioS", "bioQA", "grammar"])
def test_ten_thousand_texts_have_the_same_ids(kind: str, tmp_path: Path) -> None:
    """``same_both_ways`` asserts."""
    same_both_ways(TaskConfig.of_kind(kind)(), 10_000, tmp_path)


@pytest.mark.parametrize("kind", kinds())
def test_every_task_can_be_read(kind: str, tmp_path: Path) -> None:
    """``same_both_ways`` asserts."""
    same_both_ways(example(kind, tmp_path), 50, tmp_path / "tokenizer")


def test_an_unknown_word_is_an_error() -> None:
    tokenizer = hf_tokenizer(Vocabulary((EOS, "a", "b")))
    assert tokenizer("b a").input_ids == [0, 2, 1]
    with pytest.raises(Exception, match=r"Missing \[UNK\] token"):
        tokenizer("b c")


def test_words_that_a_text_does_not_tell_apart_are_refused() -> None:
    with pytest.raises(UserError, match=r"the word 'a\.' of this vocabulary is read as \['a', '\.'\]"):
        hf_tokenizer(Vocabulary((EOS, "a", ".", "a.")))


def test_short_texts_are_padded_on_the_left() -> None:
    batch = hf_tokenizer(Vocabulary((EOS, "a", "b", ",")))(["a, b", "b"], padding=True)
    assert batch.input_ids == [[0, 1, 3, 2], [0, 0, 0, 2]] and batch.attention_mask == [[1, 1, 1, 1], [0, 0, 1, 1]]
