"""Texts of random digits, one a person, and small models that read them: what can be known of them is known."""

from __future__ import annotations

import torch
from torch import Tensor

from physlm import rng
from physlm.measures.knowledge_config import KnowledgeConfig
from physlm.measures.knowledge_texts import Source, Texts, texts_source, train_half
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder

DIGITS, LENGTH, PEOPLE, WIDTH = 5, 6, 400, 32
PLACES = ("early", "late")
SMALL = ModelConfig(layers=2, heads=2, width=WIDTH)
QUICK = KnowledgeConfig(steps=150, learning_rate=0.03, weight_decay=0.0)


def digits(people: int = PEOPLE, length: int = LENGTH) -> Tensor:
    return rng.below(DIGITS, rng.key("digits"), torch.arange(people * length)).view(people, length)


def texts_of(labels_QY: Tensor, places: tuple[int, ...] = (2, 4)) -> Texts:
    """One text a person, read at two places."""
    people = len(labels_QY)
    return Texts(digits(people), torch.tensor(places).expand(people, -1), labels_QY, torch.arange(people))


def source_of(labels_QY: Tensor, rows: int = 40) -> Source:
    return texts_source(texts_of(labels_QY), train_half(len(labels_QY)), PLACES, rows)


def model_of(*seeds: int, config: ModelConfig = SMALL) -> Decoder:
    return Decoder(config, DIGITS, seeds)
