"""P- and Q-probes against one probe written out with torch's own layers, and against planted knowledge.

Texts here are random digits; what a frozen random model can know of them is known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from digit_texts import DIGITS, PEOPLE, PLACES, QUICK, SMALL, WIDTH, digits, model_of, source_of, texts_of
from positions import way
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from physlm import rng
from physlm.errors import UserError
from physlm.measures.knowledge_config import P_PROBE, Q_PROBE, KnowledgeConfig
from physlm.measures.knowledge_heads import EPSILON
from physlm.measures.knowledge_probes import KnowledgeProbes, beside, knowledge_probe, probe_flops
from physlm.measures.knowledge_texts import ABSENT, Texts, q_texts, shuffled_people, texts_source, train_half
from physlm.measures.probes import IGNORE, Target
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder

# --- the formula -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["rope", "none", "absolute", "relative", "position_only", "uniform"])
def test_the_last_states_of_given_embeddings_are_those_of_the_tokens(position: str) -> None:
    model = model_of(0, 1, config=dataclasses.replace(SMALL, **way(position)))
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
    assert [row.label for row in rows][:3] == ["p_probe/target=digit/place=early", "p_probe/target=digit/place=late",
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


# --- errors and cost ---------------------------------------------------------------------------------------------


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
    with pytest.raises(UserError, match="1 label a text, expected 2 places and 2 targets"):
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
