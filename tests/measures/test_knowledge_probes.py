"""P- and Q-probes against one probe written out with torch's own layers, and against planted knowledge.

Texts here are random digits; what a frozen random model can know of them is known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from physlm import rng
from physlm.errors import UserError
from physlm.measures.knowledge_config import P_PROBE, Q_PROBE, KnowledgeConfig
from physlm.measures.knowledge_heads import EPSILON
from physlm.measures.knowledge_probes import KnowledgeProbes, beside, knowledge_probe, probe_flops
from physlm.measures.knowledge_texts import ABSENT, Source, Texts, q_texts, shuffled_people, texts_source, train_half
from physlm.measures.probes import IGNORE, Target
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


# --- the formula -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["rope", "none", "absolute", "relative", "position_only", "uniform"])
def test_the_last_states_of_given_embeddings_are_those_of_the_tokens(position: str) -> None:
    model = model_of(0, 1, config=dataclasses.replace(SMALL, position=position))  # type: ignore[arg-type]
    ids = digits(6)[None].expand(2, -1, -1)
    expected, _ = model.hidden(ids)
    torch.testing.assert_close(model.hidden_from(model.embedding(ids)), expected)
    places = torch.tensor([[4, 1]]).expand(2, 6, -1)
    torch.testing.assert_close(model.hidden_from(model.embedding(ids), places), expected[:, :, [4, 1]])


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_all_probes_together_are_each_one_alone(norm: str) -> None:
    """Several steps of every (member, target) with torch's own norms, maps and optimiser; the embedding is changed."""
    steps, rate, decay = 4, 0.02, 0.3
    config = KnowledgeConfig(rank=3, norm=norm, steps=steps, learning_rate=rate, weight_decay=decay)  # type: ignore[arg-type]
    model, classes = model_of(3, 4), (DIGITS, 2)
    labels = torch.stack((digits()[:, 4], digits()[:, 1] % 2), -1)
    source = source_of(labels)
    probes = KnowledgeProbes(model, source, [Target("a", DIGITS), Target("b", 2)], config)
    assert probes.update is not None
    first = probes.update.directions[0].detach().clone()
    probes.train()
    probes.heads.eval()
    test = source.evaluation(0)
    together = probes.logits(test).detach()
    assert together.shape == (2, 2, 2, 40, DIGITS) and bool((together[:, 1, ..., 2:] == -torch.inf).all())
    for m in range(2):
        for y, count in enumerate(classes):
            alone = _Alone(model.member(m), first, norm, count)
            weights = [alone.a, alone.b, *(layer.weight for layer in alone.maps)]
            others = [p for p in alone.norms.parameters()] + [layer.bias for layer in alone.maps]
            optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": decay},
                                           {"params": others, "weight_decay": 0.0}], eps=1e-6)  # fmt: skip
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = rate * (1 - step / steps)
                batch = source.train(step)
                optimiser.zero_grad()
                losses = [F.cross_entropy(logits, batch.labels_BY[:, y]) for logits in alone(batch)]
                torch.stack(losses).sum().backward()
                optimiser.step()
            alone.eval()
            torch.testing.assert_close(together[m, y, ..., :count], torch.stack(alone(test)), rtol=1e-3, atol=1e-4)


class _Alone(nn.Module):
    """One probe at two places: E + A B is written into the embedding of an ordinary model."""

    def __init__(self, model: Decoder, first: Tensor, norm: str, classes: int):
        super().__init__()
        self.model = model.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.zeros(DIGITS, len(first))), nn.Parameter(first.clone())
        made = nn.LayerNorm if norm == "layer" else nn.BatchNorm1d
        self.norms = nn.ModuleList(made(WIDTH, eps=EPSILON) for _ in PLACES)
        self.maps = nn.ModuleList(nn.Linear(WIDTH, classes) for _ in PLACES)
        for parameter in self.maps.parameters():
            nn.init.zeros_(parameter)

    def forward(self, texts: Texts) -> list[Tensor]:
        table = self.model.embedding.weight + self.a @ self.b
        hidden, _ = torch.func.functional_call(  # the whole text: what is behind the last place must not matter
            _Hidden(self.model), {"model.embedding.weight": table}, (texts.ids_BT[None],))
        rows = torch.arange(len(texts.ids_BT))
        read = [hidden[0, rows, places] for places in texts.places_BP.T]
        return [layer(norm(x)) for layer, norm, x in zip(self.maps, self.norms, read, strict=True)]


