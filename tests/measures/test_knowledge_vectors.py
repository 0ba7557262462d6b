"""Probes of few people: one vector for each place of a text that stays as it is, and maps that start at the output."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from digit_texts import DIGITS, PEOPLE, PLACES, QUICK, SMALL, WIDTH, digits, model_of, source_of, texts_of
from numpy.typing import NDArray
from positions import way
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.measures.knowledge_config import KnowledgeConfig
from physlm.measures.knowledge_probes import KnowledgeProbes, beside, knowledge_probe
from physlm.measures.knowledge_texts import ABSENT, Texts, shuffled_people, texts_source, train_half
from physlm.measures.probes import Target
from physlm.models.decoder import Decoder


@pytest.mark.parametrize("position", ["rope", "none", "absolute", "relative", "position_only", "uniform"])
def test_each_place_is_read_from_the_text_as_it_stands(position: str) -> None:
    """Against the text read once for each place, with the one token moved; a text of one token, and absent places."""
    config = dataclasses.replace(SMALL, **way(position, 16))
    texts = texts_of(torch.stack((digits()[:, 4], digits()[:, 0]), -1), places=(0, 4))
    places = texts.places_BP.clone()
    places[::3, 1] = ABSENT
    source = texts_source(texts._replace(places_BP=places), train_half(PEOPLE), PLACES, 10)
    probes = KnowledgeProbes(model_of(0, 1, config=config), source, [Target("a", DIGITS), Target("b", DIGITS)],
                             dataclasses.replace(QUICK, own="alone"))
    assert probes.vectors is not None and not probes.vectors.any(), "it begins at none"
    with torch.no_grad():
        probes.heads.maps.normal_()
        probes.vectors.normal_()
    batch = source.evaluation(0)
    found = probes.logits(batch)
    found.square().sum().backward()
    gradient = probes.vectors.grad
    assert gradient is not None
    hidden_NPBd = probes._one_by_one(batch.ids_BT, batch.places_BP)
    expected = probes.heads(hidden_NPBd).unflatten(0, (2, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    probes.vectors.grad = None
    expected.square().sum().backward()
    torch.testing.assert_close(gradient, probes.vectors.grad, rtol=1e-3, atol=1e-3)
    for p in range(2):  # by hand: one member, one target, one place
        ids = batch.ids_BT[:1]
        x_MBTd = probes.model.embedding(ids.expand(2, 1, -1)).clone()
        x_MBTd[1, 0, int(batch.places_BP[0, p].clamp_min(0))] += probes.vectors[3, p]
        hidden = probes.model.hidden_from(x_MBTd)[1, 0, int(batch.places_BP[0, p].clamp_min(0))]
        torch.testing.assert_close(hidden_NPBd[3, p, 0], hidden, rtol=1e-4, atol=1e-5)


def test_a_probe_at_one_of_many_places_is_the_probe_of_that_place_alone() -> None:
    """A digit is readable at its own place before a step is done; four places with nothing to read must leave it."""
    model = model_of(0)
    with torch.no_grad():
        model.embedding.weight[0, :DIGITS] = 2 * torch.eye(DIGITS, WIDTH)  # what is read is what would be written
    own = digits()[:, 4:5]
    labels = torch.cat((own, shuffled_people(own)), -1)
    targets = [Target(name, DIGITS, tokens=tuple(range(DIGITS))) for name in ("own", "somebody else's")]
    config = dataclasses.replace(QUICK, steps=30, own="alone", start="output", update_speed=10.0)

    def probes(*places: int) -> KnowledgeProbes:
        source = texts_source(texts_of(labels, places), train_half(PEOPLE), tuple(map(str, places)), 40)
        return KnowledgeProbes(model, source, targets, config)

    many, one = probes(0, 1, 2, 3, 4), probes(4)
    assert many.evaluate().accuracy.value[0, 0, 4] > 0.95
    for each in (many, one):
        each.train()
    assert many.vectors is not None and one.vectors is not None and bool(many.vectors.any(-1).all())
    torch.testing.assert_close(many.vectors[:, 4:], one.vectors, rtol=1e-3, atol=1e-3)
    batch = many.source.evaluation(0)
    for mapped in (True, False):
        found, expected = many.logits(batch, mapped)[:, :, 4:], one.logits(one.source.evaluation(0), mapped)
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    value = many.evaluate().accuracy.value[0]
    assert value[0, 4] > 0.95 and np.all(value[0, :4] < 0.4)
    assert np.all(value[1] < 0.2 + 3 * (0.2 * 0.8 / (PEOPLE / 2)) ** 0.5)


def test_who_knows_a_first_word_answers_by_the_commonest_value_behind_it() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 3]).repeat(20)[:, None]
    people = len(labels)
    texts = Texts(digits(people), torch.tensor([[4]]).expand(people, -1), labels, torch.arange(people))
    judged = labels[~train_half(people), 0].bincount().tolist()
    target = Target("value", 4, tokens=(7 % DIGITS, 7 % DIGITS, 3, 3))
    source = texts_source(texts, train_half(people), ("place",), 10)
    scores = knowledge_probe(model_of(0), source, [target], dataclasses.replace(QUICK, steps=1))
    expected = (max(judged[:2]) + max(judged[2:])) / sum(judged)
    assert scores.first_word.tolist() == [[pytest.approx(expected)]]
    assert scores.majority.tolist() == [[pytest.approx(max(judged) / sum(judged))]]
    rows = scores.exact_rows("first_word", scores.first_word)
    assert [(row.label, row.value, row.lo, row.hi) for row in rows] == [
        ("first_word/target=value/place=place", *[pytest.approx(expected)] * 3)]
    unknown = knowledge_probe(model_of(0), source, [Target("value", 4)], dataclasses.replace(QUICK, steps=1))
    assert bool(np.isnan(unknown.first_word).all())


def test_the_update_moves_as_many_times_as_far_as_the_maps_as_is_said() -> None:
    """AdamW's first step is the rate, whatever the gradient; both begin at zero."""
    config = dataclasses.replace(QUICK, steps=1, learning_rate=1e-3, own="alone", update_speed=10.0)
    probes = KnowledgeProbes(model_of(0), source_of(digits()[:, 4:5]), [Target("digit", DIGITS)], config)
    probes.train()
    for parameter, expected in ((probes.heads.maps, 1e-3), (probes.heads.bias, 1e-3)):
        torch.testing.assert_close(parameter.abs().max(), torch.tensor(expected), rtol=0.01, atol=0)
    assert probes.vectors is not None and not probes.vectors.any(), "while the maps are zero no gradient reaches it"
    probes.train()
    assert 5e-3 < float(probes.vectors.detach().abs().max()) < 1.5e-2


