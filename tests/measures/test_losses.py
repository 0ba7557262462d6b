"""Nats a token against cross-entropy worked out from the logits, and their sums against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physlm.measures.losses import TokenLosses, lookup_losses, model_losses, person_losses
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.rows import Entries
from physlm.tasks.task import BiographyTask

CPU = torch.device("cpu")
BIOS = BioSConfig(people=7)
BIOD = BioDConfig(people=9, attributes=3, chunks=2, diversity=5, chunk_tokens=2, alphabet=4, name_pools=(3, 3, 3))


def opinionated(task: BiographyTask) -> Decoder:
    """A model that is sure of many wrong things, so that every token's loss is its own."""
    model = Decoder(ModelConfig(layers=1, heads=1, width=8), len(task.vocabulary), (1,))
    with torch.no_grad():
        model.embedding.weight.mul_(40.0)
    return model


def by_hand(model: Decoder, ids: list[int]) -> list[float]:
    """-ln p(token | the tokens before it) for each token but the first, one softmax at a time."""
    logits = model(torch.tensor(ids).view(1, 1, -1)).logits[0, 0].double()
    return [-math.log(logits[t].softmax(0)[ids[t + 1]].item()) for t in range(len(ids) - 1)]


@pytest.fixture(scope="module", params=[BIOS, BIOD], ids=lambda config: config.kind)
def task(request: pytest.FixtureRequest) -> BiographyTask:
    return request.param.build()


@torch.no_grad()
def test_token_losses_are_cross_entropies(task: BiographyTask) -> None:
    model = opinionated(task)
    person = torch.tensor([0, 3, 5, 3])
    entries = task.entries(person, torch.tensor([0, 0, 1, 2]))
    nll = model_losses(model)(person, entries)
    assert nll.shape == (4, task.entry_width - 1)
    for e in range(4):
        length = int(entries.lengths_R[e])
        expected = by_hand(model, entries.ids_RW[e, :length].tolist())
        assert nll[e, : length - 1].tolist() == pytest.approx(expected, abs=1e-4, rel=1e-4)
        assert bool((nll[e, length - 1 :] == 0).all()), "padding costs nothing"
    assert nll.std() > 1.0


@torch.no_grad()
def test_sums_by_part_equal_a_loop(task: BiographyTask) -> None:
    """Two texts of each person, read token by token; which parts there are is spelt out here."""
    model = opinionated(task)
    parts = {
        "bioS": {"name": {"name"}, "first": set(),
                 "value": {"gender", "birth_date", "birth_city", "university", "major", "employer"}},
        "bioD": {"name": {"name"}, "first": {"value_first"}, "value": {"value_first", "value"}},
    }[task.config.kind]  # fmt: skip
    losses = person_losses(task, model_losses(model), CPU, texts=2)
    for person in range(task.config.people):
        nats = dict.fromkeys(parts, 0.0)
        for draw in range(2):
            entries = task.entries(torch.tensor([person]), torch.tensor([draw]), split="evaluation")
            length = int(entries.lengths_R[0])
            costs = by_hand(model, entries.ids_RW[0, :length].tolist())
            for cost, role in zip(costs, entries.roles_RW[0, 1:].tolist(), strict=False):
                for part, names in parts.items():
                    nats[part] += cost / 2 if task.roles[role] in names else 0.0
        assert losses.name_N[person].item() == pytest.approx(nats["name"], rel=1e-4)
        assert losses.value_N[person].item() == pytest.approx(nats["value"], rel=1e-4)
        assert losses.first_N[person].item() == pytest.approx(nats["first"], rel=1e-4, abs=1e-9)
    assert all(x.dtype == torch.float64 and x.shape == (task.config.people,) for x in losses)


@pytest.mark.parametrize("batch", [1, 4, 7, 9])
def test_the_batch_size_does_not_matter(task: BiographyTask, batch: int) -> None:
    model = opinionated(task)
    at_once = person_losses(task, model_losses(model), CPU, texts=2)
    for whole, pieces in zip(at_once, person_losses(task, model_losses(model), CPU, texts=2, batch=batch), strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5)
    # where nothing is rounded, not at all
    for losses in (counting(task), lookup_losses(task, torch.arange(task.config.people) % 2 == 0)):
        for whole, pieces in zip(person_losses(task, losses, CPU), person_losses(task, losses, CPU, batch=batch),
                                 strict=True):  # fmt: skip
            assert pieces.equal(whole)


def counting(task: BiographyTask) -> TokenLosses:
    """One nat a token: the sums are then numbers of tokens."""

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        return torch.ones_like(entries.ids_RW[:, 1:], dtype=torch.double)

    return losses


def test_every_token_of_a_part_counts_once() -> None:
    biod = person_losses(BIOD.build(), counting(BIOD.build()), CPU, texts=3)
    assert biod.name_N.tolist() == [3.0] * 9
    assert biod.first_N.tolist() == [3.0 * 2] * 9, "K first chunks of L tokens"
    assert biod.value_N.tolist() == [3.0 * 2 * 2] * 9, "K C chunks of L tokens"
    task = BIOS.build()
    bios = person_losses(task, counting(task), CPU)
    assert bios.name_N.tolist() == [3.0] * 7 and bios.first_N.tolist() == [0.0] * 7
    # gender 1, date 4 (October 2 , 1996), and at least one word of each of city, university, major and employer
    assert min(bios.value_N.tolist()) >= 9


def test_each_person_is_read_as_often_and_told_apart(task: BiographyTask) -> None:
    """The function is given whose text it reads."""
    calls: list[tuple[int, tuple[int, ...]]] = []

    def losses(person_E: Tensor, entries: Entries) -> Tensor:
        for person, ids in zip(person_E.tolist(), entries.ids_RW.tolist(), strict=True):
            calls.append((person, tuple(ids)))
        return person_E[:, None].double() * (entries.roles_RW[:, 1:] == task.name_role)

    found = person_losses(task, losses, CPU, texts=3, batch=4)
    people = range(task.config.people)
    assert sorted(person for person, _ in calls) == sorted(list(people) * 3)
    assert len({ids for _, ids in calls}) > 2 * task.config.people, "fresh texts"
    assert found.name_N.tolist() == [3.0 * person for person in people], "three tokens a name"


def test_texts_are_not_those_of_training(task: BiographyTask) -> None:
    drawn = torch.arange(task.config.people)
    read = task.entries(drawn, torch.zeros_like(drawn))
    trained = task.entries(drawn, torch.zeros_like(drawn), split="train")
    assert not read.ids_RW.equal(trained.ids_RW)


def test_reading_leaves_no_gradient(task: BiographyTask) -> None:
    model = opinionated(task)
    losses = person_losses(task, model_losses(model), CPU)
    assert not losses.name_N.requires_grad and all(p.grad is None for p in model.parameters())


def test_the_oracle_pays_for_what_it_does_not_know(task: BiographyTask) -> None:
    """ln N for the name of a known person; ln N0 and ln S for an unknown one, in float64."""
    known = torch.arange(task.config.people) % 3 == 0
    losses, terms = person_losses(task, lookup_losses(task, known), CPU, texts=2), task.information_terms
    for person, is_known in enumerate(known.tolist()):
        name = math.log(terms.people if is_known else terms.names)
        value = 0.0 if is_known else terms.value_bits * math.log(2)
        assert losses.name_N[person].item() == pytest.approx(name, rel=1e-13)
        assert losses.value_N[person].item() == pytest.approx(value, rel=1e-13)