class _Hidden(nn.Module):
    def __init__(self, model: Decoder):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.hidden(ids)


def test_the_model_stays_as_it_was() -> None:
    model = model_of(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    knowledge_probe(model, source_of(digits()[:, 4:5]), [Target("digit", DIGITS)],
                    dataclasses.replace(QUICK, steps=3))  # fmt: skip
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


# --- planted knowledge -------------------------------------------------------------------------------------------


def test_a_digit_is_found_where_it_was_read_and_not_before_nor_after_a_shuffle() -> None:
    own = digits()[:, 4:5]
    labels = torch.cat((own, shuffled_people(own)), -1)
    targets = [Target("digit", DIGITS), Target("shuffled digit", DIGITS)]
    scores = knowledge_probe(model_of(0), source_of(labels), targets, QUICK)
    value, lo, hi = (x[0] for x in scores.accuracy)
    early, late = 0, 1
    assert value[0, late] > 0.97
    assert value[0, early] < 0.4, "a causal model has not read it yet"
    # chance, five guesses with equal odds; three binomial standard deviations
    spread = 3 * (0.2 * 0.8 / (PEOPLE / 2)) ** 0.5
    assert abs(value[0, early] - 0.2) < spread and np.all(np.abs(value[1] - 0.2) < spread)
    assert np.all(lo <= value) and np.all(value <= hi) and hi[1, late] < lo[0, late]
    assert np.all(scores.people == PEOPLE // 2)
    rows = scores.rows("p_probe")
    assert [row.quantity for row in rows][:3] == ["p_probe/target=digit/place=early", "p_probe/target=digit/place=late",
                                                  "p_probe/target=shuffled_digit/place=early"]  # fmt: skip
    assert rows[1].value == value[0, late] and rows[1].n == PEOPLE // 2
    assert (rows[1].lo, rows[1].hi) == (lo[0, late], hi[0, late])


def test_the_update_of_the_embedding_tells_apart_tokens_that_the_model_confuses() -> None:
    model = model_of(0)
    with torch.no_grad():
        model.embedding.weight[:] = model.embedding.weight[:, :1]
    source, targets = source_of(digits()[:, 4:5]), [Target("digit", DIGITS)]
    without, with_update = (knowledge_probe(model, source, targets, dataclasses.replace(QUICK, rank=rank))
                            for rank in (0, 2))  # fmt: skip
    assert without.accuracy.value[0, 0, 1] == pytest.approx(without.majority[0, 1], abs=0.1)
    assert with_update.accuracy.value[0, 0, 1] > 0.9


def test_the_tokens_that_are_read_move_without_the_same_ones_elsewhere() -> None:
    texts = texts_of(digits()[:, 4:5])
    places = texts.places_BP.clone()
    places[::2, 0] = ABSENT
    texts = texts._replace(ids_BT=torch.full_like(texts.ids_BT, 3), places_BP=places)  # the same token everywhere
    source = texts_source(texts, train_half(PEOPLE), PLACES, 20)
    probes = KnowledgeProbes(model_of(0), source, [Target("digit", DIGITS)],
                             dataclasses.replace(QUICK, rank=3, own="too"))
    assert probes.update is not None
    assert not probes.update(torch.arange(DIGITS + 1)[None]).any(), "an update begins as none"
    batch = source.evaluation(0)
    with torch.no_grad():
        probes.heads.maps.normal_()
        probes.update.directions.normal_()
        probes.update.coefficients[:, DIGITS] = 1
    moved_BTd = probes.model.embedding(batch.ids_BT[None]).clone()
    for p in range(2):
        there = batch.places_BP[:, p] != ABSENT
        moved_BTd[0, there, batch.places_BP[there, p]] += probes.update.directions.detach().sum(1)
    hidden = probes.model.hidden_from(moved_BTd, batch.places_BP.clamp_min(0)[None])
    found, expected = probes.logits(batch)[0], probes.heads(hidden.transpose(1, 2))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("position", ["rope", "none", "absolute", "relative", "position_only", "uniform"])
def test_each_place_is_read_from_the_text_as_it_stands(position: str) -> None:
    """Against the text read once for each place, with the one token moved; a text of one token, and absent places."""
    config = dataclasses.replace(SMALL, position=position, max_positions=16)  # type: ignore[arg-type]
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
    assert [(row.quantity, row.value, row.lo, row.hi) for row in rows] == [
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


def test_a_name_holds_an_attribute_only_if_the_model_knows_it() -> None:
    """Two members: one has the answer written into its embedding of the last name, the other is untrained."""
    people, answers = 200, 4
    last = torch.arange(people)
    names = torch.stack((people + rng.below(9, rng.key("first"), last), last), -1)  # everyone has an own last name
    label = rng.below(answers, rng.key("answer"), last)
    untrained = Decoder(SMALL, people + 10, (0,))
    knowing = Decoder(SMALL, people + 10, (0,))
    with torch.no_grad():
        directions = rng.normal(rng.key("directions"), answers * WIDTH).view(answers, WIDTH).float()
        knowing.embedding.weight[0, :people] += 0.2 * directions[label]
    source = texts_source(q_texts(names, people + 9, label[:, None]), train_half(people), ("name",), 50)
    config = dataclasses.replace(Q_PROBE, steps=150, learning_rate=0.003)
    scores = knowledge_probe(beside(knowing, untrained), source, [Target("answer", answers)], config)
    known, unknown = scores.accuracy.value[:, 0, 0]
    assert known > 0.9
    assert unknown < 0.25 + 3 * (0.25 * 0.75 / 100) ** 0.5, "chance: the own last name was never learnt from"


def test_absent_places_and_unasked_targets_do_not_count() -> None:
    labels = digits()[:, 4:5].clone()
    labels[::4] = IGNORE
    texts = texts_of(labels)
    places = texts.places_BP.clone()
    places[1::4, 0] = ABSENT
    source = texts_source(texts._replace(places_BP=places), train_half(PEOPLE), PLACES, 64)
    scores = knowledge_probe(model_of(0), source, [Target("digit", DIGITS)], dataclasses.replace(QUICK, steps=2))
    judged = ~train_half(PEOPLE)
    asked = judged & (torch.arange(PEOPLE) % 4 != 0)
    assert scores.people[0].tolist() == [int((asked & (torch.arange(PEOPLE) % 4 != 1)).sum()), int(asked.sum())]
    counted = labels[asked, 0].bincount()
    assert scores.majority[0, 1] == pytest.approx(float(counted.max() / counted.sum()))


def test_intervals_count_people_and_not_texts() -> None:
    """Five texts of each person, all alike, are worth one."""
    labels = shuffled_people(digits()[:, 4:5])
    once = texts_of(labels)
    often = Texts(*(x.repeat_interleave(5, 0) for x in once))
    widths = []
    for texts in (once, often):
        source = texts_source(texts, train_half(PEOPLE), PLACES, 100)
        scores = KnowledgeProbes(model_of(0), source, [Target("digit", DIGITS)], QUICK).evaluate()
        assert int(scores.people[0, 0]) == PEOPLE // 2
        widths.append(float(scores.accuracy.hi[0, 0, 0] - scores.accuracy.lo[0, 0, 0]))
    assert widths[1] == pytest.approx(widths[0], rel=0.02)


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


# --- errors and cost ---------------------------------------------------------------------------------------------


def test_maps_that_start_at_nothing_cannot_be_left_out() -> None:
    with pytest.raises(UserError, match="mapped: got false with start 'zero', expected start 'output'"):
        KnowledgeProbes(model_of(0), source_of(digits()[:, 4:5]), [Target("digit", DIGITS)]).evaluate(mapped=False)


def test_people_learnt_from_are_not_judged() -> None:
    source = source_of(digits()[:, 4:5])
    leaking = dataclasses.replace(source, evaluation=source.train)
    with pytest.raises(UserError, match="people to judge by were learnt from, for example person"):
        knowledge_probe(model_of(0), leaking, [Target("digit", DIGITS)], dataclasses.replace(QUICK, steps=2))


def test_what_does_not_fit_is_said() -> None:
    source, target = source_of(digits()[:, 4:5]), Target("digit", DIGITS)
    with pytest.raises(UserError, match="vocabulary of 4;"):
        KnowledgeProbes(Decoder(SMALL, 4), source, [target])
    with pytest.raises(UserError, match="digit: got labels from 0 to 4, expected 0 to 2"):
        KnowledgeProbes(model_of(0), source, [Target("digit", 3)])
    with pytest.raises(UserError, match="got no targets"):
        KnowledgeProbes(model_of(0), source, [])
    with pytest.raises(UserError, match="1 labels a text, expected 2 places and 2 targets"):
        KnowledgeProbes(model_of(0), source, [target, target])
    with pytest.raises(UserError, match="got places from 2 to 4, expected 0 to 2"):
        KnowledgeProbes(model_of(0), dataclasses.replace(source, reach=3), [target])
    with pytest.raises(UserError, match="got vocabularies of 5 and 6 tokens"):
        beside(model_of(0), Decoder(SMALL, 6))
    with pytest.raises(UserError, match="got models of shapes"):
        beside(model_of(0), Decoder(ModelConfig(), DIGITS))
    output = dataclasses.replace(QUICK, start="output")
    with pytest.raises(UserError, match="digit: got the first tokens of 0 classes, expected those of all 5"):
        KnowledgeProbes(model_of(0), source, [target], output)
    with pytest.raises(UserError, match="digit: got first tokens 1 to 5, but the model has a vocabulary of 5"):
        KnowledgeProbes(model_of(0), source, [target._replace(tokens=(1, 2, 3, 4, 5))], output)
    for settings in ({"rank": -1}, {"steps": 0}, {"norm": "none"}, {"own": "maybe"}, {"start": "end"},
                     {"learning_rate": 0.0}, {"update_speed": 0.0}):
        with pytest.raises(UserError, match=f"knowledge probe: .*{next(iter(settings))}"):
            KnowledgeConfig(**settings)


def test_the_published_settings_are_the_defaults() -> None:
    assert KnowledgeConfig(2, "no", "layer", 30_000, 1e-3, 0.3, 1e-6, "zero", 1.0) == P_PROBE
    assert KnowledgeConfig(16, "too", "batch", 30_000, 1e-3, 0.3, 1e-6, "zero", 1.0) == Q_PROBE


def test_the_predicted_cost_is_that_of_a_step() -> None:
    config = ModelConfig(layers=3, heads=2, width=64)
    source = source_of(digits()[:, 4:5].repeat(1, 2))
    probes = KnowledgeProbes(model_of(0, 1, config=config), source, [Target("a", DIGITS), Target("b", DIGITS)])
    with FlopCounterMode(display=False) as counter:
        probes.loss(source.train(0)).backward()
    assert counter.get_total_flops() == pytest.approx(probe_flops(config, (40, 5), 2 * 2, 1), rel=0.1)