def test_a_map_that_starts_at_the_output_begins_with_the_models_own_logits() -> None:
    targets = [Target("digit", DIGITS, tokens=tuple(range(DIGITS))), Target("some", 3, tokens=(4, 1, 1))]
    model, source = model_of(0, 1), source_of(torch.stack((digits()[:, 4], digits()[:, 4] % 3), -1))
    probes = KnowledgeProbes(model, source, targets, dataclasses.replace(QUICK, start="output"))
    batch = source.evaluation(0)
    own_MBTV, _ = model(batch.ids_BT.expand(2, -1, -1))
    with torch.no_grad():
        found = probes.logits(batch)
        probes.heads.maps.normal_()
        corrected = probes.logits(batch) - found
    for place, at in enumerate((2, 4)):
        torch.testing.assert_close(found[:, 0, place], own_MBTV[:, :, at])
        torch.testing.assert_close(found[:, 1, place, :, :3], own_MBTV[:, :, at][..., [4, 1, 1]])
    assert bool(found[:, 1, :, :, 3:].isneginf().all()) and corrected[:, 0].abs().min(-1).values.max() > 0.1


def test_a_map_that_starts_at_the_output_reads_answers_that_nobody_learnt_from_has() -> None:
    """The planted model writes the answer where the last name stands; its control knows nothing."""
    people, answers = 300, 40
    person, learn_Q = torch.arange(people), train_half(people)
    label = 2 * rng.below(answers // 2, rng.key("answer"), person) + (~learn_Q).long()  # even to learn from
    untrained, knowing = (Decoder(SMALL, people + answers + 1, (0,)) for _ in range(2))
    with torch.no_grad():
        table = knowing.embedding.weight[0]
        table[:people] += 3 * table[people + label]
    names = torch.stack((torch.full_like(person, people + answers), person), -1)
    texts = Texts(names, torch.ones_like(person)[:, None], label[:, None], person)
    source = texts_source(texts, learn_Q, ("last name",), 50)
    target = Target("answer", answers, tokens=tuple(range(people, people + answers)))
    config = dataclasses.replace(QUICK, steps=20, learning_rate=1e-3, own="alone")
    both = beside(knowing, untrained)
    from_zero, from_output = (knowledge_probe(both, source, [target], dataclasses.replace(config, start=start))
                              for start in ("zero", "output"))  # fmt: skip
    assert from_zero.accuracy.value[0, 0, 0] < 0.1 and from_output.accuracy.value[0, 0, 0] > 0.9
    assert from_output.accuracy.value[1, 0, 0] < 1 / answers + 3 * (1 / answers / (people / 2)) ** 0.5
    others = texts._replace(labels_BY=shuffled_people(label[:, None]))
    shuffled = knowledge_probe(knowing, texts_source(others, learn_Q, ("last name",), 50), [target],
                               dataclasses.replace(config, start="output"))  # fmt: skip
    assert shuffled.accuracy.value[0, 0, 0] < 1 / answers + 3 * (1 / answers / (people / 2)) ** 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [QUICK, dataclasses.replace(QUICK, own="alone", start="output", norm="batch")])
def test_probes_on_a_gpu_learn_the_same(config: KnowledgeConfig) -> None:
    labels, targets = digits()[:, 4:5], [Target("digit", DIGITS, tokens=tuple(range(DIGITS)))]
    whole, config = config, dataclasses.replace(config, steps=20)
    found: list[tuple[NDArray[np.float64], Tensor, Tensor]] = []
    for device in ("cpu", "cuda"):
        texts = Texts(*(x.to(device) for x in texts_of(labels)))
        source = texts_source(texts, train_half(PEOPLE), PLACES, 40)
        probes = KnowledgeProbes(model_of(0, 1).to(device), source, targets, config)
        probes.train()
        value = probes.evaluate().accuracy.value  # evaluation stops the running means
        logits = probes.logits(source.evaluation(0)).detach().cpu()
        found.append((value, probes.heads.maps.detach().cpu(), logits))
        if device == "cuda":
            rounded = KnowledgeProbes(model_of(0, 1).to(device).in_bfloat16(), source, targets, whole)
            rounded.train()
            assert rounded.evaluate().accuracy.value[0, 0, 1] > 0.9
    np.testing.assert_allclose(found[0][0], found[1][0], atol=0.05)
    for here, there in zip(found[0][1:], found[1][1:], strict=True):  # what warming up did is undone
        torch.testing.assert_close(here, there, rtol=2e-2, atol=2e-2)


def test_maps_that_start_at_nothing_cannot_be_left_out() -> None:
    with pytest.raises(UserError, match="mapped: got false with start 'zero', expected start 'output'"):
        KnowledgeProbes(model_of(0), source_of(digits()[:, 4:5]), [Target("digit", DIGITS)]).evaluate(mapped=False)
