"""Linear probes against scikit-learn's logistic regression on the same activations, and what they say to mistakes."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.measures.knowledge_config import KnowledgeConfig
from physlm.measures.knowledge_probes import KnowledgeProbes
from physlm.measures.knowledge_texts import Texts, texts_source, train_half
from physlm.measures.probes import IGNORE, Labelled, ProbeConfig, Target, probe, tap_features, train_probes
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder

CLASSES, ROWS, LENGTH = 4, 50, 8
TAPS = ("embedding", "block.0.out", "final")
# loud enough first weights that an untrained model mixes what it reads
MODEL = ModelConfig(layers=2, heads=2, width=16, init_std=0.3)
CONFIG = ProbeConfig(mask="diagonal", steps=400, learning_rate=0.03, evaluation_batches=4)
BEFORE = [Target("the token before", CLASSES)]


def batches(split: str, number: int) -> Labelled:
    """Random tokens; at each position the one before it is asked for, which the embedding does not hold."""
    count = ROWS * LENGTH
    number = number % 8 if split == "train" else number  # the probe and the oracle learn from the same sentences
    ids = rng.below(CLASSES, rng.key("tokens", split), torch.arange(count) + number * count).view(1, ROWS, LENGTH)
    labels = F.pad(ids[..., :-1], (1, 0), value=IGNORE)[..., None]
    return Labelled(ids, labels, torch.ones_like(ids).bool())


def oracle(x_train: Tensor, y_train: Tensor, x_test: Tensor) -> NDArray[np.int64]:
    """The answers of an unregularised multinomial logistic regression."""
    reason = "scikit-learn is the oracle; pip install -e .[dev]"
    linear_model = pytest.importorskip("sklearn.linear_model", reason=reason)
    with warnings.catch_warnings():  # newer versions rename their own settings
        warnings.simplefilter("ignore")
        fitted: Any = linear_model.LogisticRegression(C=1e5, max_iter=3000).fit(x_train.numpy(), y_train.numpy())
    answers: NDArray[np.int64] = fitted.predict(x_test.numpy())
    return answers


def test_a_probe_of_any_tap_answers_as_logistic_regression_does() -> None:
    model = Decoder(MODEL, CLASSES, (0,))
    features = tap_features(model, TAPS)
    probes = train_probes(features, batches, BEFORE, CONFIG)
    ours = probes.evaluate()

    def read(split: str, count: int) -> tuple[Tensor, Tensor, list[Labelled]]:
        """Activations (K, N, d) and labels (N,) of all positions that are asked about."""
        found = [batches(split, number) for number in range(count)]
        asked = torch.cat([batch.labels_MBWY.flatten() for batch in found])
        x = torch.cat([features(batch.ids_MBW)[0].flatten(1, 2) for batch in found], 1)
        return x[:, asked != IGNORE], asked[asked != IGNORE], found

    x_train, y_train, _ = read("train", 8)
    x_test, y_test, judged = read("evaluation", CONFIG.evaluation_batches)
    logits = torch.cat([probes.logits(batch.ids_MBW, batch.keys_MBW)[0][0, :, :, 1:].flatten(1, 2)
                        for batch in judged], 1)
    accuracy = []
    for k in range(len(TAPS)):
        theirs = oracle(x_train[k], y_train, x_test[k])
        accuracy.append(float(np.mean(theirs == y_test.numpy())))
        agreement = float(np.mean(logits[k].argmax(-1).numpy() == theirs))
        # where nothing can be read (the embedding) two guesses need not be the same one
        assert agreement > 0.95 or accuracy[k] < 0.4
        assert ours.accuracy.value[0, k, 0] == pytest.approx(accuracy[k], abs=0.02), TAPS[k]
    assert accuracy[0] < 0.35 and 0.5 < accuracy[2] < 0.99, "nothing, and neither nothing nor all"


def test_a_probe_of_the_name_answers_as_logistic_regression_does() -> None:
    """Without the update of the embedding, a Q-probe is one linear map of the normalised last state."""
    people = 1600
    ids = rng.below(CLASSES, rng.key("names"), torch.arange(people * 5)).view(people, 5)
    texts = Texts(ids, torch.full((people, 1), 4), ids[:, 2:3], torch.arange(people))
    learn = train_half(people)
    source = texts_source(texts, learn, ("end",), rows=200)
    model = Decoder(MODEL, CLASSES, (1,))
    config = KnowledgeConfig(rank=0, norm="layer", steps=400, learning_rate=0.03, weight_decay=0.0)
    probes = KnowledgeProbes(model, source, [Target("third token", CLASSES)], config)
    probes.train()
    found = probes.evaluate().accuracy.value[0, 0, 0]
    with torch.no_grad():
        x = F.layer_norm(model.hidden(ids[None])[0][0, :, -1], (MODEL.width,))
    theirs = oracle(x[learn], ids[learn, 2], x[~learn])
    accuracy = float(np.mean(theirs == ids[~learn, 2].numpy()))
    assert 0.4 < accuracy < 0.99
    assert found == pytest.approx(accuracy, abs=0.02)


def test_an_unknown_tap_is_answered_with_those_that_exist() -> None:
    model = Decoder(MODEL, CLASSES, (0,))
    with pytest.raises(UserError) as error:
        probe(tap_features(model, ("block.2.out",)), batches, BEFORE, CONFIG)
    assert "tap: unknown name 'block.2.out'; did you mean" in str(error.value)
    activations = [name for name in model.tap_names if not name.endswith("attention")]
    assert all(name in str(error.value) for name in activations)
    with pytest.raises(UserError, match="tap: unknown name 'block.0.attention'"):
        tap_features(model, ("block.0.attention",))
    for taps in ("final", ()):
        with pytest.raises(UserError, match="expected a list of one or more of embedding, block.0.mixer, block.0.mlp"):
            tap_features(model, taps)


@pytest.mark.parametrize(("wrong", "words"), [(CLASSES, "got labels from -1 to 4"), (-2, "got labels from -2 to 3")])
def test_a_label_out_of_range_is_answered_with_the_range(wrong: int, words: str) -> None:
    def mislabelled(split: str, number: int) -> Labelled:
        batch = batches(split, number)
        return batch._replace(labels_MBWY=batch.labels_MBWY.index_fill(1, torch.tensor([3]), wrong))

    with pytest.raises(UserError, match=f"the token before: {words}, expected 0 to 3, or -1 where nothing is asked"):
        probe(tap_features(Decoder(MODEL, CLASSES, (0,)), TAPS), mislabelled, BEFORE,
              dataclasses.replace(CONFIG, steps=1))  # fmt: skip
